r"""Records every output file of every command, and compares two recordings.

  PYTHONPATH=/tmp/before python benchmarks/comparisons/record_outputs.py \
    record /tmp/recording_before --repository /tmp/before
  PYTHONPATH=/tmp/after python benchmarks/comparisons/record_outputs.py \
    record /tmp/recording_after --repository /tmp/before
  python benchmarks/comparisons/record_outputs.py \
    compare /tmp/recording_before /tmp/recording_after

`record` runs the commands of the bert_tf that Python finds, on small inputs
copied from `--repository` into the recording. Both recordings should have the
same inputs, and be made on the same machine. `compare` ends with exit code 1 if
anything differs that is listed under "Different".
"""

import argparse
import concurrent.futures
import csv
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import time

import compare_outputs

# ---------------------------------------------------------------------- inputs

MASKED = """The capital of [MASK] is Paris .
He [MASK] the ball and [MASK] it back to the young man .
The food was [MASK] , and we will never come back .
"""
SCORED = """The cat sat on the mat .
He slept . ||| Then he got up and ate .
Mat the on sat cat the .
He slept . ||| The vote is on Monday .
"""


def write_inputs(repository, folder):
    """Copies and makes all that the commands read.

    The built-in model gets a config with dropout, so that random numbers are
    compared too.
    """
    samples = repository / "run_scripts/sample_data"
    tests = repository / "tests/data"
    builtin, model = repository / "checkpoints/builtin", folder / "model"
    model.mkdir(parents=True)
    for path in [*builtin.glob("bert_model.ckpt.*"), builtin / "vocab.txt"]:
        shutil.copyfile(path, model / path.name)
    config = json.loads((builtin / "bert_config.json").read_text())
    config |= {"hidden_dropout_prob": 0.1, "attention_probs_dropout_prob": 0.1}
    text = json.dumps(config, indent=2) + "\n"
    (model / "bert_config.json").write_text(text)
    for name in ("text", "mrpc"):
        shutil.copytree(samples / name, folder / name)
    (folder / "squad").mkdir()
    for name in ("train-v1.1", "dev-v1.1", "train-v2.0", "dev-v2.0"):
        name = f"squad/{name}.json"
        shutil.copyfile(tests / name, folder / name)
    shutil.copyfile(tests / "extract_features/input.txt", folder / "lines.txt")
    write_deep_model(model, folder / "deep")
    (folder / "masked.txt").write_text(MASKED)
    (folder / "scored.txt").write_text(SCORED)
    write_reviews(samples / "reviews", folder)
    write_questions(folder / "squad", folder)


def write_deep_model(model, folder):
    """The same model with its last layer twice, for the last four layers."""
    import tensorflow as tf

    folder.mkdir()
    config = json.loads((model / "bert_config.json").read_text())
    config["num_hidden_layers"] = 4
    (folder / "bert_config.json").write_text(json.dumps(config) + "\n")
    values = compare_outputs.read_checkpoint(model / "bert_model.ckpt.index")
    more = {k.replace("/layer_2/", "/layer_3/"): values[k] for k in values}
    values |= more
    tf.raw_ops.SaveV2(
        prefix=str(folder / "bert_model.ckpt"),
        tensor_names=sorted(values),
        shape_and_slices=[""] * len(values),
        tensors=[values[name] for name in sorted(values)],
    )


def write_reviews(samples, folder):
    """Reviews as .tsv; long ones as .csv; pairs as .jsonl."""
    for name in ("tsv", "csv", "jsonl"):
        (folder / f"reviews_{name}").mkdir()
    for part in ("train", "dev", "test"):
        with open(samples / f"{part}.tsv", encoding="utf-8") as file:
            lines = file.readlines()[: 81 if part == "train" else 31]
        (folder / f"reviews_tsv/{part}.tsv").write_text("".join(lines))
        rows = [line.rstrip("\n").split("\t") for line in lines]
        header, rows = rows[0], rows[1:]
        texts = [row[0] for row in rows]
        with open(folder / f"reviews_csv/{part}.csv", "w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["review", "sentiment"][: len(header)])
            for i, row in enumerate(rows):
                long = " ".join(texts[i : i + 1 + i % 4])
                writer.writerow([long, *row[1:]])
        with open(folder / f"reviews_jsonl/{part}.jsonl", "w") as file:
            for i, row in enumerate(rows):
                values = dict(zip(header, row)) | {"other": texts[i - 1]}
                file.write(json.dumps(values) + "\n")


def write_questions(squad, folder):
    """Questions about one text and about several, as JSON lines."""
    data = json.loads((squad / "dev-v2.0.json").read_text())["data"]
    paragraphs = [p for article in data for p in article["paragraphs"]]
    with open(folder / "questions.jsonl", "w") as file:
        for i, paragraph in enumerate(paragraphs[:20]):
            contexts = [p["context"] for p in paragraphs[i : i + 3]]
            question = paragraph["qas"][0]
            row = {"id": question["id"], "question": question["question"]}
            row |= {"context": contexts[0]} if i % 2 else {"contexts": contexts}
            file.write(json.dumps(row) + "\n")
    (folder / "context.txt").write_text(paragraphs[15]["context"])


# -------------------------------------------------------------------- commands


# Flags that several commands share. How many steps there are in a call of the
# compiled loop, and so which steps are logged, depends on the time that they
# take; but for those of `compare_outputs.TIMED`, runs have one.
FLAGS = """
model: --bert_config_file=inputs/model/bert_config.json \
  --vocab_file=inputs/model/vocab.txt
init: --init_checkpoint=inputs/model/bert_model.ckpt
one: --iterations_per_loop=1
loop: --iterations_per_loop=1000
data: create_pretraining_data --input_file=inputs/text/*.txt \
  --vocab_file=inputs/model/vocab.txt --max_seq_length=64 \
  --max_predictions_per_seq=10 --dupe_factor=5 --random_seed=12345
pretrain: run_pretraining --output_dir={out} --do_train --do_eval --seed=3 \
  --input_file=pretraining_data/one.tfrecord {init} --max_seq_length=64 \
  --bert_config_file=inputs/model/bert_config.json --train_batch_size=8 \
  --max_predictions_per_seq=10 --num_warmup_steps=5 --learning_rate=1e-4 \
  --max_eval_steps=5 --save_checkpoints_steps=10 --num_train_steps=20 {one}
new_masks: --mask_on_the_fly --do_whole_word_mask \
  --vocab_file=inputs/model/vocab.txt
classify: run_classifier --output_dir={out} --do_eval --do_predict --seed=4 \
  --learning_rate=3e-4 --train_batch_size=16 {model} {one} \
  --save_checkpoints_steps=5
train: {classify} --do_train --num_train_epochs=3 {init}
mrpc: --task_name=mrpc --data_dir=inputs/mrpc
reviews: {train} --task_name=tsv --data_dir=inputs/reviews_tsv \
  --max_seq_length=64
long: {train} --task_name=tsv --data_dir=inputs/reviews_csv \
  --max_seq_length=64 --text_a_col=review --label_col=sentiment
pairs: {train} --task_name=tsv --data_dir=inputs/reviews_jsonl \
  --max_seq_length=64 --text_b_col=other
squad: run_squad --output_dir={out} --do_predict --max_seq_length=64 \
  --doc_stride=24 --max_query_length=24 --train_batch_size=16 \
  --learning_rate=3e-4 --num_train_epochs=1 --seed=5 {model} {one}
v1: {init} --do_train --train_file=inputs/squad/train-v1.1.json \
  --predict_file=inputs/squad/dev-v1.1.json
v2: --version_2_with_negative --predict_file=inputs/squad/dev-v2.0.json
train_v2: {init} --do_train --train_file=inputs/squad/train-v2.0.json
extract: extract_features {model} {init} --input_file=inputs/lines.txt \
  --batch_size=4 --max_seq_length=32
masks: fill_mask --checkpoint=inputs/model --input_file=inputs/masked.txt
score: score --checkpoint=inputs/model --input_file=inputs/scored.txt
words: extend_vocab --init_checkpoint=inputs/model --output_dir={out} \
  --words=coronavirus,remdesivir,tokenizer
positions: extend_positions --init_checkpoint=inputs/model \
  --output_dir={out} --max_position_embeddings=200
answer: answer --checkpoint=squad2 --version_2_with_negative \
  --max_seq_length=64 --max_query_length=24
export: export_saved_model --output_dir={out}
span: {export} --head=span --max_seq_length=64 --max_query_length=24
to_hf: convert_checkpoint to_hf --output={out}
from_hf: convert_checkpoint from_hf --output={out}
"""

# Names and commands, without `python -m bert_tf.`, in stages: a command may
# read what those of earlier stages wrote. {out} is the name, up to an `@`; _ in
# a question is a space.
STAGES = """
squad1: {squad} {v1} {loop}
squad2: {squad} {v2} {train_v2} --null_score_diff_threshold=auto
squad1_best: {squad} {v1} --exact_answers --skip_padding --do_export \
  --eval_every_steps=6 --keep_best=f1
mrpc: {train} {mrpc} --max_seq_length=64 {loop}
mrpc_stride: {train} {mrpc} --max_seq_length=32 --doc_stride=8
mrpc_export: {train} {mrpc} --max_seq_length=32 --do_export
mrpc_runs: {train} {mrpc} --max_seq_length=32 --num_runs=2
mrpc_bfloat16: {train} {mrpc} --max_seq_length=32 --precision=mixed_bfloat16
reviews: {reviews}
reviews_bucketed: {reviews} --bucket_by_length
reviews_accumulated: {reviews} --gradient_accumulation_steps=4 --recompute
reviews_best: {reviews} --eval_every_steps=3 --keep_best=eval_loss \
  --early_stopping_patience=2
reviews_frozen: {reviews} --freeze=embeddings,0 --layerwise_lr_decay=0.8 \
  --bias_correction
reviews_long_stride: {long} --doc_stride=20 --window_pooling=max \
  --bucket_by_length --do_export
reviews_pairs_lamb: {pairs} --optimizer=lamb
pretraining_data/one: {data} --output_file={out}.tfrecord
pretraining_data/words: {data} --do_whole_word_mask \
  --output_file={out}_1.tfrecord,{out}_2.tfrecord
pretraining_data/1_worker: {data} --output_file={out}.tfrecord \
  --num_workers=1 --num_shards=3
pretraining_data/2_workers: {data} --output_file={out}.tfrecord \
  --num_workers=2 --num_shards=3
features/json: {extract} --output_file={out}.jsonl --layers=-1,-2
features/json_stride: {extract} --output_file={out}.jsonl --layers=0,-1 \
  --doc_stride=10
features/mean: {extract} --output_file={out}.npz --output_format=npz \
  --pooling=mean --float16 --layers=-1 --doc_stride=10
features/last_4: extract_features --input_file=inputs/text/town.txt \
  --output_file={out}.npz --output_format=npz --pooling=concat_last_4 \
  --init_checkpoint=inputs/deep/bert_model.ckpt \
  --bert_config_file=inputs/deep/bert_config.json \
  --vocab_file=inputs/model/vocab.txt
features/cls: {extract} --output_file={out}.tfrecord --pooling=cls \
  --output_format=tfrecord --layers=-1,-2 --do_export
fill_mask/shown: {masks} --top_k=7
fill_mask/json: {masks} --output_file={out}.jsonl
score/shown: {score}
score/json: {score} --output_file={out}.jsonl --max_seq_length=12
hf/model: {to_hf} inputs/model
learn_vocab: learn_vocab --output_file={out}/vocab.txt --num_unused=9 \
  --input_file=inputs/text/*.txt,inputs/reviews_tsv/*.tsv --vocab_size=300 \
  --min_frequency=2
extend_vocab/unused: {words}
extend_vocab/grow: {words} --grow
positions/repeat: {positions}
positions/hierarchical: {positions} --new_positions=hierarchical
positions/interpolate: {positions} --new_positions=interpolate
released_models/list: released_models list
released_models/one: released_models list BERT-Tiny
saved/pretraining: {export} --head=pretraining --checkpoint=inputs/model
saved/pretraining_bfloat16: {export} --head=pretraining \
  --checkpoint=inputs/model --quantize=bfloat16
saved/features: {export} --head=features --checkpoint=inputs/model \
  --doc_stride=10 --max_seq_length=24
saved/features_tokens_int8: {export} --head=features \
  --checkpoint=inputs/model --pooling=none --layers=-1,-2 --quantize=int8
---
pretraining: {pretrain} {loop}
pretraining_masks@10: {pretrain} {new_masks} --num_train_steps=10
pretraining_no_next_sentence: {pretrain} --next_sentence=false \
  --gradient_accumulation_steps=2 --eval_every_steps=10 --do_export \
  --keep_best=masked_lm_loss --vocab_file=inputs/model/vocab.txt
mrpc_again: {classify} {mrpc} --max_seq_length=64 --init_checkpoint=mrpc
squad2_threshold: {squad} {v2} --init_checkpoint=squad2 --n_best_size=5 \
  --null_score_diff_threshold=-0.5 --max_answer_length=8
answers/shown: {answer} --question=Who? --question=When_was_it? \
  --num_answers=3 --context_file=inputs/context.txt
answers/json: {answer} --num_answers=2 --input_file=inputs/questions.jsonl \
  --output_file={out}.jsonl --null_score_diff_threshold=auto
hf/mrpc: {to_hf} mrpc
hf/squad: {to_hf} squad1
hf/model_back: {from_hf} hf/model
stripped: convert_checkpoint strip mrpc --output={out}/model.ckpt
saved/mrpc: {export} --head=classifier --checkpoint=mrpc --task_name=mrpc
saved/reviews_int8: {export} --head=classifier --quantize=int8 \
  --checkpoint=reviews_long_stride --max_seq_length=32 --doc_stride=10
saved/squad2: {span} --checkpoint=squad2 --version_2_with_negative \
  --null_score_diff_threshold=auto
saved/squad1_bfloat16: {span} --checkpoint=squad1 --quantize=bfloat16
---
pretraining_masks@20: {pretrain} {new_masks}
hf/mrpc_back: {from_hf} hf/mrpc
hf/squad_back: {from_hf} hf/squad
"""


def stages():
    """Lists of names of commands and their arguments, one for each stage."""
    shared = dict(line.split(": ", 1) for line in FLAGS.strip().split("\n"))
    found = []
    for stage in STAGES.split("---\n"):
        found.append([])
        for line in stage.strip().split("\n"):
            name, line = line.split(": ", 1)
            while "{" in line:
                line = line.format(out=name.split("@")[0], **shared)
            module, *words = line.split()
            words = [
                word.replace("_", " ")
                if word.startswith("--question=")
                else word
                for word in words
            ]
            found[-1].append((name, ["-m", f"bert_tf.{module}", *words]))
    return found


def record(arguments):
    """Runs all commands; returns the exit code."""
    output = arguments.output_folder.resolve()
    if output.exists() and any(output.iterdir()):
        sys.exit(f"{output} must be empty.")
    write_inputs(arguments.repository.resolve(), output / "inputs")
    for name in ("logs", "stdout"):
        (output / name).mkdir()
    look = "import bert_tf; print(bert_tf.__file__)"
    print("Recording", run(output, "package", ["-c", look])[1].strip())
    began, failed = time.monotonic(), []
    for jobs in stages():
        with concurrent.futures.ThreadPoolExecutor(arguments.jobs) as pool:
            results = pool.map(lambda job: run(output, *job), jobs)
            for (name, _), (code, text, seconds) in zip(jobs, results):
                print(f"{seconds:6.1f} s  {name}", flush=True)
                failed += [name] if code else []
                if text:
                    path = output / "stdout" / f"{log_name(name)}.txt"
                    path.write_text(text)
    dump = [os.path.abspath(__file__), "signatures", "."]
    failed += ["signatures"] if run(output, "signatures", dump)[0] else []
    print(f"{time.monotonic() - began:.0f} s in all.")
    for name in failed:
        print(f"FAILED: {name}, see {output}/logs/{log_name(name)}.log")
    return int(bool(failed))


def log_name(name):
    """A command's name as the name of a file."""
    return re.sub("[/@]", "_", name)


def run(output, name, arguments):
    """Runs Python; returns exit code, standard output and seconds."""
    began, log = time.monotonic(), output / "logs" / f"{log_name(name)}.log"
    with open(log, "wb") as file:
        done = subprocess.run(
            [sys.executable, *arguments],
            cwd=output,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=file,
        )
        file.write(done.stdout)
    text = done.stdout.decode("utf-8")
    return done.returncode, text, time.monotonic() - began


# ------------------------------------------------------------ the command line


def main():
    """Runs one of the subcommands."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(required=True)
    add = commands.add_parser("record", help="run all commands")
    add.add_argument("output_folder", type=pathlib.Path)
    add.add_argument(
        "--repository",
        type=pathlib.Path,
        default=".",
        help="has checkpoints/builtin, run_scripts/sample_data, tests/data",
    )
    add.add_argument("--jobs", type=int, default=2, help="commands at once")
    add.set_defaults(run=record)
    add = commands.add_parser("compare", help="compare two recordings")
    add.add_argument("a", type=pathlib.Path)
    add.add_argument("b", type=pathlib.Path)
    add.set_defaults(run=compare_outputs.compare)
    add = commands.add_parser("signatures", help="part of record")
    add.add_argument("folder", type=pathlib.Path)
    add.set_defaults(run=compare_outputs.dump_signatures)
    arguments = parser.parse_args()
    sys.exit(arguments.run(arguments))


if __name__ == "__main__":
    main()
