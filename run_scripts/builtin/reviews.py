r"""Writes film reviews to pretrain on: one in each line, without their labels.

    python run_scripts/builtin/reviews.py --imdb aclImdb_train.tar.xz \
        --output reviews.txt

The reviews are the train part of IMDB (`train/pos/0_9.txt`, ...), an archive or
a folder. The last fifth of each label is kept for testing and not written.
Reviews of one film follow each other and are 30 at most, so the 30 before that
fifth are left out as well: no film is praised both in the training and in the
test part. (The archive does not name films, so one part may praise a film that
the other pans.)
"""

import argparse
import pathlib
import re
import sys
import tarfile
from typing import NamedTuple

from bert_tf.support import files

# The most reviews of one film, by the README of the data set.
REVIEWS_OF_A_FILM = 30
TEST_SHARE = 0.2

REVIEW_FILE = re.compile(r"train/(pos|neg)/(\d+)_\d+\.txt$")


class Row(NamedTuple):
    """A text and its label."""

    text: str
    label: str


class Review(NamedTuple):
    """A review of a film; those of one film have numbers in a row."""

    number: int
    row: Row


def main():
    """Writes the texts of the training part, sorted."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument(
        "--imdb", required=True, help="archive or folder of IMDB's train part"
    )
    parser.add_argument("--output", required=True, help="text file")
    arguments = parser.parse_args()
    train, test = split_reviews(read_imdb(arguments.imdb))
    texts = sorted({row.text for row in train})
    files.write_text(arguments.output, "".join(f"{text}\n" for text in texts))
    print(
        f"{arguments.output}: {len(texts):,} reviews; "
        f"{len(test):,} are left for testing"
    )


def read_imdb(path):
    """The reviews of an archive or a folder.

    Returns:
        A dictionary, label to `Review`s.
    """
    path = pathlib.Path(path)
    reviews = {"pos": [], "neg": []}

    def add(name, content):
        found = REVIEW_FILE.search(name)
        if found:
            text = content().decode("utf-8").replace("<br />", " ")
            row = Row(" ".join(text.split()), found[1])
            reviews[found[1]].append(Review(int(found[2]), row))

    if path.is_dir():
        for file in path.rglob("*.txt"):
            add(file.as_posix(), file.read_bytes)
    else:
        with tarfile.open(path) as archive:
            for member in archive:
                add(
                    member.name,
                    lambda member=member: archive.extractfile(member).read(),
                )
    if not all(reviews.values()):
        sys.exit(f"{path} holds no train/pos/*.txt and train/neg/*.txt.")
    return reviews


def split_reviews(reviews, test_share=TEST_SHARE, gap=REVIEWS_OF_A_FILM):
    """Cuts each label's reviews at one place: (train, test).

    Args:
        reviews: label to `Review`s, in any order.
        test_share: share of the last ones that is for testing.
        gap: so many before these are in neither part.
    """
    train, test = [], []
    for label in sorted(reviews):
        ordered = [r.row for r in sorted(reviews[label])]
        cut = len(ordered) - round(len(ordered) * test_share)
        train += ordered[: max(cut - gap, 0)]
        test += ordered[cut:]
    return without_texts_of(train, test), test


def without_texts_of(rows, others):
    """The rows whose text is not that of one of the others."""
    texts = {other.text for other in others}
    return [row for row in rows if row.text not in texts]


if __name__ == "__main__":
    main()
