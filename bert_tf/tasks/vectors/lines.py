"""Turns lines of text into batches of ids, and vectors into lines of JSON.

A line becomes one `Example`, or one for each window if it is read in windows.
Examples are numbered across lines; `join_windows` puts the vectors of the
windows of each line together again.
"""

import itertools
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from bert_tf.data.grouping import padded_length
from bert_tf.data.packing import (
    PADDING_ID,
    pack_windows,
    pad_to_length,
)
from bert_tf.data.vocabulary import UNKNOWN
from bert_tf.errors import InputError
from bert_tf.tokenization import Tokenizer

# The first group is greedy: the last of several separators splits the line.
_PAIR = re.compile(r"(.*) \|\|\| (.*)")

FORMATS = ("jsonl", "npz", "tfrecord")
"""Of the output of extract_features."""

PADDING_LINE = -1
"""Line number of the rows that only fill up a batch."""

DEFAULT_LAYERS = "-1,-2,-3,-4"
"""The default of `--layers`."""
EMBEDDINGS = "embeddings"
"""Stands in `--layers` for the output of the embeddings, below layer 0."""


class Example(NamedTuple):
    """A line as an input of BERT, or a window of it, without padding.

    Attributes:
        place: its number among all examples, from 0.
        line: the number of its line, from 0.
        tokens: [CLS] A [SEP] (B [SEP]).
        input_ids: their ids.
        segment_ids: 0 for A, 1 for B.
        owned: the tokens whose vectors are kept. Those of all windows, in
            order, are the tokens of the line.
        num_cut: number of word pieces that were truncated, in the first window
            of a line.
    """

    place: int
    line: int
    tokens: list[str]
    input_ids: list[int]
    segment_ids: list[int]
    owned: slice
    num_cut: int


class LineVectors(NamedTuple):
    """The vectors of a line.

    Attributes:
        line: its number, from 0.
        tokens: the T tokens [CLS] A [SEP] (B [SEP]).
        values: float32 [T, L, D] for L layers; [L, D] if tokens are pooled.
    """

    line: int
    tokens: list[str]
    values: np.ndarray


# ---------------------------------------------------------- layers and poolings


class Pooling(NamedTuple):
    """How the vectors of a line are combined.

    Attributes:
        over_tokens: "first", "mean" or "max"; None keeps every token.
        layers: the layers to use; None if the caller chooses them.
        concatenated: whether the layers are concatenated to one vector.
    """

    over_tokens: str | None = None
    layers: tuple[int, ...] | None = None
    concatenated: bool = False


POOLINGS: Mapping[str, Pooling] = {
    "none": Pooling(),
    "cls": Pooling("first"),
    "mean": Pooling("mean"),
    "max": Pooling("max"),
    "second_to_last_mean": Pooling("mean", (-2,)),
    "concat_last_4": Pooling(None, (-1, -2, -3, -4), concatenated=True),
}


def require_one_vector(pooling: str) -> None:
    """Raises `InputError` for a pooling that keeps the vector of each token."""
    if POOLINGS[pooling].over_tokens is None:
        raise InputError(
            "`--normalize` is for poolings that give one vector for a text. "
            f"Received: --pooling={pooling}"
        )


def find_layers(
    pooling: str, layers: str | None, num_hidden_layers: int
) -> tuple[int, ...]:
    """The layers to extract: those of the pooling, or of `--layers`.

    Args:
        pooling: one of `POOLINGS`.
        layers: numbers separated by commas, 0 for the lowest layer, -1 for the
            highest one, or `EMBEDDINGS`; None if the flag is not given.
        num_hidden_layers: that of the model.

    Raises:
        InputError: not numbers or not layers of the model, or the pooling
            leaves no choice.
    """
    fixed = POOLINGS[pooling].layers
    if fixed is None:
        text = DEFAULT_LAYERS if layers is None else layers
        return number_layers(
            read_layers(text), num_hidden_layers, f"--layers={text}"
        )
    if layers is not None:
        raise InputError(
            f"`--layers` is not for --pooling={pooling}, which takes "
            f"the layers {', '.join(map(str, fixed))}. Received: "
            f"--pooling={pooling} --layers={layers}"
        )
    return number_layers(fixed, num_hidden_layers, f"--pooling={pooling}")


def read_layers(text: str) -> tuple[int | str, ...]:
    """What `--layers` names, which may not be layers of the model.

    Raises:
        InputError: neither whole numbers nor `EMBEDDINGS`.
    """
    names = [name.strip() for name in text.split(",")]
    try:
        return tuple(
            name if name == EMBEDDINGS else int(name) for name in names
        )
    except ValueError:
        raise InputError(
            f"`--layers` must be whole numbers or {EMBEDDINGS}, separated by "
            f"commas. Received: --layers={text}"
        ) from None


def number_layers(
    layers: Sequence[int | str], num_hidden_layers: int, received: str
) -> tuple[int, ...]:
    """The numbers of layers, -1 - num_hidden_layers for the embedding output.

    Args:
        layers: numbers from 0, or from -1 downwards, or `EMBEDDINGS`.
        num_hidden_layers: that of the model.
        received: the flags or arguments that name them.

    Raises:
        InputError: the model does not have such a layer.
    """
    below = -1 - num_hidden_layers
    numbers = [below if n == EMBEDDINGS else int(n) for n in layers]
    for layer, number in zip(layers, numbers, strict=True):
        if layer == EMBEDDINGS or below < number < num_hidden_layers:
            continue
        raise InputError(
            f"The model has {num_hidden_layers} layers, 0 to "
            f"{num_hidden_layers - 1} or, from the last one, -1 to "
            f"{-num_hidden_layers}. There is no layer {layer}. Received: "
            f"{received}"
        )
    return tuple(numbers)


# ------------------------------------------------------------------------ lines


def split_pair(line: str) -> tuple[str, str]:
    """The two texts of `A ||| B`; the second is empty if there is only one.

    As in the original, whitespace around the line is ignored, and the last of
    several separators counts.
    """
    line = line.strip()
    pair = _PAIR.fullmatch(line)
    return (pair[1], pair[2]) if pair else (line, "")


def make_examples(
    lines: Iterable[str],
    tokenizer: Tokenizer,
    max_seq_length: int,
    doc_stride: int | None = None,
) -> Iterator[Example]:
    """Yields lines of text, `A` or `A ||| B`, as `examples_of`."""
    pairs = map(split_pair, lines)
    return examples_of(pairs, tokenizer, max_seq_length, doc_stride)


def examples_of(
    pairs: Iterable[tuple[str, str]],
    tokenizer: Tokenizer,
    max_seq_length: int,
    doc_stride: int | None = None,
) -> Iterator[Example]:
    """Yields texts and pairs of texts as examples.

    Args:
        pairs: two texts each; the second is empty if there is only one.
        tokenizer: the model's tokenizer.
        max_seq_length: maximum number of tokens in an example.
        doc_stride: distance between the starts of windows, in word pieces; None
            for one example from each line, truncated.
    """
    place = itertools.count()
    for line, (text_a, text_b) in enumerate(pairs):
        windows, num_cut = pack_windows(
            tokenizer.tokenize(text_a),
            tokenizer.tokenize(text_b),
            max_seq_length,
            doc_stride,
        )
        for number, window in enumerate(windows):
            yield Example(
                next(place),
                line,
                window.tokens,
                tokenizer.convert_tokens_to_ids(window.tokens),
                window.segment_ids,
                window.owned,
                0 if number else num_cut,
            )


class Survey(NamedTuple):
    """The size of a text.

    Attributes:
        num_lines: number of lines.
        num_tokens: number of their word pieces, including [CLS] and [SEP], but
            not those that were truncated.
        num_cut_lines: number of truncated lines.
        num_cut: number of truncated word pieces.
        num_windows: number of inputs of the model: that of the lines, unless
            lines are read in windows.
        num_unknown: number of [UNK] among the word pieces.
    """

    num_lines: int
    num_tokens: int
    num_cut_lines: int
    num_cut: int
    num_windows: int
    num_unknown: int


def survey(examples: Iterable[Example], type_vocab_size: int) -> Survey:
    """Counts lines and word pieces.

    Raises:
        InputError: a line holds two texts, but the model has a single token
            type.
    """
    lines = tokens = cut_lines = cut = windows = unknown = 0
    for example in examples:
        if example.segment_ids[-1] >= type_vocab_size:
            raise InputError(
                f"Line {example.line + 1} of the input holds two texts (A ||| "
                "B), but this model has one token type only (type_vocab_size "
                f"of its config is {type_vocab_size})."
            )
        windows += 1
        # The first window of a line owns its first token.
        lines += example.owned.start == 0
        tokens += example.owned.stop - example.owned.start
        cut_lines += example.num_cut > 0
        cut += example.num_cut
        unknown += example.tokens[example.owned].count(UNKNOWN)
    return Survey(lines, tokens, cut_lines, cut, windows, unknown)


def describe_example(example: Example) -> str:
    """An example for the log, in the original's format."""
    fields: dict[str, Sequence[int] | Sequence[str]] = {
        "unique_id": [example.line],
        "tokens": example.tokens,
        "input_ids": example.input_ids,
        "input_type_ids": example.segment_ids,
    }
    return "\n".join(
        f"{name}: {' '.join(map(str, values))}"
        for name, values in fields.items()
    )


# --------------------------------------------------------------------- batches


def pad_batch(
    batch: Sequence[Example],
    max_seq_length: int,
    fixed_size: int | None = None,
) -> dict[str, np.ndarray]:
    """A batch as int32 arrays.

    `place`, `line`, and the bounds `first` and `stop` of `owned` are [B]; the
    inputs of the model are [B, S].

    Args:
        batch: the examples.
        max_seq_length: the maximum of S.
        fixed_size: for devices that need a single shape: rows are added until B
            is this, and S is `max_seq_length`.
    """
    longest = max(len(example.tokens) for example in batch)
    length = padded_length(longest, max_seq_length)
    rows = len(batch)
    if fixed_size is not None:
        rows, length = fixed_size, max_seq_length
    lines = [example.line for example in batch]
    numbers = {
        "place": [example.place for example in batch],
        "first": [example.owned.start for example in batch],
        "stop": [example.owned.stop for example in batch],
    }
    arrays = {
        name: np.zeros((rows, length), np.int32)
        for name in ("input_ids", "input_mask", "segment_ids")
    }
    arrays["input_ids"][:] = PADDING_ID
    for row, example in enumerate(batch):
        count = len(example.tokens)
        arrays["input_ids"][row, :count] = example.input_ids
        arrays["input_mask"][row, :count] = 1
        arrays["segment_ids"][row, :count] = example.segment_ids
    arrays["line"] = np.array(
        pad_to_length(lines, rows, PADDING_LINE), np.int32
    )
    for name, values in numbers.items():
        arrays[name] = np.array(pad_to_length(values, rows), np.int32)
    return arrays


# --------------------------------------------------------------------- windows


def pool_window(vectors: LineVectors, over_tokens: str | None) -> LineVectors:
    """Reduces the vectors of a window to what `join_windows` needs.

    Args:
        vectors: the tokens that the window owns and their vectors [T, L, D];
            for "first" only the vector [L, D] of its [CLS].
        over_tokens: "mean", "max", "first", or None to keep every token.

    Returns:
        For "mean" the sum over tokens in double precision, for "max" the
        maximum, [L, D]; otherwise `vectors`.
    """
    values = vectors.values
    if over_tokens == "mean":
        values = values.sum(axis=0, dtype=np.float64)
    elif over_tokens == "max":
        values = values.max(axis=0)
    return vectors._replace(values=values)


def join_windows(
    windows: Iterable[LineVectors], over_tokens: str | None
) -> Iterator[LineVectors]:
    """Yields the `LineVectors` of each line, from those of its windows.

    Each token has the vector from the window that owns it. "mean" and "max" are
    over all tokens of the line; "first" is the mean of the [CLS] of its
    windows, as each of them has seen its own window only.

    Args:
        windows: in order, as returned by `pool_window`.
        over_tokens: as for `pool_window`.
    """
    for line, group in itertools.groupby(windows, lambda one: one.line):
        parts = list(group)
        tokens = [token for part in parts for token in part.tokens]
        values = [part.values for part in parts]
        if over_tokens is None:
            joined = np.concatenate(values)
        elif over_tokens == "mean":
            joined = np.sum(values, axis=0) / len(tokens)
        elif over_tokens == "max":
            joined = np.max(values, axis=0)
        else:
            joined = np.mean(values, axis=0)
        yield LineVectors(line, tokens, joined.astype(np.float32))


# ------------------------------------------------------------------------ JSON


def json_line(
    vectors: LineVectors, layers: Sequence[int | Sequence[int]]
) -> str:
    """A line of the output, in the original's format.

    With every token: `linex_index` (sic) and `features`, a list of `token` and
    `layers`. If tokens are pooled, `linex_index` and `layers`. Numbers are
    rounded to six decimal places.

    Args:
        vectors: those of a line of text.
        layers: the number of each of the L layers, or those concatenated in it.
    """
    numbers = _rounded(vectors.values)
    line: dict[str, object] = {"linex_index": vectors.line}
    if vectors.values.ndim == 2:
        line["layers"] = _layers(layers, numbers)
    else:
        line["features"] = [
            {"token": token, "layers": _layers(layers, of_token)}
            for token, of_token in zip(vectors.tokens, numbers, strict=True)
        ]
    return json.dumps(line) + "\n"


def _layers(names: Sequence, numbers: Sequence) -> list[dict[str, object]]:
    return [
        {"index": name, "values": values}
        for name, values in zip(names, numbers, strict=True)
    ]


def _rounded(values: np.ndarray) -> list:
    """The same as `round(x, 6)` of each float32, but faster."""
    # A float32 times a million is exact in a float64, and so is the nearest
    # whole number; the quotient is the float64 nearest to the decimal number.
    return (np.rint(values.astype(np.float64) * 1e6) / 1e6).tolist()
