"""Help texts, and the front door that lists the commands."""

import importlib
import json
import pathlib
import re
import shlex
import subprocess
import sys

import pytest
from absl import flags
from helpers.paths import ROOT

import bert_tf
from bert_tf import __main__ as front_door
from bert_tf import run_ner
from bert_tf.cli import command_line, help

COMMANDS = sorted(
    path.stem
    for path in (ROOT / "bert_tf").glob("*.py")
    if path.stem != "__main__" and "\ndef cli(" in path.read_text()
)

# Does each command line in a process that ends with a message as soon as one of
# them is imported.
WITHOUT_TENSORFLOW = """
import importlib.abc, json, os, runpy, sys, tempfile

class Refusing(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name in ("tensorflow", "keras", "torch", "jax"):
            raise SystemExit(f"{name} is imported")

sys.argv[0] = "bert-tf"
import bert_tf
# Before the finder that commands put first.
sys.meta_path.insert(0, Refusing())
# What most of them import.
from bert_tf.cli import export_flags, fine_tuning
ended = []
for arguments in map(json.loads, sys.argv[1:]):
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        child = os.fork()
        if not child:
            os.dup2(out.fileno(), 1)
            os.dup2(err.fileno(), 2)
            sys.argv[1:] = arguments
            name = "bert_tf.__main__"
            runpy.run_module(name, run_name="__main__", alter_sys=True)
            sys.exit()
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        texts = [os.pread(file.fileno(), 10**6, 0) for file in (out, err)]
        ended.append((code, *map(bytes.decode, texts)))
print(json.dumps(ended))
"""

LINES = [[command, "--help"] for command in COMMANDS]
LINES += [["run_squad", "--output_dri=x"]]


@pytest.fixture(scope="module")
def ended():
    """Exit code, output and messages of each of `LINES`."""
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_TENSORFLOW, *map(json.dumps, LINES)],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("command", COMMANDS)
def test_help_needs_no_tensorflow_and_exits_with_0(command, ended):
    code, out, err = ended[LINES.index([command, "--help"])]
    assert (code, err) == (0, "")
    assert len(out.splitlines()) > 8


def test_a_misspelt_flag_is_told_without_tensorflow(ended):
    code, out, err = ended[-1]
    assert code == 1
    assert "output_dir" in err and out == ""


def test_every_command_is_in_the_overview(capsys):
    listed = [c for names in front_door.GROUPS.values() for c in names]
    assert sorted(listed) == COMMANDS
    assert front_door.main([], "bert-tf") == 0
    lines = capsys.readouterr().out.splitlines()
    for command in COMMANDS:
        (line,) = (x for x in lines if x.startswith(f"  {command} "))
        doc = importlib.import_module(f"bert_tf.{command}").__doc__
        assert line.endswith(doc.splitlines()[0])


@pytest.mark.parametrize("command", COMMANDS)
def test_the_example_in_a_docstring_is_a_command_line(command):
    module = importlib.import_module(f"bert_tf.{command}")
    if not hasattr(module, "define_flags"):  # Its subcommands have examples.
        examples = [one.doc for one in module.COMMANDS.values()]
        assert all(f"bert_tf.{command} " in example for example in examples)
        return
    text = re.search(
        rf"^  python -m bert_tf.{command} (?:.*\\\n)*.*$", module.__doc__, re.M
    )[0]
    words = shlex.split(text.replace("\\\n", " "))
    values = flags.FlagValues()
    module.define_flags(values)
    known, _ = absl_parse(values, words[2:])
    given = known.get("init_checkpoint", known.get("checkpoint", ""))
    assert given in ("builtin", "") or given.startswith("/tmp/")


def absl_parse(values, words):
    """The values of given flags by name, and the other words."""
    rest = values(words, known_only=True)
    return {k: values[k].value for k in values if values[k].present}, rest


def test_version_and_unknown_commands(capsys):
    assert front_door.main(["--version"], "bert-tf") == 0
    assert bert_tf.__version__ in capsys.readouterr().out
    assert front_door.main(["run_clasifier"], "bert-tf") == 1
    assert "run_classifier" in capsys.readouterr().err


def test_flags_are_in_groups_with_values_and_defaults():
    values = flags.FlagValues()
    run_ner.define_flags(values)
    names = command_line.in_order(values)
    shown = help.text(values, names, run_ner.__doc__, width=70)
    assert shown.startswith(run_ner.__doc__.splitlines()[0])
    lines = shown.splitlines()
    found = re.findall(r"^  --(?:\[no\])?(\w+)", shown, re.MULTILINE)
    assert sorted(found) == sorted(names)
    assert "  --data_dir=TEXT (required)" in lines
    assert "  --train_scheme=IOB2|IOBES (default: IOB2)" in lines
    # What is drawn or looked up has a default in words.
    assert "  --seed=N" in lines
    rate = lines.index("  --learning_rate=X (default: 5e-05)")
    assert lines.index("Training:") < rate < lines.index("Output:")
    assert max(map(len, lines)) <= 80


@pytest.mark.parametrize(
    ("arguments", "asked"),
    [(["--help"], True), (["--x", "-h"], True), (["--", "--help"], False)],
)
def test_help_is_asked_for_by_a_flag(arguments, asked):
    assert help.is_asked(arguments) == asked


def test_the_package_is_typed_for_type_checkers():
    assert (pathlib.Path(bert_tf.__file__).parent / "py.typed").exists()
