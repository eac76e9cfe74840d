"""IMDB's reviews: none that is tested on is trained on."""

import io
import tarfile

import pytest
import reviews
from reviews import Review, Row


def reviews_of(label, count):
    rows = [Review(n, Row(f"{label} {n}", label)) for n in range(count)]
    return rows[::-1]  # No order is promised.


def test_reviews_of_train_and_test_are_a_film_apart():
    found = {label: reviews_of(label, 100) for label in ("neg", "pos")}
    train, test = reviews.split_reviews(found, 0.2, gap=30)

    for label in found:
        numbers = [
            sorted(int(r.text.split()[1]) for r in part if r.label == label)
            for part in (train, test)
        ]
        assert numbers == [list(range(50)), list(range(80, 100))]


def test_review_that_is_in_the_test_is_not_trained_on():
    found = {"neg": reviews_of("neg", 10), "pos": reviews_of("pos", 10)}
    found["pos"][-1] = Review(0, Row("neg 9", "pos"))
    train, test = reviews.split_reviews(found, 0.2, gap=1)

    assert not {row.text for row in train} & {row.text for row in test}
    assert len(train) == 13


def test_archive_and_folder_of_reviews_are_read_alike(tmp_path):
    texts = {
        "aclImdb/train/pos/0_9.txt": "Good<br /><br />film,\tyes.",
        "aclImdb/train/neg/11_2.txt": "Bad “film”.",
        "aclImdb/train/unsup/3_0.txt": "No label.",
        "aclImdb/README": "Read me.",
    }
    with tarfile.open(tmp_path / "reviews.tar.xz", "w:xz") as archive:
        for name, text in texts.items():
            member = tarfile.TarInfo(name)
            member.size = len(text.encode())
            archive.addfile(member, io.BytesIO(text.encode()))
            path = tmp_path / "folder" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")

    want = {
        "pos": [Review(0, Row("Good film, yes.", "pos"))],
        "neg": [Review(11, Row("Bad “film”.", "neg"))],
    }
    assert reviews.read_imdb(tmp_path / "reviews.tar.xz") == want
    assert reviews.read_imdb(tmp_path / "folder") == want


def test_folder_without_reviews_says_what_is_missing(tmp_path):
    with pytest.raises(SystemExit, match=r"train/pos/\*\.txt"):
        reviews.read_imdb(tmp_path)
