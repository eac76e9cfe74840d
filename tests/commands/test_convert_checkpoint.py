import json
import sys

from helpers.hugging_face import (
    HUGGING_FACE,
)

from bert_tf.convert_checkpoint import cli, main


def test_command_line_converts_and_reports(tmp_path, capsys):
    source, output = str(HUGGING_FACE / "classifier"), str(tmp_path / "tf")
    main(["from_hf", source, "--output", output, "--hidden_act=relu"])
    assert "41 variables" in capsys.readouterr().out
    main(["to_hf", output, "--output", str(tmp_path / "hf"), "--head=token"])
    config = json.loads((tmp_path / "hf" / "config.json").read_text())
    assert config["architectures"] == ["BertForTokenClassification"]
    assert config["hidden_act"] == "relu"
    main(["strip", output, "--output", str(tmp_path / "bare")])
    assert "Kept 41 weights" in capsys.readouterr().out


def test_command_line_prints_mistakes_without_a_traceback(
    monkeypatch, capsys, tmp_path
):
    arguments = ["convert", "strip", str(tmp_path), "--output=x"]
    monkeypatch.setattr(sys, "argv", arguments)
    assert cli() == 1
    printed = capsys.readouterr().err
    assert printed.startswith("convert_checkpoint: error: No checkpoint in")
    assert printed.count("\n") == 1
