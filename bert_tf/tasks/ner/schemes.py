"""Schemes of entity labels, and the entities that labels stand for.

IOB1, IOB2 and IOBES write the same entities in different ways. What an
ill-formed sequence means is decided as by conlleval. Labels without a scheme,
such as parts of speech, are classes of single words.
"""

import functools
import re
from collections.abc import Collection, Iterable, Sequence
from typing import NamedTuple

IOB1, IOB2, IOBES, NO_SCHEME = SCHEMES = ("IOB1", "IOB2", "IOBES", "none")
TRAIN_SCHEMES = (IOB2, IOBES)

OUTSIDE = "O"

# Tags of BILOU, BMES and BMEWO, and what IOBES has for them.
_RENAMED = {"L": "E", "M": "I", "U": "S", "W": "S"}

_TAGS = frozenset("BIES")
_LABEL = re.compile(r"O|[BIES](-.+)?", re.DOTALL)
_HAS_TYPE = re.compile(r"[BIES]-.", re.DOTALL)


class Entity(NamedTuple):
    """Words `first` up to, not including, `end` of a sentence."""

    type: str
    first: int
    end: int


@functools.lru_cache(maxsize=1 << 12)
def split_label(label: str) -> tuple[str, str]:
    """The tag and the type of a label: split at the first hyphen.

    Tags of BILOU, BMES and BMEWO are as IOBES has them. Labels without a tag,
    such as X or [PAD] of other programs' models, stand for no entity.
    """
    tag, _, kind = label.partition("-")
    tag = _RENAMED.get(tag, tag) if kind else tag
    return (tag, kind) if tag in _TAGS else (OUTSIDE, "")


def plain_label(label: str) -> str:
    """A label of a scheme as IOBES has it."""
    tag, kind = split_label(label)
    return f"{tag}-{kind}" if kind else tag


def find_entities(labels: Sequence[str], scheme: str = IOB2) -> list[Entity]:
    """The entities of a sentence, by conlleval's rule.

    An entity begins at B and S, at I and E after O or another type, and at
    anything but O after E or S. It ends before the next one begins, and before
    O. A sentence's end ends all.

    Args:
        labels: of its words, perhaps ill-formed.
        scheme: one of `SCHEMES`; of the three that have entities, all are read
            by the same rule. Without a scheme each word but O is an entity.
    """
    found: list[Entity] = []
    before, kind_before = OUTSIDE, ""
    for place, label in enumerate(labels):
        is_class = scheme == NO_SCHEME and label != OUTSIDE
        tag, kind = ("S", label) if is_class else split_label(label)
        if tag == OUTSIDE:
            before = OUTSIDE
            continue
        begins = tag in "BS" or before in "OES" or kind != kind_before
        first = place if begins else found.pop().first
        found.append(Entity(kind, first, place + 1))
        before, kind_before = tag, kind
    return found


def write_labels(
    entities: Iterable[Entity], length: int, scheme: str
) -> list[str]:
    """The labels of a sentence with these entities.

    Args:
        entities: in order, without overlap.
        length: words of the sentence.
        scheme: one of `SCHEMES`.
    """
    labels = [OUTSIDE] * length
    end_before, kind_before = -1, ""
    for kind, first, end in entities:
        inside = range(first, end)
        if scheme == NO_SCHEME:
            labels[first:end] = [kind] * len(inside)
            continue
        touches = end_before == first and kind_before == kind
        begin = "B" if scheme != IOB1 or touches else "I"
        tags = [begin] + ["I"] * (len(inside) - 1)
        if scheme == IOBES:
            tags[-1] = "S" if len(inside) == 1 else "E"
        for place, tag in zip(inside, tags, strict=True):
            labels[place] = f"{tag}-{kind}" if kind else tag
        end_before, kind_before = end, kind
    return labels


def convert(labels: Sequence[str], scheme: str, wanted: str) -> list[str]:
    """The same entities in another scheme, or well-formed in the same one."""
    entities = find_entities(labels, scheme)
    return write_labels(entities, len(labels), wanted)


def has_scheme(labels: Collection[str]) -> bool | None:
    """Whether distinct labels are entity labels; None for O alone."""
    others = set(labels) - {OUTSIDE}
    if not others:
        return None
    return others <= set("BIES") or any(map(_HAS_TYPE.match, others))


def is_of(label: str, scheme: str) -> bool:
    """Whether a label may occur in a scheme."""
    if scheme == NO_SCHEME:
        return True
    is_label = _LABEL.fullmatch(label) is not None
    return is_label and (scheme == IOBES or label[0] not in "ES")


def how_to_rename(labels: Iterable[str]) -> str:
    """How labels of a related scheme become IOBES; empty if there are none."""
    tags = {label.partition("-")[0] for label in labels if "-" in label}
    names = [
        f"{old}- as {_RENAMED[old]}-" for old in sorted(tags & {*_RENAMED})
    ]
    return f"; to have IOBES, write {' and '.join(names)}" if names else ""


def find_scheme(sentences: Iterable[Sequence[str]]) -> str | None:
    """The scheme in which the labels of a file are least ill-formed.

    Returns:
        One of `SCHEMES`; None if there is no entity.
    """
    sentences = list(sentences)
    distinct = {label for labels in sentences for label in labels}
    with_entities = has_scheme(distinct)
    if not with_entities:
        return None if with_entities is None else NO_SCHEME
    if any(label[0] in "ES" for label in distinct if is_of(label, IOBES)):
        return IOBES
    faults = {
        scheme: sum(len(ill_formed(labels, scheme)) for labels in sentences)
        for scheme in (IOB2, IOB1)
    }
    return min(faults, key=lambda scheme: faults[scheme])


def ill_formed(labels: Sequence[str], scheme: str) -> list[int]:
    """The words whose labels a scheme writes in another way."""
    wanted = convert(labels, scheme, scheme)
    pairs = enumerate(zip(labels, wanted, strict=True))
    return [place for place, (label, other) in pairs if label != other]


def scheme_of_model(labels: Collection[str]) -> str:
    """The scheme that a model was trained on, judged by its labels."""
    tags = [split_label(label)[0] for label in labels if label != OUTSIDE]
    # A file's labels are all of its scheme. Models of other programs may have a
    # few others.
    others = tags.count(OUTSIDE)
    if not has_scheme(labels) or others >= len(tags) - others:
        return NO_SCHEME
    return IOBES if {*tags} & {*"ES"} else IOB2
