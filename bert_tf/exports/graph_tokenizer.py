"""Text to WordPiece ids inside a TensorFlow graph, for SavedModels.

Gives the ids of `FullTokenizer`, and their offsets, as ragged tensors. Uses
only ops of TensorFlow, so that a SavedModel with a `GraphTokenizer` needs no
other package.
"""

# The rules for single characters are not repeated here: the graph looks them up
# in tables that are made with the Python tokenizer. The rules that depend on
# several characters are applied in these steps:
#
#   text -> chunks       split at spaces. Nine of ten are known in advance; each
#                        distinct other one is processed once.
#   chunk -> characters  of all chunks, in one vector.
#   character -> its replacement, from the tables; the form of a sigma and the
#                        order of marks from its neighbours.
#   characters -> tokens around spaces, CJK characters and punctuation.
#   token -> pieces      whole from the vocabulary, or else letter by letter
#                        down the tree of all pieces.

import re
import unicodedata
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from bert_tf.errors import InputError
from bert_tf.exports import character_tables
from bert_tf.exports.character_tables import (
    ACCENT,
    BLOCK_BITS,
    CASED,
    ENDS_WORD,
    FINAL_SIGMA,
    FLAG_BITS,
    GONE,
    LENGTH_BITS,
    MANY,
    MOVES,
    SIGMA,
    SINGLE,
    SINGLE_CODE,
    SKIPPED,
    SPACE,
    STOPS,
)
from bert_tf.tokenization import BasicTokenizer, WordpieceTokenizer

# A surrogate, which valid UTF-8 does not have, marks bytes that are invalid.
_NOT_UTF8 = 0xD800

# The chunks known in advance are tokens, alone or followed by one of these.
# Their pieces have places: the token's id, and below it a bit for the number of
# the ending, and a bit that is 1 for the ending itself.
_ENDINGS = (",", ".")
_PLACE_BITS = 2

# In the tree of pieces, the upper bits of a number are a node, the middle ones
# the length of a piece, and the lower ones 1 + the id of the piece, or a
# letter. Two nodes are roots: for the beginning of a token, and for the rest of
# it. The largest letter is not one: it marks the end of each token.
_ID_BITS, _LENGTH_BITS = 21, 8
_NODE_BITS = _ID_BITS + _LENGTH_BITS
_ID_MASK, _LENGTH_MASK = (1 << _ID_BITS) - 1, (1 << _LENGTH_BITS) - 1
_BEGIN, _CONTINUE = 1 << _NODE_BITS, 2 << _NODE_BITS
_STOP = np.int64(_ID_MASK)
# Letters in a step of the search, after which finished pieces are taken out.
_STRIDE = 6


class GraphTokens(NamedTuple):
    """The pieces of texts; ragged int32 [B, (pieces)] each.

    Attributes:
        ids: of the vocabulary.
        starts, ends: the bytes of the text that the piece was made from, end
            exclusive; None without offsets.
        char_starts, char_ends: the same in characters (code points), as
            `FullTokenizer.tokenize_with_offsets` has them.
    """

    ids: tf.RaggedTensor
    starts: tf.RaggedTensor | None = None
    ends: tf.RaggedTensor | None = None
    char_starts: tf.RaggedTensor | None = None
    char_ends: tf.RaggedTensor | None = None


class _Characters(NamedTuple):
    """The N characters of all chunks, normalized: M characters, T tokens.

    Attributes:
        codes: int32 [M], code points.
        token_starts: int64 [T], the starts of tokens among them.
        sources: int64 [M], the one of the N that each was made from.
        ends: int64 [M], the last of the N that belongs to it, exclusive.
    """

    codes: tf.Tensor
    token_starts: tf.Tensor
    sources: tf.Tensor
    ends: tf.Tensor


class _Pieces(NamedTuple):
    """The pieces of chunks, P in all.

    Attributes:
        ids: int32 [P].
        splits: int64 [chunks + 1], the starts of the pieces of each chunk.
        spans: int32 [P, 4], the bytes and the characters of the chunk: start,
            end, start, end. None without offsets.
    """

    ids: tf.Tensor
    splits: tf.Tensor
    spans: tf.Tensor | None


class GraphTokenizer(tf.Module):
    """`FullTokenizer` in a graph: the same ids for every UTF-8 text.

    Args:
        vocab: the tokens in the order of their ids, or ids by token.
        do_lower_case: lower-case the text.
        strip_accents: strip accents; None as `do_lower_case`.

    Attributes:
        unicode_version: of the Python that made the tables.

    Raises:
        InputError: the vocabulary has no [UNK].
    """

    def __init__(
        self,
        vocab: Sequence[str] | Mapping[str, int],
        do_lower_case: bool,
        strip_accents: bool | None = None,
    ):
        super().__init__()
        if not isinstance(vocab, Mapping):
            vocab = {token.strip(): index for index, token in enumerate(vocab)}
        wordpiece = WordpieceTokenizer(dict(vocab))
        if wordpiece.unk_token not in vocab:
            raise InputError(
                f"The vocabulary must have {wordpiece.unk_token}, for words "
                f"that it has no pieces for. Received: {len(vocab)} tokens "
                "without it."
            )
        self._wordpiece = wordpiece
        self.do_lower_case = do_lower_case
        self._strips = do_lower_case if strip_accents is None else strip_accents
        self.unicode_version = unicodedata.unidata_version
        self._unknown = np.int64(vocab[wordpiece.unk_token])
        self._space = np.int64(max(vocab.values()) + 1)  # No token's id.
        with tf.device("CPU"):
            self._make_tables()

    @property
    def _vocab(self):
        # A `tf.Module` would track each entry of an attribute.
        return self._wordpiece.vocab

    def _make_tables(self):
        rules = character_tables.character_rules(
            self.do_lower_case, self._strips
        )
        self._rules = type(rules)(*map(tf.constant, rules))
        chunks, found = self._known_chunks()
        self._chunks = _hash_table(tf.constant(chunks, tf.string), found, -1)
        tree = _tree_of_pieces(
            self._vocab, self._wordpiece.max_input_chars_per_word
        )
        self._tree = _hash_table(*tree, 0)
        lengths = np.zeros((self._space + 1, 2), np.int32)
        for token, index in self._vocab.items():
            lengths[index] = len(token.encode()), len(token)
        self._lengths = tf.constant(lengths)

    def _known_chunks(self):
        """Chunks that are a token, or a token and an ending.

        Returns:
            The chunks; and for each of them 2 * the place of its first piece,
            + 1 if there is a second.
        """
        basic = BasicTokenizer(self.do_lower_case, self._strips)
        chunks = {"no chunk": 0}  # Not a chunk, but a table cannot be empty.
        for token, index in self._vocab.items():
            if len(token) > self._wordpiece.max_input_chars_per_word:
                continue
            if basic.tokenize(token) != [token]:  # ##s, [UNK]
                continue
            place = index << _PLACE_BITS
            chunks[token] = 2 * place
            for number, ending in enumerate(_ENDINGS):
                parts = basic.tokenize(token + ending)
                if ending in self._vocab and parts == [token, ending]:
                    chunks[token + ending] = 2 * (place + 2 * number) + 1
        return list(chunks), list(chunks.values())

    @tf.autograph.experimental.do_not_convert
    def tokenize(
        self,
        texts: tf.Tensor,
        with_offsets: bool = True,
        literal: str | None = None,
    ) -> GraphTokens:
        """Splits texts into pieces.

        Args:
            texts: string [B], UTF-8.
            with_offsets: also return the offsets of pieces.
            literal: a token, such as [MASK], that is one piece wherever a text
                has it.

        Returns:
            The pieces of each text.

        Raises:
            InputError: `literal` is not in the vocabulary, or has a space.
            tf.errors.InvalidArgumentError: a text is not UTF-8.
        """
        if literal is not None and (
            literal not in self._vocab or not literal or " " in literal
        ):
            raise InputError(
                "`literal` must be a token of the vocabulary without a space. "
                f"Received: literal={literal!r}"
            )
        with tf.device("CPU"):
            texts = tf.convert_to_tensor(texts, tf.string)
            chunks, is_literal = self._split(texts, literal)
            found = self._chunks.lookup(chunks.flat_values)
            if literal is not None:
                place = self._vocab[literal] << _PLACE_BITS
                found = tf.where(is_literal, np.int64(2 * place), found)
            places, rest = self._place_pieces(
                chunks.flat_values, found, with_offsets
            )
            tensors = self._look_at(places.flat_values, rest)
            if with_offsets:
                row = _rows_of(places.row_splits, tf.size(tensors[0]))
                bases = tf.gather(_find_bases(chunks, is_literal), row)
                for i, base in enumerate(tf.unstack(bases, axis=1)):
                    tensors[1 + 2 * i] += base
                    tensors[2 + 2 * i] += base
            splits = tf.gather(places.row_splits, chunks.row_splits)
            return GraphTokens(
                *(
                    tf.RaggedTensor.from_row_splits(t, splits, validate=False)
                    for t in tensors
                )
            )

    def _split(self, texts, literal):
        """Returns ragged chunks without spaces, and which are the literal."""
        # Lower-casing ASCII first changes no result, and more chunks are known.
        lower = tf.strings.lower if self.do_lower_case else tf.identity
        if literal is None:
            return _split_at_spaces(lower(texts)), None
        spaced = f" {literal} ".replace("\\", r"\\")
        texts = tf.strings.regex_replace(texts, re.escape(literal), spaced)
        chunks = _split_at_spaces(texts)
        words = chunks.flat_values
        return chunks.with_flat_values(lower(words)), words == literal

    def _place_pieces(self, chunks, found, with_offsets):
        """Finds the pieces of chunks.

        Args:
            chunks: string [chunks].
            found: int64 [chunks], their values in `_known_chunks`, or -1.

        Returns:
            Ragged int32 [chunks, (pieces)], the place of each piece; and the
            `_Pieces` of the chunks that were not found, whose places come
            after all others.
        """
        others = tf.squeeze(tf.where(found < 0), 1)
        distinct, rows = tf.unique(tf.gather(chunks, others), tf.int64)
        rest = self._split_chunks(distinct, with_offsets)
        begins = tf.gather(rest.splits, rows)
        counts = tf.gather(rest.splits, rows + 1) - begins
        begins += self._space << _PLACE_BITS
        is_known, size = found >= 0, tf.size(chunks)
        first = tf.where(is_known, _shift(found, 1), 0)
        first += _spread(begins, others, size)
        count = tf.where(is_known, (found & 1) + 1, 0)
        count += _spread(counts, others, size)
        places = tf.ragged.range(
            tf.cast(first, tf.int32),
            tf.cast(first + count, tf.int32),
            row_splits_dtype=tf.int64,
        )
        return places, rest

    def _look_at(self, places, rest):
        """Looks up the pieces at places, int32 [pieces] each.

        Returns:
            The ids; and, if `rest` has spans, the start and the end in bytes
            of the chunk, and in characters.
        """
        size = tf.constant(self._space << _PLACE_BITS, tf.int32)
        in_rest = tf.maximum(places - size, -1) + 1  # 0: not there.
        # Pieces of the rest count as the token `_space`, which has no letters.
        places = tf.minimum(places, size)
        token, is_ending = _shift(places, _PLACE_BITS), places & 1
        comma, stop = (self._vocab.get(ending, 0) for ending in _ENDINGS)
        ending = tf.where((places & 2) == 0, comma, stop)
        ids = tf.where(is_ending == 1, ending, token)
        more = tf.gather(tf.concat([[0], rest.ids], 0), in_rest)
        tensors = [tf.where(in_rest > 0, more, ids)]
        if rest.spans is not None:
            more = tf.gather(tf.concat([[[0] * 4], rest.spans], 0), in_rest)
            more = tf.unstack(more, axis=1)
            lengths = tf.gather(self._lengths, token)
            for i, length in enumerate(tf.unstack(lengths, axis=1)):
                tensors.append(more[2 * i] + length * is_ending)
                tensors.append(more[2 * i + 1] + length + is_ending)
        return tensors

    def _split_chunks(self, chunks, with_offsets):
        """Returns the `_Pieces` of chunks that have no space in them."""
        codes, byte_starts = tf.strings.unicode_decode_with_offsets(
            tf.strings.reduce_join(chunks, separator=" "),
            "UTF-8",
            errors="replace",
            replacement_char=_NOT_UTF8,
        )
        number = tf.math.count_nonzero(codes == _NOT_UTF8)
        check = tf.debugging.Assert(
            number == 0,
            [
                "Texts must be UTF-8. Invalid bytes:",
                number,
            ],
        )
        with tf.control_dependencies([check]):
            characters = self._normalize(codes)
        ids, lasts = self._find_pieces(characters)
        firsts = tf.concat([[0], lasts + 1], 0)[:-1]
        pieces = tf.squeeze(tf.where(ids != self._space), 1)
        ids = tf.cast(tf.gather(ids, pieces), tf.int32)
        starts = tf.gather(characters.sources, tf.gather(firsts, pieces))
        spaces = tf.squeeze(tf.where(codes == SPACE), 1)
        splits = tf.searchsorted(starts, spaces, out_type=tf.int64)
        splits = tf.concat([[0], splits, [tf.size(ids, tf.int64)]], 0)
        if not with_offsets:
            return _Pieces(ids, splits, None)
        ends = tf.gather(characters.ends, tf.gather(lasts, pieces))
        widths = 1 + sum(
            tf.cast(codes >= bound, tf.int64) for bound in (0x80, 0x800, 65536)
        )
        row = _rows_of(splits, tf.size(ids))
        byte_bases = tf.concat([[0], tf.gather(byte_starts, spaces) + 1], 0)
        byte_base = tf.gather(byte_bases, row)
        base = tf.gather(tf.concat([[0], spaces + 1], 0), row)
        spans = [
            tf.gather(byte_starts, starts) - byte_base,
            tf.gather(byte_starts + widths, ends - 1) - byte_base,
            starts - base,
            ends - base,
        ]
        return _Pieces(ids, splits, tf.cast(tf.stack(spans, 1), tf.int32))

    def _normalize(self, codes):
        """Does what `BasicTokenizer` does.

        Args:
            codes: int32 [N], code points.

        Returns:
            `_Characters`.
        """
        block = tf.gather(self._rules.blocks, _shift(codes, BLOCK_BITS))
        rules = tf.gather(
            self._rules.rules, block + (codes & (1 << BLOCK_BITS) - 1)
        )
        if self.do_lower_case:
            rules = tf.cond(
                tf.reduce_any(codes == SIGMA),
                lambda: _form_final_sigmas(codes, rules),
                lambda: rules,
            )
        sources = tf.squeeze(tf.where((rules & GONE) == 0), 1)
        became = codes + _shift(rules, FLAG_BITS)
        became = tf.gather(became + (rules & SINGLE) * SINGLE_CODE, sources)
        became, sources = tf.cond(
            tf.reduce_any((rules & MANY) != 0),
            lambda: self._multiply(became, sources, rules),
            lambda: (became, sources),
        )
        ends = sources + 1
        if self._strips:
            became = tf.cond(
                tf.reduce_any((rules & MOVES) != 0),
                lambda: self._order_marks(became, sources, rules),
                lambda: became,
            )
            ends = tf.cond(
                tf.reduce_any((rules & ACCENT) != 0),
                lambda: _include_accents(ends, sources, rules),
                lambda: ends,
            )
        single = became >= SINGLE_CODE
        begins = tf.concat([[True], single[1:] | single[:-1]], 0)
        begins = begins[: tf.size(became)]
        return _Characters(
            became & (SINGLE_CODE - 1),
            tf.squeeze(tf.where(begins), 1),
            sources,
            ends,
        )

    def _multiply(self, became, sources, rules):
        """Replaces characters that are `MANY` by all of their characters."""
        size = tf.size(became)
        kept = tf.gather(rules, sources)
        number, is_many = _shift(kept, FLAG_BITS), (kept & MANY) != 0
        first = size + _shift(number, LENGTH_BITS)
        first = tf.where(is_many, first, tf.range(size))
        count = tf.where(is_many, number & (1 << LENGTH_BITS) - 1, 1)
        every = tf.concat([became, self._rules.many], 0)
        places = tf.ragged.range(
            first, first + count, row_splits_dtype=tf.int64
        )
        row = _rows_of(places.row_splits, tf.size(places.flat_values))
        return tf.gather(every, places.flat_values), tf.gather(sources, row)

    def _order_marks(self, became, sources, rules):
        """Sorts the marks that follow a letter, as NFD does.

        Accents have been removed by now, but one that NFD does not sort still
        separates the marks before it from those after it.
        """
        is_mark = became[:, None] == self._rules.marks
        classes = tf.where(is_mark, self._rules.mark_classes, 0)
        classes = tf.reduce_sum(classes, 1)
        stops = tf.cumsum(tf.cast((rules & STOPS) != 0, tf.int32))
        group = tf.cumsum(tf.cast(classes == 0, tf.int32))
        group += tf.gather(stops, sources)
        key = tf.cast(group, tf.int64) * 256 + tf.cast(classes, tf.int64)
        return tf.gather(became, tf.argsort(key, stable=True))

    def _find_pieces(self, characters):
        """Returns the ids of all pieces, and their last characters: int64 [P].

        Spaces count as pieces, with the id `_space`, so that each piece begins
        where the one before it ends.
        """
        codes, starts = characters.codes, characters.token_starts
        size = tf.size(codes, tf.int64)
        splits = tf.concat([starts, [size]], 0)
        ends = splits[1:]
        tokens = tf.RaggedTensor.from_row_splits(codes, splits, validate=False)
        # A token never matches a chunk with an ending.
        ids = self._chunks.lookup(tf.strings.unicode_encode(tokens, "UTF-8"))
        ids = _shift(ids, 1 + _PLACE_BITS)
        ids = tf.where(
            ends - starts > self._wordpiece.max_input_chars_per_word,
            self._unknown,
            ids,
        )
        ids = tf.where(tf.gather(codes, starts) == SPACE, self._space, ids)
        missing = tf.squeeze(tf.where(ids < 0), 1)
        more, lasts, failed = self._walk(
            codes, tf.gather(starts, missing), tf.gather(ends, missing)
        )
        failed = tf.gather(missing, failed)
        ids = tf.tensor_scatter_nd_update(
            ids, failed[:, None], tf.fill(tf.shape(failed), self._unknown)
        )
        whole = tf.squeeze(tf.where(ids >= 0), 1)
        ids = tf.concat([tf.gather(ids, whole), more], 0)
        lasts = tf.concat([tf.gather(ends, whole) - 1, lasts], 0)
        ids = _spread(ids + 1, lasts, size)
        lasts = tf.squeeze(tf.where(ids > 0), 1)
        return tf.gather(ids, lasts) - 1, lasts

    def _walk(self, codes, starts, ends):
        """Finds the longest pieces of tokens, letter by letter.

        Returns:
            The ids of the pieces of all tokens that consist of pieces, and
            their last characters; and the numbers of the other tokens. int64.
        """
        places = tf.ragged.range(starts, ends + 1, row_splits_dtype=tf.int64)
        splits, places = places.row_splits, places.flat_values
        codes = tf.concat([tf.cast(codes, tf.int64), [_STOP]], 0)
        letters = tf.tensor_scatter_nd_update(
            tf.gather(codes, places),
            splits[1:, None] - 1,
            tf.fill(tf.shape(starts), _STOP),
        )
        letters = tf.concat([letters, [_STOP] * _STRIDE], 0)

        def step(begin, here, node, last, found):
            # `last` is the tree's value for the last letter that it has.
            for _ in range(_STRIDE):
                value = self._tree.lookup(node + tf.gather(letters, here))
                here += 1
                last = tf.where(value > 0, value, last)
                node = value & -_BEGIN  # 0 where no letter follows.
            goes, ends = node > 0, node <= 0
            piece = tf.boolean_mask(last, ends)
            length = _shift(piece, _ID_BITS) & _LENGTH_MASK
            end = tf.boolean_mask(begin, ends) + length
            new = tf.stack([end, piece & _ID_MASK])
            found = tf.concat([found, new], 1)
            more = (length > 0) & (tf.gather(letters, end) != _STOP)
            rest = tf.boolean_mask(end, more)
            begin = tf.concat([tf.boolean_mask(begin, goes), rest], 0)
            here = tf.concat([tf.boolean_mask(here, goes), rest], 0)
            root = tf.zeros_like(rest) + _CONTINUE
            node = tf.concat([tf.boolean_mask(node, goes), root], 0)
            none = tf.zeros_like(rest)
            last = tf.concat([tf.boolean_mask(last, goes), none], 0)
            return begin, here, node, last, found

        begin = splits[:-1]
        none = tf.zeros_like(begin)
        *_, found = tf.while_loop(
            lambda begin, *_: tf.size(begin) > 0,
            step,
            (begin, begin, none + _BEGIN, none, tf.zeros([2, 0], tf.int64)),
            shape_invariants=(
                *(tf.TensorShape([None]),) * 4,
                tf.TensorShape([2, None]),
            ),
        )
        ends, ids = tf.unstack(found)
        is_piece = ids > 0
        failed = tf.boolean_mask(ends, ~is_piece)
        failed = tf.searchsorted(splits, failed, "right", tf.int64) - 1
        ends, ids = (
            tf.boolean_mask(ends, is_piece),
            tf.boolean_mask(ids, is_piece),
        )
        row = tf.searchsorted(splits, ends, out_type=tf.int64) - 1
        bad = _spread(tf.ones_like(failed), failed, tf.size(starts))
        good = tf.gather(bad, row) == 0
        ids = tf.boolean_mask(ids, good) - 1
        return ids, tf.gather(places, tf.boolean_mask(ends, good) - 1), failed


def _hash_table(keys, values, default):
    """A table of int64 values, with a default for other keys."""
    initializer = tf.lookup.KeyValueTensorInitializer(
        keys, tf.constant(values, tf.int64)
    )
    return tf.lookup.StaticHashTable(initializer, default)


def _tree_of_pieces(
    vocab: Mapping[str, int], longest: int
) -> tuple[np.ndarray, np.ndarray]:
    """The letters of all pieces as a tree.

    Args:
        vocab: token -> id.
        longest: leave out longer tokens, and empty ones.

    Returns:
        Keys, int64: a node, and a letter that follows. Values, int64: the next
        node; and the length and 1 + the id of the longest piece on the path
        from the root, or 0.
    """
    nodes: dict[int, int] = {}
    pieces: dict[int, int] = {}
    for token, index in vocab.items():
        node, letters = _BEGIN, token
        if token.startswith("##"):  # No word but "#" begins like that.
            node, letters = _CONTINUE, token[2:]
        if not 0 < len(letters) <= longest:
            continue
        for letter in letters:
            new = (len(nodes) << _NODE_BITS) + _CONTINUE + _BEGIN
            node = nodes.setdefault(node | ord(letter), new)
        pieces[node] = len(letters) << _ID_BITS | index + 1
    for key, node in nodes.items():  # A node comes before those that follow.
        before = pieces.get(key & -_BEGIN, 0)
        pieces.setdefault(node, before)
    values = [node | pieces[node] for node in nodes.values()]
    return np.array(list(nodes), np.int64), np.array(values, np.int64)


def _split_at_spaces(texts):
    """Returns ragged chunks; an empty text has none."""
    # The op of `tf.strings.split` takes half as long again.
    indices, chunks, shape = tf.raw_ops.StringSplit(
        input=texts, delimiter=" ", skip_empty=False
    )
    return tf.RaggedTensor.from_value_rowids(
        chunks, indices[:, 0], shape[0], validate=False
    )


def _shift(numbers, bits):
    """`numbers >> bits`."""
    return tf.bitwise.right_shift(numbers, tf.constant(bits, numbers.dtype))


def _spread(values, places, size):
    """Puts values at places that differ, and 0 elsewhere: [size]."""
    return tf.math.unsorted_segment_sum(values, places, size)


def _rows_of(splits, size):
    """Returns the row of each of `size` values: int64 [size]."""
    begins = tf.math.unsorted_segment_sum(
        tf.ones_like(splits[1:-1]), splits[1:-1], size + 1
    )
    return tf.cumsum(begins[:-1])


def _find_bases(chunks, is_literal):
    """Where each chunk begins in its text.

    Returns:
        int32 [chunks, 2], bytes and characters.
    """
    words = chunks.flat_values
    characters = tf.strings.length(words, unit="UTF8_CHAR")
    lengths = tf.stack([tf.strings.length(words), characters], 1)
    starts = tf.cumsum(lengths + 1, exclusive=True)
    if is_literal is not None:
        # Two spaces were added around each.
        added = tf.cast(is_literal, tf.int32)
        added += 2 * tf.cumsum(added, exclusive=True)
        starts -= added[:, None]
    padded = tf.concat([starts, [[0, 0]]], 0)  # The last text may be empty.
    texts = tf.gather(padded, chunks.row_splits[:-1])
    return starts - tf.gather(texts, chunks.value_rowids())


def _form_final_sigmas(codes, rules):
    """Changes the rules of capital sigmas at the ends of words.

    Such a sigma follows a letter with a case and does not precede one, not
    counting skipped characters: the rule of Unicode, as in `str.lower`.
    Characters that end a word neither have a case nor are skipped.
    """
    counted = tf.squeeze(tf.where((rules & SKIPPED) == 0), 1)
    cased = (tf.gather(rules, counted) & CASED) != 0
    cased = tf.concat([[False], cased, [False]], 0)
    final = tf.cast(cased[:-2] & ~cased[2:], tf.int32)
    final = _spread(final, counted, tf.size(codes))
    final *= tf.cast(codes == SIGMA, tf.int32)
    return rules + final * (FINAL_SIGMA - ord("σ") << FLAG_BITS)


def _include_accents(ends, sources, rules):
    """Extends the character before an accent, within a word, to include it."""
    accents = tf.squeeze(tf.where((rules & ACCENT) != 0), 1)
    before = tf.searchsorted(sources, accents, out_type=tf.int64) - 1
    accents = tf.boolean_mask(accents, before >= 0)
    before = tf.boolean_mask(before, before >= 0)
    rule = tf.gather(rules, tf.gather(sources, before))
    same_word = (rule & ENDS_WORD) == 0
    return tf.tensor_scatter_nd_max(
        ends,
        tf.boolean_mask(before, same_word)[:, None],
        tf.boolean_mask(accents, same_word) + 1,
    )
