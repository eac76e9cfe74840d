r"""Answers questions about texts with a model that run_squad fine-tuned.

  python -m bert_tf.answer --checkpoint=/tmp/squad_base \
    --question='Who founded the museum?' --context_file=museum.txt

--question may be repeated; --context_file names one or several texts of any
length, or --context is a text. docs/squad.md has the formats of --input_file,
what scores mean, and the same in Python.
"""

import itertools
import os
from collections.abc import Iterable

from bert_tf.cli import command_line, inference_flags, model_flags
from bert_tf.cli.command_line import FlagSet
from bert_tf.data import tables, text_files
from bert_tf.errors import InputError, quote
from bert_tf.support import startup
from bert_tf.support.progress import counted
from bert_tf.tasks.squad import passages
from bert_tf.tasks.squad.passages import Query
from bert_tf.tasks.squad.threshold import AUTO, check_threshold

with startup.deferred():
    from bert_tf.tasks.squad import reader as readers


def __getattr__(name):
    if name == "Reader":  # It loads TensorFlow.
        return readers.Reader
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def define_flags(values):
    """Defines this command's flags on a `FlagValues`."""
    flags = FlagSet(values)
    inference_flags.define(flags)
    flags.strings("question", "A question.")
    flags.string(
        "context_file",
        None,
        "The texts that --question is about, one in each file; files or "
        "patterns, separated by commas.",
    )
    flags.strings("context", "Instead of --context_file: a text.")
    flags.string(
        "input_file",
        None,
        'Instead of --question: files with {"question": ..., "context": ...} '
        'in each line, or "contexts": [...]. An "id" is copied to the output.',
    )
    flags.integer(
        "num_answers", 1, "Maximum number of answers to each question."
    )
    flags.integer(
        "max_seq_length",
        None,
        "Maximum number of word pieces in an input; longer texts are split "
        "into windows. [as in training; else 384, or the model's number of "
        "positions if smaller]",
    )
    flags.integer(
        "doc_stride",
        None,
        "Distance between the starts of windows, in word pieces. [as in "
        "training; else a third of --max_seq_length]",
    )
    flags.integer(
        "max_query_length",
        None,
        "Maximum number of word pieces of a question; the rest is truncated. "
        "[as in training; else 64]",
    )
    flags.integer(
        "max_answer_length", 30, "Maximum number of word pieces in an answer."
    )
    flags.boolean(
        "version_2_with_negative",
        False,
        "Questions may have no answer; for models of SQuAD 2.0.",
    )
    flags.number_or(
        AUTO,
        "null_score_diff_threshold",
        0.0,
        "With --version_2_with_negative: a question is left unanswered if the "
        "score of no answer exceeds that of the best answer by more than this. "
        f"{AUTO}: the threshold that run_squad kept beside the checkpoint.",
    )


def main(flags):
    """Runs the command with parsed flags."""
    inference_flags.check(flags)
    command_line.require_positive(flags, "num_answers", "max_answer_length")
    check_threshold(
        flags.version_2_with_negative, flags.null_score_diff_threshold
    )
    find_tasks = check_input(flags)
    # The input is read twice: first completely, so that errors in it show
    # before any work; then again, as a long file need not fit in memory.
    total = sum(1 for _ in find_tasks())
    lowers, strips, ignore = model_flags.casing(flags)
    reader = readers.Reader(
        flags.checkpoint,
        flags.vocab_file,
        flags.bert_config_file,
        lowers,
        flags.max_seq_length,
        flags.doc_stride,
        flags.max_query_length,
        flags.max_answer_length,
        flags.version_2_with_negative,
        flags.null_score_diff_threshold,
        flags.batch_size,
        strips,
        ignore,
        flags.skip_padding,
    )
    tasks, asked = itertools.tee(find_tasks())
    readings = reader.read_all((query for query, _ in asked), flags.num_answers)
    done: Iterable = zip(tasks, readings, strict=True)
    with inference_flags.open_output(flags) as write:
        if flags.output_file:
            done = counted(done, total, "Answering")
        for (query, more), reading in done:
            write(show(query, more, reading), as_dict(query, more, reading))
    reader.unknown.warn()


def check_input(flags):
    """Checks the input flags; returns a function that reads the input.

    Each call of that function iterates over pairs of a `Query` and a dictionary
    with what else belongs to it.

    Raises:
        InputError: flags that contradict each other, or missing files.
    """
    if bool(flags.question) == bool(flags.input_file):
        received = "both" if flags.question else "neither"
        raise InputError(
            "Either `--question` or `--input_file` must be given. Received: "
            f"{received}"
        )
    if bool(flags.question) != bool(flags.context_file or flags.context):
        raise InputError(
            "`--context_file` or `--context` must be given with --question, "
            "and only then: in --input_file each question comes with its text."
        )
    if flags.context_file and flags.context:
        raise InputError(
            "Either `--context_file` or `--context` must be given, not both."
        )
    if flags.input_file:
        paths = text_files.find_files(flags.input_file)
        for path in paths:
            if not os.path.isfile(path):
                raise InputError(
                    "`--input_file` must name ordinary files, for they are "
                    f"read twice: save it in one. Received: {path}"
                )
        inference_flags.require_other_output(flags, input_file=paths)
        return lambda: read_tasks(paths)
    if flags.context:
        contexts, more = flags.context, {}
    else:
        paths = text_files.find_files(flags.context_file, "context_file")
        inference_flags.require_other_output(flags, context_file=paths)
        contexts = [read_context(path) for path in paths]
        more = {"context_files": paths}
    tasks = [(Query(question, contexts), more) for question in flags.question]
    for query, _ in tasks:
        passages.require_text(query)
    return lambda: iter(tasks)


def read_context(path):
    """Reads the text of a file, with its line ends unchanged.

    Raises:
        InputError: the file is not UTF-8, or has no text.
    """
    with open(path, "rb") as file:
        raw = file.read()
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InputError(
            f"`--context_file`: {path} must be UTF-8 text: {error}"
        ) from error
    if not text.strip():
        raise InputError(f"`--context_file`: {path} must hold text.")
    return text


def read_tasks(paths):
    """Yields the questions of JSONL files; see `check_input`.

    Raises:
        InputError: at the end of a file, for all its bad lines.
    """
    for path in paths:
        problems = tables.Problems(path)
        for line, row in tables.read_jsonl(path, problems):
            expected = find_fault(row)
            if expected:
                has = ", ".join(map(quote, row)) or "none"
                problems.add(line, f"the keys {has}", expected)
                continue
            contexts = row.get("contexts", [row.get("context")])
            more = {"id": row["id"]} if "id" in row else {}
            yield Query(row["question"], contexts), more
        problems.raise_if_any()


def find_fault(row):
    """What is expected but missing in a row; None if it is valid."""
    if not _is_text(row.get("question")):
        return 'a text under "question"'
    if ("context" in row) == ("contexts" in row):
        return 'either "context" or "contexts"'
    if "context" in row:
        is_text = _is_text(row["context"])
        return None if is_text else 'a text under "context"'
    contexts = row["contexts"]
    if not (isinstance(contexts, list) and contexts):
        return 'a list of texts under "contexts"'
    for number, context in enumerate(contexts):
        if not _is_text(context):
            return f'a text at place {number} of "contexts"'
    return None


def _is_text(value):
    return isinstance(value, str) and bool(value.strip())


def show(query, more, reading):
    """The answers to a question as text."""
    lines = [query.question]
    names = more.get("context_files")
    for one in reading.answers:
        line = f"  {one.score:8.4f}  {one.text or '(no answer)'}"
        if one.text:
            number = one.context_index
            name = names[number] if names else f"contexts[{number}]"
            line += f"  [{name}, characters {one.start} to {one.end}]"
        lines.append(" ".join(line.splitlines()))
    return "\n".join(lines)


def as_dict(query, more, reading):
    """The answers to a question and its ranked contexts, for JSON."""
    return {
        **more,
        "question": query.question,
        "answers": [one._asdict() for one in reading.answers],
        "passages": [
            {**one._asdict(), "answer": one.answer._asdict()}
            for one in reading.passages
        ],
        "null_probability": reading.null_probability,
    }


def cli():
    """The console command."""
    command_line.run(define_flags, main, __doc__)


if __name__ == "__main__":
    cli()
