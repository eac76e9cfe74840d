"""Asks a SavedModel about texts, from Python.

Comes in: the folder that `export_saved_model` wrote, then texts. Goes out: for
each of them a named tuple. The model does all the work; here texts are put into
batches, and its arrays taken apart. HTTP is for the server.

    predict = bert_tf.Predictor("/tmp/model")
    predict("A text.")                          # what belongs to one text
    predict("A text.", "And another one.")      # to a pair, or to a question
    predict(("A text.", "And another one."))    # and its context
    for result in predict(open("texts.txt")):   # to any number of them
        ...

| head        | takes                        | gives      |
|-------------|------------------------------|------------|
| classifier  | a text, or two               | `Label`    |
| span        | a question and a context     | `Answer`   |
| pretraining | a text with [MASK], or two   | `Guesses`  |
| features    | a text, or two               | `Vectors`  |

Keras is not imported, which takes a while that a program with a finished model
can do without.
"""

import importlib
import importlib.util
import itertools
import os
import reprlib
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from bert_tf.errors import InputError
from bert_tf.exports import folder
from bert_tf.exports.results import (
    Answer,
    Candidate,
    Guesses,
    Label,
    Outputs,
    Result,
    Vectors,
)

BATCHES_AHEAD = 16
"""How far texts are read ahead to find some of one length, in batches."""


class Predictor:
    """A SavedModel, loaded once, to be asked as often as you like.

    Args:
        path: MODEL, whose newest version is taken, or MODEL/N.
        batch_size: the most texts that are computed at once.

    Attributes:
        path: the version, MODEL/N.
        settings: what assets/bert_tf.json says.
        head: "classifier", "span", "pretraining" or "features".
        labels: of a classifier, in the order of their ids; else None.
        signatures: TensorFlow's functions by name, see `bert_tf/serving.py`.

    Raises:
        InputError: no SavedModel of bert_tf is there.
    """

    def __init__(self, path: str | os.PathLike[str], batch_size: int = 32):
        if batch_size < 1:
            raise InputError(
                "`batch_size` must be above 0. Received: "
                f"batch_size={batch_size}"
            )
        self.path = folder.find(path)
        self.settings = folder.read_settings(self.path)
        self.head: str = self.settings["head"]
        self.labels: list[str] | None = self.settings["labels"]
        self.batch_size = batch_size
        self._tf = import_tensorflow()
        # Whoever drops the model drops its weights, so it is kept.
        self._model = self._tf.saved_model.load(self.path)
        self.signatures = self._model.signatures
        self._inputs, self._read = _HEADS[self.head]
        takes_pairs = "serve_text_pair" in self.signatures
        self._counts = (1, 2) if takes_pairs else (1,)
        if self.head == "span":
            self._counts = (2,)

    def __call__(self, text, second=None):
        """What the model says of one text, or of each of many.

        Args:
            text: a str; a tuple of two for a pair, or a question and its
                context; or an iterable of those.
            second: the second text of a pair, or the context of a question,
                where `text` is a str.

        Returns:
            A named tuple, see the table above; for an iterable a generator of
            them, in its order. It reads `BATCHES_AHEAD` batches ahead, to put
            texts of one length together.

        Raises:
            InputError: something is not a text, or there are more or fewer
                than the model takes.
        """
        if second is not None:
            text = (text, second)
        if isinstance(text, str | tuple):
            return self._run([self._pair(text)])[0]
        if isinstance(text, bytes) or not isinstance(text, Iterable):
            raise _not_a_text(text)
        return self._run_all(text)

    def _run_all(self, texts: Iterable) -> Iterator[Result]:
        pairs = map(self._pair, texts)
        ahead = BATCHES_AHEAD * self.batch_size
        while some := list(itertools.islice(pairs, ahead)):
            # The longest first: if memory is short, that shows at once.
            order = sorted(
                range(len(some)), key=lambda row: -sum(map(len, some[row]))
            )
            found: dict[int, Result] = {}
            for first in range(0, len(order), self.batch_size):
                rows = order[first : first + self.batch_size]
                results = self._run([some[row] for row in rows])
                found.update(zip(rows, results, strict=True))
            yield from (found[row] for row in range(len(some)))

    def _pair(self, text: Any) -> tuple[bytes, bytes]:
        """One or two texts as UTF-8; the second is empty if there is none."""
        given = (text,) if isinstance(text, str) else text
        if not isinstance(given, tuple) or not all(
            isinstance(one, str) for one in given
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
        except UnicodeEncodeError as error:
            raise InputError(
                f"A text must be Unicode without lone surrogates: {error}"
            ) from error
        return first, rest[0] if rest else b""

    def _run(self, pairs: Sequence[tuple[bytes, bytes]]) -> list[Result]:
        """The results of one batch."""
        columns = dict(zip(self._inputs, zip(*pairs)))
        name = "serve_text"
        if self.head != "span":
            if any(columns[self._inputs[1]]):
                name = "serve_text_pair"
            else:
                del columns[self._inputs[1]]
        tensors = {
            key: self._tf.constant(column) for key, column in columns.items()
        }
        outputs = self.signatures[name](**tensors)
        arrays = {key: value.numpy() for key, value in outputs.items()}
        return [
            self._read(arrays, row, bool(pair[1]))
            for row, pair in enumerate(pairs)
        ]


def _not_a_text(given: Any) -> InputError:
    return InputError(
        "A text must be a str, or a tuple of two. Received: "
        f"{reprlib.repr(given)} of type {type(given).__name__}"
    )


# ----------------------------------------------------- arrays into named tuples


def _read_label(arrays: Outputs, row: int, is_pair: bool) -> Label:
    names = [name.decode("utf-8") for name in arrays["labels"][row]]
    chances = arrays["probabilities"][row].tolist()
    return Label(
        arrays["label"][row].decode("utf-8"),
        max(chances),
        dict(zip(names, chances, strict=True)),
        int(arrays["num_cut"][row]),
    )


def _read_answer(arrays: Outputs, row: int, is_pair: bool) -> Answer:
    start, end = int(arrays["start"][row]), int(arrays["end"][row])
    null = arrays.get("null_probability")
    return Answer(
        arrays["answer"][row].decode("utf-8"),
        float(arrays["score"][row]),
        None if start < 0 else start,
        None if end < 0 else end,
        None if null is None else float(null[row]),
    )


def _read_guesses(arrays: Outputs, row: int, is_pair: bool) -> Guesses:
    scores = arrays["token_scores"][row].tolist()
    masks = [
        [
            Candidate(piece.decode("utf-8"), score)
            for piece, score in zip(pieces, of_mask)
        ]
        for pieces, of_mask in zip(arrays["tokens"][row], scores)
        if of_mask[0] > 0  # Else it is another text that has so many.
    ]
    follows = arrays.get("next_sentence_probability")
    return Guesses(
        masks,
        float(follows[row]) if is_pair and follows is not None else None,
        int(arrays["num_cut"][row]),
    )


def _read_vectors(arrays: Outputs, row: int, is_pair: bool) -> Vectors:
    embedding, tokens = arrays["embedding"][row], None
    if "tokens" in arrays:
        tokens = [one.decode("utf-8") for one in arrays["tokens"][row] if one]
        embedding = embedding[: len(tokens)]
    # A copy, for the whole batch would stay in memory with it.
    return Vectors(embedding.copy(), tokens, int(arrays["num_cut"][row]))


_Head = tuple[tuple[str, str], Callable[[Outputs, int, bool], Result]]

_HEADS: Mapping[str, _Head] = {
    "classifier": (("text_a", "text_b"), _read_label),
    "span": (("question", "context"), _read_answer),
    "pretraining": (("text", "text_b"), _read_guesses),
    "features": (("text_a", "text_b"), _read_vectors),
}


# ------------------------------------------------------------------- TensorFlow


def import_tensorflow():
    """TensorFlow, if it is not there yet without Keras.

    It imports Keras along with itself, unless it is told that an older Keras is
    wanted, and passes over that one where it is not installed. `tf.keras` stays
    what it is: that is decided when it is first used.
    """
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
