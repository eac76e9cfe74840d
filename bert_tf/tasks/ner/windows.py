"""Words to the pieces that a model reads at once.

Each word is tokenized alone, and predicted at its first piece. A sentence that
is too long is read in windows that overlap; a shorter one may be read with the
sentences around it in its document.
"""

import itertools
from collections.abc import Sequence
from typing import NamedTuple

from bert_tf.data.packing import find_max_context, split_document
from bert_tf.tokenization import Tokenizer

UNKNOWN = "[UNK]"


class Window(NamedTuple):
    """What a model reads at once.

    Attributes:
        tokens: [CLS], pieces, [SEP]; not yet padded.
        words: the numbers of the words of the sentence that are predicted in
            this window.
        positions: of the first pieces of these words, among the tokens.
    """

    tokens: list[str]
    words: list[int]
    positions: list[int]


def stride_of(max_seq_length: int) -> int:
    """The distance between the windows of a long sentence, in pieces."""
    return max(1, (max_seq_length - 2) // 2)


def pieces_of(word: str, tokenizer: Tokenizer) -> list[str]:
    """The pieces of a word; [UNK] for one that has none.

    A word of control characters or of a lone variation selector has no pieces,
    and must be predicted too.
    """
    return tokenizer.tokenize(word) or [UNKNOWN]


class WindowMaker:
    """Makes the windows of sentences.

    Args:
        tokenizer: a `FullTokenizer`.
        max_seq_length: the most tokens of a window, at least 3.
        document_context: whether to fill windows with the sentences before and
            after in the document, without [SEP] between them.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        max_seq_length: int,
        document_context: bool = False,
    ):
        self.tokenizer = tokenizer
        self.room = max_seq_length - 2
        self.stride = stride_of(max_seq_length)
        self.document_context = document_context
        # The pieces of the last document, and where its sentences begin.
        self._document: Sequence[Sequence[str]] = ()
        self._pieces: list[str] = []
        self._begins: list[int] = []

    def windows(
        self, document: Sequence[Sequence[str]], number: int
    ) -> list[Window]:
        """The windows of a sentence; each of its words is in one of them.

        Args:
            document: the words of each sentence.
            number: of the sentence in the document.
        """
        words = [pieces_of(word, self.tokenizer) for word in document[number]]
        firsts = [0, *itertools.accumulate(map(len, words))]
        own = list(itertools.chain.from_iterable(words))
        if len(own) > self.room:
            return self._split(own, firsts[:-1])
        left: list[str] = []
        right: list[str] = []
        if self.document_context:
            left, right = self._around(document, number, len(own))
        start = len(left) + 1
        return [
            Window(
                ["[CLS]", *left, *own, *right, "[SEP]"],
                list(range(len(words))),
                [start + first for first in firsts[:-1]],
            )
        ]

    def of_texts(self, texts: Sequence[Sequence[str]]) -> list[list[Window]]:
        """The windows of texts that are no sentences of a document.

        Args:
            texts: the words of each.
        """
        return [self.windows([words], 0) if words else [] for words in texts]

    def _split(self, pieces: list[str], firsts: list[int]) -> list[Window]:
        spans = split_document(len(pieces), self.room, self.stride)
        owners = find_max_context(spans, len(pieces))
        found = []
        for number, (start, length) in enumerate(spans):
            tokens = ["[CLS]", *pieces[start : start + length], "[SEP]"]
            words = [w for w, at in enumerate(firsts) if owners[at] == number]
            positions = [firsts[word] - start + 1 for word in words]
            # One in the middle of a long word predicts nothing.
            if words:
                found.append(Window(tokens, words, positions))
        return found

    def _around(
        self, document: Sequence[Sequence[str]], number: int, own: int
    ) -> tuple[list[str], list[str]]:
        """The pieces before and after a sentence that there is room for.

        Half of the room for each side, and the rest to the other one.
        """
        self._open(document)
        begin = self._begins[number]
        end = begin + own
        room = self.room - own
        after = len(self._pieces) - end
        left = min(begin, room // 2)
        right = min(after, room - left)
        left = min(begin, room - right)
        return self._pieces[begin - left : begin], self._pieces[
            end : end + right
        ]

    def _open(self, document: Sequence[Sequence[str]]) -> None:
        if document is self._document:
            return
        self._document, self._pieces, self._begins = document, [], []
        for sentence in document:
            self._begins.append(len(self._pieces))
            for word in sentence:
                self._pieces += pieces_of(word, self.tokenizer)
