"""Text to pretrain on: which sentences come out of articles and books."""

import io
import lzma
import tarfile

import prepare_text
import pytest
from absl import flags

from bert_tf.errors import InputError


@pytest.mark.parametrize(
    "sentences",
    [
        ["It rained.", "We stayed in!", "Why?", "24 men came.", "£5 it cost."],
        ["Mr. and Mrs. Smith met Dr. No.", "He left."],
        ["P. Z. Tolkien wrote it.", "Then he slept."],
        ["He fought in World War I.", "The war was long."],
        ["The U.S. Army left the U.S. at 5 p.m.", "It was dark."],
        ["He wrote No. 5.", "He said no.", "Later, yes."],
        ['He said, "I am."', '"You are?" asked Ann.', '("Yes.")', "Good."],
        ['"Oh, Lady!" (1917) is a film.', "(It is short.)"],
        ["Versions 2.5 and 3.0 cost $1.5 million.", "Both sold well."],
        ["He (born c. 1900) met Bach et al. There was music.", "So it ended."],
        ["What comes last may be unfinished.", "As here"],
        [],
    ],
)
def test_paragraph_splits_into_its_sentences(sentences):
    assert prepare_text.split_sentences("  ".join(sentences)) == sentences


@pytest.mark.parametrize(
    "line, cleaned",
    [
        ("Texas A&amp;M is old .", "Texas A&M is old."),
        ("Bach (; 1685–1750) lived ( ) here , too.", "Bach (1685–1750) lived "
         "here, too."),
        ("One<br>two <nowiki>three</nowiki>.", "One two three."),
        ('"Bounty"s crew saw "" and left.', '"Bounty"\'s crew saw and left.'),
    ],
)  # fmt: skip
def test_holes_of_templates_are_closed(line, cleaned):
    assert prepare_text.clean_paragraph(line) == cleaned


ARTICLE = """<doc id="{id}" url="https://x/wiki?curid={id}" title="Rain">
Rain

Rain is water that falls from clouds, as everybody knows. It is wet.
Among the many kinds of rain there are these five: drizzle, and
Notes

! scope="row"| Rain falls on the row of a table. It is wet.
and with a small letter begins the end of a list entry.
The height is formula_3 above the ground at that place. Rain ends, and then \
the sun begins to shine again.

</doc>
"""
SENTENCES = [
    "Rain is water that falls from clouds, as everybody knows.",
    "It is wet.",
    "Rain ends, and then the sun begins to shine again.",
]


def test_article_keeps_whole_sentences_of_paragraphs_only():
    text = ARTICLE.format(id=1) + ARTICLE.format(id=2)
    articles = list(prepare_text.read_articles(text.split("\n")))

    assert [identity for identity, _ in articles] == ["1", "2"]
    assert prepare_text.sentences_of_article(articles[0][1]) == SENTENCES


def test_book_is_cut_at_chapters_and_loses_licence_and_headings():
    chapter = "It was a wet day, and _nobody_\r\nwent out.\r\n\r\n" * 60
    text = (
        "Licence.\n*** START OF THIS BOOK ***\n\n[A Book by Ann 1816]\n\n"
        f"VOLUME I\n\nCHAPTER I\n\n{chapter}CHAPTER II\n\n{chapter}\n"
        "Chapter the Third\n\nOne short chapter.\n\n7\n\nGoes on here.\n\n"
        "*** END OF THIS BOOK ***\nMore licence.\n"
    )
    sentence = "It was a wet day, and nobody went out."
    assert prepare_text.documents_of_book(text) == [
        [sentence] * 60,
        [sentence] * 60,
        ["One short chapter.", "Goes on here."],
    ]


def test_long_chapter_is_cut():
    text = ("word " * 99 + "end.\n\n") * 85
    documents = prepare_text.documents_of_book(text)
    assert [len(document) for document in documents] == [40, 40, 5]


def test_every_third_document_is_held_out():
    documents = [[str(number)] for number in range(1, 9)]
    train, heldout = prepare_text.hold_out(documents, 3)
    assert heldout == [["3"], ["6"]]
    assert sorted(train + heldout) == documents


def article(number):
    words = " ".join(f"word{number}" for _ in range(60))
    return f'<doc id="{number}" url="u" title="T">\nT\n\nIt {words}.\n</doc>\n'


def pack(path, members):
    with tarfile.open(path, "w:xz") as archive:
        for name, text in members.items():
            content = text.encode()
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))


def run(*arguments):
    values = flags.FlagValues()
    prepare_text.define_flags(values)
    values(["prepare_text", *arguments])
    prepare_text.main(values)


def test_each_line_of_documents_is_one(tmp_path):
    (tmp_path / "wiki").write_text("".join(map(article, range(1, 5))))
    first = "Good film. " * 30
    lines = [first.strip(), "Too short.", "", "Bad " * 60 + "film."]
    (tmp_path / "reviews.txt").write_text("\n".join(lines) + "\n")
    train = tmp_path / "train.txt"
    run(
        f"--wikipedia={tmp_path}/wiki",
        f"--documents={tmp_path}/reviews.txt",
        f"--train_file={train}",
        f"--heldout_file={tmp_path}/heldout.txt",
        "--hold_out_every=2",
    )
    documents = train.read_text().split("\n\n")
    assert len(documents) == 5  # Two articles, two reviews, and the end.
    assert "\n".join(["Good film."] * 30) in documents
    assert lines[3] in documents


def test_archive_and_books_become_two_files(tmp_path, capsys):
    # Article 3 is in both files; the members are read by name.
    pack(
        tmp_path / "wiki.tar.xz",
        {
            "wiki_01": article(3) + article(4),
            "wiki_00": article(1) + article(2) + article(3),
        },
    )
    (tmp_path / "books").mkdir()
    book = tmp_path / "books" / "book.txt.xz"
    book.write_bytes(lzma.compress(("Café word " * 30 + ".").encode("latin-1")))
    train, heldout = tmp_path / "train.txt", tmp_path / "heldout.txt"
    run(
        f"--wikipedia={tmp_path}/wiki.tar.xz",
        f"--books={tmp_path}/books",
        f"--train_file={train}",
        f"--heldout_file={heldout}",
        "--hold_out_every=2",
    )

    def sentence(number):
        return "It " + " ".join([f"word{number}"] * 60) + ".\n"

    assert heldout.read_text() == f"{sentence(2)}\n{sentence(4)}\n"
    documents = train.read_text(encoding="utf-8").split("\n\n")
    assert sorted(documents) == [
        "",
        "Café word " * 30 + ".",
        sentence(1).strip(),
        sentence(3).strip(),
    ]
    printed = capsys.readouterr().out.splitlines()
    assert printed[0].endswith(
        f"3 documents, 3 sentences, 183 words, {train.stat().st_size:,} bytes"
    )
    assert "2 documents, 2 sentences, 122 words" in printed[1]


@pytest.mark.parametrize(
    "text, every, message",
    [
        ("No article.\n", "2", "`--wikipedia` must hold articles"),
        (article(1), "2", "`--hold_out_every=2` holds nothing out of 1"),
        (article(1), "1", "`--hold_out_every` must be at least 2"),
    ],
)
def test_text_that_cannot_be_used_says_why(tmp_path, text, every, message):
    (tmp_path / "wiki_00").write_text(text)
    with pytest.raises(InputError, match=message):
        run(
            f"--wikipedia={tmp_path}/wiki_00",
            f"--train_file={tmp_path}/train.txt",
            f"--heldout_file={tmp_path}/heldout.txt",
            f"--hold_out_every={every}",
        )
    assert not (tmp_path / "train.txt").exists()


@pytest.mark.shared
def test_featured_articles_give_almost_all_of_their_text(shared_folder):
    archive = shared_folder / "data/corpus/wiki_featured_00-39.tar.xz"
    with tarfile.open(archive) as tar:
        member = next(m for m in tar.getmembers() if m.name.endswith("_00"))
        text = tar.extractfile(member).read().decode()
    documents = [
        prepare_text.sentences_of_article(lines)
        for _, lines in prepare_text.read_articles(text.split("\n"))
    ]
    assert len(documents) == text.count("<doc ")
    kept = sum(len(s) + 1 for document in documents for s in document)
    assert 0.94 < kept / len(text) < 1
