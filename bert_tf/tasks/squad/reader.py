"""Answers questions about contexts with a fine-tuned checkpoint."""

import collections
import itertools

from absl import logging

from bert_tf import errors, models
from bert_tf.checkpoints import folders, inference
from bert_tf.checkpoints.names import POOLER, SQUAD
from bert_tf.data.grouping import group_by_length, in_order, padded_length
from bert_tf.data.vocabulary import UnknownTokens
from bert_tf.errors import InputError
from bert_tf.tasks.squad import passages, windows
from bert_tf.tasks.squad.answers import Logits
from bert_tf.tasks.squad.data import SquadExample
from bert_tf.tasks.squad.passages import Query
from bert_tf.tasks.squad.threshold import check_threshold, find_threshold

# Windows are made this far ahead to batch those of similar length.
BATCHES_AHEAD = 16


class Reader:
    """Finds answers with BERT; the weights are loaded once.

    Args:
        checkpoint: the output folder of run_squad, or a prefix in it.
        vocab_file: None for the vocab.txt beside the checkpoint.
        bert_config_file: None for the bert_config.json beside it.
        do_lower_case: true for uncased models, false for cased ones; None for
            what the folder and its vocabulary tell.
        max_seq_length: maximum number of word pieces in a window; None for what
            the folder notes, else 384, or the number of positions of the model
            if that is smaller.
        doc_stride: distance between the starts of windows, in word pieces; None
            for what the folder notes, else a third of `max_seq_length`.
        max_query_length: maximum number of word pieces of a question; longer
            ones are truncated, with a warning. None for what the folder notes,
            else 64.
        max_answer_length: maximum number of word pieces in an answer.
        version_2_with_negative: whether a question may have no answer. Needs a
            model trained on such questions, as in SQuAD 2.0.
        null_score_diff_threshold: a question is left unanswered if the null
            score exceeds that of the best answer by more than this. "auto" for
            the threshold that run_squad kept beside the checkpoint.
        batch_size: number of windows in a batch.
        strip_accents: whether accents are stripped; None for what the folder
            notes, else as `do_lower_case`.
        ignore_folder_settings: whether what is asked for wins where it
            contradicts the folder.
        skip_padding: see `BertModel`.

    Attributes:
        unknown: `UnknownTokens` of all windows.

    Raises:
        InputError: a file is missing or does not fit, something contradicts the
            folder, the checkpoint has no question answering head, or a number
            is out of range.
    """

    def __init__(
        self,
        checkpoint,
        vocab_file=None,
        bert_config_file=None,
        do_lower_case=None,
        max_seq_length=None,
        doc_stride=None,
        max_query_length=None,
        max_answer_length=30,
        version_2_with_negative=False,
        null_score_diff_threshold=0.0,
        batch_size=32,
        strip_accents=None,
        ignore_folder_settings=False,
        skip_padding=True,
    ):
        errors.require_positive("max_answer_length", max_answer_length)
        errors.require_positive("batch_size", batch_size)
        check_threshold(version_2_with_negative, null_score_diff_threshold)
        opened = folders.find(checkpoint, vocab_file, bert_config_file)
        self.path, self.config = opened.path, opened.config
        self.tokenizer = opened.load_tokenizer(
            do_lower_case, strip_accents, ignore_folder_settings
        )
        self.unknown = UnknownTokens(self.tokenizer.vocab)
        windows.require_token_types(self.config.type_vocab_size)
        found = opened.noted.take(
            "span",
            ignore_folder_settings,
            max_seq_length=max_seq_length,
            doc_stride=doc_stride,
            max_query_length=max_query_length,
        )
        length = inference.find_length(
            self.config, found["max_seq_length"], default=384
        )
        stride, most = found["doc_stride"], found["max_query_length"]
        self._maker = windows.WindowMaker(
            self.tokenizer,
            length,
            length // 3 if stride is None else stride,
            64 if most is None else most,
            exact_answers=True,
            # Successive questions often have the same few contexts.
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
            skip_padding=skip_padding,
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
        """Returns the best answers to a question in all of its contexts.

        Args:
            question: str.
            contexts: list of texts of any length, or a single str.
            num_answers: maximum number of answers.

        Returns:
            A list of `PassageAnswer`s, the best first. With
            `version_2_with_negative` the first has the text "" if the question
            is left unanswered.

        Raises:
            InputError: a question or context without text.
        """
        return self.read(question, contexts, num_answers).answers

    def read(self, question, contexts, num_answers=1):
        """Like `answer`, but returns a `Reading`, which ranks contexts too."""
        return next(self.read_all([Query(question, contexts)], num_answers))

    def read_all(self, queries, num_answers=1):
        """Like `read` for many questions, batching windows across them.

        Args:
            queries: iterable of `Query`s, consumed somewhat ahead of the
                answers.
            num_answers: maximum number of answers to each.

        Yields:
            For each query its `Reading`.
        """
        errors.require_positive("num_answers", num_answers)
        waiting = collections.deque()

        def all_windows():
            for query in queries:
                made = self._windows(query)
                waiting.append((query.question, made))
                yield from made

        logits = self._logits(all_windows())
        for first in logits:
            question, made = waiting.popleft()
            rest = itertools.islice(logits, len(made) - 1)
            yield passages.read(
                question,
                zip(made, itertools.chain([first], rest), strict=True),
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
        num_pieces = len(self.tokenizer.tokenize(question))
        if not num_pieces:
            raise InputError(
                "`question` must hold words. The tokenizer finds none in "
                f"{errors.quote(question)}"
            )
        if num_pieces > self._maker.max_query_length:
            logging.warning(
                "Only the first %d of %d word pieces are read of the question "
                "%s: see max_query_length.",
                self._maker.max_query_length,
                num_pieces,
                errors.quote(question),
            )
        made = []
        for number, context in enumerate(contexts):
            example = SquadExample(question, question, context)
            of_context = self._maker.windows(example, number)
            if not of_context:
                raise InputError(
                    "Each context must hold words. The tokenizer finds none "
                    f"in contexts[{number}], {errors.quote(context)}, for the "
                    f"question {errors.quote(question)}"
                )
            made += of_context
        for window in made:
            self.unknown.add(window.input_ids)
        return made

    def _logits(self, all_windows):
        """Yields the `Logits` of each window, in order."""

        def placed():
            for batch in group_by_length(
                enumerate(all_windows),
                self.batch_size,
                lambda numbered: len(numbered[1].input_ids),
                batches_ahead=BATCHES_AHEAD,
            ):
                rows = [(one.input_ids, one.segment_ids) for _, one in batch]
                for (place, one), *both in zip(batch, *self._run(rows)):
                    count = len(one.input_ids)
                    yield place, Logits(*(logits[:count] for logits in both))

        return in_order(placed())

    def _run(self, rows):
        # The first row of a batch is the longest.
        length = padded_length(len(rows[0][0]), self._maker.max_seq_length)
        out = self._forward(inference.encoder_inputs(rows, length))
        return out["start_logits"], out["end_logits"]
