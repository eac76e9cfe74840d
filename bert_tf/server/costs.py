"""The work of a request: how many windows of its texts the model reads.

A text that is longer than a row may be read in many windows, so the number of
texts says little about the time that they take.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from bert_tf.server.protocol import RequestError
from bert_tf.tasks.pretraining.cloze import MASK

# The most characters that one becomes when accents are stripped.
DECOMPOSED = 4

# Characters to tokenize that take about as long as a window.
TEXT_CHARS = 2048

Count = Callable[[str], int]


def windows_of_texts(
    about: Mapping[str, Any],
    pairs: Sequence[tuple[str, str]],
    count: Count,
    most: int,
) -> list[int]:
    """The number of windows for each text or pair, at least 1.

    Args:
        about: the model's settings, from assets/bert_tf.json.
        pairs: first and second texts, "" for none.
        count: returns the number of a text's word pieces.
        most: windows of all together.

    Raises:
        RequestError: 413, there are more.
    """
    found, total = [], 0
    for pair in pairs:
        found.append(max(1, _windows(about, *pair, count)))
        total += found[-1]
        if total > most:
            raise too_many(most)
    return found


def too_many(most: int) -> RequestError:
    """The refusal of a request of more than `most` windows."""
    return RequestError(
        f"The texts of a request may have {most} windows together (rows that "
        "the model reads); send fewer or shorter texts.",
        413,
    )


def of_text(text: str) -> int:
    """The cost of tokenizing a text, in windows."""
    return 1 + len(text) // TEXT_CHARS


def _windows(
    about: Mapping[str, Any], first: str, second: str, count: Count
) -> int:
    length, stride = about.get("max_seq_length"), about.get("doc_stride")
    if not length or (len(first) + len(second)) * DECOMPOSED + 3 <= length:
        return 1
    head = about["head"]
    if head == "pretraining":
        # Each [MASK] of a long text is read in a window around it.
        return 1 if second else first.count(MASK)
    if not stride:
        return 1
    if head == "span":
        asked = min(count(first), about.get("max_query_length", length))
        return _split(count(second), length - 3 - asked, stride)
    pieces = sorted((count(first), count(second)))
    room = length - (3 if second else 2)
    if sum(pieces) <= room:
        return 1
    return _split(pieces[1], room - min(pieces[0], room // 2), stride)


def _split(pieces: int, room: int, stride: int) -> int:
    """The number of windows of `packing.split_document`."""
    return 1 + -(-max(pieces - room, 0) // max(1, min(room, stride)))
