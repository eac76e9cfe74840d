"""The README's commands, run on tiny data."""

import os
import pathlib
import re
import shlex
import subprocess
import sys

import pytest
from absl import flags

from bert_tf import run_classifier

ROOT = pathlib.Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
BUILTIN = ROOT / "checkpoints" / "builtin"
SAMPLES = ROOT / "run_scripts" / "sample_data"


def run(arguments):
    values = flags.FlagValues()
    run_classifier.define_flags(values)
    values(["run_classifier", *arguments])
    run_classifier.main(values)


@pytest.mark.parametrize(
    "code", re.findall(r"```python\n(.*?)```", README, re.S)
)
def test_python_examples_run(code, monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    exec(compile(code, "README.md", "exec"), {})
    assert capsys.readouterr().out


def test_the_mrpc_command_trains_and_evaluates(tmp_path):
    folders = {
        "$GLUE_DIR": str(SAMPLES),
        "$BERT_BASE_DIR": str(BUILTIN),
        "/MRPC": "/mrpc",
        "/tmp/mrpc_output/": str(tmp_path),
    }
    (text,) = re.findall(
        r"^    (python -m bert_tf.run_classifier \\\n(?:.*\\\n)*.*)",
        README,
        re.MULTILINE,
    )
    for written, real in folders.items():
        text = text.replace(written, real)
    arguments = shlex.split(text.replace("\\\n", " "))[3:]

    run([*arguments, "--num_train_epochs=1"])

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
    (accuracy,) = re.findall(r"eval_accuracy = (\S+)", done.stdout)
    assert float(accuracy) > 0.9
    predicted = (tmp_path / "out" / "test_predictions.txt").read_text().split()
    assert len(predicted) == 20
    assert set(predicted) <= {"positive", "negative"}
