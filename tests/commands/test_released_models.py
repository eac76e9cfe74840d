import json
import shutil
import subprocess
import sys

import pytest
from absl.testing import flagsaver
from helpers.commands import run_subcommand
from helpers.paths import ROOT

from bert_tf import released_models as rm


def test_registry_is_found_in_a_wheel(tmp_path):
    package = tmp_path / "bert_tf"
    shutil.copytree(ROOT / "bert_tf", package)
    shutil.copytree(ROOT / "checkpoints", package / "_checkpoints")

    listed = subprocess.run(
        [sys.executable, "-m", "bert_tf.released_models", "list"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    ).stdout

    assert len(listed.splitlines()) == 1 + 1 + 33


def test_list_shows_every_model_and_its_size(capsys):
    run_subcommand("released_models", "list")

    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 1 + 1 + 33
    tiny = next(line for line in lines if "BERT-Tiny" in line)
    assert tiny.split()[:5] == [
        "uncased_L-2_H-128_A-2",
        "4.4M",
        "uncased",
        "30522",
        "2020-02-20",
    ]


def test_list_of_one_model_has_its_address_and_checksums(capsys):
    run_subcommand("released_models", "list", "BERT-Base, Chinese")

    told = json.loads(capsys.readouterr().out)
    assert told["url"].endswith("/2018_11_03/chinese_L-12_H-768_A-12.zip")
    assert told["files"]["vocab.txt"]["sha256"].startswith("45bbac6b341c319a")


def test_ctrl_c_ends_the_command_with_a_hint(monkeypatch, capsys):
    def interrupted(*args, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(rm, "download", interrupted)
    monkeypatch.setattr(sys, "argv", ["x", "download", "BERT-Tiny"])

    with flagsaver.flagsaver(), pytest.raises(SystemExit) as ended:
        rm.cli()

    assert ended.value.code == 130
    assert "the same command resumes" in capsys.readouterr().err
