"""The README's commands, run on tiny data."""

import os
import pathlib
import re
import shlex
import subprocess
import sys

import pytest
from absl import flags

from bert_tf import (
    create_pretraining_data,
    records,
    run_classifier,
    run_pretraining,
)

ROOT = pathlib.Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
BUILTIN = ROOT / "checkpoints" / "builtin"
SAMPLES = ROOT / "run_scripts" / "sample_data"


def command(module, **replaced):
    """The arguments of the README's first command of this module."""
    text = re.search(
        rf"^    python -m {module} \\\n(?:.*\\\n)*.*", README, re.MULTILINE
    )[0]
    for written, real in replaced.items():
        text = text.replace(written, str(real))
    return shlex.split(text.replace("\\\n", " "))[3:]


def run(script, arguments):
    values = flags.FlagValues()
    script.define_flags(values)
    values([script.__name__, *arguments])
    script.main(values)


@pytest.mark.parametrize(
    "code", re.findall(r"```python\n(.*?)```", README, re.S)
)
def test_python_examples_run(code, monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    exec(compile(code, "README.md", "exec"), {})
    assert capsys.readouterr().out


def test_the_mrpc_command_trains_and_evaluates(tmp_path):
    arguments = command(
        "bert_tf.run_classifier",
        **{
            "$GLUE_DIR/MRPC": SAMPLES / "mrpc",
            "$BERT_BASE_DIR": BUILTIN,
            "/tmp/mrpc_output/": tmp_path,
        },
    )

    run(run_classifier, [*arguments, "--num_train_epochs=1"])

    names = {path.name for path in tmp_path.iterdir()}
    assert {"train.tf_record", "eval.tf_record", "checkpoint"} <= names
    results = (tmp_path / "eval_results.txt").read_text().splitlines()
    assert [line.split(" = ")[0] for line in results] == [
        "eval_accuracy",
        "eval_loss",
        "global_step",
        "loss",
        "eval_f1",
    ]


def test_the_pretraining_data_command_writes_whole_records(
    tmp_path, monkeypatch
):
    monkeypatch.chdir(ROOT)
    target = tmp_path / "tf_examples.tfrecord"
    folder = {"/tmp/tf_examples.tfrecord": target}

    run(
        create_pretraining_data,
        command("bert_tf.create_pretraining_data", **folder),
    )

    records.check_records(
        [str(target)], records.pretraining_schema(128, 20), whole=True
    )


@pytest.mark.slow
def test_the_pretraining_command_trains_and_evaluates(tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    replaced = {
        "/tmp/tf_examples.tfrecord": tmp_path / "tf_examples.tfrecord",
        "/tmp/pretraining_output": tmp_path / "out",
    }
    data = command("bert_tf.create_pretraining_data", **replaced)
    run(create_pretraining_data, data)

    arguments = command("bert_tf.run_pretraining", **replaced)
    run(run_pretraining, [*arguments, "--max_eval_steps=2"])

    results = (tmp_path / "out" / "eval_results.txt").read_text().splitlines()
    assert [line.split(" = ")[0] for line in results] == [
        "global_step",
        "loss",
        "masked_lm_accuracy",
        "masked_lm_loss",
        "next_sentence_accuracy",
        "next_sentence_loss",
    ]


@pytest.mark.slow
def test_quickstart_learns_the_sample_reviews(tmp_path):
    if not os.path.exists(os.path.join(sys.prefix, "installed.lock")):
        pytest.skip("this environment was not made by run_scripts/setup.sh")
    done = subprocess.run(
        [ROOT / "run_scripts" / "quickstart.sh", tmp_path / "out"],
        env={**os.environ, "BERT_TF_VENV": sys.prefix},
        capture_output=True,
        text=True,
        check=True,
    )
    (accuracy,) = re.findall(r" eval_accuracy = (\S+)", done.stdout)
    assert float(accuracy) > 0.9
    results = (tmp_path / "out/pretraining/eval_results.txt").read_text()
    assert "masked_lm_accuracy" in results
    reviews = tmp_path / "out" / "reviews"
    predicted = (reviews / "test_predictions.txt").read_text().split()
    assert len(predicted) == 20
    assert set(predicted) <= {"positive", "negative"}
