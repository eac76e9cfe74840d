"""Logits of a teacher: computed once, kept, and the same after a stop."""

import contextlib
import gc
import os
import weakref

import numpy as np
import pytest

from bert_tf.errors import InputError
from bert_tf.tasks import teacher_logits
from bert_tf.tasks.teacher_logits import TeacherLogits, TransferSet

pytestmark = pytest.mark.usefixtures("without_graphs")


class Weights:
    """Something large; refers to itself, as a model does."""

    def __init__(self):
        self.graph = self


class Teacher:
    """Counts the characters of texts, and of each of their words."""

    path = "teacher/model.ckpt-3"

    def __init__(self, digest="7", stops_at=None):
        self.digest = digest
        self.stops_at = stops_at
        self.read = []
        self.weights = None

    def texts(self, example):
        return (example,)

    @contextlib.contextmanager
    def loaded(self):
        assert self.weights is None  # Once.
        weights = Weights()
        self.weights = weakref.ref(weights)

        def compute(examples):
            if self.stops_at in examples:
                raise KeyboardInterrupt
            assert weights.graph is weights
            self.read += examples
            return [
                np.array([[len(word), -1] for word in x.split()], "float32")
                for x in examples
            ]

        yield compute


@pytest.fixture(autouse=True)
def small_files(monkeypatch):
    monkeypatch.setattr(teacher_logits, "EXAMPLES_OF_A_FILE", 4)
    monkeypatch.setattr(teacher_logits, "EXAMPLES_AT_ONCE", 2)


TEXTS = [f"{'a' * n} and more" for n in range(1, 10)]
SETS = {"train": TEXTS, "eval": ["b", "bb b"]}


def read(found, name):
    return [x[:, 0].tolist() for x in found.logits(name)]


def want(texts):
    return [[len(word) for word in text.split()] for text in texts]


def test_all_sets_are_computed_at_once_and_the_teacher_is_freed(tmp_path):
    teacher = Teacher()
    found = TeacherLogits(teacher, SETS, str(tmp_path))
    assert os.listdir(tmp_path) == []  # Not before they are needed.

    assert read(found, "train") == want(TEXTS)
    assert teacher.read == TEXTS + SETS["eval"]
    gc.collect()
    assert teacher.weights() is None
    assert read(found, "eval") == want(SETS["eval"])
    assert len(os.listdir(tmp_path)) == 3 + 1
    assert found.name_of(SETS["eval"]) == "eval"


def test_what_was_computed_before_a_stop_is_not_computed_again(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        read(TeacherLogits(Teacher(stops_at=TEXTS[7]), SETS, tmp_path), "train")
    (first,) = tmp_path.iterdir()
    content = first.read_bytes()

    again = Teacher()
    assert read(TeacherLogits(again, SETS, tmp_path), "train") == want(TEXTS)
    assert again.read == TEXTS[4:] + SETS["eval"]
    assert first.read_bytes() == content
    # A training that goes on computes nothing.
    idle = Teacher()
    found = TeacherLogits(idle, SETS, tmp_path, goes_on=True)
    assert read(found, "train") == want(TEXTS)
    assert idle.read == []


@pytest.mark.parametrize(
    ("digest", "texts", "count"),
    [("8", TEXTS, 9), ("7", [*TEXTS[:5], "new", *TEXTS[6:]], 4)],
)
def test_another_teacher_or_other_texts_replace_what_was_there(
    tmp_path, digest, texts, count
):
    read(TeacherLogits(Teacher(), {"train": TEXTS}, tmp_path), "train")

    other = Teacher(digest)
    sets = {"train": texts}
    with pytest.raises(InputError, match=r"train-0000\d.*--output_dir"):
        read(TeacherLogits(other, sets, tmp_path, goes_on=True), "train")
    assert read(TeacherLogits(other, sets, tmp_path), "train") == want(texts)
    assert len(other.read) == count


def test_a_dev_set_may_change_while_a_training_goes_on(tmp_path):
    read(TeacherLogits(Teacher(), {"eval": ["b"]}, tmp_path), "eval")
    found = TeacherLogits(Teacher(), {"eval": ["c d"]}, tmp_path, True)
    assert read(found, "eval") == [[1, 1]]


@pytest.mark.parametrize("content", [b"", b"PK\3\4 damaged", b"\x93NUMPY"])
def test_a_damaged_file_is_computed_again(tmp_path, content):
    read(TeacherLogits(Teacher(), {"eval": ["b"]}, tmp_path), "eval")
    (file,) = tmp_path.iterdir()
    file.write_bytes(content)
    found = TeacherLogits(Teacher(), {"eval": ["b"]}, tmp_path, True)
    assert read(found, "eval") == [[1]]


def test_unlabelled_examples_are_spread_evenly_and_not_kept():
    passes = []

    def more():
        passes.append(0)
        return iter("abcdefg")

    found = TransferSet(["1", "2", "3"], more)
    assert len(found) == 10
    assert "".join(found) == "".join(found) == "abc1de2fg3"
    assert len(passes) == 3


def test_a_file_with_bad_rows_is_refused_before_any_work():
    def more():
        yield "a"
        raise InputError("line 2")

    with pytest.raises(InputError, match="line 2"):
        TransferSet(["1"], more)


def test_a_file_that_has_become_shorter_is_told():
    left = [3, 3, 2]
    found = TransferSet(["1"], lambda: iter("abc"[: left.pop(0)]))
    assert "".join(found) == "abc1"
    with pytest.raises(InputError, match="shorter"):
        list(found)
