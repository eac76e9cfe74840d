r"""Answers questions about texts, with a model that run_squad fine-tuned.

  python -m bert_tf.answer --checkpoint=/tmp/squad_base \
    --question='Who founded the museum?' --context_file=museum.txt

Give --question again and again; --context_file names one text or several
(commas, patterns), of any length. Many questions with texts of their own:
--input_file=questions.jsonl --output_file=answers.jsonl, a line for each,
{"question": "...", "context": "..."} or {"question": "...", "contexts": [...]}.

An answer's score is its probability among all spans of all windows of all texts
of the question, so that texts can be compared; the formula is in
bert_tf/reading.py. Places count characters of the text as it is in the file,
line ends included. Models of SQuAD 2.0: --version_2_with_negative. In Python:

  from bert_tf.answer import Reader

  reader = Reader("/tmp/squad_base")
  for answer in reader.answer("Who founded it?", [text, other], num_answers=3):
      print(answer.score, answer.text, answer.context_index, answer.start)
"""

import itertools
import os

from bert_tf import errors
from bert_tf.cli import command_line, inference_flags
from bert_tf.cli.command_line import FlagSet
from bert_tf.data import tables, text_files
from bert_tf.errors import InputError
from bert_tf.support.progress import counted
from bert_tf.tasks.squad import passages
from bert_tf.tasks.squad.answers import (
    AUTO,
    check_threshold,
)
from bert_tf.tasks.squad.passages import Query
from bert_tf.tasks.squad.reader import Reader

# ----------------------------------------------------------- the command line


def define_flags(values):
    """Defines this script's flags on a `FlagValues`."""
    flags = FlagSet(values)
    inference_flags.define(flags)
    flags.strings("question", "A question; may be given again and again.")
    flags.string(
        "context_file",
        None,
        "The text that --question is about; files or patterns, separated by "
        "commas. Each file is a text.",
    )
    flags.string(
        "input_file",
        None,
        'Instead of --question: files with {"question": ..., "context": ...} '
        'in each line, or "contexts": [...]. An "id" comes back.',
    )
    flags.integer("num_answers", 1, "Answers to each question.")
    flags.integer(
        "max_seq_length",
        None,
        "Word pieces of an input; a longer text is cut into windows. [384, or "
        "as many as the model has positions for]",
    )
    flags.integer(
        "doc_stride",
        None,
        "How far apart windows start, in word pieces. [a third of "
        "--max_seq_length]",
    )
    flags.integer(
        "max_query_length", 64, "Word pieces of a question; the rest is cut."
    )
    flags.integer("max_answer_length", 30, "The most word pieces of an answer.")
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
        "score of no answer is above that of the best one by more than this. "
        f"{AUTO}: what run_squad kept beside the checkpoint.",
    )


def main(flags):
    """Does what the parsed flags ask for."""
    inference_flags.check(flags)
    command_line.require_positive(flags, "num_answers", "max_answer_length")
    check_threshold(
        flags.version_2_with_negative, flags.null_score_diff_threshold
    )
    find_tasks = check_input(flags)
    # All is read before any work starts, and again while it goes on: nobody
    # needs to hold a long file in memory.
    total = sum(1 for _ in find_tasks())
    reader = Reader(
        flags.checkpoint,
        flags.vocab_file,
        flags.bert_config_file,
        flags.do_lower_case,
        flags.max_seq_length,
        flags.doc_stride,
        flags.max_query_length,
        flags.max_answer_length,
        flags.version_2_with_negative,
        flags.null_score_diff_threshold,
        flags.batch_size,
    )
    tasks, asked = itertools.tee(find_tasks())
    readings = reader.read_all((query for query, _ in asked), flags.num_answers)
    done = zip(tasks, readings, strict=True)
    with inference_flags.open_output(flags) as write:
        if flags.output_file:
            done = counted(done, total, "Answering")
        for (query, more), found in done:
            write(show(query, more, found), as_dict(query, more, found))


def check_input(flags):
    """A function that gives what is asked, from the start each time.

    It yields pairs of a `Query` and a dictionary with what else belongs to it.

    Raises:
        InputError: the flags do not say what, or name files that are not there.
    """
    if bool(flags.question) == bool(flags.input_file):
        received = "both" if flags.question else "neither"
        raise InputError(
            "Either `--question` or `--input_file` must be given. Received: "
            f"{received}"
        )
    if bool(flags.question) != bool(flags.context_file):
        raise InputError(
            "`--context_file` must be given with --question, and only then: "
            "in --input_file each question comes with its text."
        )
    if flags.input_file:
        paths = text_files.find_files(flags.input_file)
        for path in paths:
            if not os.path.isfile(path):
                raise InputError(
                    "`--input_file` must name ordinary files, for they are "
                    f"read twice: save it in one. Received: {path}"
                )
        text_files.require_other_file(flags.output_file, paths)
        return lambda: read_tasks(paths)
    paths = text_files.find_files(flags.context_file, "context_file")
    contexts = [read_context(path) for path in paths]
    more = {"context_files": paths}
    tasks = [(Query(question, contexts), more) for question in flags.question]
    for query, _ in tasks:
        passages.require_text(query)
    return lambda: iter(tasks)


def read_context(path):
    """The text of a file, with its line ends as they are.

    Raises:
        InputError: not UTF-8, or no text.
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
    """The questions of JSONL files; see `check_input`.

    Raises:
        InputError: after the last line, for all bad ones of the file.
    """
    for path in paths:
        problems = tables.Problems(path)
        for line, row in tables.read_jsonl(path, problems):
            expected = find_fault(row)
            if expected:
                has = ", ".join(map(errors.quote, row)) or "none"
                problems.add(line, f"the keys {has}", expected)
                continue
            contexts = row.get("contexts", [row.get("context")])
            more = {"id": row["id"]} if "id" in row else {}
            yield Query(row["question"], contexts), more
        problems.raise_if_any()


def find_fault(row):
    """What is expected of a row that is not so; None if it is."""
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


def show(query, more, found):
    """The answers to a question, for people."""
    lines = [query.question]
    names = more.get("context_files")
    for one in found.answers:
        line = f"  {one.score:8.4f}  {one.text or '(no answer)'}"
        if one.text:
            number = one.context_index
            name = names[number] if names else f"contexts[{number}]"
            line += f"  [{name}, characters {one.start} to {one.end}]"
        lines.append(" ".join(line.splitlines()))
    return "\n".join(lines)


def as_dict(query, more, found):
    """The same, and how the contexts rank, for programs."""
    return {
        **more,
        "question": query.question,
        "answers": [one._asdict() for one in found.answers],
        "passages": [
            {**one._asdict(), "answer": one.answer._asdict()}
            for one in found.passages
        ],
        "null_probability": found.null_probability,
    }


def cli():
    """The console command."""
    command_line.run(define_flags, main, __doc__)


if __name__ == "__main__":
    cli()
