"""Windows of words to the values of records, and what models make of them."""

import re
from collections.abc import Mapping, Sequence

import numpy as np

from bert_tf.data.packing import pad_inputs, pad_to_length
from bert_tf.tasks.ner.data import Example
from bert_tf.tasks.ner.windows import Window, WindowMaker

NO_LABEL = -1
"""The label id of whatever is not the first piece of a word to predict."""

LABEL_OF_NONE = 0
"""That of words whose label is not known: it marks their first pieces."""


def window_values(
    window: Window,
    label_ids: Sequence[int],
    max_seq_length: int,
    maker: WindowMaker,
) -> dict[str, list[int]]:
    """The values of a record.

    Args:
        window: of a sentence.
        label_ids: of all words of the sentence.
        max_seq_length: tokens of a record.
        maker: whose tokenizer has the ids.
    """
    tokens = window.tokens
    ids = maker.tokenizer.convert_tokens_to_ids(tokens)
    inputs = pad_inputs(ids, [0] * len(tokens), max_seq_length)
    labels = pad_to_length([], max_seq_length, NO_LABEL)
    for word, position in zip(window.words, window.positions, strict=True):
        labels[position] = label_ids[word]
    return dict(
        zip(
            ("input_ids", "input_mask", "segment_ids", "label_ids"),
            (*inputs, labels),
            strict=True,
        )
    )


def label_ids_of(example: Example, ids: Mapping[str, int]) -> list[int]:
    """The label ids of the words of a sentence.

    Args:
        example: the sentence.
        ids: of the labels.
    """
    if example.targets is None:
        return [LABEL_OF_NONE] * len(example.words)
    return [ids[label] for label in example.targets]


def describe_example(
    example: Example, ids_of_labels: Mapping[str, int], maker: WindowMaker
) -> str:
    """A sentence and its first window, for the log."""
    windows = maker.windows(example.document, example.number)
    first = windows[0]
    ids = maker.tokenizer.convert_tokens_to_ids(first.tokens)
    ids_of_words = label_ids_of(example, ids_of_labels)
    shown = example.targets or ["not known"] * len(example.words)
    words = zip(first.words, first.positions, strict=True)
    lines = [
        f"line: {example.line}, {len(example.words)} words",
        f"windows: {len(windows)}; of the first one:"
        if len(windows) > 1
        else "",
        f"tokens: {' '.join(first.tokens)}",
        f"input_ids: {' '.join(map(str, ids))}",
        f"length: {len(ids)} of max_seq_length={maker.room + 2}",
        "labels: "
        + " ".join(
            f"{example.words[word]}/{shown[word]} (id {ids_of_words[word]}, "
            f"position {position})"
            for word, position in words
        ),
    ]
    return "\n".join(line for line in lines if line)


def logits_of_words(
    example: Example, rows: Sequence[Mapping[str, np.ndarray]]
) -> np.ndarray:
    """The logits of each word of a sentence, float32 [words, L].

    Args:
        example: the sentence.
        rows: `label_ids` [S] and `logits` [S, L] of its records, in order.
    """
    found = [row["logits"][row["label_ids"] >= 0] for row in rows]
    logits = np.concatenate(found)
    if len(logits) != len(example.words):
        raise RuntimeError(
            f"The sentence of line {example.line} has {len(example.words)} "
            f"words, but {len(logits)} were predicted."
        )
    return logits


def prediction_lines(example: Example, predicted: Sequence[str]) -> list[str]:
    """Lines as conlleval reads them, in the scheme of the file.

    A word, its label if the file has it, and the predicted one, with blanks
    between; after the last word of the sentence a blank line.
    """
    # Only words of a .tsv file may have a blank, or be one.
    words = [re.sub("[ \t]", "_", word) or "_" for word in example.words]
    columns = [words, predicted]
    if example.labels is not None:
        columns.insert(1, example.labels)
    return [*map(" ".join, zip(*columns, strict=True)), ""]
