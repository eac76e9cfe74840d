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

import collections
import itertools
import os

from absl import flags, logging

from bert_tf import models
from bert_tf.checkpoints import inference
from bert_tf.cli import command_line
from bert_tf.data import tables, text_files
from bert_tf.data.grouping import (
    group_by_length,
    in_order,
    padded_length,
)
from bert_tf.errors import InputError
from bert_tf.support.progress import counted
from bert_tf.tasks.squad import data, passages
from bert_tf.tasks.squad.answers import (
    AUTO,
    Logits,
    check_threshold,
    find_threshold,
)
from bert_tf.tasks.squad.passages import Query

SQUAD = "cls/squad/"
POOLER = "bert/pooler/"

# How far ahead windows are made, to put those of one length together.
BATCHES_AHEAD = 16


class Reader:
    """BERT that finds answers; the weights are loaded once.

    Args:
        checkpoint: as run_squad wrote it: its output folder, or a prefix.
        vocab_file: None for the vocab.txt beside the checkpoint.
        bert_config_file: None for the bert_config.json beside it.
        do_lower_case: true for uncased models, false for cased ones.
        max_seq_length: word pieces of a window; None for 384, or as many as
            the model has positions for.
        doc_stride: how far apart windows start, in word pieces; None for a
            third of `max_seq_length`.
        max_query_length: word pieces of a question; the rest is cut, with a
            warning.
        max_answer_length: the most word pieces of an answer.
        version_2_with_negative: whether a question may have no answer. The
            model must have learnt it, as those of SQuAD 2.0 have.
        null_score_diff_threshold: a question is left unanswered if the null
            score is above that of the best answer by more than this. "auto"
            for what run_squad kept beside the checkpoint.
        batch_size: windows that are computed at once.

    Raises:
        InputError: a file is missing or does not fit, the checkpoint has no
            head to answer questions, or a number makes no sense.
    """

    def __init__(
        self,
        checkpoint,
        vocab_file=None,
        bert_config_file=None,
        do_lower_case=True,
        max_seq_length=None,
        doc_stride=None,
        max_query_length=64,
        max_answer_length=30,
        version_2_with_negative=False,
        null_score_diff_threshold=0.0,
        batch_size=32,
    ):
        inference.require_positive("max_answer_length", max_answer_length)
        inference.require_positive("batch_size", batch_size)
        check_threshold(version_2_with_negative, null_score_diff_threshold)
        opened = inference.open_checkpoint(
            checkpoint, vocab_file, bert_config_file, do_lower_case
        )
        self.path, self.config, self.tokenizer, _ = opened
        data.require_token_types(self.config.type_vocab_size)
        length = inference.find_length(self.config, max_seq_length, default=384)
        self._maker = data.WindowMaker(
            self.tokenizer,
            length,
            length // 3 if doc_stride is None else doc_stride,
            max_query_length,
            exact_answers=True,
            # Questions are often asked about the same few texts.
            documents_kept=16,
        )
        self.max_answer_length = max_answer_length
        self.batch_size = batch_size
        self.threshold = None
        if version_2_with_negative:
            self.threshold = find_threshold(
                null_score_diff_threshold, self.path
            )
        model, missing = inference.load_model(
            lambda: models.span(opened.config),
            opened.config,
            opened.path,
            (SQUAD, POOLER),
        )
        lacking = [name for name in missing if name.startswith(SQUAD)]
        if lacking:
            raise InputError(
                f"{self.path} has no head to answer questions: it lacks "
                f"{', '.join(lacking)}. Fine-tune it first, with `python -m "
                "bert_tf.run_squad --do_train --train_file=train-v1.1.json "
                f"--init_checkpoint={self.path} ...`, and give its "
                "--output_dir as the checkpoint."
            )
        self._forward = inference.compile_forward(model)

    def answer(self, question, contexts, num_answers=1):
        """The best answers to a question, from all contexts together.

        Args:
            question: str.
            contexts: texts of any length; or one, as a str.
            num_answers: how many; fewer if the contexts hold no more.

        Returns:
            `reading.Answer`s, the best first; no two overlap or say the same.
            With `version_2_with_negative` the first has the text "" if the
            question is left unanswered.

        Raises:
            InputError: a question or context without text.
        """
        return self.read(question, contexts, num_answers).answers

    def read(self, question, contexts, num_answers=1):
        """Like `answer`, but a whole `reading.Reading`: ranks contexts too."""
        return next(self.read_all([Query(question, contexts)], num_answers))

    def read_all(self, queries, num_answers=1):
        """Does `read` for many questions, windows of several at once.

        Args:
            queries: `reading.Query`s. They are taken one by one, somewhat
                ahead of the answers.
            num_answers: how many answers to each.

        Yields:
            For each query its `reading.Reading`.
        """
        inference.require_positive("num_answers", num_answers)
        waiting = collections.deque()

        def windows():
            for query in queries:
                found = self._windows(query)
                waiting.append((query.question, found))
                yield from found

        logits = self._logits(windows())
        for first in logits:
            question, found = waiting.popleft()
            rest = itertools.islice(logits, len(found) - 1)
            yield passages.read(
                question,
                zip(found, itertools.chain([first], rest), strict=True),
                self.max_answer_length,
                num_answers,
                self.threshold,
            )

    def _windows(self, query):
        """The windows of a query over all its contexts."""
        question, contexts = query
        # A str would be taken for a list of its characters.
        contexts = [contexts] if isinstance(contexts, str) else list(contexts)
        passages.require_text(Query(question, contexts))
        pieces = len(self.tokenizer.tokenize(question))
        if not pieces:
            raise InputError(
                "`question` must hold words. The tokenizer finds none in "
                f"{tables.quote(question)}"
            )
        most = self._maker.max_query_length
        if pieces > most:
            logging.warning(
                "Only the first %d of %d word pieces are read of the question "
                "%s: see max_query_length.",
                most,
                pieces,
                tables.quote(question),
            )
        found = []
        for number, context in enumerate(contexts):
            example = data.SquadExample(question, question, context)
            some = self._maker.windows(example, number)
            if not some:
                raise InputError(
                    "Each context must hold words. The tokenizer finds none "
                    f"in contexts[{number}], {tables.quote(context)}, for the "
                    f"question {tables.quote(question)}"
                )
            found += some
        return found

    def _logits(self, windows):
        """The `Logits` of each window, in order."""

        def placed():
            for group in group_by_length(
                enumerate(windows),
                self.batch_size,
                lambda numbered: len(numbered[1].input_ids),
                batches_ahead=BATCHES_AHEAD,
            ):
                rows = [(one.input_ids, one.segment_ids) for _, one in group]
                for (place, one), *both in zip(group, *self._run(rows)):
                    count = len(one.input_ids)
                    yield place, Logits(*(logits[:count] for logits in both))

        return in_order(placed())

    def _run(self, rows):
        # The longest comes first.
        length = padded_length(len(rows[0][0]), self._maker.max_seq_length)
        out = self._forward(inference.encoder_inputs(rows, length))
        return out["start_logits"], out["end_logits"]


# ----------------------------------------------------------- the command line


def define_flags(values):
    """Defines this script's flags on a `FlagValues`."""
    inference.define_flags(values)
    string, integer, boolean, _ = command_line.definers(values)
    flags.DEFINE_multi_string(
        "question",
        [],
        "A question; may be given again and again.",
        flag_values=values,
    )
    string(
        "context_file",
        None,
        "The text that --question is about; files or patterns, separated by "
        "commas. Each file is a text.",
    )
    string(
        "input_file",
        None,
        'Instead of --question: files with {"question": ..., "context": ...} '
        'in each line, or "contexts": [...]. An "id" comes back.',
    )
    integer("num_answers", 1, "Answers to each question.")
    integer(
        "max_seq_length",
        None,
        "Word pieces of an input; a longer text is cut into windows. [384, or "
        "as many as the model has positions for]",
    )
    integer(
        "doc_stride",
        None,
        "How far apart windows start, in word pieces. [a third of "
        "--max_seq_length]",
    )
    integer(
        "max_query_length", 64, "Word pieces of a question; the rest is cut."
    )
    integer("max_answer_length", 30, "The most word pieces of an answer.")
    boolean(
        "version_2_with_negative",
        False,
        "Questions may have no answer; for models of SQuAD 2.0.",
    )
    flags.DEFINE(
        command_line.NumberOr(AUTO),
        "null_score_diff_threshold",
        0.0,
        "With --version_2_with_negative: a question is left unanswered if the "
        "score of no answer is above that of the best one by more than this. "
        f"{AUTO}: what run_squad kept beside the checkpoint.",
        flag_values=values,
        serializer=flags.ArgumentSerializer(),
    )


def main(flags):
    """Does what the parsed flags ask for."""
    inference.check_flags(flags)
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
    with inference.open_output(flags) as write:
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
                has = ", ".join(map(tables.quote, row)) or "none"
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
