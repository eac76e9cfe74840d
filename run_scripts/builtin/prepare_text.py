r"""Turns Wikipedia articles and books into text to pretrain on.

Comes in: what WikiExtractor writes (`<doc ...>`, a title, one paragraph per
line, `</doc>`) and books of Project Gutenberg (hard-wrapped lines, an empty
line between paragraphs), and files with a whole document in each line, such as
a review. Goes out: one sentence per line, an empty line after each document, as
`bert_tf.create_pretraining_data` wants it, and in a second file every so
many-th article, to test on. Words and ids are made later.

  python run_scripts/builtin/prepare_text.py --wikipedia=wiki.tar.xz \
      --books='books/*.txt' --train_file=train.txt --heldout_file=heldout.txt

An archive (`.tar`, `.tar.xz`, ...), a folder, or files (patterns, separated by
commas; `.xz`, `.gz` and `.bz2` are unpacked). All text is held in memory.

What is left out of an article: its title and headings (they end without a full
stop), what lists and tables leave behind (lines of few words, or that begin
with a small letter or a sign of wiki markup), and sentences with a formula or
markup in them. What is left out of a book: the licence around it, its title,
headings. A book is cut where a chapter begins, and after some thousand words.
"""

import bz2
import glob
import gzip
import html
import lzma
import os
import random
import re
import tarfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

from absl import logging

from bert_tf.cli import command_line
from bert_tf.data import text_files
from bert_tf.errors import InputError
from bert_tf.support import files

# A line of fewer words is a heading or an entry of a list.
FEWEST_WORDS_OF_A_PARAGRAPH = 8
# Fewer words teach nothing about what follows what.
FEWEST_WORDS_OF_A_DOCUMENT = 50
# A chapter that is shorter goes on in the next; a longer one is cut.
FEWEST_WORDS_OF_A_CHAPTER = 500
MOST_WORDS_OF_A_CHAPTER = 4000


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# A full stop after one of these ends no sentence.
TITLES = _words(
    """mr mrs ms messrs mme mlle dr prof st sts gen lt col maj capt cmdr adm sgt
    rev hon gov sen rep pres fr msgr mt ft cf ca vs viz approx al e.g i.e"""
)
# Nor after one of these, before a number.
NUMBERED = _words("no nos vol vols fig figs pp ch sec art op")
# After one of these, an initial (`I` may be a number) or `U.S.`, the next word
# has to tell: few names begin with a word of STARTERS.
MAYBE_THE_END = _words(
    """jr sr inc ltd co corp bros etc a.m p.m ph.d b.a m.a c v est dept jan feb
    mar apr jun jul aug sept sep oct nov dec ave blvd"""
)
STARTERS = _words(
    """The A An In On At It Its He His She Her They Their This These That There
    We Our You I As After Before During By For From With When While Where
    If But And Although Though However Since Some Many Most Other Another
    Such To One Two Both All Each Despite According Under Upon Later What
    Who How Why Then Thus So"""
)

_END = re.compile(
    r"""[.!?]+["'”’)\]]*\s+(?=["'“‘(\[]*[A-ZÀ-Þ]|["'“‘]*[0-9£$€])"""
)
_LAST_WORD = re.compile(r"""[^\s"'“‘(\[—]+$""")
_INITIALS = re.compile(r"[A-Za-z](\.[A-Za-z])*")
_WHOLE = re.compile(r"""[.!?…]["'”’)\]]*$""")
_DOC = re.compile(r'<doc id="([^"]*)"[^>]*>')
_MARKUP = re.compile(r"formula_\d|[|{}<>]|\[\[|\]\]|https?:|\w\.php")
_LEFT_OVER_LINE = re.compile(r"[!|{}*#:;=&a-zß-ÿ]")
_HEADING = re.compile(
    r"(chapter|volume|book|part|canto|act|actus|scene|letter|epilogue|"
    r"prologue|etymology|preface|extracts)\b",
    re.IGNORECASE,
)


class Counts(NamedTuple):
    """What is in a file of prepared text."""

    documents: int
    sentences: int
    words: int
    bytes: int


def split_sentences(text: str) -> list[str]:
    """The sentences of a paragraph, with all their quotes and brackets.

    A sentence ends at `.`, `!` or `?` and the quotes and brackets right after
    it, where a space and a capital letter, a digit or a currency follow, with
    or without a quote before it; not after titles and initials (see TITLES and
    what follows there). So a speaker named after `!"` begins a new sentence.
    """
    text = " ".join(text.split())
    sentences = []
    start = 0
    for end in _END.finditer(text):
        if end[0][0] == "." and _is_abbreviation(text, end):
            continue
        sentences.append(text[start : end.end()].rstrip())
        start = end.end()
    return [*sentences, text[start:]] if text[start:] else sentences


def _is_abbreviation(text: str, end: re.Match[str]) -> bool:
    """Whether the full stop at `end` belongs to a word inside a sentence."""
    found = _LAST_WORD.search(text, 0, end.start())
    word = found[0] if found else ""
    if word.lower() in NUMBERED:
        return text[end.end() : end.end() + 1].isdigit()
    if word.lower() in TITLES:
        return True
    if word.lower() in MAYBE_THE_END or _INITIALS.fullmatch(word):
        following = text[end.end() :].split(maxsplit=1)[:1]
        return not following or following[0].strip("\"'“‘(,") not in STARTERS
    return False


def clean_paragraph(line: str) -> str:
    """A line of an article without tags and the holes that templates leave."""
    # `&amp;quot;` happens: unescaped twice.
    line = html.unescape(html.unescape(line))
    line = re.sub(r"<br\s*/?>", " ", line)
    line = re.sub(r"<[a-zA-Z/!][^>]*>", "", line)
    line = re.sub(r'(?<=\w)"s\b', "\"'s", line)
    line = line.replace("\xad", "").replace("\u200b", "").replace('""', "")
    line = re.sub(r"\(\s*[;,:]+\s*", "(", " ".join(line.split()))
    line = re.sub(r"\(\s*\)", "", line)
    line = re.sub(r"(?<=\w) +(?=[.,;:!?)](\s|$))", "", line)
    return " ".join(line.split())


def sentences_of_article(lines: Iterable[str]) -> list[str]:
    """Sentences of the paragraphs of an article; see the top of this file.

    The unfinished sentence that introduces a list ("Among them are:") goes.
    """
    sentences = []
    for line in map(clean_paragraph, lines):
        if _LEFT_OVER_LINE.match(line):
            continue
        if len(line.split()) < FEWEST_WORDS_OF_A_PARAGRAPH:
            continue
        sentences += [
            sentence
            for sentence in split_sentences(line)
            if _WHOLE.search(sentence) and not _MARKUP.search(sentence)
        ]
    return sentences


def read_articles(lines: Iterable[str]) -> Iterator[tuple[str, list[str]]]:
    """Each article's id and lines, without the title above them."""
    article: tuple[str, list[str]] | None = None
    for line in lines:
        line = line.strip()
        begin = _DOC.match(line)
        if begin:
            article = begin[1], []
        elif line == "</doc>":
            if article:
                yield article[0], article[1][1:]
            article = None
        elif article:
            article[1].append(line)


def documents_of_book(text: str) -> list[list[str]]:
    """The chapters of a book, each a list of sentences."""
    documents: list[list[str]] = [[]]
    words = 0
    for paragraph in re.split(r"\n\s*\n", _without_licence(text)):
        paragraph = " ".join(re.sub("[_{}]", "", paragraph).split())
        heading = _is_heading(paragraph)
        most = FEWEST_WORDS_OF_A_CHAPTER if heading else MOST_WORDS_OF_A_CHAPTER
        if words >= most:
            documents.append([])
            words = 0
        if not heading:
            sentences = [s for s in split_sentences(paragraph) if s[-1] != "]"]
            documents[-1] += sentences
            words += sum(len(sentence.split()) for sentence in sentences)
    return [document for document in documents if document]


def _without_licence(text: str) -> str:
    """What stands between the lines that Project Gutenberg puts around it."""
    text = text.replace("\r", "")
    begin = re.search(r"^\*\*\* ?START OF.*$", text, re.MULTILINE)
    end = re.search(r"^\*\*\* ?END OF.*$", text, re.MULTILINE)
    return text[begin.end() if begin else 0 : end.start() if end else None]


def _is_heading(paragraph: str) -> bool:
    words = paragraph.split()
    return not words or (
        len(words) <= 12
        and (
            paragraph.isupper()
            or _HEADING.match(paragraph) is not None
            or not re.search(r"""[.!?,;:-]["'”’)\]]*$""", paragraph)
            or not any(letter.isalpha() for letter in paragraph)
        )
    )


def hold_out(
    documents: Sequence[list[str]], every: int
) -> tuple[list[list[str]], list[list[str]]]:
    """All but every so many-th document, and these; the first one stays."""
    kept = [d for at, d in enumerate(documents, start=1) if at % every]
    return kept, list(documents[every - 1 :: every])


def wikipedia_documents(place: str) -> list[list[str]]:
    """The articles of an archive, a folder or files, each of them once.

    Raises:
        InputError: nothing is there, or no `<doc>` is in it.
    """
    seen: set[str] = set()
    documents = []
    for text in _texts("wikipedia", place):
        for identity, lines in read_articles(text.split("\n")):
            if identity in seen:
                continue
            seen.add(identity)
            sentences = sentences_of_article(lines)
            if _count_words(sentences) >= FEWEST_WORDS_OF_A_DOCUMENT:
                documents.append(sentences)
    if not documents:
        raise InputError(
            "`--wikipedia` must hold articles as WikiExtractor writes them "
            '(`<doc id="..." ...>`, a title, paragraphs, `</doc>`). There are '
            f"none in {place}"
        )
    return documents


def book_documents(place: str) -> list[list[str]]:
    """The chapters of the books in an archive, a folder or files.

    Raises:
        InputError: nothing is there.
    """
    return [
        document
        for text in _texts("books", place)
        for document in documents_of_book(text)
        if _count_words(document) >= FEWEST_WORDS_OF_A_DOCUMENT
    ]


def line_documents(place: str) -> list[list[str]]:
    """Each line of the files in an archive, a folder or files, split.

    Raises:
        InputError: nothing is there.
    """
    documents = [
        split_sentences(line)
        for text in _texts("documents", place)
        for line in text.split("\n")
    ]
    return [
        document
        for document in documents
        if _count_words(document) >= FEWEST_WORDS_OF_A_DOCUMENT
    ]


def _count_words(sentences: Iterable[str]) -> int:
    return sum(len(sentence.split()) for sentence in sentences)


def _texts(flag: str, place: str) -> Iterator[str]:
    """The texts of the files that a flag names, by the order of their names."""
    if os.path.isdir(place):
        everything = os.path.join(glob.escape(place), "**")
        paths = sorted(
            path
            for path in glob.glob(everything, recursive=True)
            if os.path.isfile(path)
        )
        if not paths:
            raise InputError(f"`--{flag}`: the folder {place} holds no files.")
    else:
        paths = text_files.find_files(place, flag)
    for path in paths:
        yield from _read(flag, path)


OPENERS: dict[str, Callable] = {
    ".xz": lzma.open,
    ".gz": gzip.open,
    ".bz2": bz2.open,
}


def _read(flag: str, path: str) -> Iterator[str]:
    """The text of a file, or those of an archive's members."""
    try:
        if re.search(r"\.(tar(\.\w+)?|tgz|txz)$", path):
            with tarfile.open(path) as archive:
                members = [m for m in archive.getmembers() if m.isfile()]
                for member in sorted(members, key=lambda m: m.name):
                    content = archive.extractfile(member)
                    if content:
                        name = f"{path}: {member.name}"
                        yield _decode(name, content.read())
            return
        opener = OPENERS.get(os.path.splitext(path)[1], open)
        with opener(path, "rb") as file:
            yield _decode(path, file.read())
    except (OSError, EOFError, tarfile.TarError, lzma.LZMAError) as error:
        raise InputError(f"`--{flag}`: cannot read {path}: {error}") from error


def _decode(name: str, content: bytes) -> str:
    """UTF-8 text, or Latin-1, as the older files of Project Gutenberg are."""
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        logging.warning("%s is not UTF-8: read as Latin-1.", name)
        return content.decode("latin-1")


def write_documents(path: str, documents: Sequence[list[str]]) -> Counts:
    """Writes one sentence per line and an empty line after each document."""
    text = "".join("\n".join([*document, "", ""]) for document in documents)
    files.write_text(path, text)
    return Counts(
        documents=len(documents),
        sentences=sum(map(len, documents)),
        words=sum(map(_count_words, documents)),
        bytes=len(text.encode("utf-8")),
    )


def define_flags(values):
    """Defines this script's flags on a `FlagValues`."""
    flags = command_line.FlagSet(values)
    flags.string(
        "wikipedia", None, "Output of WikiExtractor: archive, folder or files."
    )
    flags.string("books", "", "Plain text books: archive, folder or files.")
    flags.string(
        "documents",
        "",
        "Text with a document in each line: archive, folder or files.",
    )
    flags.string("train_file", None, "Text to train on, written here.")
    flags.string("heldout_file", None, "Articles to test on, written here.")
    flags.integer(
        "hold_out_every", 40, "Which articles are held out: every N-th."
    )
    flags.integer("random_seed", 12345, "Orders the documents to train on.")


def main(flags):
    """Writes both files and says what is in them."""
    for name in ("wikipedia", "train_file", "heldout_file"):
        if not flags[name].value:
            raise InputError(f"`--{name}` must be given.")
    if flags.hold_out_every < 2:
        raise InputError(
            "`--hold_out_every` must be at least 2. Received: "
            f"--hold_out_every={flags.hold_out_every}"
        )
    articles = wikipedia_documents(flags.wikipedia)
    train, heldout = hold_out(articles, flags.hold_out_every)
    if not heldout:
        raise InputError(
            f"`--hold_out_every={flags.hold_out_every}` holds nothing out of "
            f"{len(articles)} articles: give a smaller number, or more text."
        )
    if flags.books:
        train += book_documents(flags.books)
    if flags.documents:
        train += line_documents(flags.documents)
    random.Random(flags.random_seed).shuffle(train)
    for path, documents in (
        (flags.train_file, train),
        (flags.heldout_file, heldout),
    ):
        counts = write_documents(path, documents)
        print(
            f"{path}: {counts.documents:,} documents, "
            f"{counts.sentences:,} sentences, {counts.words:,} words, "
            f"{counts.bytes:,} bytes"
        )


def cli():
    """Runs from the command line."""
    command_line.run(define_flags, main, __doc__)


if __name__ == "__main__":
    cli()
