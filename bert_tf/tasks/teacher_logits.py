"""A teacher's logits for examples: computed once, and kept in files.

OUTPUT_DIR/teacher_logits_train-00000.npz    of the first examples of the set
OUTPUT_DIR/teacher_logits_train-00001.npz    of those after them

Of each file it is known what it was computed from, so that a run that was
stopped goes on where it was, and one that goes on training has the same logits.
"""

import contextlib
import functools
import gc
import hashlib
import itertools
import logging
import os
import zipfile
from collections.abc import (
    Callable,
    Collection,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from contextlib import AbstractContextManager
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

import numpy as np

from bert_tf.checkpoints.folder_settings import Noted
from bert_tf.checkpoints.names import LABELS_FILE
from bert_tf.data.grouping import batched
from bert_tf.errors import InputError, some_of
from bert_tf.support import files
from bert_tf.support.progress import counted

Example = TypeVar("Example")

TRAIN = "train"
"""The name of the set to train on."""

COMPARISONS = ("eval_teacher_agreement", "eval_teacher_kl")
COMPARISONS_OF_NUMBERS = ("eval_teacher_mse",)
"""Results that compare a student with its teacher."""

EXAMPLES_OF_A_FILE = 4096
EXAMPLES_AT_ONCE = 256
"""What the teacher is given at once; rows of similar length go together."""

FILES = "teacher_logits_{name}-{number:05}.npz"

_LOGGER = logging.getLogger(__name__)

Compute = Callable[[list[Any]], list[np.ndarray]]
"""The logits of each of some examples, float32 [n, L].

n is 1 for a text, and the number of words for a sentence.
"""


class Distillation(NamedTuple):
    """How a student learns from a teacher.

    Attributes:
        temperature: divides logits before they become probabilities.
        weight: of the loss against the teacher; that against the labels has
            the rest. Examples without a label have 1.
    """

    temperature: float = 1.0
    weight: float = 1.0


class Teacher(Protocol):
    """A fine-tuned model that others learn from.

    Attributes:
        path: of its checkpoint.
        digest: of its weights and of all that decides how it reads.
    """

    path: str
    digest: str

    def texts(self, example: Any) -> Iterable[str]:
        """All that it reads of an example."""

    def loaded(self) -> AbstractContextManager[Compute]:
        """Loads the weights for a block, at whose end they are freed."""


@contextlib.contextmanager
def naming(path: str) -> Iterator[None]:
    """Names the teacher in errors about its files."""
    try:
        yield
    except InputError as error:
        raise InputError(f"`--teacher={path}`: {error}") from error


def require_head(noted: Noted, head: str, command: str) -> None:
    """Raises `InputError` for a folder whose model has another head.

    Args:
        noted: what the folder notes.
        head: what it must be, unless nothing is noted.
        command: that trains such models.
    """
    found = noted.settings.said().get("head", head)
    if found != head:
        raise InputError(
            f"{noted.path} must have head={head}, which {command} trains. It "
            f"has head={found}"
        )


def other_labels(
    path: str, labels: Sequence[str], wanted: Sequence[str]
) -> InputError:
    """The error about a teacher whose labels are not the student's."""
    return InputError(
        f"`--teacher={path}` must have the labels of the student, in this "
        f"order: {some_of(wanted)}. Its {LABELS_FILE} has: {some_of(labels)}"
    )


def digest_of(folder: Any, *reads: Any) -> str:
    """The digest of a teacher, wherever its folder is.

    Args:
        folder: its `checkpoints.folders.ModelFolder`.
        reads: all else that decides how it reads.
    """
    with open(folder.vocab_file, "rb") as file:
        vocab = hashlib.sha256(file.read()).hexdigest()
    config = folder.config.to_json_string()
    return repr((folder.reader.digest(), vocab, config, reads))


class TransferSet(Generic[Example]):
    """Labelled examples, with unlabelled ones spread evenly among them.

    Only the labelled ones are held in memory.

    Args:
        labelled: in order.
        read: function that reads the others, each time it is called.

    Raises:
        InputError: as by `read`, of which all is read once.
    """

    def __init__(
        self, labelled: list[Example], read: Callable[[], Iterator[Example]]
    ):
        self.labelled = labelled
        self._read = read
        self._count = sum(1 for _ in read())

    def __len__(self) -> int:
        return len(self.labelled) + self._count

    def __iter__(self) -> Iterator[Example]:
        known, others = iter(self.labelled), self._read()
        total, many = len(self), len(self.labelled)
        for place in range(total):
            is_known = (place + 1) * many // total > place * many // total
            try:
                example = next(known if is_known else others)
            except StopIteration:
                raise InputError(
                    "The file of unlabelled examples has become shorter since "
                    "this command began: start it again"
                ) from None
            yield example

    def __contains__(self, example: object) -> bool:
        return any(example == one for one in self)


class TeacherLogits:
    """A teacher's logits for sets of examples.

    Args:
        teacher: a `Teacher`.
        sets: examples by the name of the set.
        folder: of the files.
        goes_on: whether a training goes on, and must have the logits that it
            began with.
    """

    def __init__(
        self,
        teacher: Teacher,
        sets: Mapping[str, Collection[Any]],
        folder: str,
        goes_on: bool = False,
    ):
        self.teacher = teacher
        self.sets = dict(sets)
        self.folder = folder
        self.goes_on = goes_on
        self._are_ready = False

    def name_of(self, examples: Collection[Any]) -> str:
        """The name of the set that these very examples are."""
        return next(name for name, x in self.sets.items() if x is examples)

    def logits(self, name: str) -> Iterator[np.ndarray]:
        """Yields the logits of each example of a set, float32 [n, L].

        The first call computes what is missing of all sets.

        Raises:
            InputError: as `prepare`.
        """
        self.prepare()
        return itertools.chain.from_iterable(
            _read(path) for path, _, _ in self._parts(name)
        )

    def prepare(self) -> None:
        """Computes the logits that are missing, and then frees the teacher.

        Raises:
            InputError: a training goes on that began with other logits, or a
                file cannot be written.
        """
        if not self._are_ready:
            self._compute()
            # The graphs of a model refer to themselves.
            gc.collect()
        self._are_ready = True

    def _compute(self) -> None:
        with contextlib.ExitStack() as stack:

            @functools.cache
            def load() -> Compute:
                _LOGGER.info("***** Teacher: %s *****", self.teacher.path)
                return stack.enter_context(self.teacher.loaded())

            for name, examples in self.sets.items():
                steps = self._compute_missing(name, load)
                label = f"The teacher reads {name}"
                for _ in counted(steps, len(examples), label, size=int):
                    pass

    def _compute_missing(
        self, name: str, load: Callable[[], Compute]
    ) -> Iterator[int]:
        """Yields how many examples are done each time."""
        for path, digest, examples in self._parts(name):
            found = _digest_in(path)
            if found == digest:
                yield len(examples)
                continue
            if found and self.goes_on and name == TRAIN:
                raise self._contradiction(path)
            logits: list[np.ndarray] = []
            for some in batched(examples, EXAMPLES_AT_ONCE):
                logits += load()(some)
                yield len(some)
            _write(path, digest, logits)

    def _parts(self, name: str) -> Iterator[tuple[str, str, list[Any]]]:
        """The path of each file, its digest, and its examples."""
        parts = batched(self.sets[name], EXAMPLES_OF_A_FILE)
        for number, examples in enumerate(parts):
            file = FILES.format(name=name, number=number)
            digest = hashlib.sha256(self.teacher.digest.encode())
            for text in itertools.chain.from_iterable(
                map(self.teacher.texts, examples)
            ):
                content = text.encode("utf-8")
                digest.update(len(content).to_bytes(8, "little") + content)
            path = os.path.join(self.folder, file)
            yield path, digest.hexdigest(), examples

    def _contradiction(self, path: str) -> InputError:
        return InputError(
            f"{path} must have the logits of {self.teacher.path} for the texts "
            "to train on. It has those of another teacher or of other texts, "
            "with which the training in that folder began: give the same "
            "--teacher and the same files, or take another --output_dir."
        )


def _write(path: str, digest: str, logits: list[np.ndarray]) -> None:
    with files.whole_or_nothing(path) as file:
        np.savez(
            file,
            digest=np.array(digest),
            counts=np.array([len(x) for x in logits]),
            logits=np.concatenate(logits).astype(np.float32),
        )


def _read(path: str) -> list[np.ndarray]:
    with np.load(path) as file:
        return np.split(file["logits"], np.cumsum(file["counts"])[:-1])


def _digest_in(path: str) -> str | None:
    """What a file was computed from; None if it is not there, or damaged."""
    try:
        with np.load(path) as file:
            return str(file["digest"]) if "logits" in file else None
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None
