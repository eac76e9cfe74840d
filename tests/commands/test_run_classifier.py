"""run_classifier as its users see it: flags in, files and messages out."""

import collections
import dataclasses
import gzip
import json
import logging
import os
import re
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import tensorflow as tf
from absl import flags as absl_flags
from helpers import kill_and_resume, prepared
from helpers.golden import read_variables, write_one_layer, write_small_config
from helpers.numpy_bert import NumpyBert, log_softmax
from helpers.output_files import unlisted
from helpers.paths import GOLDEN

from bert_tf import (
    models,
    run_classifier,
    tokenization,
)
from bert_tf.cli import command_line, training_flags
from bert_tf.data import grouping, records
from bert_tf.errors import InputError
from bert_tf.modeling import BertConfig
from bert_tf.tasks.classification import data as classification_data
from bert_tf.tasks.classification import datasets, targets
from bert_tf.tasks.classification import task as classification_task
from bert_tf.tasks.run import Run
from bert_tf.training import loop, prediction, start

TINY = GOLDEN / "checkpoints" / "tiny"
CLASSIFICATION = GOLDEN / "classification"
CLASSIFIERS = GOLDEN / "run_classifier"
RUNS = json.loads((CLASSIFICATION / "run_classifier.json").read_text())["runs"]

# The losses' float noise in TensorFlow 2.21, measured on the original itself.
LOSS_NOISE = 6e-6

# From the first of these tests on; the original's results are computed before.
as_traced = pytest.mark.usefixtures("graphs_as_traced")
without_graphs = pytest.mark.usefixtures("steps_without_graphs")


def parse(*arguments):
    values = absl_flags.FlagValues()
    run_classifier.define_flags(values)
    command_line.parse(values, ["run_classifier", *arguments])
    return values


def run(*arguments):
    run_classifier.main(parse(*arguments))


def common_flags(task, output_dir, **more):
    given = {
        "task_name": task,
        "data_dir": CLASSIFICATION / task.lower() / "data",
        "vocab_file": TINY / "vocab.txt",
        "bert_config_file": TINY / "bert_config.json",
        "max_seq_length": 40,
        "output_dir": output_dir,
        **more,
    }
    return [f"--{name}={value}" for name, value in given.items()]


@pytest.fixture
def log(caplog):
    caplog.set_level(logging.INFO)
    return caplog


# --------------------------------------------------- the original's own results


@pytest.mark.parametrize(
    "name",
    [
        "mnli/eval_cased",
        "mrpc/eval_in_model_dir",
        *(
            pytest.param(name, marks=pytest.mark.slow)
            for name in (
                "cola/eval_init_ckpt",
                "mnli/eval_init_ckpt",
                "mrpc/eval_batch5",
                "mrpc/eval_init_ckpt",
                "xnli/eval_init_ckpt",
            )
        ),
    ],
)
def test_evaluates_and_predicts_what_the_original_did(name, tmp_path):
    settings, golden = RUNS[name], CLASSIFICATION / name
    checkpoint = settings["init_checkpoint"]
    if name == "mrpc/eval_in_model_dir":
        shutil.copytree(CLASSIFIERS / "mrpc_fine_tuned", tmp_path / "out")
        init_checkpoint = TINY / "bert_model.ckpt"  # Without effect.
    elif "tiny_classifier3" in checkpoint:
        init_checkpoint = CLASSIFIERS / "tiny_classifier3" / "model.ckpt"
    else:
        init_checkpoint = CLASSIFIERS / "mrpc_fine_tuned" / "model.ckpt-30"

    run(
        *common_flags(
            settings["task_name"],
            tmp_path / "out",
            init_checkpoint=init_checkpoint,
            do_lower_case=settings["do_lower_case"],
            do_eval=True,
            eval_batch_size=settings["eval_batch_size"],
            do_predict=settings["do_predict"],
            predict_batch_size=settings["predict_batch_size"],
        )
    )

    assert_same_results(tmp_path / "out", golden)
    wanted = patterns(settings["output_dir_files"]) - {"train_run.json"}
    wanted |= REPORTS
    if settings["do_predict"]:
        assert_same_probabilities(tmp_path / "out", golden)
        wanted |= {datasets.find_dataset(golden.parent.name).test.submission[0]}
    else:
        wanted -= {"predict.tf_record", "test_results.tsv"}
    if name == "mrpc/eval_in_model_dir":
        wanted |= BESIDE - {"bert_tf.json"}  # Of a training only.
    assert files_below(tmp_path / "out") == wanted
    assert not unlisted(tmp_path / "out")
    for kind in ("eval", "predict"):
        file = golden / f"{kind}.tf_record.gz"
        if file.exists():
            ours = tmp_path / "out" / f"{kind}.tf_record"
            assert read_features(ours) == read_features(file, "GZIP")


def assert_same_results(folder, golden):
    got = (folder / "eval_results.txt").read_text().splitlines()
    want = (golden / "eval_results.txt").read_text().splitlines()
    assert_same_lines(got[: len(want)], want)
    keys = [line.split(" = ")[0] for line in got[len(want) :]]
    f1 = ["eval_f1", "eval_f1_and_accuracy"]
    more = {"mrpc": f1, "cola": ["eval_matthews_correlation"]}
    assert keys == more.get(golden.parent.name, [])


def assert_same_lines(got, want):
    """`key = value` lines: losses up to noise, anything else as it is."""
    assert len(got) == len(want)
    for ours, original in zip(got, want):
        if original.startswith(("loss = ", "eval_loss = ")):
            key, value = original.split(" = ")
            assert ours.startswith(f"{key} = ")
            got_value = float(ours.split(" = ")[1])
            assert abs(got_value - float(value)) < 2 * LOSS_NOISE
        else:
            assert ours == original


def assert_same_probabilities(folder, golden):
    text = (folder / "test_results.tsv").read_text()
    original = (golden / "test_results.tsv").read_text()
    got = [line.split("\t") for line in text.splitlines()]
    want = [line.split("\t") for line in original.splitlines()]
    assert text.endswith("\n") and len(got[0]) == len(want[0]) > 1
    np.testing.assert_allclose(
        np.array(got, float), np.array(want, float), atol=1e-5
    )
    # As Python writes a float32: no digit more than it takes.
    assert all(str(np.float32(x)) == x for row in got for x in row)


# What stands beside the checkpoints of a training, and not in the original.
BESIDE = {"bert_config.json", "bert_tf.json", "vocab.txt", "labels.txt"}
# Of an evaluation; not the original's.
REPORTS = {"eval_report.txt", "eval_report.svg", "eval_mistakes.tsv"}


def patterns(names):
    return {re.sub(r"tfevents\..*", "tfevents", name) for name in names}


def files_below(folder):
    """Relative paths of all files; of event files only how they begin."""
    return patterns(
        str(path.relative_to(folder))
        for path in folder.rglob("*")
        if path.is_file()
    )


def read_features(path, compression=""):
    rows = []
    dataset = tf.data.TFRecordDataset(str(path), compression_type=compression)
    for record in dataset.as_numpy_iterator():
        entries = tf.train.Example.FromString(record).features.feature
        rows.append({k: list(v.int64_list.value) for k, v in entries.items()})
    return rows


def test_evaluation_is_exact_for_any_batch_size(tmp_path):
    """The original's records of a TPU: 45 examples, and 3 to fill up."""
    path = tmp_path / "eval.tf_record"
    file = CLASSIFICATION / "mrpc" / "eval_with_padding_examples.tf_record.gz"
    path.write_bytes(gzip.decompress(file.read_bytes()))
    config = BertConfig.from_json_file(str(TINY / "bert_config.json"))
    model = start.build_model(
        lambda: models.classifier(config, 2),
        config,
        start.find_starting_point(str(CLASSIFIERS / "mrpc_fine_tuned")),
    )
    dataset = records.evaluation_batches(
        [str(path)],
        classification_task.classifier_schema(40),
        8,
        drop_remainder=True,
    )
    batches = [
        (batch, outputs["logits"])
        for batch, outputs in prediction.predict(model, dataset)
    ]
    (written,) = files_below(tmp_path)
    assert written == "eval.tf_record"

    # As on a TPU: whole batches, the last one filled up.
    features = {
        key: np.concatenate([batch[key] for batch, _ in batches])
        for key in batches[0][0]
    }
    logits = np.concatenate([logits for _, logits in batches])
    target = targets.OneLabel(("0", "1"))

    def evaluate(count, size):
        return target.evaluate(
            features["label_ids"][:count],
            logits[:count],
            features["is_real_example"][:count] == 1,
            size,
        ).results

    results = evaluate(48, 8)
    golden = json.loads(
        (
            CLASSIFICATION / "mrpc" / "eval_with_padding_examples.json"
        ).read_text()
    )["results"]
    for key in ("eval_accuracy", "eval_loss", "loss"):
        assert abs(results[key] - float(golden[key])) < 2 * LOSS_NOISE, key

    # As elsewhere: without padding, in batches of every size.
    for size, loss in ((8, 0.6927848), (5, 0.69129544), (1, 0.6912954)):
        results = evaluate(45, size)
        assert abs(results["loss"] - loss) < 2 * LOSS_NOISE
        assert abs(results["eval_loss"] - 0.6912954) < 2 * LOSS_NOISE
        assert np.float32(results["eval_accuracy"]) == np.float32(24 / 45)


def test_batches_grouped_by_length_give_the_same_logits_in_order(
    small_bert, tmp_path, monkeypatch
):
    # Windows of 4 batches, and several lengths.
    monkeypatch.setattr(grouping, "BATCHES_AHEAD", 4)
    flags = parse(
        *common_flags(
            "mrpc", tmp_path, bert_config_file=small_bert, do_predict=True
        )
    )
    run_classifier.check_flags(flags)
    config = BertConfig.from_json_file(flags.bert_config_file)
    model = models.classifier(config, 2)
    task = classification_task.ClassificationTask(
        targets.OneLabel(("0", "1")),
        tokenization.FullTokenizer(flags.vocab_file),
        40,
    )
    settings = training_flags.run_settings(flags)
    work = Run(task, model, settings, config.vocab_size, None)
    dataset = datasets.find_dataset("mrpc")
    examples = []
    # Of all lengths from 3 to 40.
    for number, one in enumerate(dataset.get_test_examples(flags.data_dir)):
        words = one.text_a.split()
        text = " ".join(words[: 1 + number % len(words)])
        examples.append(dataclasses.replace(one, text_a=text, text_b=None))

    got = list(work._rows("predict", examples, 8, "Predicting"))

    path = str(tmp_path / "predict.tf_record")
    schema = task.schema(is_training=False)
    padded = records.evaluation_batches([path], schema, 8)
    want = list(prediction.predict(model, padded))
    lengths = [batch["input_mask"].sum(1).max() for batch, _ in want]
    assert min(lengths) <= 32 and max(lengths) > 32
    for name, values in (
        (
            "label_ids",
            np.concatenate([batch["label_ids"] for batch, _ in want]),
        ),
        ("logits", np.concatenate([out["logits"] for _, out in want])),
    ):
        rows = np.stack([row[name] for (row,) in got])
        np.testing.assert_allclose(rows, values, atol=1e-6)


# ------------------------------------------------------------------------ flags


def original_flags():
    return json.loads((CLASSIFIERS / "flags.json").read_text())


def test_the_original_has_25_flags():
    assert len(original_flags()) == 25


@pytest.mark.parametrize(
    "flag", original_flags(), ids=lambda flag: flag["name"]
)
def test_has_every_flag_of_the_original_with_its_type_and_default(flag):
    values = absl_flags.FlagValues()
    run_classifier.define_flags(values)
    ours = values[flag["name"]]
    assert ours.flag_type() == flag["type"]
    assert ours.default == flag["default"]
    assert type(ours.default) is type(flag["default"])


@pytest.mark.parametrize(
    ("given", "suggested"),
    [
        ("--do_lower=False", "do_lower_case"),
        ("--max_seq_len=64", "max_seq_length"),
        ("--batch_size=32", "train_batch_size"),
        ("--epochs=3", "num_train_epochs"),
        ("--output-dir=x", "output_dir"),
        ("--lr=0.1", ""),
        ("--no_such_flag=1", ""),
    ],
)
def test_an_unknown_flag_is_an_error_that_suggests_the_nearest(
    given, suggested, tmp_path
):
    with pytest.raises(absl_flags.Error) as error:
        parse(*common_flags("mrpc", tmp_path), given)
    name = given[2:].split("=")[0]
    assert f"Unknown command line flag '{name}'" in str(error.value)
    assert suggested in str(error.value)


def test_flags_can_be_defined_twice_in_one_process():
    for _ in range(2):
        run_classifier.define_flags(absl_flags.FlagValues())


# --------------------------------------------------------------------- mistakes


def mistakes():
    """The original's own cases: {case: command line and exit code}."""
    cases = json.loads((CLASSIFIERS / "cli_errors.json").read_text())
    return {case["case"]: case for case in cases}


# What a message of ours must tell, for each of the original's messages.
FACTS = {
    "no_required_flags": r"--data_dir|--output_dir",
    "no_action": r"do_train.*do_eval.*do_predict.*must be True",
    "unknown_task": r"(?s)cola.*mnli.*mrpc.*xnli.*'SNLI'",
    "too_long": r"129.*up to sequence length 128",
    "unknown_flag": r"Unknown command line flag 'no_such_flag'",
    "bad_bool": r"--do_eval=maybe: .*[Nn]on-boolean",
    "bad_int": r"--max_seq_length=x: invalid literal for int",
    "xnli_predict": r"xnli has no test set.*do_predict",
    "case_mismatch": r"(?s)cased_L-12_H-768_A-12.*do_lower_case=False",
    "label_count_mismatch": r"output_(bias|weights).*\[2.*\[3.*labels",
    "unknown_label": r"dev.tsv.*line 2.*'2'.*0, 1",
}


def flags_of(case, folder):
    """Its flags, with the files that they speak of at their places here."""
    bad = folder / "badlabel"
    bad.mkdir(exist_ok=True)
    row = "\t".join(["2", "1", "2", "one text", "another text"])
    (bad / "dev.tsv").write_text(f"Quality\tid\tid\ta\tb\n{row}\n")
    places = {
        "GOLDEN/tiny_classifier3": CLASSIFIERS / "tiny_classifier3",
        "GOLDEN/tiny": TINY,
        "GOLDEN/run_classifier": CLASSIFICATION,
        "TMP": folder,
    }
    arguments = []
    for flag in mistakes()[case]["flags"]:
        # A task that the original did not have, and bert_tf has.
        flag = flag.replace("=SST-2", "=SNLI")
        for name, path in places.items():
            flag = re.sub(rf"={name}(?=/|$)", f"={path}", flag)
        assert "GOLDEN" not in flag
        arguments.append(flag)
    return arguments


def test_every_error_case_of_the_golden_set_is_tested():
    allowed = {
        "do_eval_no_checkpoint_at_all",
        "missing_vocab_flag",  # It is looked for beside the checkpoint.
    }
    assert FACTS.keys() | allowed == mistakes().keys()


@pytest.mark.parametrize("case", FACTS)
def test_an_error_of_the_original_is_reported(case, tmp_path):
    with pytest.raises((absl_flags.Error, InputError)) as error:
        run(*flags_of(case, tmp_path))
    assert re.search(FACTS[case], str(error.value)), error.value
    # No half of a result is left behind.
    assert not list(tmp_path.rglob("*.tf_record*"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"train_batch_size": 0}, "train_batch_size.*above 0.*0"),
        ({"eval_batch_size": -1}, "eval_batch_size.*above 0.*-1"),
        ({"save_checkpoints_steps": 0}, "save_checkpoints_steps.*above 0"),
        ({"iterations_per_loop": 0}, "iterations_per_loop.*above 0"),
        ({"max_seq_length": 0}, "max_seq_length.*0"),
        ({"num_train_epochs": "nan"}, "num_train_epochs.*nan"),
        ({"num_train_epochs": "inf"}, "num_train_epochs.*inf"),
        ({"num_train_epochs": -1}, "num_train_epochs.*-1"),
        ({"num_train_epochs": 0.01}, "61 examples.*num_train_epochs=0.01"),
        ({"learning_rate": "nan"}, "learning_rate.*nan"),
        ({"learning_rate": -1}, "learning_rate.*-1"),
        ({"warmup_proportion": "nan"}, "warmup_proportion.*nan"),
        ({"warmup_proportion": -0.1}, "warmup_proportion.*-0.1"),
        ({"vocab_file": "/nowhere/vocab.txt"}, "vocab_file.*/nowhere/vocab"),
        ({"vocab_file": CLASSIFICATION}, "vocab_file.*folder"),
        ({"bert_config_file": "/nowhere"}, "bert_config_file.*/nowhere"),
        (
            {"bert_config_file": TINY / "vocab.txt"},
            "vocab.txt is not a valid BERT config",
        ),
        ({"vocab_file": GOLDEN / "checkpoints/toy/vocab.txt"}, "1027.*lines"),
        ({"data_dir": "/nowhere"}, "/nowhere"),
        (
            {"data_dir": CLASSIFICATION / "xnli" / "data"},
            "must hold train.tsv.*xnli",
        ),
        ({"init_checkpoint": "/nowhere/model.ckpt"}, "/nowhere/model.ckpt"),
        ({"init_checkpoint": TINY / "vocab.txt"}, "vocab.txt"),
        (
            {"init_checkpoint": GOLDEN / "checkpoints/micro/bert_model.ckpt"},
            "hidden_size=64.*32",
        ),
        ({"label_col": 0}, "label_col.*'tsv' only"),
        ({"doc_stride": 0}, "at most 38.*doc_stride=0"),
        ({"doc_stride": 39}, "at most 38.*doc_stride=39"),
        ({"window_pooling": "max"}, "needs --doc_stride.*window_pooling=max"),
        ({"seed": -1}, "seed.*-1"),
        ({"num_runs": 0}, "num_runs.*above 0"),
        ({"num_runs": 2}, "num_runs. needs --do_eval.*num_runs=2"),
        (
            {"num_runs": 2, "do_eval": True, "seed": 2**32 - 1},
            "seed.*4294967295",
        ),
        ({"seed": 2**32}, "seed.*4294967296"),
    ],
    ids=lambda value: str(value) if isinstance(value, dict) else "",
)
def test_an_invalid_flag_is_reported_before_anything_is_written(
    changes, message, tmp_path
):
    with pytest.raises(InputError, match=f"(?s){message}"):
        run(*common_flags("mrpc", tmp_path, do_train=True), *assigned(changes))
    assert not list(tmp_path.iterdir())


def assigned(changes):
    return [f"--{name}={value}" for name, value in changes.items()]


# --------------------------------------------------------------------- training


@pytest.fixture(scope="module")
def small_bert(tmp_path_factory):
    return write_small_config(tmp_path_factory.mktemp("bert"))


@pytest.mark.slow
def test_all_of_a_run_prints_less_than_120_lines(small_bert, tmp_path):
    given = common_flags("mrpc", tmp_path / "out", bert_config_file=small_bert)
    actions = ["--do_train", "--do_eval", "--do_predict"]
    more = ["--train_batch_size=2", "--num_train_epochs=2"]
    more.append("--iterations_per_loop=1")  # A call for each step.
    command = [sys.executable, "-m", "bert_tf.run_classifier"]

    done = subprocess.run(
        [*command, *given, *actions, *more], capture_output=True, text=True
    )

    lines = (done.stdout + done.stderr).splitlines()
    assert done.returncode == 0 and len(lines) < 120, done.stderr
    # As many lines of steps as there may be.
    assert sum("/61  loss " in line for line in lines) == 20
    notices = ("oneDNN", "cuda", "tensorflow/", "absl::")
    assert not [x for x in lines if any(word in x for word in notices)]
    assert lines[-3] == "  Next:"


def test_trains_and_writes_the_same_files_as_the_original(
    small_bert, tmp_path, log
):
    out = tmp_path / "out"
    given = common_flags("mrpc", out, bert_config_file=small_bert)
    run(
        *given,
        "--do_train",
        "--do_eval",
        "--train_batch_size=8",
        "--num_train_epochs=1",
        "--save_checkpoints_steps=4",
    )

    # 61 examples: 7 steps, and the last 5 examples wait for the next round.
    original = {
        name.replace("-30.", "-7.")
        for name in RUNS["mrpc_train"]["output_dir_files"]
        if name != "graph.pbtxt" and not name.endswith(".meta")
    }
    middle = {f"model.ckpt-4.{x}" for x in ("index", "data-00000-of-00001")}
    of_eval = {"eval.tf_record", "eval_results.txt", "eval/events.out.tfevents"}
    of_eval |= {*REPORTS, "training.svg"}
    assert files_below(out) == patterns(original) | middle | of_eval | BESIDE
    assert not unlisted(out)
    assert (out / "labels.txt").read_text() == "0\n1\n"
    assert (out / "bert_config.json").read_text() == small_bert.read_text()
    assert json.loads((out / "bert_tf.json").read_text())["text_pairs"] is True
    assert "Num examples = 61" in log.text and "Num steps = 7" in log.text
    golden = CLASSIFICATION / "mrpc" / "train.tf_record.gz"
    ours = read_features(out / "train.tf_record")
    assert ours == read_features(golden, "GZIP")
    results = (out / "eval_results.txt").read_text()
    assert "global_step = 7\n" in results

    # The newest checkpoint is the model that was evaluated.
    log.clear()
    run(*given, "--do_eval", f"--init_checkpoint={TINY / 'bert_model.ckpt'}")
    assert (out / "eval_results.txt").read_text() == results
    assert "model.ckpt-7 (step 7)" in log.text
    assert "is without effect" in log.text


@pytest.mark.exhaustive  # `test_command_line` has messages of all kinds.
@pytest.mark.parametrize(
    ("action", "size"), [("train", 4), ("eval", 3), ("predict", 2)]
)
def test_a_batch_too_large_for_memory_names_the_flags_to_change(
    action, size, tmp_path, capsys
):
    config = json.loads((TINY / "bert_config.json").read_text())
    # The attention scores of a batch take 275 GB or more. With many heads all
    # other tensors, the mask among them, are small.
    config |= {
        "hidden_size": 512,
        "num_attention_heads": 512,
        "num_hidden_layers": 1,
        "intermediate_size": 1,
        "max_position_embeddings": 8192,
    }
    config_file = tmp_path / "bert_config.json"
    config_file.write_text(json.dumps(config))
    # As long as a row may be: padding is not computed.
    rows = [f"{'the ' * 8192}\t{number % 2}\n" for number in range(4)]
    for name in ("train", "dev", "test"):
        (tmp_path / f"{name}.tsv").write_text("text\tlabel\n" + "".join(rows))
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "labels.txt").write_text("0\n1\n")
    values = parse(
        *common_flags(
            "tsv",
            tmp_path / "out",
            data_dir=tmp_path,
            bert_config_file=config_file,
            max_seq_length=8192,
            train_batch_size=4,
            eval_batch_size=3,
            predict_batch_size=2,
        ),
        f"--do_{action}",
    )
    with pytest.raises(SystemExit) as end:
        command_line.finish(run_classifier.main, values)
    assert end.value.code == 1
    message = capsys.readouterr().err
    assert f"memory (tensor with shape[{size},512,8192," in message
    assert (
        f"In use: --{action}_batch_size={size} --max_seq_length=8192. Try "
        in message
    )
    assert f"--{action}_batch_size={size // 2} or a lower --max_seq" in message
    in_parts = "--gradient_accumulation_steps=2 or --train_batch_size=2"
    assert (in_parts in message) == (action == "train")


@without_graphs
@pytest.mark.exhaustive  # `test_run_squad` has several runs, too.
def test_several_runs_have_consecutive_seeds_and_a_summary(
    small_bert, tmp_path, log
):
    def given(folder, **more):
        return common_flags(
            "mrpc",
            tmp_path / folder,
            bert_config_file=small_bert,
            do_train=True,
            do_eval=True,
            train_batch_size=16,
            num_train_epochs=1,
            learning_rate=1e-2,
            **more,
        )

    values = parse(*given("out", num_runs=2, seed=5))
    run_classifier.main(values)
    run(*given("alone", seed=6))

    out = tmp_path / "out"
    assert (values.output_dir, values.seed) == (str(out), 5)
    alone = read_variables(tmp_path / "alone")
    for name, value in read_variables(out / "run_2").items():
        np.testing.assert_array_equal(value, alone[name], err_msg=name)
    first = read_variables(out / "run_1")
    assert (first["output_weights"] != alone["output_weights"]).any()

    header, *rows = [
        line.split("\t") for line in (out / "runs.tsv").read_text().splitlines()
    ]
    assert header == ["result", "mean", "deviation", "run_1", "run_2"]
    wanted = ["eval_accuracy", "eval_loss", "loss", "eval_f1"]
    assert [row[0] for row in rows] == [*wanted, "eval_f1_and_accuracy"]
    for name, *numbers in rows:
        of_runs = []
        for number in (1, 2):
            text = (out / f"run_{number}" / "eval_results.txt").read_text()
            of_runs.append(float(re.search(rf"^{name} = (.*)", text, re.M)[1]))
        mean, deviation, *each = map(float, numbers)
        assert each == of_runs
        assert mean == pytest.approx(np.mean(of_runs), rel=1e-6)
        assert deviation == pytest.approx(np.std(of_runs, ddof=1), rel=1e-4)
        logged = re.search(rf"\b{name} of 2 runs: mean (.*), dev", log.text)[1]
        assert float(logged) == pytest.approx(mean, rel=1e-5)

    # Once more: nothing is trained, and the same is found.
    log.clear()
    before = (out / "runs.tsv").read_text()
    run(*given("out", num_runs=2, seed=5))
    assert log.text.count("Nothing to train") == 2
    assert (out / "runs.tsv").read_text() == before


@as_traced
@pytest.mark.slow
def test_learns_labels_of_own_data_and_predicts_them_by_name(
    small_bert, tmp_path
):
    words = {"good": "praise", "bad": "blame", "the": "neither"}
    rows = [f"{label}\t{word} {word}\n" for word, label in words.items()]
    data = tmp_path / "data"
    data.mkdir()
    (data / "train.tsv").write_text("\ufeffverdict\ttext\n" + "".join(rows * 8))
    (data / "dev.tsv").write_text("verdict\ttext\n" + "".join(rows))
    (data / "test.tsv").write_text("text\nbad bad\nthe the\ngood good\n")
    given = common_flags(
        "tsv",
        tmp_path / "out",
        data_dir=data,
        bert_config_file=small_bert,
        max_seq_length=8,
        label_col="verdict",
    )

    run(
        *given,
        "--do_train",
        "--do_eval",
        "--train_batch_size=12",
        "--num_train_epochs=50",
        "--learning_rate=0.01",
        "--seed=2",
    )
    run(*given, "--do_predict")

    out = tmp_path / "out"
    assert (out / "labels.txt").read_text().split() == sorted(words.values())
    assert "eval_accuracy = 1.0\n" in (out / "eval_results.txt").read_text()
    assert "eval_macro_f1 = 1.0\n" in (out / "eval_results.txt").read_text()
    predicted = (out / "test_predictions.txt").read_text()
    assert predicted == "blame\nneither\npraise\n"
    header, *lines = (out / "test_predictions.tsv").read_text().splitlines()
    assert header == "text\tlabel\tprobability"
    results = np.loadtxt(out / "test_results.tsv")
    for line, text, label, scores in zip(
        lines, ["bad bad", "the the", "good good"], predicted.split(), results
    ):
        cells = line.split("\t")
        assert cells[:2] == [text, label]
        assert float(cells[2]) == pytest.approx(scores.max())

    # Other labels cannot silently take the place of those learned.
    text = (data / "train.tsv").read_text().replace("praise", "applause")
    (data / "train.tsv").write_text(text)
    with pytest.raises(InputError, match=r"applause.*praise|praise.*applause"):
        run(*given, "--do_train", "--num_train_epochs=99")
    assert (out / "labels.txt").read_text().split() == sorted(words.values())


@without_graphs
def test_a_head_that_nobody_trained_is_warned_of(tmp_path, log):
    given = common_flags("mrpc", tmp_path / "out", init_checkpoint=TINY)
    run(*given, "--do_predict")
    (warning,) = [x for x in log.records if " lacks " in x.message]
    assert warning.levelname == "WARNING"
    for name in ("output_weights", "output_bias"):
        assert name in warning.message
    assert "--do_train" in warning.message and str(TINY) in warning.message
    log.clear()
    run(
        *common_flags("mrpc", tmp_path / "trained", init_checkpoint=TINY),
        "--do_train",
        "--num_train_epochs=1",
    )
    assert "lacks" not in log.text


def test_own_rows_to_train_on_are_shuffled_and_published_ones_are_not(tmp_path):
    rows = [f"text {n}\t{n // 50}\n" for n in range(100)]
    (tmp_path / "train.tsv").write_text("text\tlabel\n" + "".join(rows))

    def lines(task, folder, *more):
        given = common_flags(task, tmp_path / "o", data_dir=folder)
        values = parse(*given, *more)
        dataset = datasets.find_dataset(task)
        if dataset.learns_labels:
            dataset = dataset.learn_labels(folder)
        found = run_classifier.with_transfer(dataset, values)
        return [int(one.guid.rpartition("-")[2]) for one in found], found

    numbers, examples = lines("tsv", str(tmp_path))
    assert len(numbers) == len({*numbers}) == 100
    assert lines("tsv", str(tmp_path))[0] == numbers
    half = [example.label for example in examples[:50]]
    assert 15 < half.count("0") < 35
    in_order, _ = lines("tsv", str(tmp_path), "--shuffle_rows=false")
    assert in_order == sorted(numbers)
    published = "mrpc", str(CLASSIFICATION / "mrpc" / "data")
    numbers, _ = lines(*published)
    assert numbers == sorted(numbers)
    others, _ = lines(*published, "--shuffle_rows")
    assert others != numbers == sorted(others)


# ---------------------------------------------------------------------- windows

# Text, second text, label; what windows of 9 tokens, 3 apart, hold of them.
LONG_EXAMPLES = [
    ("a b c d e f g h i j", "", "x"),
    ("k l", "", "z"),
    ("a b", "c d e f g h", "y"),
    ("a b c d e", "f g h i j k", "x"),
]
WINDOWS = [
    ["[CLS] a b c d e f g [SEP]", "[CLS] d e f g h i j [SEP]"],
    ["[CLS] k l [SEP]"],
    ["[CLS] a b [SEP] c d e f [SEP]", "[CLS] a b [SEP] f g h [SEP]"],
    # Half of the room at most is for the shorter text.
    ["[CLS] a b c [SEP] f g h [SEP]", "[CLS] a b c [SEP] i j k [SEP]"],
]
LABEL_IDS = [0, 2, 1, 0]


@pytest.fixture
def long_flags(tmp_path):
    """Flags for the long examples, whose labels are known."""
    data, out = tmp_path / "data", tmp_path / "out"
    data.mkdir()
    out.mkdir()
    rows = ["text\tother\tlabel\n"]
    rows += ["\t".join(example) + "\n" for example in LONG_EXAMPLES]
    for part in ("train", "dev", "test"):
        (data / f"{part}.tsv").write_text("".join(rows))
    (out / "labels.txt").write_text("x\ny\nz\n")
    return common_flags(
        "tsv",
        out,
        data_dir=data,
        text_b_col="other",
        max_seq_length=9,
        init_checkpoint=CLASSIFIERS / "tiny_classifier3" / "model.ckpt",
    )


def window_rows(windows):
    """Ids and segments of windows, padded by hand."""
    vocab = (TINY / "vocab.txt").read_text().split("\n")
    for text in windows:
        tokens = text.split()
        border, padding = tokens.index("[SEP]") + 1, 9 - len(tokens)
        ids = [vocab.index(token) for token in tokens]
        segment_ids = [0] * border + [1] * (len(tokens) - border)
        yield ids + [0] * padding, segment_ids + [0] * padding, len(tokens)


def numpy_logits():
    """Of each long example, the logits [windows, 3]."""
    values = read_variables(CLASSIFIERS / "tiny_classifier3" / "model.ckpt")
    config = BertConfig.from_json_file(str(TINY / "bert_config.json"))
    bert = NumpyBert(values, config.num_attention_heads)
    for windows in WINDOWS:
        logits = []
        for ids, segment_ids, length in window_rows(windows):
            last = bert.layers(ids[:length], segment_ids[:length])[-1]
            pooled = np.tanh(bert.dense(last[0], "bert/pooler/dense"))
            logits.append(
                values["output_weights"] @ pooled + values["output_bias"]
            )
        yield np.array(logits)


@pytest.mark.parametrize("pooling", ["mean", "max"])
def test_logits_of_windows_are_pooled_for_each_text(
    pooling, long_flags, tmp_path, log
):
    run(
        *long_flags,
        "--do_eval",
        "--do_predict",
        "--doc_stride=3",
        f"--window_pooling={pooling}",
        "--eval_batch_size=2",
        "--predict_batch_size=3",
    )

    out = tmp_path / "out"
    pool = {"mean": np.mean, "max": np.max}[pooling]
    logits = np.array([pool(rows, axis=0) for rows in numpy_logits()])
    log_probs = log_softmax(logits)
    lines = (out / "test_results.tsv").read_text().splitlines()
    got = [line.split("\t") for line in lines]
    np.testing.assert_allclose(
        np.array(got, float), np.exp(log_probs), atol=1e-5
    )
    names = (out / "test_predictions.txt").read_text().split()
    assert names == ["xyz"[row.argmax()] for row in logits]
    results = dict(
        line.split(" = ")
        for line in (out / "eval_results.txt").read_text().splitlines()
    )
    loss = -log_probs[range(4), LABEL_IDS].mean()
    assert abs(float(results["eval_loss"]) - loss) < 1e-5
    assert abs(float(results["loss"]) - loss) < 1e-5
    accuracy = np.mean(logits.argmax(axis=1) == LABEL_IDS)
    assert float(results["eval_accuracy"]) == accuracy
    assert "Num examples = 4" in log.text and "Num windows = 7" in log.text
    assert (
        "1 of 4 examples are longer than max_seq_length=9: 2 word pieces cut"
        in log.text
    )


@pytest.fixture
def job(long_flags, monkeypatch):
    """A function of more flags: a `Run` without a model."""
    monkeypatch.setattr(
        prediction.DatasetPredictor, "__call__", lambda *arguments: []
    )
    monkeypatch.setattr(loop, "train", lambda *arguments, **options: arguments)

    def make(*arguments):
        values = parse(*long_flags, *arguments)
        run_classifier.check_flags(values)
        config = BertConfig.from_json_file(values.bert_config_file)
        settings = training_flags.run_settings(values)
        task = classification_task.ClassificationTask(
            targets.OneLabel(("x", "y", "z")),
            tokenization.FullTokenizer(values.vocab_file),
            values.max_seq_length,
            values.doc_stride,
        )
        return Run(task, None, settings, config.vocab_size, None)

    return make


LONG = [
    classification_data.InputExample(f"train-{i}", *example)
    for i, example in enumerate(LONG_EXAMPLES)
]


def test_each_window_is_an_example_in_training(job, tmp_path):
    flags = ("--do_train", "--train_batch_size=2", "--num_train_epochs=3")

    settings = job(*flags, "--doc_stride=3").train(LONG, None, 1)[4]

    # Seven windows, three times, two in a step.
    assert settings.num_train_steps == 10
    want = [
        {
            "input_ids": ids,
            "input_mask": [1] * length + [0] * (9 - length),
            "segment_ids": segment_ids,
            "label_ids": [label_id],
            "is_real_example": [1],
        }
        for windows, label_id in zip(WINDOWS, LABEL_IDS)
        for ids, segment_ids, length in window_rows(windows)
    ]
    assert read_features(tmp_path / "out" / "train.tf_record") == want
    with pytest.raises(InputError, match=r"7 examples / .*=8 x .*=1\.0"):
        flags = ("--train_batch_size=8", "--num_train_epochs=1")
        job("--do_train", "--doc_stride=3", *flags).train(LONG, None, 1)


def test_truncation_is_logged_once(job, tmp_path, log):
    list(job("--do_predict")._rows("predict", LONG, 8, "Predicting"))

    assert len(read_features(tmp_path / "out" / "predict.tf_record")) == 4
    told = [line for line in log.text.splitlines() if "cut off." in line]
    assert len(told) == 1
    # Of 10 tokens 7 fit, of 2 + 6 and of 5 + 6 six.
    assert "3 of 4 examples are longer than max_seq_length=9" in told[0]
    assert "10 word pieces cut off. A higher max_seq_length" in told[0]


def test_texts_that_are_mostly_unknown_are_told_once(job, log):
    work = job("--do_train", "--do_predict")
    work._vocab = tokenization.load_vocab(str(TINY / "vocab.txt"))
    foreign = [
        dataclasses.replace(example, text_a="ᚠ ᚢ ᚦ ᚨ a", text_b=None)
        for example in LONG
    ]

    work._write("train", foreign, 8, is_training=True)
    work._write("predict", foreign, 8)

    told = [line for line in log.text.splitlines() if "[UNK]" in line]
    told = [line for line in told if "WARNING" in line]
    assert len(told) == 1
    assert "80 %" in told[0] and "train.tf_record" in told[0]


# ------------------------------------------------------ processes of their own


@without_graphs
@pytest.mark.slow
def test_errors_exit_with_1_and_one_message_without_traceback(
    tmp_path, small_bert
):
    cases = {case: flags_of(case, tmp_path) for case in mistakes()}
    cases["help"] = ["--help"]
    cases["argument"] = [*cases["too_long"], "eval"]
    diverging = common_flags(
        "mrpc", tmp_path / "d", bert_config_file=small_bert
    )
    cases["diverging"] = [*diverging, "--do_train", "--learning_rate=1e30"]

    codes, logs = {}, {}
    for name, arguments in cases.items():
        done = prepared.run(
            ["-m", "bert_tf.run_classifier", *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        codes[name], logs[name] = done.returncode, done.stdout

    for case, original in mistakes().items():
        # The original took an unknown flag for none.
        wanted = 1 if case == "unknown_flag" else original["exit_code"]
        assert codes[case] == wanted, logs[case]
        assert "Traceback" not in logs[case]
        if case in FACTS:
            assert re.search(FACTS[case], logs[case]), logs[case]
    assert codes["argument"] == 1
    assert "Unexpected argument 'eval'" in logs["argument"]
    for flag in original_flags():
        assert f"--{flag['name']}" in logs["help"].replace("[no]", "")
    assert codes["diverging"] == 1
    assert re.search(r"stopped (at|before) step \d", logs["diverging"])
    assert "--learning_rate" in logs["diverging"]
    assert all("Traceback" not in log for log in logs.values())
    # Neither weights nor a checkpoint: the original evaluates all the same.
    assert "all weights are random" in logs["do_eval_no_checkpoint_at_all"]
    assert (tmp_path / "i" / "eval_results.txt").exists()


class Process:
    """run_classifier, as it runs when somebody types it."""

    def __init__(self, folder, *arguments):
        self.log = folder / "stderr.txt"
        with open(self.log, "w") as file:
            self.process = prepared.Popen(
                ["-m", "bert_tf.run_classifier", *arguments],
                stdout=file,
                stderr=file,
            )

    def wait_for(self, text):
        while text not in self.log.read_text():
            assert self.process.poll() is None, self.log.read_text()
            time.sleep(0.05)

    def end(self):
        code = self.process.wait()
        return code, self.log.read_text()

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.process.kill()
        self.process.wait()


@as_traced
@pytest.mark.slow
def test_signals_stop_a_process_after_it_saved_a_checkpoint(
    small_bert, tmp_path
):
    out = tmp_path / "out"
    given = common_flags(
        "mrpc",
        out,
        bert_config_file=small_bert,
        do_train=True,
        train_batch_size=8,
        num_train_epochs=5000,
        save_checkpoints_steps=20,
        seed=3,
    )
    for number, code in ((signal.SIGINT, 130), (signal.SIGTERM, 143)):
        with Process(tmp_path, *given) as process:
            process.wait_for("Saved ")
            process.process.send_signal(number)
            ended_with, text = process.end()

        assert ended_with == code, text
        assert "Traceback" not in text
        found = re.search(
            rf"stopped by {number.name} at step (\d+); saved (\S+)\.", text
        )
        assert found[2] == str(out / f"model.ckpt-{found[1]}")
        prefix = tf.train.latest_checkpoint(str(out))
        assert prefix == found[2]
        reader = tf.train.load_checkpoint(prefix)
        assert reader.get_tensor("global_step") == int(found[1]) > 0


@as_traced
@pytest.mark.slow
@pytest.mark.parametrize(
    "kills", [1, pytest.param(5, marks=pytest.mark.exhaustive)]
)
def test_killed_processes_resume_with_the_numbers_of_an_uninterrupted_one(
    kills, tmp_path, capsys
):
    # The first one is killed while it writes a checkpoint.
    kill_and_resume.compare_runs(tmp_path, kills)
    assert "identical" in capsys.readouterr().out


@as_traced
@pytest.mark.exhaustive  # `test_loop` has it without a command around it.
def test_a_training_that_saved_nothing_starts_over_with_the_same_numbers(
    tmp_path, monkeypatch
):
    class Killed(BaseException):
        pass

    (tmp_path / "bert").mkdir()
    bert = write_one_layer(tmp_path / "bert")

    def given(folder):
        return common_flags(
            "mrpc",
            tmp_path / folder,
            bert_config_file=bert / "bert_config.json",
            init_checkpoint=bert,
            do_train=True,
            train_batch_size=8,
            num_train_epochs=1.5,
            iterations_per_loop=2,
            seed=3,
        )

    def save_or_stop(training, *arguments):
        if training.step > 4:
            raise Killed
        return unchanged(training, *arguments)

    unchanged = loop._Training._save_or_stop
    run(*given("whole"))
    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(loop._Training, "_save_or_stop", save_or_stop)
        run(*given("killed"))
    assert not list((tmp_path / "killed").glob("*ckpt*"))

    run(*given("killed"))

    want, got = (
        read_variables(tmp_path / folder) for folder in ("whole", "killed")
    )
    assert want["global_step"] == 11 and want.keys() == got.keys()
    for name, value in want.items():
        np.testing.assert_array_equal(got[name], value, err_msg=name)


# ------------------------------------------------------------ large real data


@pytest.mark.shared
def test_a_training_folder_of_the_original_is_resumed(
    shared_folder, tmp_path, log
):
    golden = shared_folder / "golden"
    out = tmp_path / "out"
    source = golden / "run_classifier" / "mrpc" / "fine_tuned"
    shutil.copytree(source, out, copy_function=shutil.copyfile)
    os.chmod(out, 0o755)
    before = tf.train.load_checkpoint(str(out / "model.ckpt-30"))

    run(
        *common_flags("mrpc", out, do_train=True, train_batch_size=8),
        "--num_train_epochs=4.2",  # 61 / 8 * 4.2: 32 steps.
        "--learning_rate=0.0005",
    )

    after = tf.train.load_checkpoint(str(out / "model.ckpt-32"))
    assert "model.ckpt-30 (step 30)" in log.text
    assert "no optimizer state" not in log.text
    names = collections.Counter(before.get_variable_to_shape_map())
    assert names == collections.Counter(after.get_variable_to_shape_map())
    slot = "bert/pooler/dense/kernel/adam_v"
    # Two steps let 0.998 of it stay, or more where gradients are not 0.
    assert (after.get_tensor(slot) >= 0.9979 * before.get_tensor(slot)).all()
