"""The vocabulary of a Hugging Face folder, and what its tokenizer does.

bert_tf has the original's tokenizer, with two settings: `do_lower_case` and
`strip_accents`. A folder whose files describe another tokenizer is refused,
because the model would get other tokens than those it was trained with.
"""

import json
import os
from typing import Any, NamedTuple

from bert_tf.checkpoints import casing
from bert_tf.checkpoints.hugging_face import (
    HF_CONFIG,
    HF_TOKENIZER_CONFIG,
    read_json,
    read_vocab,
)
from bert_tf.checkpoints.names import VOCAB
from bert_tf.errors import InputError, some_of

HF_TOKENIZER = "tokenizer.json"
HF_SPECIAL_TOKENS = "special_tokens_map.json"
HF_ADDED_TOKENS = "added_tokens.json"

SPECIAL_TOKENS = {
    "pad_token": "[PAD]",
    "unk_token": "[UNK]",
    "cls_token": "[CLS]",
    "sep_token": "[SEP]",
    "mask_token": "[MASK]",
}

# Classes whose tokens are BERT's; each also as ...Fast.
_BERT_TOKENIZERS = {
    f"{model}Tokenizer"
    for model in (
        "Bert",
        "ConvBert",
        "DPRContextEncoder",
        "DPRQuestionEncoder",
        "DPRReader",
        "DistilBert",
        "Electra",
        "LayoutLM",
        "MobileBert",
        "Realm",
        "RetriBert",
        "SqueezeBert",
    )
}
# Classes that do what tokenizer.json says.
_GENERAL_TOKENIZERS = {"PreTrainedTokenizer", "TokenizersBackend"}

_CHINESE = "bert_tf makes a token of every Chinese character"
_CLEANING = "bert_tf drops control characters"
_WORDS = "bert_tf splits at whitespace and punctuation first"
_PREFIX = "bert_tf marks all pieces of a word but the first with ##"

# Settings in tokenizer_config.json: the value bert_tf has, and what it does.
_SETTINGS = {
    "tokenize_chinese_chars": (True, _CHINESE),
    "clean_text": (True, _CLEANING),
    "do_basic_tokenize": (True, _WORDS),
    "do_word_tokenize": (True, _WORDS),
    "do_subword_tokenize": (True, "bert_tf splits words into pieces"),
    "wordpieces_prefix": ("##", _PREFIX),
    "padding_side": ("right", "bert_tf pads at the end"),
    "truncation_side": ("right", "bert_tf cuts long texts at the end"),
}


class HFTokenizer(NamedTuple):
    """What a folder's files tell of its tokens.

    Attributes:
        vocab: tokens in the order of their ids.
        do_lower_case: whether texts are lower-cased.
        notes: lines for the report.
        strip_accents: whether accents are stripped; None as `do_lower_case`.
        max_seq_length: tokens of an input, if fewer than the positions.
    """

    vocab: list[str]
    do_lower_case: bool
    notes: list[str]
    strip_accents: bool | None = None
    max_seq_length: int | None = None


def read_tokenizer(folder, config, tokenizer_class=None, ignore_settings=False):
    """Reads all files of a folder that tell what its tokens are.

    Args:
        folder: with vocab.txt or tokenizer.json.
        config: the model's `BertConfig`.
        tokenizer_class: what config.json says of it.
        ignore_settings: report settings that bert_tf lacks, instead of failing.

    Returns:
        `HFTokenizer`, with a token for each embedding.

    Raises:
        InputError: a file is missing or damaged, the vocabulary does not fit,
            or the tokenizer is not the original's.
    """
    files = _Files(folder)
    table, notes = _tokens(files, config.vocab_size)
    lowers = _casing(files, table, notes)
    strips = _accents(files)
    _check_config(files, tokenizer_class)
    special = _special_tokens(files, set(table.values()))
    _check_tokenizer_file(files, special)
    _rename(special, table, notes)
    if files.differences and not ignore_settings:
        raise InputError(
            f"The tokenizer in {folder} is not BERT's, so the model would get "
            "other tokens than it was trained with: "
            f"{'; '.join(files.differences)}. With --ignore_tokenizer_settings "
            "it is converted all the same."
        )
    notes += [f"Ignored: {difference}." for difference in files.differences]
    length = files.settings.get("model_max_length")
    if type(length) is not int or not (
        0 < length < config.max_position_embeddings
    ):
        length = None
    else:
        notes.append(f"Its tokenizer cuts texts at {length} tokens.")
    vocab = [table[place] for place in range(len(table))]
    return HFTokenizer(vocab, lowers, notes, strips, length)


class _Files:
    """The files of a folder, and in which points they are not BERT's."""

    def __init__(self, folder):
        self.folder = folder
        self.settings = self._read(HF_TOKENIZER_CONFIG)
        self.special = self._read(HF_SPECIAL_TOKENS)
        self.added = self._read(HF_ADDED_TOKENS)
        self.tokenizer = self._read(HF_TOKENIZER)
        self.differences: list[str] = []

    def path(self, name):
        return os.path.join(self.folder, name)

    def has(self, name):
        return os.path.exists(self.path(name))

    def _read(self, name):
        return read_json(self.path(name)) if self.has(name) else {}

    def differs(self, name, key, value, why):
        """Notes a setting that bert_tf does not have."""
        text = json.dumps(value, ensure_ascii=False)
        text = text if len(text) <= 120 else text[:117] + "..."
        self.differences.append(
            f"{self.path(name)} has {key}={text}, but {why}"
        )


# ------------------------------------------------------------------ vocabulary


def _tokens(files, vocab_size):
    """Id -> token for every embedding, and what to say about them."""
    notes: list[str] = []
    added = _added_tokens(files)
    path = files.path(VOCAB)
    if files.has(VOCAB):
        tokens = read_vocab(path)
        _compare(files, tokens)
    else:
        path = files.path(HF_TOKENIZER)
        tokens = _vocab_of_tokenizer(path, files.tokenizer)
    if len(tokens) > vocab_size:
        raise InputError(
            f"{path} must have as many tokens as {HF_CONFIG} says, "
            f"vocab_size={vocab_size}. It has {len(tokens)}."
        )
    table: dict[int, str] = dict(enumerate(tokens))
    known = set(tokens)
    for place, (token, source) in sorted(added.items()):
        if not 0 <= place < vocab_size:
            files.differs(
                source,
                token,
                place,
                f"there are only {vocab_size} embeddings",
            )
        elif table.get(place, token) != token or (
            place not in table and token in known
        ):
            raise InputError(
                f"{files.path(source)} must agree with {path}. It gives the "
                f"added token {token!r} the id {place}; there "
                + (
                    f"that is {table[place]!r}."
                    if place in table
                    else "this token has another id."
                )
            )
        else:
            table[place] = token
            known.add(token)
    missing = [place for place in range(vocab_size) if place not in table]
    if missing:
        # Some models round the table up. Such a token matches no text.
        table |= {place: f"[unused_{place}]" for place in missing}
        notes.append(
            f"The vocabulary has {vocab_size - len(missing)} tokens for "
            f"{vocab_size} embeddings: filled up with "
            f"[unused_{missing[0]}] to [unused_{missing[-1]}]."
        )
    markers = [
        token
        for token, _ in added.values()
        if token not in SPECIAL_TOKENS.values() and token in known
    ]
    if markers:
        notes.append(
            f"Warning: transformers finds the added tokens {some_of(markers)} "
            "anywhere in a text. They have their ids in "
            f"{VOCAB}, but in a text bert_tf splits them like other words: at "
            "punctuation, and lower-cased if the model is uncased."
        )
    return table, notes


def _added_tokens(files):
    """Id -> token and the file that has it."""
    found: dict[int, tuple[str, str]] = {}
    decoder = files.settings.get("added_tokens_decoder")
    sources: list[tuple[str, Any]] = [
        (HF_TOKENIZER, files.tokenizer.get("added_tokens") or []),
        (HF_TOKENIZER_CONFIG, {} if decoder is None else decoder),
        (HF_ADDED_TOKENS, files.added),
    ]
    for name, entries in sources:
        try:
            if name == HF_TOKENIZER:
                pairs = [(int(e["id"]), e["content"]) for e in entries]
            elif name == HF_TOKENIZER_CONFIG:
                pairs = [(int(k), e["content"]) for k, e in entries.items()]
            else:
                pairs = [(int(i), token) for token, i in entries.items()]
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise InputError(
                f"{files.path(name)} must give each added token a content and "
                f"an id: {error!r}"
            ) from error
        for place, token in pairs:
            _require_line(token, files.path(name))
            other = found.setdefault(place, (token, name))
            if other[0] != token:
                raise InputError(
                    f"{files.path(name)} must agree with "
                    f"{files.path(other[1])}. Id {place} is {token!r} there, "
                    f"{other[0]!r} here."
                )
    return found


def _require_line(token, path):
    if not isinstance(token, str) or "\n" in token or "\r" in token:
        raise InputError(
            f"{path}: a token must be text without line breaks. Received: "
            f"{token!r}"
        )


def _vocab_of_tokenizer(path, tokenizer):
    if not os.path.exists(path):
        raise InputError(
            f"{os.path.dirname(path)} must have {VOCAB} or {HF_TOKENIZER}: "
            "without its vocabulary a model cannot be used."
        )
    model = tokenizer.get("model")
    kind = model.get("type") if isinstance(model, dict) else None
    if kind != "WordPiece":
        raise InputError(
            f"{path} must have a WordPiece vocabulary, as BERT has. It has "
            f"{kind!r}."
        )
    try:
        ids = dict(model["vocab"])
        for added in tokenizer.get("added_tokens") or ():
            ids[added["content"]] = added["id"]
        vocab = {place: token for token, place in ids.items()}
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"{path} must have an object `vocab` of tokens and their ids, and "
            f"`added_tokens` with content and id: {error!r}"
        ) from error
    if vocab.keys() != set(range(len(ids))):
        raise InputError(f"{path} must number its tokens 0, 1, 2 and so on.")
    for token in ids:
        _require_line(token, path)
    return [vocab[place] for place in range(len(ids))]


def _compare(files, tokens):
    """Compares vocab.txt with tokenizer.json, where both are there."""
    model = files.tokenizer.get("model")
    theirs = model.get("vocab") if isinstance(model, dict) else None
    if not isinstance(theirs, dict):
        return
    ours = {token: place for place, token in enumerate(tokens)}
    different = sorted(
        token for token, place in theirs.items() if ours.get(token) != place
    )
    if different:
        token = different[0]
        where = f"has it at {ours[token]}" if token in ours else "lacks it"
        files.differs(
            HF_TOKENIZER,
            f"vocab[{token!r}]",
            theirs[token],
            f"{files.path(VOCAB)} {where}",
        )


# -------------------------------------------------------------------- settings


def _casing(files, table, notes):
    """`do_lower_case`: as a file states it, else judged by the vocabulary."""
    lowers = _stated(files, "do_lower_case", "lowercase")
    if lowers is not None:
        return lowers
    capitals = casing.count_capitals(table.values())
    notes.append(
        "No file states its casing: judged by the vocabulary, which has "
        f"{capitals.describe()}."
    )
    return not capitals.is_cased


def _accents(files):
    """`strip_accents`; None where no file states it, for as `do_lower_case`."""
    return _stated(files, "strip_accents", "strip_accents")


def _stated(files, key, normalizer_key):
    """What files state of the normalizer: true, false, or None for nothing."""
    normalizer = _single(files.tokenizer.get("normalizer"), "normalizers")
    stated = [
        (name, key, value)
        for name, key, value in (
            (HF_TOKENIZER_CONFIG, key, files.settings.get(key)),
            (HF_TOKENIZER, normalizer_key, normalizer.get(normalizer_key)),
        )
        if value is not None
    ]
    for name, key, value in stated:
        if not isinstance(value, bool):
            raise InputError(
                f"{files.path(name)} must have {key}=true or false. It has "
                f"{key}={json.dumps(value)}."
            )
    for name, key, value in stated[1:]:
        if value != stated[0][2]:
            files.differs(
                name,
                key,
                value,
                f"{files.path(stated[0][0])} states the contrary",
            )
    return stated[0][2] if stated else None


def _check_config(files, tokenizer_class):
    """tokenizer_config.json, but for tokens and casing."""
    classes = (
        (HF_TOKENIZER_CONFIG, files.settings.get("tokenizer_class")),
        (HF_CONFIG, tokenizer_class),
    )
    for name, value in classes:
        kind = str(value).removesuffix("Fast")
        general = kind in _GENERAL_TOKENIZERS and files.has(HF_TOKENIZER)
        if value is not None and not general and kind not in _BERT_TOKENIZERS:
            files.differs(
                name, "tokenizer_class", value, "bert_tf has BertTokenizer"
            )
    for key, (ours, why) in _SETTINGS.items():
        value = files.settings.get(key)
        if value is not None and value != ours:
            files.differs(HF_TOKENIZER_CONFIG, key, value, why)
    whole = files.settings.get("never_split") or []
    if not isinstance(whole, list) or any(
        token not in SPECIAL_TOKENS.values() for token in whole
    ):
        files.differs(
            HF_TOKENIZER_CONFIG, "never_split", whole, "bert_tf splits any word"
        )
    if files.settings.get("auto_map"):
        files.differs(
            HF_TOKENIZER_CONFIG,
            "auto_map",
            files.settings["auto_map"],
            "bert_tf runs no code of a folder",
        )


def _special_tokens(files, known):
    """Key of `SPECIAL_TOKENS` -> what the folder calls it."""
    model = files.tokenizer.get("model")
    unknown = model.get("unk_token") if isinstance(model, dict) else None
    sources = (
        (HF_TOKENIZER_CONFIG, files.settings),
        (HF_SPECIAL_TOKENS, files.special),
        (HF_TOKENIZER, {"unk_token": unknown}),
    )
    special = dict(SPECIAL_TOKENS)
    for key, ours in SPECIAL_TOKENS.items():
        stated = []
        for name, source in sources:
            value = source.get(key)
            token = value.get("content") if isinstance(value, dict) else value
            if token is not None:
                stated.append((name, token))
        for name, token in stated[1:]:
            if token != stated[0][1]:
                files.differs(
                    name,
                    key,
                    token,
                    f"{files.path(stated[0][0])} has "
                    f"{key}={json.dumps(stated[0][1])}",
                )
        if not stated or stated[0][1] == ours:
            continue
        name, token = stated[0]
        if not isinstance(token, str) or token not in known:
            files.differs(name, key, token, "its vocabulary has no such token")
        elif token in special.values():
            files.differs(
                name, key, token, "bert_tf needs a token of its own for each"
            )
        else:
            special[key] = token
    return special


def _rename(special, table, notes):
    """Gives special tokens BERT's names; ids stay."""
    for key, theirs in special.items():
        ours = SPECIAL_TOKENS[key]
        if theirs == ours:
            continue
        places = {token: place for place, token in table.items()}
        table[places[theirs]] = ours
        if ours in places:
            table[places[ours]] = theirs
        notes.append(
            f"Its {key} is {theirs!r}: in {VOCAB} that is {ours}, with the "
            f"same id, {places[theirs]}."
        )


# --------------------------------------------------------------- tokenizer.json


def _single(part, parts):
    """A part of tokenizer.json, or the only one in its sequence of parts."""
    part = part if isinstance(part, dict) else {}
    inner = part.get(parts) or part.get("pretokenizers")
    if part.get("type") == "Sequence" and isinstance(inner, list):
        if len(inner) == 1 and isinstance(inner[0], dict):
            return inner[0]
        kinds = [e.get("type") for e in inner if isinstance(e, dict)]
        return {"type": f"Sequence of {kinds}"}
    return part


def _check_tokenizer_file(files, special):
    """The model, normalizer, pre-tokenizer and template of tokenizer.json."""
    tokenizer = files.tokenizer

    def expect(part, values):
        for key, (allowed, why) in values.items():
            value = part.get(key)
            if value is not None and value not in allowed:
                files.differs(HF_TOKENIZER, key, value, why)

    for key, kind in (
        ("normalizer", "BertNormalizer"),
        ("pre_tokenizer", "BertPreTokenizer"),
    ):
        if key not in tokenizer:
            continue
        part = _single(tokenizer[key], f"{key}s")
        if part.get("type") != kind:
            found = part.get("type") if part else tokenizer[key]
            files.differs(HF_TOKENIZER, key, found, f"bert_tf has {kind}")
        elif key == "normalizer":
            expect(
                part,
                {
                    "handle_chinese_chars": ([True], _CHINESE),
                    "clean_text": ([True], _CLEANING),
                },
            )
    model = tokenizer.get("model")
    if isinstance(model, dict):
        longest = "bert_tf gives up on words of more than 200 characters"
        expect(
            model,
            {
                "type": (["WordPiece"], "bert_tf has WordPiece"),
                "continuing_subword_prefix": (["##"], _PREFIX),
                # transformers' own limit is 100.
                "max_input_chars_per_word": ([100, 200], longest),
            },
        )
    if "post_processor" in tokenizer:
        found = tokenizer["post_processor"]
        if not _adds_cls_and_sep(found, special):
            named = found.get("type") if isinstance(found, dict) else found
            files.differs(
                HF_TOKENIZER,
                "post_processor",
                named,
                "bert_tf puts texts as [CLS] A [SEP] and [CLS] A [SEP] B [SEP]",
            )


def _adds_cls_and_sep(processor, special):
    if not isinstance(processor, dict):
        return False
    cls, sep = special["cls_token"], special["sep_token"]
    if processor.get("type") == "BertProcessing":
        found = [processor.get("cls"), processor.get("sep")]
        tokens = [p[0] if isinstance(p, list) and p else None for p in found]
        return tokens == [cls, sep]

    def token(name, segment):
        return {"SpecialToken": {"id": name, "type_id": segment}}

    def text(name, segment):
        return {"Sequence": {"id": name, "type_id": segment}}

    single = [token(cls, 0), text("A", 0), token(sep, 0)]
    pair = [*single, text("B", 1), token(sep, 1)]
    return (
        processor.get("type") == "TemplateProcessing"
        and processor.get("single") == single
        and processor.get("pair") == pair
    )
