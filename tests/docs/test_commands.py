"""All commands and flags that README and docs name are there."""

import importlib
import re
import shlex

import pytest
from absl import flags
from helpers.paths import ROOT

from bert_tf import __main__ as front_door
from bert_tf.cli import command_line

PAGES = {
    path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8")
    for path in (ROOT / "README.md", *(ROOT / "docs").glob("*.md"))
}
COMMAND = re.compile(
    r"^ {4,}(?:python -m bert_tf\.|bert-tf )(\w+)((?:.*\\\n)*.*)", re.M
)
SHELL = {"&", "&&", "|", ">", ">>"}
NAMES = [name for group in front_door.GROUPS.values() for name in group]

BEAM = "runner direct_running_mode direct_num_workers requirements_file "
OF_OTHERS = {
    "docs/developing.md": "outdir strict",
    "docs/differences.md": "do_lower",  # An abbreviation, which is an error.
    "docs/distributed.md": "gpus-per-node job-name kill-on-bad-exit nodes "
    "ntasks-per-node requeue signal time",
    "docs/errors.md": "epochs",
    "docs/installing.md": "no-deps wheel-dir",
    "docs/pretraining.md": BEAM + "sdk_container_image setup_file",
    "docs/sentences.md": "no-deps target",
    "docs/server.md": "enable_batching monitoring_config_file",
    "docs/serving.md": "model_base_path no-deps require-hashes rest_api_port "
    "target",
    "docs/training.md": "logdir",
}
"""Flags of other programs, and wrong ones."""
OF_SCRIPTS = {"docs/paper.md", "docs/performance.md"}
"""Pages about other scripts, whose flags are theirs."""


def commands():
    for page, text in PAGES.items():
        for found in COMMAND.finditer(text):
            line = text.count("\n", 0, found.start()) + 1
            name, arguments = found.groups()
            words = shlex.split(arguments.replace("\\\n", " "), comments=True)
            ends = [n for n, word in enumerate(words) if word in SHELL]
            yield pytest.param(
                name,
                words[: ends[0]] if ends else words,
                "..." not in words,
                id=f"{page}:{line} {name}",
            )


def definitions(name):
    """Functions that define flags, by subcommand; "" for that of a command."""
    module = importlib.import_module(f"bert_tf.{name}")
    if hasattr(module, "define_flags"):
        return {"": module.define_flags}
    return {k: one.define_flags for k, one in module.COMMANDS.items()}


@pytest.mark.parametrize(("name", "words", "is_whole"), commands())
def test_a_command_has_the_flags_that_a_page_gives_it(name, words, is_whole):
    defining = definitions(name)
    define = defining.get("") or defining[words[0]]
    values = flags.FlagValues()
    define(values)
    given = [re.sub("=.*", "", word[2:], flags=re.S) for word in words]
    own = [word for word, flag in zip(words, given) if flag not in BEAM.split()]

    if is_whole:
        left = command_line.parse(values, [name, *own])
        assert not any(word.startswith("-") for word in left)
    named = [one for one, word in zip(given, words) if word.startswith("--")]
    assert set(named) <= {*values, *BEAM.split()}


def test_flags_that_pages_name_are_there():
    known = {"help", "version"}
    for name in NAMES:
        for define in definitions(name).values():
            values = flags.FlagValues()
            define(values)
            known |= set(values)
    known |= {f"no{name}" for name in known}
    for page in PAGES.keys() - OF_SCRIPTS:
        there = known | set(OF_OTHERS.get(page, "").split())
        text = PAGES[page]
        named = set(re.findall(r"(?<![\w-])--([a-z]\w*(?:-\w+)*)", text))
        assert named <= there, f"{page}: {sorted(named - there)}"
