"""From lines of text to batches of ids, and from vectors to lines of JSON.

Comes in: lines; later the vectors that the model made of them, as NumPy arrays.
Goes out: padded batches; lines of pooled vectors; JSON as the original wrote
it. The model and TensorFlow stay outside, in `extract_features.py`; binary
files in `feature_files.py`; which rows are a batch, in `grouping.py`.

A line is one `Example`, or several if it is read in windows: `read_examples`
numbers them all, and `join_windows` makes one `Vectors` of each line again.
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
from bert_tf.errors import InputError
from bert_tf.tokenization import Tokenizer

# The first part takes all it can: of several separators the last one counts.
PAIR = re.compile(r"(.*) \|\|\| (.*)")

PADDING_LINE = -1
"""Line of what only fills up a batch."""


class Example(NamedTuple):
    """One line as BERT reads it, or a window of it, not yet padded.

    Attributes:
        place: its number among all examples, from 0.
        line: that of its line, from 0.
        tokens: [CLS] A [SEP] (B [SEP]).
        input_ids: their ids.
        segment_ids: 0 for A, 1 for B.
        owned: those of its tokens whose vectors are wanted. In the order of
            the windows they are the line's.
        num_cut: how many word pieces were cut off the line to make it fit; of
            several windows the first one tells.
    """

    place: int
    line: int
    tokens: list[str]
    input_ids: list[int]
    segment_ids: list[int]
    owned: slice
    num_cut: int


class Vectors(NamedTuple):
    """What the model made of one line.

    Attributes:
        line: its number, from 0.
        tokens: [CLS] A [SEP] (B [SEP]), T of them.
        values: float32 [T, L, D] for L layers; [L, D] where tokens are pooled.
    """

    line: int
    tokens: list[str]
    values: np.ndarray


# ---------------------------------------------------------------- what to take


class Pooling(NamedTuple):
    """How the vectors of a line's tokens and layers are put together.

    Attributes:
        over_tokens: "first", "mean" or "max"; None keeps every token.
        layers: those it is made for; None leaves them to the caller.
        concatenated: whether the layers become one long vector.
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


def parse_layers(text: str, num_hidden_layers: int) -> tuple[int, ...]:
    """The numbers in `--layers`: 0 is the lowest layer, -1 the highest.

    Raises:
        InputError: not whole numbers, or not layers of the model.
    """
    layers = read_layers(text)
    check_layers(layers, num_hidden_layers, f"--layers={text}")
    return layers


def read_layers(text: str) -> tuple[int, ...]:
    """The numbers in `--layers`, for whatever model.

    Raises:
        InputError: not whole numbers.
    """
    try:
        return tuple(int(number) for number in text.split(","))
    except ValueError:
        raise InputError(
            "`--layers` must be whole numbers, separated by commas. Received: "
            f"--layers={text}"
        ) from None


def check_layers(
    layers: Sequence[int], num_hidden_layers: int, received: str
) -> None:
    """Raises `InputError` for a layer that the model does not have.

    Args:
        layers: numbers from 0, or from -1 downwards.
        num_hidden_layers: of the model.
        received: the flag that asked for them.
    """
    for layer in layers:
        if not -num_hidden_layers <= layer < num_hidden_layers:
            raise InputError(
                f"The model has {num_hidden_layers} layers, 0 to "
                f"{num_hidden_layers - 1} or, from the last one, -1 to "
                f"{-num_hidden_layers}. There is no layer {layer}. Received: "
                f"{received}"
            )


# ---------------------------------------------------------------- lines to read


def split_pair(line: str) -> tuple[str, str]:
    """The two texts of `A ||| B`; the second is empty where there is none.

    The original's rule: whitespace around the line does not count, and of
    several separators the last one does.
    """
    line = line.strip()
    pair = PAIR.fullmatch(line)
    return (pair[1], pair[2]) if pair else (line, "")


def make_examples(
    lines: Iterable[str],
    tokenizer: Tokenizer,
    max_seq_length: int,
    doc_stride: int | None = None,
) -> Iterator[Example]:
    """Lines of text as examples, one after the other.

    Args:
        lines: texts, or pairs of them.
        tokenizer: makes word pieces and their ids.
        max_seq_length: the most tokens of an example.
        doc_stride: how far apart windows start, in word pieces; None for one
            example of each line, with what fits.
    """
    place = itertools.count()
    for line, text in enumerate(lines):
        text_a, text_b = split_pair(text)
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
    """What there is to do, and what was cut off.

    Attributes:
        num_lines: lines of the text.
        num_tokens: their word pieces, [CLS] and [SEP] among them, without
            those that were cut off.
        num_cut_lines: lines that were too long.
        num_cut: word pieces that were cut off them.
        num_windows: inputs of the model; as many as lines unless long lines
            are read in several.
    """

    num_lines: int
    num_tokens: int
    num_cut_lines: int
    num_cut: int
    num_windows: int


def survey(examples: Iterable[Example], type_vocab_size: int) -> Survey:
    """Goes over all examples once, before the model does any work.

    Raises:
        InputError: a line holds two texts, and the model has no second token
            type.
    """
    lines = tokens = cut_lines = cut = windows = 0
    for example in examples:
        if example.segment_ids[-1] >= type_vocab_size:
            raise InputError(
                f"Line {example.line + 1} of the input holds two texts (A ||| "
                "B), but this model has one token type only (type_vocab_size "
                f"of its config is {type_vocab_size})."
            )
        windows += 1
        # The first token of a line is its first window's.
        lines += example.owned.start == 0
        tokens += example.owned.stop - example.owned.start
        cut_lines += example.num_cut > 0
        cut += example.num_cut
    return Survey(lines, tokens, cut_lines, cut, windows)


def describe_example(example: Example) -> str:
    """The lines that the original logs of the first few examples."""
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
    """A batch as arrays, int32.

    `place`, `line` and the ends of `owned`, `first` and `stop`, are [B]; what
    the model reads is [B, S].

    Args:
        batch: the examples.
        max_seq_length: the longest S.
        fixed_size: for devices that need one shape: B is filled up to this,
            and S is `max_seq_length`.
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


def pool_window(vectors: Vectors, over_tokens: str | None) -> Vectors:
    """What `join_windows` needs to know of a window, and no more.

    Args:
        vectors: the tokens that the window owns, and their vectors [T, L, D];
            for "first" the one vector [L, D] of its [CLS].
        over_tokens: "mean", "max", "first", or None, which keeps every token.

    Returns:
        For "mean" their sum, in double precision, and for "max" the highest
        values, [L, D]; else the same.
    """
    values = vectors.values
    if over_tokens == "mean":
        values = values.sum(axis=0, dtype=np.float64)
    elif over_tokens == "max":
        values = values.max(axis=0)
    return vectors._replace(values=values)


def join_windows(
    windows: Iterable[Vectors], over_tokens: str | None
) -> Iterator[Vectors]:
    """One `Vectors` for each line, from those of its windows.

    Each token has the vector of the window that owns it. Pooled, "mean" and
    "max" are over all tokens of the line; "first" is the mean of the windows'
    [CLS], for each of them knows of its own window only.

    Args:
        windows: in order, as `pool_window` returns them.
        over_tokens: as there.
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
        yield Vectors(line, tokens, joined.astype(np.float32))


# ------------------------------------------------------------------------ JSON


def json_line(vectors: Vectors, layers: Sequence[int | Sequence[int]]) -> str:
    """A line of the output, as the original wrote it, key for key.

    With every token: `linex_index` (sic) and `features`, a list of `token` and
    `layers`. Where tokens are pooled, `linex_index` and `layers`. Numbers have
    six digits after the point.

    Args:
        vectors: of a line of text.
        layers: what to call each of its L layers.
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
    """What Python's `round(x, 6)` makes of each float32, but quicker.

    It is the same: a float32 times a million is exact in a float64, and so is
    the whole number next to it; the quotient is the float64 nearest to the
    decimal number.
    """
    return (np.rint(values.astype(np.float64) * 1e6) / 1e6).tolist()
