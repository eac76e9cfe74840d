"""The commands that `kill_commands` kills: their flags, and their input.

OUT in a flag is the folder of their output. Input is small: a command takes
little longer than it takes TensorFlow to start.
"""

import hashlib
import json
import pathlib
import random
import shutil
import threading

from helpers.download_server import Server, zip_of

REPOSITORY = pathlib.Path(__file__).parents[2]
GOLDEN = REPOSITORY / "tests" / "golden"
TINY = GOLDEN / "checkpoints" / "tiny"
MRPC = GOLDEN / "classification" / "mrpc" / "data"
SQUAD = GOLDEN / "squad"

TEXT = "The old park was made by Ann.\nShe liked the trees.\n\n" * 60
RELEASED = "uncased_L-2_H-32_A-2"

MODEL = {
    "vocab_file": TINY / "vocab.txt",
    "bert_config_file": TINY / "bert_config.json",
}
TRAINING = {
    **MODEL,
    "init_checkpoint": TINY / "bert_model.ckpt",
    "do_train": True,
    "max_seq_length": 24,
    "train_batch_size": 8,
    "save_checkpoints_steps": 3,
    "seed": 1,
    "output_dir": "OUT/run",
}
PRETRAINING_DATA = {
    "input_file": "text.txt",
    "vocab_file": TINY / "vocab.txt",
    "max_seq_length": 32,
    "max_predictions_per_seq": 5,
    "dupe_factor": 3,
}
PRETRAINED = {**MODEL, "checkpoint": TINY / "bert_model.ckpt"}
WINDOWS = {"max_seq_length": 64, "doc_stride": 24, "max_query_length": 16}

COMMANDS = {
    "run_classifier": {
        **TRAINING,
        "task_name": "MRPC",
        "data_dir": MRPC,
        "num_train_epochs": 2,
        "do_eval": True,
        "eval_every_steps": 3,
        "keep_best": "eval_accuracy",
    },
    "run_classifier distilled": {
        **TRAINING,
        "task_name": "MRPC",
        "data_dir": MRPC,
        "teacher": "teacher",
        "transfer_file": MRPC / "test.tsv",
        "num_train_epochs": 2,
        "do_eval": True,
    },
    "run_classifier lora": {
        **TRAINING,
        "task_name": "MRPC",
        "data_dir": MRPC,
        "num_train_epochs": 2,
        "lora_rank": 2,
        "learning_rate": 1e-2,
        "do_eval": True,
    },
    # Killed in its training, it starts over.
    "run_classifier unsaved": {
        **TRAINING,
        "task_name": "MRPC",
        "data_dir": MRPC,
        "num_train_epochs": 8,
        "save_checkpoints_steps": 1000,
        "do_eval": True,
    },
    "run_squad": {
        **TRAINING,
        **WINDOWS,
        "train_file": "train.json",
        "predict_file": "dev.json",
        "do_predict": True,
        "num_train_epochs": 1,
    },
    "run_ner": {
        **TRAINING,
        "data_dir": "ner",
        "num_train_epochs": 2,
        "do_eval": True,
        "do_predict": True,
        "eval_every_steps": 3,
        "keep_best": "eval_f1",
    },
    "run_multiple_choice": {
        **TRAINING,
        "data_dir": "choices",
        "train_batch_size": 4,
        "num_train_epochs": 2,
        "do_eval": True,
        "do_predict": True,
    },
    "run_sentence_vectors": {
        **TRAINING,
        "objective": "softmax",
        "data_dir": "pairs",
        "num_train_epochs": 2,
        "do_eval": True,
        "do_predict": True,
        "eval_every_steps": 3,
        "keep_best": "eval_loss",
    },
    "run_pretraining": {
        **{name: TRAINING[name] for name in TRAINING if name != "vocab_file"},
        "input_file": "records",
        "max_seq_length": 32,
        "max_predictions_per_seq": 5,
        "num_train_steps": 24,
        "num_warmup_steps": 2,
        "do_eval": True,
    },
    "create_pretraining_data": {**PRETRAINING_DATA, "output_file": "OUT/x"},
    "create_pretraining_data shards": {
        **PRETRAINING_DATA,
        "output_file": "OUT/x",
        "num_workers": 2,
        "num_shards": 4,
    },
    "extract_features": {
        **MODEL,
        "init_checkpoint": TINY / "bert_model.ckpt",
        "input_file": "text.txt",
        "output_file": "OUT/x.npz",
        "output_format": "npz",
        "layers": "-1",
        "max_seq_length": 24,
    },
    "extract_features jsonl": {
        **MODEL,
        "init_checkpoint": TINY / "bert_model.ckpt",
        "input_file": "text.txt",
        "output_file": "OUT/x.jsonl",
        "layers": "-1,-2",
        "max_seq_length": 24,
    },
    "fill_mask": {
        **PRETRAINED,
        "input_file": "masks.txt",
        "output_file": "OUT/x.jsonl",
    },
    "score": {
        **PRETRAINED,
        "input_file": "text.txt",
        "output_file": "OUT/x.jsonl",
    },
    "answer": {
        **MODEL,
        **WINDOWS,
        "checkpoint": SQUAD / "checkpoint" / "model.ckpt",
        "input_file": "questions.jsonl",
        "output_file": "OUT/x.jsonl",
    },
    "search": {
        **PRETRAINED,
        "input_file": "lines.txt",
        "text": "Ann made the park.",
        "max_seq_length": 24,
        "vectors_file": "OUT/lines.npz",
        "output_file": "OUT/x.jsonl",
    },
    "learn_vocab": {
        "input_file": "text.txt",
        "output_file": "OUT/vocab.txt",
        "vocab_size": 145,
    },
    "extend_vocab": {
        **MODEL,
        "init_checkpoint": TINY / "bert_model.ckpt",
        "words": "qwertz,yxcvb",
        "grow": True,
        "output_dir": "OUT/new",
    },
    "extend_positions": {
        **MODEL,
        "init_checkpoint": TINY / "bert_model.ckpt",
        "max_position_embeddings": 160,
        "output_dir": "OUT/new",
    },
    "convert_checkpoint to_hf": (TINY, "--output", "OUT/hf"),
    "convert_checkpoint strip": (TINY, "--output", "OUT/x.ckpt"),
    "convert_checkpoint from_hf": ("hf", "--output", "OUT/new"),
    "export_saved_model": {
        **PRETRAINED,
        "head": "pretraining",
        "output_dir": "OUT/model",
    },
    "glue_submission": {"runs": "glue", "output": "OUT/submission.zip"},
    "released_models download": (RELEASED, "--dir", "OUT", "--url", "ADDRESS"),
}


def write_input(folder, name):
    """Writes the input of a command that no other command makes.

    Args:
        folder: the command's working directory.
        name: a key of `COMMANDS`.

    Returns:
        {word in the flags: what it stands for}.
    """
    (folder / "text.txt").write_text(TEXT)
    (folder / "masks.txt").write_text("the [MASK] is old .\n" * 40)
    write = WRITERS.get(name)
    return (write and write(folder)) or {}


def _write_squad(folder):
    for name in ("train", "dev"):
        content = json.loads((SQUAD / f"{name}-v1.1.json").read_text())
        for article in content["data"]:
            article["paragraphs"] = article["paragraphs"][:1]
        (folder / f"{name}.json").write_text(json.dumps(content))


def _write_teacher(folder):
    # Loads TensorFlow.
    from helpers.trained_folders import make_mrpc_folder

    make_mrpc_folder(folder / "teacher")


def _write_questions(folder):
    lines = [
        {"id": n, "question": "Who made the park?", "context": TEXT[:300]}
        for n in range(20)
    ]
    (folder / "questions.jsonl").write_text(
        "".join(json.dumps(line) + "\n" for line in lines)
    )


def _write_ner(folder):
    rng, place = random.Random(1), folder / "ner"
    place.mkdir()
    for name, count in {"train": 40, "dev": 10, "test": 10}.items():
        lines = []
        for _ in range(count):
            for word in rng.choices(["the", "old", "park", "Ann"], k=9):
                lines.append(f"{word} {'B-PER' if word == 'Ann' else 'O'}")
            lines.append("")
        (place / f"{name}.txt").write_text("\n".join(lines))


def _write_choices(folder):
    rng, place = random.Random(2), folder / "choices"
    place.mkdir()
    for name, count in {"train": 24, "dev": 8, "test": 8}.items():
        rows = [
            {
                "context": "Ann made the park.",
                "question": "What did she like?",
                "choices": ["the trees", "the museum", "a book"],
                "label": rng.randrange(3),
            }
            for _ in range(count)
        ]
        (place / f"{name}.jsonl").write_text(
            "".join(json.dumps(row) + "\n" for row in rows)
        )


def _write_pairs(folder):
    rng, place = random.Random(3), folder / "pairs"
    place.mkdir()
    texts = TEXT.split("\n")[:2]
    for name, count in {"train": 40, "dev": 8, "test": 8}.items():
        lines = ["text_a\ttext_b\tlabel\n"]
        for _ in range(count):
            a, b = rng.choices(texts, k=2)
            lines.append(f"{a}\t{b}\t{'same' if a == b else 'other'}\n")
        (place / f"{name}.tsv").write_text("".join(lines))


def _write_lines(folder):
    # More than are kept at once.
    rng, words = random.Random(4), TEXT[:48].split()
    lines = (rng.choices(words, k=rng.randrange(3, 9)) for _ in range(10_000))
    text = "".join(f"{' '.join(line)}\n" for line in lines)
    (folder / "lines.txt").write_text(text)


def _write_submissions(folder):
    from bert_tf import glue_submission

    (folder / "glue").mkdir()
    for file in glue_submission.wanted_files():
        rows = "".join(f"{n}\t{n % 2}\n" for n in range(file.num_rows))
        text = f"index\tprediction\n{rows}"
        (folder / "glue" / file.name).write_text(text)


def _serve_released_model(folder):
    """A server of a small model, and a package whose registry has it.

    The package is found first, since it is in the working directory.
    """
    package = folder / "bert_tf"
    shutil.copytree(
        REPOSITORY / "bert_tf",
        package,
        ignore=shutil.ignore_patterns("__pycache__"),
    )
    registry = REPOSITORY / "checkpoints" / "released_models.json"
    content = json.loads(registry.read_text(encoding="utf-8"))
    model_files = {
        path.name: path.read_bytes() for path in sorted(TINY.iterdir())
    }
    server = Server(zip_of(model_files, RELEASED + "/"))
    server.pause = 0.005
    threading.Thread(target=server.serve_forever, daemon=True).start()
    known = {
        name: {
            "bytes": len(raw),
            "sha256": hashlib.sha256(raw).hexdigest(),
            "confirmed": True,
        }
        for name, raw in model_files.items()
    }
    vocab = known.pop("vocab.txt")
    tokens = model_files["vocab.txt"].count(b"\n")
    content["vocabularies"] = {"tiny": {"tokens": tokens, **vocab}}
    content["models"] = [
        {
            **content["models"][0],
            "name": RELEASED,
            "aliases": ["tiny"],
            "url": server.url,
            "vocabulary": "tiny",
            "config": json.loads(model_files["bert_config.json"]),
            "files": known,
        }
    ]
    place = package / "_checkpoints"
    place.mkdir()
    (place / registry.name).write_text(json.dumps(content))
    return {"ADDRESS": server.url}


WRITERS = {
    "run_classifier distilled": _write_teacher,
    "run_squad": _write_squad,
    "answer": _write_questions,
    "run_ner": _write_ner,
    "run_multiple_choice": _write_choices,
    "run_sentence_vectors": _write_pairs,
    "search": _write_lines,
    "glue_submission": _write_submissions,
    "released_models download": _serve_released_model,
}
