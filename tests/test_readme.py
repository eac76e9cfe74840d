"""The README's commands, run on tiny data."""

import os
import pathlib
import re
import shlex
import subprocess
import sys

import pytest
from absl import flags

from bert_tf import create_pretraining_data, records, run_classifier

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
