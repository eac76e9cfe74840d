"""The signatures of an exported model around a session, in plain Python.

Takes and returns the arrays that the signatures of a SavedModel take and
return; docs/serving.md lists them. `Inference` has what all heads share:
checks, rows of ids, examples; a head adds how its texts become rows and
results.

Shape letters: B texts or rows of a request, S tokens of a row.
"""

import functools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

import numpy as np

from bert_tf.data import packing
from bert_tf.data.grouping import (
    encoder_inputs,
    group_by_length,
    in_order,
    padded_length,
)
from bert_tf.data.packing import ENCODER_INPUTS, PADDING_ID, PackedWindow
from bert_tf.errors import InputError
from bert_tf.exports.interface import (
    EXAMPLES,
    PAIR,
    ROWS,
    TEXT,
    Arrays,
    Session,
    Signature,
    Tensor,
)
from bert_tf.exports.settings import ROWS_AT_ONCE
from bert_tf.tasks import given
from bert_tf.tokenization import FullTokenizer

STRINGS = Tensor("string", (None,))
NUM_CUT = Tensor("int32", (None,))

T = TypeVar("T")


class Row(NamedTuple):
    """An input of the model, without padding.

    Attributes:
        input_ids: of its tokens.
        segment_ids: 0 or 1 for each of them.
        positions: of the tokens to predict, of a pretrained model.
    """

    input_ids: Sequence[int]
    segment_ids: Sequence[int]
    positions: Sequence[int] = ()


class Function(NamedTuple):
    """A signature, and the function of its inputs by name that computes it."""

    signature: Signature
    call: Callable[..., Arrays]


class Inference:
    """A model that takes texts, or rows of ids.

    Args:
        session: computes the model's outputs for rows.
        settings: the content of assets/bert_tf.json.
        config: that of bert_config.json.
        tokenizer: the model's `FullTokenizer`.
    """

    row_inputs: tuple[str, ...] = ENCODER_INPUTS
    row_shape: tuple[None, ...] = (None, None)
    text_inputs: tuple[str, ...] = ("text_a", "text_b")
    reads_padding = False
    """Whether numbers at padding mean something, so that it is computed."""

    def __init__(
        self,
        session: Session,
        settings: Mapping[str, Any],
        config: Mapping[str, Any],
        tokenizer: FullTokenizer,
    ):
        self.session = session
        self.settings = settings
        self.config = config
        self.tokenizer = tokenizer
        self.max_seq_length: int = settings["max_seq_length"]
        self.rows_at_once: int = settings.get("rows_at_once") or ROWS_AT_ONCE

    # ------------------------------------------------- what a head declares

    def row_outputs(self) -> dict[str, Tensor]:
        """The outputs of serving_default and serve_examples."""
        raise NotImplementedError

    def text_outputs(self) -> dict[str, Tensor]:
        """The outputs of signatures of texts."""
        raise NotImplementedError

    def texts(self, first: Sequence[str], second: Sequence[str]) -> Arrays:
        """Outputs for texts, or pairs of texts; "" for no second one."""
        raise NotImplementedError

    def text_functions(self) -> dict[str, Function]:
        """Signatures that take text, by name."""
        first, second = self.text_inputs

        def alone(**texts: Sequence[bytes]) -> Arrays:
            found = decode(first, texts[first])
            return self.texts(found, [""] * len(found))

        def pair(**texts: Sequence[bytes]) -> Arrays:
            require_as_many(texts)
            return self.texts(
                decode(first, texts[first]), decode(second, texts[second])
            )

        outputs = self.text_outputs()
        found = {TEXT: Function(Signature({first: STRINGS}, outputs), alone)}
        # With one token type there are no pairs.
        if self.config["type_vocab_size"] > 1:
            inputs = {first: STRINGS, second: STRINGS}
            found[PAIR] = Function(Signature(inputs, outputs), pair)
        return found

    # ------------------------------------------------------ for all heads

    @functools.cached_property
    def functions(self) -> dict[str, Function]:
        """All signatures, by name."""
        spec = Tensor("int32", self.row_shape)
        outputs = self.row_outputs()
        rows = dict.fromkeys(sorted(self.row_inputs), spec)
        found = {
            ROWS: Function(Signature(rows, outputs), self.from_rows),
            EXAMPLES: Function(
                Signature({"examples": STRINGS}, outputs), self.from_examples
            ),
            **self.text_functions(),
        }
        return {name: _checked(name, one) for name, one in found.items()}

    def run(self, name: str, inputs: Mapping[str, Any]) -> Arrays:
        """Computes a signature.

        Args:
            name: of the signature.
            inputs: arrays, or sequences, by name.

        Raises:
            InputError: the inputs are not what it takes.
        """
        return self.functions[name].call(**inputs)

    def token_outputs(self) -> frozenset[str]:
        """The row outputs that have numbers for each token, [B, S, ...]."""
        return frozenset()

    def from_rows(self, **rows: np.ndarray) -> Arrays:
        """Outputs for arrays of integers by name, such as input_ids [B, S]."""
        given.check_rows(rows, self.config)
        return self.compute_given(rows, list(self.row_outputs()))

    def compute_given(self, rows: Arrays, outputs: Sequence[str]) -> Arrays:
        """Outputs by name for rows that a caller has padded.

        Rows of similar length are computed together, `rows_at_once` at most.
        What a row has for its padding is 0.

        Args:
            rows: the model's inputs, which were checked.
            outputs: names of the outputs to compute.
        """
        rows = {name: x.astype(np.int32) for name, x in rows.items()}
        mask = rows["input_mask"]
        lengths = self._lengths(rows)
        # Of multiple choice, each choice is a row.
        at_once = max(1, self.rows_at_once // math.prod(mask.shape[1:-1]))
        found: Arrays = {}
        for batch in group_by_length(
            range(len(mask)),
            at_once,
            lengths.__getitem__,
            length_step=self.session.length_step,
        ):
            longest = self._padded(lengths[batch[0]], mask.shape[-1])
            inputs = {
                name: x[batch, ..., :longest]
                if name in ENCODER_INPUTS
                else x[batch]
                for name, x in rows.items()
            }
            computed = self.session.run(inputs, outputs)
            for name, x in computed.items():
                shape = list(x.shape)
                shape[0] = len(mask)
                if name in self.token_outputs():
                    shape[1] = mask.shape[-1]
                    found.setdefault(name, np.zeros(shape, x.dtype))
                    found[name][batch, :longest] = x
                else:
                    found.setdefault(name, np.empty(shape, x.dtype))
                    found[name][batch] = x
        if not found:
            return self._no_rows(rows, outputs)
        if not self.reads_padding:
            is_padding = mask == 0
            is_padding[..., 0] = False  # The pooler reads it.
            for name in self.token_outputs():
                found[name][is_padding] = 0
        return found

    def _lengths(self, rows: Arrays) -> list[int]:
        """How many columns of each row are to be computed."""
        mask = rows["input_mask"]
        length = mask.shape[-1]
        if self.reads_padding:
            return [length] * len(mask)
        inner = tuple(range(1, mask.ndim - 1))
        is_token = np.any(mask != 0, axis=inner)  # [B, S]
        behind = is_token[:, ::-1].argmax(axis=1)
        # Without a token, attention is the mean of all columns.
        return [
            length - int(padding) if has_tokens else length
            for padding, has_tokens in zip(behind, is_token.any(axis=1))
        ]

    def from_examples(self, examples: Sequence[bytes]) -> Arrays:
        """Outputs for serialized `tf.train.Example`s."""
        if not len(examples):
            empty = np.zeros([0] * len(self.row_shape), np.int32)
            rows = dict.fromkeys(self.row_inputs, empty)
            return self._no_rows(rows, list(self.row_outputs()))
        return self.from_rows(**self.rows_of(examples))

    def _no_rows(self, rows: Arrays, outputs: Sequence[str]) -> Arrays:
        # Positions, where there are any, come last, and outputs are as many.
        free = rows[self.row_inputs[-1]].shape[1]
        found: Arrays = {}
        for name, tensor in self.row_outputs().items():
            if name in outputs:
                sizes = (tensor.shape or ())[1:]
                shape = [0, *(free if one is None else one for one in sizes)]
                kind = object if tensor.dtype == "string" else tensor.dtype
                found[name] = np.zeros(shape, kind)
        return found

    def rows_of(self, examples: Sequence[bytes]) -> Arrays:
        """The rows of examples, padded to the longest one."""
        features = given.read_examples(examples, self.row_inputs)
        return {
            name: table(
                lists,
                PADDING_ID if name == ENCODER_INPUTS[0] else 0,
                np.int32,
            )
            for name, lists in features.items()
        }

    def compute(
        self,
        rows: Sequence[Row],
        outputs: Sequence[str],
        take: Callable[[int, Arrays], T],
    ) -> Iterator[T]:
        """Yields what is taken of the outputs of each row, in order.

        Rows of similar length are computed together.

        Args:
            rows: the model's inputs.
            outputs: names of the outputs to compute.
            take: function of the number of a row and of its outputs.
        """

        def placed() -> Iterator[tuple[int, T]]:
            for batch in group_by_length(
                enumerate(rows),
                self.rows_at_once,
                lambda numbered: len(numbered[1].input_ids),
                length_step=self.session.length_step,
            ):
                inputs = self.pad([row for _, row in batch])
                found = self.session.run(inputs, outputs)
                for index, (place, _) in enumerate(batch):
                    of_row = {name: x[index] for name, x in found.items()}
                    yield place, take(place, of_row)

        return in_order(placed())

    def pad(self, rows: Sequence[Row]) -> Arrays:
        """Rows as the model's inputs; the first one is the longest."""
        length = self._padded(len(rows[0].input_ids), self.max_seq_length)
        pairs = [(row.input_ids, row.segment_ids) for row in rows]
        return encoder_inputs(pairs, length)

    def _padded(self, longest: int, most: int) -> int:
        return padded_length(longest, most, self.session.length_step)

    def row(self, window: packing.PackedTokens | PackedWindow) -> Row:
        """A window as a row."""
        ids = self.tokenizer.convert_tokens_to_ids(window.tokens)
        return Row(ids, window.segment_ids)

    def windows(
        self, first: Sequence[str], second: Sequence[str]
    ) -> tuple[list[PackedWindow], list[int], list[int]]:
        """The windows of texts, or one each where they are truncated.

        Returns:
            The windows of all texts, the number of the text of each, and for
            each text the number of pieces that are in none.
        """
        windows, texts, num_cut = [], [], []
        for number, (a, b) in enumerate(zip(first, second, strict=True)):
            packed = packing.pack_windows(
                self.tokenizer.tokenize(a),
                self.tokenizer.tokenize(b),
                self.max_seq_length,
                self.settings.get("doc_stride"),
            )
            windows += packed.windows
            texts += [number] * len(packed.windows)
            num_cut.append(packed.num_cut)
        return windows, texts, num_cut


def _checked(name: str, function: Function) -> Function:
    """A function that refuses other inputs than those of its signature."""

    def call(**inputs: Any) -> Arrays:
        return function.call(**given.read(name, function.signature, inputs))

    return Function(function.signature, call)


def numbers_of(outputs: Mapping[str, Tensor]) -> list[str]:
    """The outputs that a session computes: all but texts."""
    return [name for name, one in outputs.items() if one.dtype != "string"]


# ------------------------------------------------------------------ texts


def decode(name: str, texts: Sequence[bytes]) -> list[str]:
    """Texts of UTF-8.

    Raises:
        InputError: one is not.
    """
    try:
        return [text.decode("utf-8") for text in texts]
    except UnicodeDecodeError as error:
        raise InputError(f"{name} must be UTF-8: {error}") from error


def require_as_many(columns: Mapping[str, Sequence]) -> None:
    """Raises `InputError` for columns of different lengths."""
    counts = {name: len(column) for name, column in columns.items()}
    if len(set(counts.values())) > 1:
        shown = ", ".join(
            f"{count} of {name}" for name, count in counts.items()
        )
        raise InputError(
            f"There must be as many of {' as of '.join(counts)}. Received: "
            f"{shown}"
        )


def strings(texts: Sequence[str]) -> np.ndarray:
    """Texts as UTF-8 in an array of objects [B]."""
    found = np.empty(len(texts), object)
    found[:] = [text.encode("utf-8") for text in texts]
    return found


def table(rows: Sequence[Any], padding: Any, dtype: Any) -> np.ndarray:
    """Lists of different lengths as [B, longest], or [B, longest, ...].

    Args:
        rows: lists of numbers, of texts, or of arrays of one shape.
        padding: what is behind the last value of a list.
        dtype: of the array; `object` for texts, which become UTF-8.
    """
    longest = max(map(len, rows), default=0)
    inner = next((np.shape(row[0]) for row in rows if len(row)), ())
    found = np.full((len(rows), longest, *inner), padding, dtype)
    for number, row in enumerate(rows):
        if not len(row):
            continue
        if dtype is object:
            row = [one.encode("utf-8") for one in row]
        found[number, : len(row)] = row
    return found
