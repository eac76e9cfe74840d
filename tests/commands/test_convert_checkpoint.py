import json
import sys
import tarfile

import pytest
from absl.testing import flagsaver
from helpers.commands import run_subcommand
from helpers.hugging_face import (
    HUGGING_FACE,
)
from helpers.paths import GOLDEN

from bert_tf.cli import subcommands
from bert_tf.convert_checkpoint import COMMANDS, cli


def test_command_line_converts_and_reports(tmp_path, capsys):
    def convert(name, source, *more):
        run_subcommand("convert_checkpoint", name, source, *more)

    source, output = str(HUGGING_FACE / "classifier"), str(tmp_path / "tf")
    convert("from_hf", source, "--output", output, "--hidden_act=relu")
    assert "41 variables" in capsys.readouterr().out
    hf = tmp_path / "hf"
    convert("to_hf", output, "--output", str(hf), "--head=token")
    config = json.loads((hf / "config.json").read_text())
    assert config["architectures"] == ["BertForTokenClassification"]
    assert config["hidden_act"] == "relu"
    convert("strip", output, "--output", str(tmp_path / "bare"))
    assert "Kept 41 weights" in capsys.readouterr().out


def test_command_line_converts_from_another_program(tmp_path, capsys):
    source, output = tmp_path / "hub", tmp_path / "tf"
    with tarfile.open(GOLDEN / "foreign" / "tf_hub_2.tar.xz") as archive:
        archive.extractall(source, filter="data")
    words = ["--do_lower_case=false", "--hidden_act=gelu_exact"]
    words += ["--output", str(output)]
    run_subcommand("convert_checkpoint", "from_other", str(source), *words)
    printed = capsys.readouterr().out
    assert "39 variables" in printed
    assert "--do_lower_case=false" in printed
    config = json.loads((output / "bert_config.json").read_text())
    assert config["hidden_act"] == "gelu_exact"


def test_command_line_prints_mistakes_without_a_traceback(
    monkeypatch, capsys, tmp_path
):
    arguments = ["convert_checkpoint", "strip", str(tmp_path), "--output=x"]
    monkeypatch.setattr(sys, "argv", arguments)
    with flagsaver.flagsaver(), pytest.raises(SystemExit) as ended:
        cli()
    assert ended.value.code == 1
    printed = capsys.readouterr().err
    assert printed.startswith("convert_checkpoint strip: error: No checkpoint")
    assert printed.count("\n") == 1


@pytest.mark.parametrize(
    ("given", "joined"),
    [
        (["x", "--do_lower_case", "false"], ["x", "--do_lower_case=false"]),
        (["--do_lower_case=true", "--overwrite"], None),
        (["--vocab_file", "true", "--overwrite", "x"], None),
    ],
)
def test_a_boolean_may_have_its_value_after_a_space(given, joined):
    got = subcommands.join_booleans(COMMANDS["to_hf"].define_flags, given)
    assert got == (joined or given)
