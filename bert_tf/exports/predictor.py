"""Asks an exported model about texts, from Python.

predict = bert_tf.Predictor("/tmp/model")
predict("A text.")                          # the result of one text
predict("A text.", "And another one.")      # of a pair, or of a question
predict(("A text.", "And another one."))    # and its context
for result in predict(open("texts.txt")):   # of any number of them
    ...
"""

import importlib
import importlib.util
import itertools
import os
import reprlib
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from bert_tf.data import grouping
from bert_tf.errors import InputError
from bert_tf.exports import folder, inputs
from bert_tf.exports.results import HEADS, Result, head_of

BATCHES_AHEAD = 16
"""Batches that are read ahead, to put texts of similar length together."""

BYTES_OF_A_TOKEN = 4
"""About, in English."""


class _Row(NamedTuple):
    """What is asked, as UTF-8.

    Attributes:
        texts: one or two; the second is empty if there is none.
        choices: the list of texts of a head that takes one.
    """

    texts: tuple[bytes, bytes]
    choices: tuple[bytes, ...] = ()

    @property
    def length(self) -> int:
        """All bytes together."""
        return sum(map(len, (*self.texts, *self.choices)))


class Loaded(NamedTuple):
    """A loaded version.

    Attributes:
        signatures: functions by name.
        run: function of a signature's name and its inputs by name, lists of
            UTF-8; returns arrays by name.
    """

    signatures: Mapping[str, Callable]
    run: Callable[[str, dict[str, Any]], dict[str, np.ndarray]]


class Predictor:
    """An exported model, loaded once, without Keras.

    | head        | takes                        | returns    |
    |-------------|------------------------------|------------|
    | classifier  | a text, or two               | `Label`;   |
    |             |                              | `Value` or |
    |             |                              | `Labels`   |
    | span        | a question and a context     | `Answer`   |
    | pretraining | a text with [MASK], or two   | `Guesses`  |
    | features    | a text, or two               | `Vectors`  |
    | tokens      | a text                       | `Tags`     |
    | choices     | a context and a list of      | `Choice`   |
    |             | texts, or with a question    |            |
    |             | between them                 |            |
    | several     | a text, or two if no head    | `dict`: of |
    |             | labels words                 | each head  |

    Args:
        path: MODEL, for its newest version, or MODEL/N.
        batch_size: the most texts that are computed at once.

    Attributes:
        path: the version, MODEL/N.
        settings: the content of assets/bert_tf.json.
        head: "classifier", "span", "pretraining", "features", "tokens",
            "choices" or "several".
        labels: of a model with classes, in the order of their ids; else None.
        signatures: functions by name, of TensorFlow's tensors or, where a model
            runs without TensorFlow, of arrays; their errors are `InputError`s.
            docs/serving.md lists them.

    Raises:
        InputError: no model of bert_tf is there, or it is damaged.
    """

    def __init__(self, path: str | os.PathLike[str], batch_size: int = 32):
        if batch_size < 1:
            raise InputError(
                "`batch_size` must be above 0. Received: "
                f"batch_size={batch_size}"
            )
        self.path = folder.find(path)
        self.settings = self._read_settings()
        self.head: str = self.settings["head"]
        if self.head not in HEADS:
            raise InputError(
                f"{self.path} must have one of the heads "
                f"{', '.join(HEADS)}. Received: {self.head!r}"
            )
        self.labels: list[str] | None = self.settings["labels"]
        self.batch_size = batch_size
        # Whether it sorts rows by their number of tokens itself.
        self._sorts = False
        self._loaded = self._load()
        self.signatures = self._loaded.signatures
        self._head = head_of(self.settings)
        takes_pairs = "serve_text_pair" in self.signatures
        self._counts = (1, 2) if takes_pairs else (1,)
        if self._head.needs_both:
            self._counts = (2,)

    def _read_settings(self) -> dict[str, Any]:
        return folder.read_settings(self.path)

    def _load(self) -> Loaded:
        tf = import_tensorflow()
        # Needs TensorFlow, which is now there without Keras.
        from bert_tf.exports import loading

        model = loading.load(self.path)
        config = inputs.read_config(self.path)
        signatures = {
            # They keep the model alive, as its own functions do not.
            name: loading.Checked(model, function, config)
            for name, function in model.signatures.items()
        }

        def run(name: str, columns: dict[str, Any]) -> dict[str, np.ndarray]:
            tensors = {key: tf.constant(x) for key, x in columns.items()}
            outputs = signatures[name](**tensors)
            return {key: value.numpy() for key, value in outputs.items()}

        return Loaded(signatures, run)

    def __call__(self, text, second=None):
        """The result of a text, or an iterator over those of many.

        Args:
            text: a str; a tuple of two for a pair, or a question and its
                context; a tuple that ends with the list of choices; or an
                iterable of those.
            second: the second text of a pair, or the context of a question,
                where `text` is a str; or the list of choices, where it is a str
                or a tuple of two.

        Returns:
            A named tuple, see the table above; for an iterable a generator of
            them, in the same order. It reads up to `BATCHES_AHEAD` batches
            ahead, to put texts of similar length together.

        Raises:
            InputError: something is not a text, or there are more or fewer
                than the model takes.
        """
        if second is not None:
            given = text if isinstance(text, tuple) else (text,)
            text = (*given, second)
        if isinstance(text, str | tuple):
            return self._run([self._row(text)])[0]
        if isinstance(text, bytes) or not isinstance(text, Iterable):
            raise _not_a_text(text)
        return self._run_all(text)

    def _run_all(self, texts: Iterable) -> Iterator[Result]:
        rows = map(self._row, texts)
        for some in grouping.batched(rows, BATCHES_AHEAD * self.batch_size):
            # All rows of a batch have the same number of choices. The longest
            # first: if memory is short, it fails early.
            order = sorted(range(len(some)), key=lambda x: -some[x].length)
            found: dict[int, Result] = {}
            for count in sorted({len(row.choices) for row in some}):
                alike = [x for x in order if len(some[x].choices) == count]
                numbers = iter(alike)
                for size in self._sizes([some[x].length for x in alike]):
                    batch = list(itertools.islice(numbers, size))
                    results = self._run([some[row] for row in batch])
                    found.update(zip(batch, results, strict=True))
            yield from (found[row] for row in range(len(some)))

    def _sizes(self, lengths: Sequence[int]) -> list[int]:
        """The sizes of batches, given the bytes of texts, the longest first."""
        if self._sorts:
            return [len(lengths)]
        # Of longer ones only so much is read, or several rows.
        most = self.settings.get("max_seq_length") or max(lengths)
        tokens = [min(x // BYTES_OF_A_TOKEN + 1, most) for x in lengths]
        return grouping.cut(tokens, self.batch_size)

    def _row(self, text: Any) -> _Row:
        """What is asked by a text, or a tuple of texts and choices."""
        given = (text,) if isinstance(text, str) else text
        choices: Sequence[str] = ()
        if self._head.choices and isinstance(given, tuple) and given:
            *given, choices = given
            given = tuple(given)
            if not isinstance(choices, list | tuple) or len(choices) < 2:
                raise InputError(
                    "This model (choices) takes a context, perhaps a question, "
                    "and a list of two texts or more. Received: "
                    f"{reprlib.repr(text)}"
                )
        if not isinstance(given, tuple) or not all(
            isinstance(one, str) for one in (*given, *choices)
        ):
            raise _not_a_text(text)
        if len(given) not in self._counts:
            wanted = {
                (1,): "one text",
                (2,): "a question and a context",
                (1, 2): "one text or two",
            }[self._counts]
            raise InputError(
                f"This model ({self.head}) takes {wanted} at a time. Received: "
                f"{reprlib.repr(text)}. Many are given as a list."
            )
        try:
            first, *rest = (one.encode("utf-8") for one in given)
            encoded = tuple(one.encode("utf-8") for one in choices)
        except UnicodeEncodeError as error:
            raise InputError(
                f"A text must be Unicode without lone surrogates: {error}"
            ) from error
        return _Row((first, rest[0] if rest else b""), encoded)

    def _run(self, rows: Sequence[_Row]) -> list[Result]:
        """The results of one batch."""
        columns: dict[str, Any] = dict(
            zip(self._head.inputs, zip(*(row.texts for row in rows)))
        )
        name, (_, second) = "serve_text", self._head.inputs
        if not self._head.needs_both:
            if any(columns[second]):
                name = "serve_text_pair"
            else:
                del columns[second]
        if self._head.choices:
            columns[self._head.choices] = [row.choices for row in rows]
        arrays = self._loaded.run(name, columns)
        return [
            self._head.read(arrays, number, bool(row.texts[1]))
            for number, row in enumerate(rows)
        ]


def _not_a_text(given: Any) -> InputError:
    return InputError(
        "A text must be a str, or a tuple of two. Received: "
        f"{reprlib.repr(given)} of type {type(given).__name__}"
    )


def import_tensorflow():
    """Imports TensorFlow, where possible without Keras, to start sooner."""
    # TensorFlow imports Keras 3 unless it is to use the older tf_keras, which
    # it skips where that is not installed. `tf.keras` is still Keras 3 in the
    # end: it is resolved at its first use, when the variable is gone again.
    variable = "TF_USE_LEGACY_KERAS"
    if (
        "tensorflow" in sys.modules
        or variable in os.environ
        or importlib.util.find_spec("tf_keras")
    ):
        return importlib.import_module("tensorflow")
    os.environ[variable] = "1"
    try:
        return importlib.import_module("tensorflow")
    finally:
        del os.environ[variable]
