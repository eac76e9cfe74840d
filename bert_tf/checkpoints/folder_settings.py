"""What a model's folder notes of its training: bert_tf.json.

The file lies beside a checkpoint. Whatever opens the folder takes from it what
its caller did not ask for; what contradicts it is an error.
bert_config.json stays as the original has it.
"""

import dataclasses
import enum
import json
import os
import re
from collections.abc import Collection, Mapping
from typing import Annotated, Any, Final, NamedTuple, get_type_hints

from absl import logging

from bert_tf.checkpoints.names import SETTINGS_FILE
from bert_tf.errors import InputError, quote
from bert_tf.support import files


class Unsaid(enum.Enum):
    """The type of `UNSAID`."""

    UNSAID = enum.auto()


UNSAID: Final = Unsaid.UNSAID
"""The value of a setting that a folder says nothing about.

It differs from None: `"doc_stride": null` says that there were no windows.
"""

LABEL_TYPES: Final = ("class", "number", "multi")
"""What a classifier predicts: one label of several, a number, any labels."""

USED_BY: Final = {
    "classifier": "classify",
    "tokens": "tag",
    "span": "answer",
    "pretraining": "fill_mask",
    "features": "search",
}
"""The command that uses a model of a head."""

TEXT, INPUT, HEAD, TRAINING, DATA = "text", "input", "head", "training", "data"
"""What a setting belongs to, and so where it binds.

TEXT: the vocabulary; binds all uses, new trainings that start from it too.
INPUT: the weights; binds all uses but new trainings.
HEAD: the task; binds uses of the same head but new trainings.
TRAINING: how weights change; binds a training that goes on.
DATA: what was trained on; binds nothing.
"""


class Entry(NamedTuple):
    """The type of a setting in JSON, and what it belongs to."""

    kind: type
    belongs_to: str
    may_be_none: bool = False


@dataclasses.dataclass(frozen=True)
class FolderSettings:
    """How the model of a folder was trained; `UNSAID` where that is not known.

    A field is a key of bert_tf.json and, where commands have it, the name of a
    flag. A new one is a line here.

    Attributes:
        head: what was trained, as `export_saved_model --head` calls it.
        do_lower_case: whether text is lower-cased.
        strip_accents: whether accents are stripped; None as `do_lower_case`.
        max_seq_length: word pieces of an input.
        doc_stride: distance between windows in word pieces; None for none.
        window_pooling: how a classifier combines windows.
        max_query_length: word pieces of a question.
        first_label: the name of the first choice of multiple choice.
        swag_inputs: what multiple choice reads of SWAG.
        label_type: what a classifier predicts, one of `LABEL_TYPES`.
        label_separator: what stands between the names of several labels.
        train_scheme: how labels of words write entities.
        document_context: whether a sentence is read with those around it.
        pooling: how the vectors of tokens become that of a text.
        normalize: whether that is divided by its length.
        objective: what vectors of texts were trained for.
        skip_padding: whether training computes tokens only.
        text_pairs: whether a classifier was trained on pairs of texts.
        lora_rank, lora_targets: of a training with LoRA.
        distill_temperature, distill_weight: of a training with a teacher.
        more: entries that this version does not know; kept as they are.
    """

    head: Annotated[str | Unsaid, Entry(str, HEAD)] = UNSAID
    do_lower_case: Annotated[bool | Unsaid, Entry(bool, TEXT)] = UNSAID
    strip_accents: Annotated[
        bool | Unsaid | None, Entry(bool, TEXT, may_be_none=True)
    ] = UNSAID
    max_seq_length: Annotated[int | Unsaid, Entry(int, INPUT)] = UNSAID
    doc_stride: Annotated[
        int | Unsaid | None, Entry(int, HEAD, may_be_none=True)
    ] = UNSAID
    window_pooling: Annotated[str | Unsaid, Entry(str, HEAD)] = UNSAID
    max_query_length: Annotated[int | Unsaid, Entry(int, HEAD)] = UNSAID
    first_label: Annotated[str | Unsaid, Entry(str, HEAD)] = UNSAID
    swag_inputs: Annotated[str | Unsaid, Entry(str, HEAD)] = UNSAID
    label_type: Annotated[str | Unsaid, Entry(str, HEAD)] = UNSAID
    label_separator: Annotated[str | Unsaid, Entry(str, HEAD)] = UNSAID
    train_scheme: Annotated[str | Unsaid, Entry(str, HEAD)] = UNSAID
    document_context: Annotated[bool | Unsaid, Entry(bool, HEAD)] = UNSAID
    pooling: Annotated[str | Unsaid, Entry(str, HEAD)] = UNSAID
    normalize: Annotated[bool | Unsaid, Entry(bool, HEAD)] = UNSAID
    objective: Annotated[str | Unsaid, Entry(str, HEAD)] = UNSAID
    skip_padding: Annotated[bool | Unsaid, Entry(bool, TRAINING)] = UNSAID
    text_pairs: Annotated[bool | Unsaid, Entry(bool, DATA)] = UNSAID
    lora_rank: Annotated[int | Unsaid, Entry(int, TRAINING)] = UNSAID
    lora_targets: Annotated[str | Unsaid, Entry(str, TRAINING)] = UNSAID
    distill_temperature: Annotated[float | Unsaid, Entry(float, TRAINING)] = (
        UNSAID
    )
    distill_weight: Annotated[float | Unsaid, Entry(float, TRAINING)] = UNSAID
    more: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def said(self) -> dict[str, Any]:
        """The settings that are known, by name."""
        values = {name: getattr(self, name) for name in ENTRIES}
        return {k: value for k, value in values.items() if value is not UNSAID}

    def to_json(self) -> str:
        """The content of the file."""
        return json.dumps({**self.said(), **self.more}, indent=2) + "\n"

    def describe(self) -> str:
        """The known settings as flags, but those that are none."""
        return ", ".join(
            f"--{name}={shown(value)}"
            for name, value in self.said().items()
            if value is not None
        )

    def only(self, belongs_to: Collection[str]) -> "FolderSettings":
        """Those that belong to one of these, without unknown entries."""
        return FolderSettings(
            **{
                name: value
                for name, value in self.said().items()
                if ENTRIES[name].belongs_to in belongs_to
            }
        )


ENTRIES: Final[Mapping[str, Entry]] = {
    name: hint.__metadata__[0]
    for name, hint in get_type_hints(
        FolderSettings, include_extras=True
    ).items()
    if name != "more"
}
"""The keys of the file that are known."""

NOTHING_SAID: Final = FolderSettings()


class Noted(NamedTuple):
    """What binds a use of a model, and the file that notes it."""

    path: str
    settings: FolderSettings = NOTHING_SAID

    def resolve(
        self,
        head: str | None,
        names: Collection[str],
        given: Mapping[str, Any],
        ignore: bool = False,
    ) -> dict[str, Any]:
        """The values of settings that are given or noted.

        Args:
            head: what the model is used for; entries of another head do not
                bind. None for a use without a head.
            names: of the settings that the use has.
            given: what the caller asks for; others are taken from the file.
            ignore: whether what is given wins where it contradicts the file.

        Raises:
            InputError: something given contradicts the file; names both values.
        """
        said = self.settings.said()
        if said.get("head", head) != head:
            said = self.settings.only((TEXT, INPUT)).said()
        noted = {name: said[name] for name in names if name in said}
        wrong = _differences(given, noted)
        if wrong and not ignore:
            raise contradiction(self.path, wrong, noted)
        taken = ", ".join(
            f"{name}={shown(value)}"
            for name, value in noted.items()
            if name not in given
        )
        if taken:
            logging.info("As in training (%s): %s.", self.path, taken)
        return {**noted, **given}

    def take(
        self, head: str, ignore: bool = False, **given: Any
    ) -> dict[str, Any]:
        """As `resolve`, for arguments that are None where nothing is asked.

        Returns:
            A value for each argument; None for what is neither given nor noted.
        """
        asked = {k: value for k, value in given.items() if value is not None}
        return {**given, **self.resolve(head, given, asked, ignore)}

    def require_head(self, head: str, otherwise: str = "") -> None:
        """Raises `InputError` if the model was trained for another head.

        Args:
            head: what it is used for.
            otherwise: what else to say in the error.
        """
        noted = self.settings.said().get("head", head)
        if noted != head:
            raise InputError(
                f"{self.path} must have head={head} for this. It has "
                f"head={noted}: use `python -m bert_tf."
                f"{USED_BY.get(noted, 'serve')}`, or export it with "
                f"--head={noted}{otherwise}."
            )

    def differences(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Those of some values by name that the file has otherwise.

        What binds nothing is left out.
        """
        wrong = _differences(values, self.settings.said())
        return {
            name: value
            for name, value in wrong.items()
            if ENTRIES[name].belongs_to != DATA
        }


def _differences(values, noted):
    return {
        name: value
        for name, value in values.items()
        if name in noted and noted[name] != value
    }


NOTHING: Final = Noted("")
"""Of a model without a folder."""


def contradiction(
    path: str, given: Mapping[str, Any], noted: Mapping[str, Any]
) -> InputError:
    """The error about values that contradict a bert_tf.json.

    Args:
        path: of the file.
        given, noted: values by name; `noted` may have more.
    """
    flags = " ".join(
        f"--{name}={shown(value)}" for name, value in given.items()
    )
    entries = ", ".join(f"{name}={shown(noted[name])}" for name in given)
    it, them = ("it", "a flag") if len(given) == 1 else ("them", "flags")
    return InputError(
        f"{flags} must agree with {path}, which has {entries}: the model in "
        f"that folder was trained so. Leave {it} out to take what the folder "
        f"has, or give --ignore_folder_settings as well, with which {them} "
        f"given on the command line win{'s' * (len(given) == 1)}. A new "
        "training needs a folder of its own."
    )


def shown(value: Any) -> str:
    """A setting as flags and JSON have it: true, none, 64."""
    return "none" if value is None else str(value).lower()


def path_in(folder: str) -> str:
    """The path of a folder's bert_tf.json, whether or not it exists."""
    return os.path.join(folder, SETTINGS_FILE)


def read(folder: str) -> FolderSettings:
    """The settings in a folder; all `UNSAID` without a file.

    Entries that are not known, such as a newer version has, are kept in `more`.

    Raises:
        InputError: the file cannot be read, or an entry is not what it must be;
            names file and line.
    """
    path = path_in(folder)
    try:
        with open(path, "rb") as file:
            content = file.read()
    except (FileNotFoundError, NotADirectoryError):
        return FolderSettings()
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from error
    text, values = _parse(path, content)
    known = {name: values.pop(name) for name in ENTRIES if name in values}
    for name, value in known.items():
        _check(path, text, name, value)
    return FolderSettings(**known, more=values)


def noted_in(folder: str) -> Noted:
    """The settings in a folder, with the path of their file."""
    return Noted(path_in(folder), read(folder))


def _parse(path, content):
    """The text of a bert_tf.json, and its object."""
    line = None
    try:
        text = content.decode("utf-8-sig")
        values = json.loads(text)
        if isinstance(values, dict):
            return text, values
        line, problem = 1, f"{type(values).__name__} instead of an object"
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        problem = f"the byte 0x{content[error.start]:02x}, which is not UTF-8"
    except json.JSONDecodeError as error:
        line, problem = error.lineno, f"{error.msg} at column {error.colno}"
    except (ValueError, RecursionError) as error:
        line, problem = 1, str(error)
    raise _damaged(path, line, problem)


def _damaged(path, line, problem):
    return InputError(
        f"{path}, line {line}: {problem}. Training writes this file beside a "
        "checkpoint. Repair it, or remove it: casing is then judged by the "
        "vocabulary, and everything else is as the flags are."
    )


def _check(path: str, text: str, name: str, value: Any) -> None:
    kind, _, may_be_none = ENTRIES[name]
    if value is None and may_be_none:
        return
    # A bool is an int for Python, not for JSON; 1 is a float for JSON.
    if type(value) in ((int, float) if kind is float else (kind,)):
        least = {int: 1, float: 0}.get(kind)
        if least is None or least <= value < 2**31:
            return
    found = re.search(rf'"{name}"\s*:', text)
    line = text.count("\n", 0, found.start()) + 1 if found else 1
    wanted = {
        bool: "true or false",
        int: "a number above 0",
        float: "a number, 0 or above",
        str: "a text",
    }
    raise _damaged(
        path,
        line,
        f"`{name}` must be {wanted[kind]}. It is {quote(json.dumps(value))}",
    )


def write(folder: str, settings: FolderSettings) -> None:
    """Writes bert_tf.json for a model that stays; whole or not at all.

    Entries there that are not known are kept.

    Raises:
        InputError: it cannot be written, or what is there is damaged.
    """
    more = {**read(folder).more, **settings.more}
    replace(folder, dataclasses.replace(settings, more=more))


def replace(folder: str, settings: FolderSettings) -> None:
    """Writes bert_tf.json for a new model, whatever there is.

    Raises:
        InputError: it cannot be written.
    """
    if settings.said() or settings.more:
        files.write_text(path_in(folder), settings.to_json())
