"""Runs a command with one thing wrong, and checks how it ends.

A case starts from a folder in which everything is in order: labelled texts in
data/, pairs in mrpc/, labelled words in ner/, questions in squad/, plain text
in texts/ and a small checkpoint in bert/. It spoils one thing and runs the
command in this process. An exception that the command does not report passes
through.
"""

import contextlib
import dataclasses
import importlib
import io
import os
import re
import resource
import shutil
import sys
import tempfile
from collections.abc import Callable
from unittest import mock

import pytest
from absl import app
from absl.testing import flagsaver

from helpers.paths import GOLDEN, ROOT
from helpers.spoil import CONFIG_FILE, PREFIX, VOCAB_FILE, asked, squad, write

SAMPLES = ROOT / "run_scripts" / "sample_data"

TRAIN, DEV = "data/train.tsv", "data/dev.tsv"
SQUAD_TRAIN, SQUAD_DEV = "squad/train.json", "squad/dev.json"
NER_TRAIN, NER_DEV = "ner/train.txt", "ner/dev.txt"
CHOICES_TRAIN, CHOICES_DEV = "choices/train.jsonl", "choices/dev.jsonl"
PAIRS_TRAIN, PAIRS_DEV = "pairs/train.tsv", "pairs/dev.tsv"
PAIRS = "text_a\ttext_b\tlabel\n" + "the park\tan old park\t0.8\n" * 8
CHOICES = '{"context": "the park", "choices": ["is old", "is"], "label": 0}\n'
TEXT, LINES = "texts/park.txt", "texts/lines.txt"
QUESTIONS = "texts/asked.jsonl"
ANSWER = ("Ann", 25)

MRPC = {"task_name": "MRPC", "data_dir": "mrpc"}
# What training writes before its first step.
BESIDE = ("bert_config.json", "bert_tf.json", "labels.txt", "vocab.txt")

BERT = {
    "vocab_file": VOCAB_FILE,
    "bert_config_file": CONFIG_FILE,
    "init_checkpoint": PREFIX,
}
TRAINING = {
    **BERT,
    "output_dir": "output",
    "train_batch_size": 4,
    "num_train_epochs": 1,
    "do_train": True,
    "seed": 1,
}
GOOD_FLAGS = {
    "run_classifier": {
        **TRAINING,
        "task_name": "tsv",
        "data_dir": "data",
        "max_seq_length": 32,
        "do_eval": True,
    },
    "run_squad": {
        **TRAINING,
        "train_file": SQUAD_TRAIN,
        "predict_file": SQUAD_DEV,
        "max_seq_length": 48,
        "doc_stride": 16,
        "max_query_length": 16,
        "do_predict": True,
    },
    "run_ner": {
        **TRAINING,
        "data_dir": "ner",
        "max_seq_length": 16,
        "do_eval": True,
    },
    "run_multiple_choice": {
        **TRAINING,
        "data_dir": "choices",
        "max_seq_length": 32,
        "do_eval": True,
    },
    "run_sentence_vectors": {
        **TRAINING,
        "objective": "cosine",
        "data_dir": "pairs",
        "max_seq_length": 16,
        "do_eval": True,
    },
    "answer": {
        "checkpoint": PREFIX,
        "question": "Who made the park?",
        "context_file": TEXT,
        "max_seq_length": 48,
        "max_query_length": 16,
        "output_file": "output/answers.jsonl",
    },
    "extract_features": {
        **BERT,
        "input_file": LINES,
        "output_file": "output/vectors.jsonl",
        "layers": "-1",
        "max_seq_length": 16,
    },
    "fill_mask": {
        "checkpoint": "bert",
        "text": "the park is [MASK] .",
        "output_file": "output/filled.jsonl",
    },
    "score": {
        "checkpoint": "bert",
        "text": "the park is old .",
        "output_file": "output/scores.jsonl",
    },
    "attention": {
        "checkpoint": "bert",
        "text": "the park is old .",
        "output": "output/map.html",
    },
    "neighbours": {
        "checkpoint": "bert",
        "word": "old",
        "text": "the old park is old .",
        "save": "output/vectors.npz",
    },
    "extend_positions": {
        "init_checkpoint": PREFIX,
        "max_position_embeddings": 200,
        "output_dir": "output",
    },
}


@dataclasses.dataclass(frozen=True)
class Case:
    """One thing wrong.

    Attributes:
        command: a module of bert_tf.
        words: its command line.
        spoils: functions without arguments, called in turn in the folder.
        names: what the message must name.
        leaves: prefixes of the names that the output folder may hold
            afterwards: none, if the mistake can be seen before work begins.
        exit_code: 0 if the input only looks wrong.
        largest_file: bytes; stands in for a full disk.
    """

    command: str
    words: tuple[str, ...] = ()
    spoils: tuple[Callable[[], object], ...] = ()
    names: tuple[str, ...] = ()
    leaves: tuple[str, ...] = ()
    exit_code: int = 1
    largest_file: int = resource.RLIM_INFINITY


@dataclasses.dataclass(frozen=True)
class Outcome:
    """How a command ended, and the names in the output folder."""

    exit_code: int
    message: str
    left: tuple[str, ...]


def of(command):
    """A function that makes cases of one command, as parameters of a test.

    It takes the test's id, what the message must name (a string or several),
    functions that spoil inputs, other fields of `Case`, and changes to the
    command's `GOOD_FLAGS`; None leaves a flag out.
    """

    def case(
        tried,
        names,
        *spoils,
        words=(),
        leaves=(),
        exit_code=1,
        largest_file=resource.RLIM_INFINITY,
        slow=False,
        exhaustive=False,
        **changed,
    ):
        flags = {**GOOD_FLAGS.get(command, {}), **changed}
        given = [f"--{k}={v}" for k, v in flags.items() if v is not None]
        names = (names,) if isinstance(names, str) else names
        marks = [pytest.mark.slow] if slow else []
        marks += [pytest.mark.exhaustive] if exhaustive else []
        made = Case(
            command,
            (*given, *words),
            spoils,
            names,
            leaves,
            exit_code,
            largest_file,
        )
        return pytest.param(made, id=tried, marks=marks)

    return case


def each_value(case, **values):
    """For each value of each flag a case whose message must name both."""
    return [
        case(f"{flag}={value}", f"{flag}={value}", **{flag: value})
        for flag, bad_values in values.items()
        for value in bad_values
    ]


def each_path(case, **paths):
    """For each path of each flag a case whose message must name both."""
    return [
        case(f"{flag}={path}", (f"--{flag}", path), **{flag: path})
        for flag, bad_paths in paths.items()
        for path in bad_paths
    ]


def run_case(case):
    """Spoils the inputs and runs the command, in a folder of its own."""
    with tempfile.TemporaryDirectory() as place, contextlib.chdir(place):
        _prepare()
        for spoil in case.spoils:
            spoil()
        printed = io.StringIO()
        with (
            contextlib.redirect_stdout(printed),
            contextlib.redirect_stderr(printed),
            _files_of_at_most(case.largest_file),
        ):
            code = _run(case)
        left = os.listdir("output") if os.path.isdir("output") else ()
    return Outcome(code, _message(printed.getvalue()), tuple(sorted(left)))


def faults(case, outcome):
    """What is wrong with an outcome, in words; [] if it is as expected."""
    found = [
        f"the message does not name {name!r}: {outcome.message}"
        for name in case.names
        if name not in outcome.message
    ]
    if outcome.exit_code != case.exit_code:
        found.append(f"exit code {outcome.exit_code}: {outcome.message}")
    if "Traceback" in outcome.message:
        found.append(f"a traceback: {outcome.message}")
    begun = [name for name in outcome.left if not name.startswith(case.leaves)]
    if begun and case.exit_code:
        found.append(f"work had begun: {', '.join(begun)}")
    return found


def _prepare():
    """Fills the current folder with inputs in which nothing is wrong."""
    shutil.copytree(GOLDEN / "checkpoints" / "small", "bert")
    squad(SQUAD_TRAIN, *(asked(n, ANSWER) for n in range(8)))()
    squad(SQUAD_DEV, asked(1, ANSWER), asked(2, ANSWER))()
    words = "-DOCSTART- O\n\nAnn B-PER\nran O\n\nin O\nthe O\npark B-LOC\n\n"
    for name in (NER_TRAIN, NER_DEV, "ner/test.txt"):
        write(name, words * 4)()
    write(TEXT, "The old park was made by Ann in 1895 .\n")()
    write(LINES, "the park is old .\nhow old ? ||| very old .\n")()
    write(QUESTIONS, {"question": "Who?", "context": "Ann made it."})()
    for name in (CHOICES_TRAIN, CHOICES_DEV, "choices/test.jsonl"):
        write(name, CHOICES * 8)()
    for name in (PAIRS_TRAIN, PAIRS_DEV, "pairs/test.tsv"):
        write(name, PAIRS)()
    for source, target, kept in (("reviews", "data", 13), ("mrpc", "mrpc", 9)):
        for name in ("train.tsv", "dev.tsv", "test.tsv"):
            lines = (SAMPLES / source / name).read_bytes().split(b"\n")
            write(f"{target}/{name}", b"\n".join(lines[:kept]) + b"\n")()


@contextlib.contextmanager
def _files_of_at_most(size):
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def _run(case):
    """Runs a command line; returns the exit code."""
    command = importlib.import_module(f"bert_tf.{case.command}")
    argv = [f"{case.command}.py", *case.words]
    app.define_help_flags()  # Once in a process: not to be taken back below.
    with mock.patch.object(sys, "argv", argv), flagsaver.flagsaver():
        try:
            return command.cli() or 0
        except SystemExit as stop:
            if isinstance(stop.code, str):  # As Python does at the end.
                print(stop.code, file=sys.stderr)
                return 1
            return stop.code or 0


def _message(printed):
    """What a command printed, from its message on."""
    start = re.search(r"^([\w. -]+: error: |Error: )", printed, re.M)
    return printed[start.end() if start else 0 :].strip()
