"""Makes masked-LM and next-sentence examples from tokenized documents.

Numbers are drawn in the same order as in google-research/bert, so that the same
text, settings and seed give the same examples. It is fast because an example is
kept as two spans of tokens in one array of ids, and NumPy builds the features
of many examples at once; because the end of a text is found by bisection; and
because numbers are drawn with the two C functions of `random.Random`.
"""

import dataclasses
import random
from array import array
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from bert_tf.data.packing import truncate_at_random_ends
from bert_tf.errors import InputError
from bert_tf.tokenization import FullTokenizer, Piece

SPECIAL_TOKENS = ("[UNK]", "[CLS]", "[SEP]", "[MASK]")

# Number of attempts to draw another document for a random next sentence; after
# that, the same document is used.
MOST_DOCUMENT_DRAWS = 10

# Number of examples whose features are built at once.
BATCH = 2048

# Replacements of a token to predict, other than the number of a word.
MASKED, KEPT = -2, -1

Segmenter = Callable[[str], Iterable[str]]


@dataclasses.dataclass(frozen=True)
class Settings:
    """How examples are made; names and defaults of the original's flags.

    Attributes:
        max_seq_length: number of tokens in an example, with padding.
        max_predictions_per_seq: maximum number of masked tokens in an example.
        do_whole_word_mask: mask all pieces of a word or none.
        dupe_factor: number of passes over the text, with different masks.
        masked_lm_prob: share of tokens to mask.
        short_seq_prob: share of examples that are made shorter on purpose.

    Raises:
        InputError: names a setting that is out of range.
    """

    max_seq_length: int = 128
    max_predictions_per_seq: int = 20
    do_whole_word_mask: bool = False
    dupe_factor: int = 10
    masked_lm_prob: float = 0.15
    short_seq_prob: float = 0.1

    def __post_init__(self):
        room = self.max_seq_length - 3
        for name, fits, rule in (
            (
                "max_seq_length",
                room >= 2,
                "at least 5: [CLS], [SEP] twice, and a token of each text",
            ),
            (
                "max_predictions_per_seq",
                1 <= self.max_predictions_per_seq <= max(room, 1),
                f"from 1 to {room}: max_seq_length={self.max_seq_length} "
                "less [CLS] and two [SEP], which are never masked",
            ),
            ("dupe_factor", self.dupe_factor >= 1, "at least 1"),
            ("masked_lm_prob", 0 < self.masked_lm_prob <= 1, "in (0, 1]"),
            ("short_seq_prob", 0 <= self.short_seq_prob <= 1, "in [0, 1]"),
        ):
            if not fits:
                raise InputError(
                    f"`{name}` must be {rule}. "
                    f"Received: {name}={getattr(self, name)}"
                )

    def num_to_predict(self, num_tokens: int) -> int:
        """Number of tokens to mask, of `num_tokens` with [CLS] and [SEP]."""
        wanted = max(1, round(num_tokens * self.masked_lm_prob))
        return min(self.max_predictions_per_seq, wanted)


@dataclasses.dataclass
class Summary:
    """Counts of text and examples; those of several texts can be added.

    `lone_documents` counts documents that were the only one of their text;
    `long_sentences` those that have more tokens than an example has room for,
    and `cut_tokens` the tokens that are then in no example of a pass.
    """

    documents: int = 0
    sentences: int = 0
    tokens: int = 0
    unknown_tokens: int = 0
    instances: int = 0
    positions: int = 0
    padding: int = 0
    random_next: int = 0
    masked_tokens: int = 0
    lone_documents: int = 0
    long_sentences: int = 0
    cut_tokens: int = 0

    def __add__(self, other: "Summary") -> "Summary":
        mine, others = dataclasses.astuple(self), dataclasses.astuple(other)
        return Summary(*map(sum, zip(mine, others)))

    def __str__(self) -> str:
        def share(part, whole):
            return f"{100 * part / max(whole, 1):.1f} %"

        return (
            f"{self.documents:,} documents, {self.sentences:,} sentences, "
            f"{self.tokens:,} tokens ({share(self.unknown_tokens, self.tokens)}"
            f" of them [UNK]); {self.instances:,} instances "
            f"({share(self.random_next, self.instances)} random next), "
            f"{self.masked_tokens:,} masked tokens, "
            f"{share(self.padding, self.positions)} padding"
        )


@dataclasses.dataclass(frozen=True)
class TrainingInstance:
    """One example: [CLS] A [SEP] B [SEP], some tokens of it masked.

    Attributes:
        tokens: the input of the model, without padding.
        segment_ids: 0 up to the first [SEP], 1 after it.
        is_random_next: whether B is from elsewhere, not the text after A.
        masked_lm_positions: places of the tokens to predict, ascending.
        masked_lm_labels: the original tokens at these places.
    """

    tokens: list[str]
    segment_ids: list[int]
    is_random_next: bool
    masked_lm_positions: list[int]
    masked_lm_labels: list[str]


# ----------------------------------------------------------------------- text


@dataclasses.dataclass(frozen=True)
class Documents:
    """Tokenized text: all tokens in a row, and the starts of its parts.

    Attributes:
        vocab: {token: id}, in the order of the vocabulary file.
        token_ids: int32 [tokens].
        sentence_starts: the first token of each sentence, and the end.
        document_starts: the first sentence of each document, and the end.
        continues: uint8 [tokens], 1 if a token belongs to the same word as the
            one before it; None unless whole words are to be masked.
    """

    vocab: Mapping[str, int]
    token_ids: NDArray[np.int32]
    sentence_starts: Sequence[int]
    document_starts: Sequence[int]
    continues: NDArray[np.uint8] | None = None

    def __len__(self) -> int:
        return len(self.document_starts) - 1

    @property
    def num_sentences(self) -> int:
        """Number of sentences in all documents."""
        return len(self.sentence_starts) - 1


def check_vocab(vocab: Mapping[str, int], vocab_file: str) -> None:
    """Raises `InputError` unless the special tokens are in the vocabulary."""
    missing = [token for token in SPECIAL_TOKENS if token not in vocab]
    if missing:
        raise InputError(
            f"The vocabulary must have {', '.join(SPECIAL_TOKENS)}. "
            f"{vocab_file} lacks {', '.join(missing)}: is it a BERT vocabulary?"
        )


def read_documents(
    lines: Iterable[str],
    tokenizer: FullTokenizer,
    whole_words: bool = False,
    segmenter: Segmenter | None = None,
) -> Documents:
    """Tokenizes text: a sentence in each line, blank lines between documents.

    A line that has no tokens but is not blank, such as a zero width space, is
    neither a sentence nor a boundary. Documents without sentences are skipped.

    Args:
        lines: the text, with or without line ends.
        tokenizer: the model's tokenizer.
        whole_words: record which tokens continue a word.
        segmenter: splits a sentence into words, for languages like Chinese,
            where spaces and "##" do not; see `mark_words`.

    Raises:
        InputError: the words of the segmenter are not those of the text.
    """
    vocab = tokenizer.vocab
    token_ids, continues = array("i"), bytearray()
    sentences, documents = array("q", [0]), array("q", [0])
    find_words = tokenizer.basic_tokenizer.tokenize
    find_ids = tokenizer.wordpiece_tokenizer.find_ids
    for line in lines:
        text = line.strip()
        if not text:
            if documents[-1] < len(sentences) - 1:
                documents.append(len(sentences) - 1)
            continue
        if segmenter is None:
            token_ids.extend(find_ids(find_words(text)))
        else:
            placed = tokenizer.tokenize_with_offsets(text)
            token_ids.extend(vocab[piece.token] for piece in placed)
            continues.extend(mark_words(text, placed, segmenter))
        if sentences[-1] < len(token_ids):
            sentences.append(len(token_ids))
    if documents[-1] < len(sentences) - 1:
        documents.append(len(sentences) - 1)
    # int32 whatever the platform's `int` is.
    ids = np.array(token_ids, np.int32)
    marks = None
    if segmenter is not None:
        marks = np.frombuffer(bytes(continues), np.uint8)
    elif whole_words:
        is_tail = np.zeros(max(vocab.values()) + 1, np.uint8)
        for token, number in vocab.items():
            is_tail[number] = token.startswith("##")
        marks = is_tail[ids]
    return Documents(vocab, ids, sentences, documents, marks)


def mark_words(
    text: str, pieces: Sequence[Piece], segmenter: Segmenter
) -> list[int]:
    """1 for each piece that belongs to the same word as the one before it.

    Args:
        text: a sentence.
        pieces: its tokens with their places.
        segmenter: returns the words of a text, in order; nothing but whitespace
            may be missing.

    Raises:
        InputError: a word is not the next one in the text.
    """
    word_of: dict[int, int] = {}
    end = 0
    for number, word in enumerate(segmenter(text)):
        start = text.find(word, end)
        if start < 0 or text[end:start].strip():
            raise InputError(
                "The word segmenter must return the words of the text, in "
                f"order, with nothing left out or changed. For {text!r} it "
                f"returned {word!r} where {text[end : end + 20]!r} comes next"
            )
        end = start + len(word)
        word_of.update(dict.fromkeys(range(start, end), number))
    if text[end:].strip():
        raise InputError(
            "The word segmenter must return all words of the text. For "
            f"{text!r} it left out {text[end:]!r}"
        )
    marks: list[int] = []
    before = -1
    for piece in pieces:
        current = word_of[piece.start]
        is_tail = current == before or piece.token.startswith("##")
        marks.append(int(is_tail))
        before = current
    return marks


# ---------------------------------------------------------------------- draws


def draw_below(bound: int, rng: random.Random) -> int:
    """The same as `rng.randrange(bound)`, but faster."""
    bits = bound.bit_length()
    number = rng.getrandbits(bits)
    while number >= bound:
        number = rng.getrandbits(bits)
    return number


def shuffled(
    count: int, rng: random.Random, first: int | None = None
) -> list[int]:
    """The numbers below `count` in the order of `rng.shuffle`, but faster.

    Args:
        count: how many numbers to shuffle.
        rng: the generator.
        first: return this many of the shuffled numbers; None for all. The
            generator advances as in a complete shuffle.
    """
    draw = rng.getrandbits
    order = list(range(count))
    first = count if first is None else first
    last = count - 1
    while last > 0:
        # `last` + 1 has this number of bits down to `lowest`.
        bits = (last + 1).bit_length()
        lowest = max((1 << (bits - 1)) - 1, 1)
        # Places from `first` on are not returned, so they need no value.
        border = max(lowest, first)
        while last >= border:
            other = draw(bits)
            if other <= last:
                order[other] = order[last]
                last -= 1
        while last >= lowest:
            other = draw(bits)
            if other <= last:
                order[last], order[other] = order[other], order[last]
                last -= 1
    return order[:first]


def draw_replacements(
    count: int, num_words: int, rng: random.Random
) -> list[int]:
    """Replacements of `count` tokens: MASKED, KEPT, or the number of a word.

    80 % are masked, 10 % are kept, 10 % become a random word.
    """
    draw = rng.random
    replacements = []
    for _ in range(count):
        if draw() < 0.8:
            replacements.append(MASKED)
        elif draw() < 0.5:
            replacements.append(KEPT)
        else:
            replacements.append(draw_below(num_words, rng))
    return replacements


def choose_words(
    word_starts: Sequence[int], end: int, most: int, rng: random.Random
) -> list[int]:
    """The tokens of randomly chosen whole words.

    A word that would exceed the maximum is skipped; a shorter one after it may
    still fit.

    Args:
        word_starts: the first token of each word.
        end: number of all tokens.
        most: maximum number of tokens to choose.
        rng: the generator.
    """
    ends = [*word_starts[1:], end]
    chosen: list[int] = []
    for word in shuffled(len(word_starts), rng):
        if len(chosen) >= most:
            break
        if len(chosen) + ends[word] - word_starts[word] <= most:
            chosen.extend(range(word_starts[word], ends[word]))
    return chosen


def find_word_starts(continues: Iterable[int]) -> list[int]:
    """The tokens that start a word; the first token always does."""
    starts = [place for place, mark in enumerate(continues) if not mark]
    return starts if starts[:1] == [0] else [0, *starts]


def create_masked_lm_predictions(
    tokens: Sequence[str],
    settings: Settings,
    vocab_words: Sequence[str],
    rng: random.Random,
) -> tuple[list[str], list[int], list[str]]:
    """Masks some of the tokens, but never [CLS] and [SEP].

    Args:
        tokens: those of an example.
        settings: how many to mask, and whether whole words.
        vocab_words: possible random replacements, including special tokens.
        rng: the generator.

    Returns:
        The masked tokens, the places to predict, and the original tokens there.
    """
    places = [
        place
        for place, token in enumerate(tokens)
        if token not in ("[CLS]", "[SEP]")
    ]
    most = settings.num_to_predict(len(tokens))
    if settings.do_whole_word_mask:
        starts = find_word_starts(
            tokens[place].startswith("##") for place in places
        )
        chosen = choose_words(starts, len(places), most, rng)
    else:
        chosen = shuffled(len(places), rng, most)
    replacements = draw_replacements(len(chosen), len(vocab_words), rng)
    masked = list(tokens)
    for choice, replacement in zip(chosen, replacements):
        if replacement == MASKED:
            masked[places[choice]] = "[MASK]"
        elif replacement != KEPT:
            masked[places[choice]] = vocab_words[replacement]
    positions = sorted(places[choice] for choice in chosen)
    return masked, positions, [tokens[place] for place in positions]


# ------------------------------------------------------------------ instances


class Instances:
    """Examples, each stored as two spans of the text and its masks.

    An example of 128 tokens takes about 150 bytes; the text is shared.
    """

    def __init__(self, documents: Documents, settings: Settings):
        self.documents = documents
        self.settings = settings
        vocab = documents.vocab
        self._words = np.fromiter(vocab.values(), np.int32, len(vocab))
        # For each example: start and length of A, start and length of B.
        self._spans = array("q")
        self._is_random_next = bytearray()
        # For each masked token: its place among the tokens of A and then B, and
        # its replacement. For each example: the end of its masked tokens.
        self._chosen = array("H" if settings.max_seq_length < 65536 else "i")
        self._replacements = array("i")
        self._chosen_ends = array("q", [0])

    def __len__(self) -> int:
        return len(self._is_random_next)

    def add(
        self,
        text_a: tuple[int, int],
        text_b: tuple[int, int],
        is_random_next: bool,
        rng: random.Random,
    ) -> None:
        """Appends an example and draws its masks.

        Args:
            text_a, text_b: first token in the documents, and length.
            is_random_next: whether B was drawn at random.
            rng: the generator.
        """
        documents, settings = self.documents, self.settings
        count = text_a[1] + text_b[1]
        most = settings.num_to_predict(count + 3)
        if not settings.do_whole_word_mask:
            chosen = shuffled(count, rng, most)
        else:
            marks = documents.continues
            if marks is None:
                raise ValueError("`documents` must be read with `whole_words`")
            runs = [marks[at : at + size] for at, size in (text_a, text_b)]
            starts = find_word_starts(b"".join(run.tobytes() for run in runs))
            chosen = choose_words(starts, count, most, rng)
        self._spans.extend((*text_a, *text_b))
        self._is_random_next.append(is_random_next)
        self._chosen.extend(chosen)
        self._replacements.extend(
            draw_replacements(len(chosen), len(documents.vocab), rng)
        )
        self._chosen_ends.append(len(self._chosen))

    def __getitem__(self, number: int) -> TrainingInstance:
        columns = self.features(np.array([range(len(self))[number]]))
        token_of = {
            place: token for token, place in self.documents.vocab.items()
        }
        ids, segments, positions, labels, weights = (
            columns[name][0].tolist()
            for name in (
                "input_ids",
                "segment_ids",
                "masked_lm_positions",
                "masked_lm_ids",
                "masked_lm_weights",
            )
        )
        size, masked = int(columns["input_mask"].sum()), int(sum(weights))
        return TrainingInstance(
            [token_of[place] for place in ids[:size]],
            segments[:size],
            bool(columns["next_sentence_labels"][0, 0]),
            positions[:masked],
            [token_of[place] for place in labels[:masked]],
        )

    def summary(self) -> Summary:
        """Counts of all examples and of their text."""
        documents, settings = self.documents, self.settings
        lengths = np.frombuffer(self._spans, np.int64).reshape(-1, 4)[:, 1::2]
        ids = documents.token_ids
        positions = len(self) * settings.max_seq_length
        sizes = np.diff(np.array(documents.sentence_starts))
        cut = np.maximum(sizes - (settings.max_seq_length - 3), 0)
        return Summary(
            documents=len(documents),
            sentences=documents.num_sentences,
            tokens=len(ids),
            unknown_tokens=int(
                np.count_nonzero(ids == documents.vocab["[UNK]"])
            ),
            instances=len(self),
            positions=positions,
            padding=positions - int(lengths.sum()) - 3 * len(self),
            random_next=sum(self._is_random_next),
            masked_tokens=len(self._chosen),
            lone_documents=int(len(documents) == 1),
            long_sentences=int(np.count_nonzero(cut)),
            cut_tokens=int(cut.sum()),
        )

    def __iter__(self) -> Iterator[TrainingInstance]:
        return (self[number] for number in range(len(self)))

    def features(self, numbers: NDArray[np.int64]) -> dict[str, NDArray]:
        """The features of R examples, as run_pretraining reads them.

        Args:
            numbers: the numbers of the examples, [R].

        Returns:
            [R, S]: input_ids, input_mask, segment_ids; [R, P]:
            masked_lm_positions, masked_lm_ids, masked_lm_weights; [R, 1]:
            next_sentence_labels, 1 for a random next sentence. All are int32
            but the weights, which are float32. Unused places are 0.
        """
        vocab, settings = self.documents.vocab, self.settings
        spans = np.frombuffer(self._spans, np.int64).reshape(-1, 4)[numbers]
        start_a, length_a, start_b, length_b = np.split(spans, 4, axis=1)
        # [CLS] is at 0; the first and the second [SEP] are at:
        middle, last = length_a + 1, length_a + length_b + 2
        place = np.arange(settings.max_seq_length)[None]
        in_b = place > middle
        source = np.where(in_b, start_b - middle, start_a) + (place - 1)
        ids = self.documents.token_ids.take(source, mode="clip")
        rows = np.arange(len(numbers))
        ids[:, 0] = vocab["[CLS]"]
        ids[rows, middle[:, 0]] = vocab["[SEP]"]
        ids[rows, last[:, 0]] = vocab["[SEP]"]
        input_mask = place <= last
        ids *= input_mask
        masked = self._masked(numbers, length_a, ids)
        is_random = np.frombuffer(self._is_random_next, np.uint8)[numbers]
        return {
            "input_ids": ids,
            "input_mask": input_mask.astype(np.int32),
            "segment_ids": (in_b & input_mask).astype(np.int32),
            **masked,
            "next_sentence_labels": is_random[:, None].astype(np.int32),
        }

    def _masked(
        self,
        numbers: NDArray[np.int64],
        length_a: NDArray[np.int64],
        ids: NDArray[np.int32],
    ) -> dict[str, NDArray]:
        """Masks `ids` [R, S] in place; returns the features of the masks."""
        vocab = self.documents.vocab
        ends = np.frombuffer(self._chosen_ends, np.int64)
        first = ends[numbers][:, None]
        counts = ends[numbers + 1][:, None] - first
        slot = np.arange(self.settings.max_predictions_per_seq)[None]
        used = slot < counts
        all_chosen = np.frombuffer(self._chosen, self._chosen.typecode)
        all_replacements = np.frombuffer(self._replacements, np.int32)
        chosen = all_chosen.take(first + slot, mode="clip").astype(np.int32)
        # After [CLS], and in B after the first [SEP].
        positions = chosen + 1 + (chosen >= length_a)
        # Sort by position, unused places last.
        positions[~used] = np.iinfo(np.int32).max
        order = np.argsort(positions, axis=1)
        positions = np.take_along_axis(positions, order, axis=1)
        positions[~used] = 0
        replacements = all_replacements.take(first + order, mode="clip")
        labels = np.take_along_axis(ids, positions, axis=1) * used
        new = self._words.take(replacements, mode="clip")
        new[replacements == MASKED] = vocab["[MASK]"]
        changed = used & (replacements != KEPT)
        rows, slots = np.nonzero(changed)
        ids[rows, positions[rows, slots]] = new[rows, slots]
        return {
            "masked_lm_positions": positions,
            "masked_lm_ids": labels,
            "masked_lm_weights": used.astype(np.float32),
        }


def create_instances_from_document(
    instances: Instances,
    order: Sequence[int],
    index: int,
    rng: random.Random,
) -> None:
    """Appends the examples of one document.

    Args:
        instances: the examples are appended here.
        order: the numbers of all documents, shuffled.
        index: the document's place in that order.
        rng: the generator.
    """
    documents, settings = instances.documents, instances.settings
    starts, borders = documents.sentence_starts, documents.document_starts
    room = settings.max_seq_length - 3
    target = room
    if rng.random() < settings.short_seq_prob:
        # Fine-tuning also has short texts.
        target = 2 + draw_below(room - 1, rng)
    first, stop = borders[order[index]], borders[order[index] + 1]
    while first < stop:
        start_a = starts[first]
        # A chunk: the fewest sentences that reach the target length.
        end = bisect_left(starts, start_a + target, first + 1, stop)
        middle = first + 1
        if end - first > 1:
            middle += draw_below(end - first - 1, rng)
        length_a = starts[middle] - start_a
        is_random_next = end - first == 1 or rng.random() < 0.5
        if is_random_next:
            for _ in range(MOST_DOCUMENT_DRAWS):
                other = draw_below(len(order), rng)
                if other != index:
                    break
            next_first, next_stop = (
                borders[order[other]],
                borders[order[other] + 1],
            )
            next_first += draw_below(next_stop - next_first, rng)
            start_b = starts[next_first]
            next_end = bisect_left(
                starts, start_b + target - length_a, next_first + 1, next_stop
            )
            length_b = starts[next_end] - start_b
            # The unused sentences of the chunk belong to the next one.
            end = middle
        else:
            start_b = starts[middle]
            length_b = starts[end] - start_b
        if length_a + length_b > room:
            kept_a, kept_b = truncate_at_random_ends(
                length_a, length_b, room, rng
            )
            start_a += kept_a.start
            start_b += kept_b.start
            length_a = kept_a.stop - kept_a.start
            length_b = kept_b.stop - kept_b.start
        instances.add(
            (start_a, length_a), (start_b, length_b), is_random_next, rng
        )
        first = end


def create_training_instances(
    documents: Documents,
    settings: Settings,
    rng: random.Random,
    on_progress: Callable[[float], None] | None = None,
) -> tuple[Instances, list[int]]:
    """Makes examples in `dupe_factor` passes over all documents.

    Args:
        documents: the text.
        settings: how examples are made.
        rng: the generator, newly seeded for the original's examples.
        on_progress: called with the share that is done.

    Returns:
        The examples, and the order in which to write them.
    """
    instances = Instances(documents, settings)
    order = shuffled(len(documents), rng)
    total = settings.dupe_factor * len(order)
    for turn in range(total):
        create_instances_from_document(instances, order, turn % len(order), rng)
        if on_progress:
            on_progress((turn + 1) / total)
    return instances, shuffled(len(instances), rng)
