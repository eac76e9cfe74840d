"""Answers questions about texts with a fine-tuned checkpoint."""

import collections
import itertools

from absl import logging

from bert_tf import errors, models
from bert_tf.checkpoints import folders, inference
from bert_tf.checkpoints.names import POOLER, SQUAD
from bert_tf.data.grouping import group_by_length, in_order, padded_length
from bert_tf.errors import InputError
from bert_tf.tasks.squad import data, passages
from bert_tf.tasks.squad import windows as squad_windows
from bert_tf.tasks.squad.answers import Logits, check_threshold, find_threshold
from bert_tf.tasks.squad.passages import Query

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
        errors.require_positive("max_answer_length", max_answer_length)
        errors.require_positive("batch_size", batch_size)
        check_threshold(version_2_with_negative, null_score_diff_threshold)
        opened = folders.find(checkpoint, vocab_file, bert_config_file)
        self.path, self.config = opened.path, opened.config
        self.tokenizer = opened.load_tokenizer(do_lower_case)
        squad_windows.require_token_types(self.config.type_vocab_size)
        length = inference.find_length(self.config, max_seq_length, default=384)
        self._maker = squad_windows.WindowMaker(
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
            opened.reader,
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
        errors.require_positive("num_answers", num_answers)
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
                f"{errors.quote(question)}"
            )
        most = self._maker.max_query_length
        if pieces > most:
            logging.warning(
                "Only the first %d of %d word pieces are read of the question "
                "%s: see max_query_length.",
                most,
                pieces,
                errors.quote(question),
            )
        found = []
        for number, context in enumerate(contexts):
            example = data.SquadExample(question, question, context)
            some = self._maker.windows(example, number)
            if not some:
                raise InputError(
                    "Each context must hold words. The tokenizer finds none "
                    f"in contexts[{number}], {errors.quote(context)}, for the "
                    f"question {errors.quote(question)}"
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
