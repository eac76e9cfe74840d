"""Multiple choice: SWAG's files, and users' own, to examples.

A folder has the parts `train`, `dev` (SWAG calls it `val`) and `test`. A .csv
file is one of SWAG, unless the columns of the choices are given.
"""

import dataclasses
import json
import logging
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from bert_tf.data.prediction_tables import Table, read_table
from bert_tf.data.tables import (
    FORMATS,
    BadValue,
    Problems,
    find_file,
    parse_column,
    read_columns,
    read_csv,
    read_tsv,
    require_different,
    text_value,
)
from bert_tf.errors import InputError, count_of, list_folder, quote

_LOGGER = logging.getLogger(__name__)

PARTS = {"train": ("train",), "dev": ("dev", "val"), "test": ("test",)}
"""Names of the files of each part, without their endings."""

SENTENCES, START = SWAG_INPUTS = ("sentences", "startphrase")
"""What is the context in SWAG: its first sentence, and the beginning of the
second one is the question; or both as one context, without a question."""

_ENDINGS = ("ending0", "ending1", "ending2", "ending3")
_SWAG_COLUMNS = {
    SENTENCES: {"context_col": "sent1", "question_col": "sent2"},
    START: {"context_col": "startphrase"},
}
# Columns of train_full.csv and val_full.csv only.
_FULL_COLUMNS = {"gold-ending", "distractor-0"}

_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


class ChoiceExample(NamedTuple):
    """A context, and texts of which one goes with it.

    Attributes:
        guid: the part of the data, and the line.
        context: the first text.
        question: comes before each choice; "" for none.
        choices: two or more.
        label: the index of the right choice; 0 in unlabelled examples.
    """

    guid: str
    context: str
    question: str
    choices: tuple[str, ...]
    label: int = 0

    def second_texts(self) -> list[str]:
        """The second text of each choice."""
        if not self.question:
            return list(self.choices)
        return [f"{self.question} {choice}" for choice in self.choices]


class ChoiceSet(NamedTuple):
    """The examples of a file.

    Attributes:
        path: of the file.
        examples: in its order, all with the same number of choices.
        labels: the names of the choices as the file counts them, such as 0, 1
            or A, B; None without labels.
        is_swag: whether it is a file of SWAG.
    """

    path: str
    examples: list[ChoiceExample]
    labels: tuple[str, ...] | None
    is_swag: bool = False

    @property
    def num_choices(self) -> int:
        """The choices of each example."""
        return len(self.examples[0].choices)


@dataclasses.dataclass(frozen=True)
class ChoiceColumns:
    """How files are read.

    A column is a name in the header (in .jsonl files, a key), or an index from
    0. None is the default of the format.

    Attributes:
        context_col: column of the context. [context]
        question_col: column of the question. [question, if it is there]
        choice_cols: columns of the choices. [.jsonl: the list `choices`]
        label_col: column of the label. [label]
        first_label: the name of the first choice, a number or A. [0, or A
            where the first label of a file is a letter]
        noted_first_label: the same, as the folder of the model notes it, for
            own files where it is not given.
        swag_inputs: one of `SWAG_INPUTS`.
    """

    context_col: str | None = None
    question_col: str | None = None
    choice_cols: str | None = None
    label_col: str | None = None
    first_label: str | None = None
    swag_inputs: str = SENTENCES
    noted_first_label: str | None = None

    def is_swag(self, path: str) -> bool:
        """Whether a file is read as one of SWAG."""
        return path.endswith(".csv") and self.choice_cols is None


def label_names(num_choices: int, first_label: str) -> tuple[str, ...]:
    """The names of the choices, given the first one: numbers, or letters.

    Raises:
        InputError: there are not enough letters.
    """
    if first_label == _LETTERS[0]:
        if num_choices > len(_LETTERS):
            raise InputError(
                f"`--first_label=A` names at most {len(_LETTERS)} choices. "
                f"There are {num_choices}: use numbers"
            )
        return tuple(_LETTERS[:num_choices])
    return tuple(str(int(first_label) + n) for n in range(num_choices))


def require_first_label(first_label: str | None) -> None:
    """Raises `InputError` for a name that no first choice can have."""
    if first_label is None or first_label == _LETTERS[0]:
        return
    if not re.fullmatch("[0-9]{1,9}", first_label):
        raise InputError(
            "`--first_label` must be the number of the first choice, such as "
            f"0 or 1, or A. Received: --first_label={first_label}"
        )


def labels_of(
    sets: Sequence[ChoiceSet], first_label: str | None = None
) -> tuple[str, ...]:
    """The names of the choices of all sets of a run.

    Args:
        sets: one or more.
        first_label: as in `ChoiceColumns`, for sets without labels.

    Raises:
        InputError: sets differ in the number of choices or in their names; says
            which files.
    """
    first = sets[0]
    labelled = None
    for one in sets:
        if one.num_choices != first.num_choices:
            raise InputError(
                "All files of a run must have the same number of choices. "
                f"{first.path} has {first.num_choices}, {one.path} has "
                f"{one.num_choices}"
            )
        if one.labels is None:
            continue
        labelled = labelled or one
        if one.labels != labelled.labels:
            raise InputError(
                "All files of a run must name the choices alike. "
                f"{labelled.path} has {', '.join(labelled.labels or ())}; "
                f"{one.path} has {', '.join(one.labels)}"
            )
    if labelled is not None and labelled.labels is not None:
        return labelled.labels
    return label_names(first.num_choices, first_label or "0")


def require_swag(sets: Sequence[ChoiceSet], swag_inputs: str) -> None:
    """Raises `InputError` where `--swag_inputs` would have no effect."""
    for one in sets:
        if not one.is_swag:
            raise InputError(
                f"`--swag_inputs` is for SWAG's files, and {one.path} is none. "
                f"Received: --swag_inputs={swag_inputs}"
            )


def read_part(
    data_dir: str, part: str, columns: ChoiceColumns, is_labelled: bool = True
) -> ChoiceSet:
    """Reads the file of a part.

    Args:
        data_dir: its folder.
        part: one of `PARTS`.
        columns: `ChoiceColumns`.
        is_labelled: whether to read labels, which all rows must have then.

    Raises:
        InputError: no such file, no examples in it, columns that it lacks, or
            bad rows; names all of these.
    """
    path = _find(data_dir, part)
    problems = Problems(path)
    if columns.is_swag(path):
        rows = _swag_rows(path, columns, problems, is_labelled)
    else:
        rows = _own_rows(path, columns, problems, is_labelled)
    noted = None if columns.is_swag(path) else columns.noted_first_label
    reader = _Reader(problems, columns.first_label, noted)
    for line, values in rows:
        reader.add(f"{part}-{line}", line, values)
    problems.raise_if_any()
    if not reader.examples:
        raise InputError(f"{path} must hold examples. It has none")
    if reader.empty:
        _LOGGER.warning(
            "%s has %s without a context, or with an empty choice, the first "
            "in line %d",
            path,
            count_of(len(reader.empty), "row"),
            reader.empty[0],
        )
    return ChoiceSet(
        path, reader.examples, reader.labels(), columns.is_swag(path)
    )


def find_test_labels(
    data_dir: str, columns: ChoiceColumns, names: Sequence[str]
) -> list[int] | None:
    """The right choices of the test file, in its order.

    Args:
        data_dir, columns: as in `read_part`, which has read the file.
        names: of the choices.

    Returns:
        Indices; None, with a line in the log if there is a column: a row has no
        label or an unknown one, or all have the same, which holds the place of
        labels that are not public.
    """
    path = _find(data_dir, "test")
    problems = Problems(path)
    read = _swag_rows if columns.is_swag(path) else _own_rows
    try:
        rows = list(read(path, columns, problems, True))
    except InputError:
        return None  # There is no such column.
    texts = {line: _label_text(values["label_col"]) for line, values in rows}
    unknown = (line for line, text in texts.items() if text not in names)
    reason = None
    if problems.count:
        if not rows:
            return None  # No object has the key.
        reason = "not every row has one"
    elif (line := next(unknown, None)) is not None:
        reason = (
            f"line {line} has {quote(texts[line])}, and choices are named "
            f"{', '.join(names)}"
        )
    elif len(set(texts.values())) == 1:
        reason = "all rows have the same"
    if reason is not None:
        _LOGGER.info("Labels of %s are not used: %s.", path, reason)
        return None
    return [names.index(text) for text in texts.values()]


def _label_text(value: Any) -> str:
    """A label as a text; JSON numbers as written."""
    return (value if isinstance(value, str) else json.dumps(value)).strip()


def _find(data_dir: str, part: str) -> str:
    names = [name + ending for name in PARTS[part] for ending in FORMATS]
    full = f"{PARTS[part][-1]}_full.csv"
    if os.path.isfile(os.path.join(data_dir, full)) and not any(
        os.path.isfile(os.path.join(data_dir, name)) for name in names
    ):
        raise InputError(
            f"`data_dir` must hold {PARTS[part][-1]}.csv of SWAG. {full} has "
            "another layout, with annotations of all candidates: take the "
            f"other file of the download. data_dir={data_dir!r} has: "
            f"{list_folder(data_dir)}"
        )
    return find_file(data_dir, names)


Rows = Iterator[tuple[int, Mapping[str, Any]]]


def _swag_rows(
    path: str, columns: ChoiceColumns, problems: Problems, is_labelled: bool
) -> Rows:
    first = next(read_csv(path, Problems(path)), None)
    names = set(first.cells if first else ())
    if names & _FULL_COLUMNS:
        raise InputError(
            f"{path} must have the columns of SWAG's train.csv, sent1, sent2, "
            "ending0 to ending3, label. It has those of train_full.csv or "
            "val_full.csv, such as "
            f"{', '.join(sorted(names & _FULL_COLUMNS))}: take the other file "
            "of the download"
        )
    if not names & {"sent1", "startphrase", *_ENDINGS}:
        has = ", ".join(map(quote, first.cells[:20] if first else [])) or "none"
        raise InputError(
            f"{path} must have the columns of SWAG (sent1, sent2, ending0 to "
            "ending3, label), or `--choice_cols` must name the columns of the "
            f"choices. It has the columns {has}"
        )
    for name in ("context_col", "question_col", "label_col"):
        if getattr(columns, name) is not None:
            raise InputError(
                f"`--{name}` needs --choice_cols: the columns of SWAG's files "
                f"are fixed, and {path} is read as one. Received: "
                f"--{name}={getattr(columns, name)}"
            )
    if columns.first_label not in (None, "0"):
        raise InputError(
            "`--first_label` must be 0 for SWAG, which counts from there. "
            f"Received: --first_label={columns.first_label} for {path}"
        )
    wanted = {
        **_SWAG_COLUMNS[columns.swag_inputs],
        **{_role(n): name for n, name in enumerate(_ENDINGS)},
    }
    if is_labelled:
        wanted["label_col"] = "label"
    return read_columns(path, wanted, True, problems)


def _role(number: int) -> str:
    return f"choice_cols[{number}]"


def test_table(data_dir: str, columns: ChoiceColumns) -> Table:
    """The cells of the test file, which has been read before."""
    path = _find(data_dir, "test")
    if columns.is_swag(path):
        return read_table(path, True)
    return read_table(path, _has_header(path, columns))


def _own_rows(
    path: str, columns: ChoiceColumns, problems: Problems, is_labelled: bool
) -> Rows:
    wanted, optional = _own_columns(path, columns, is_labelled)
    has_header = _has_header(path, columns)
    return read_columns(path, wanted, has_header, problems, optional)


def _has_header(path: str, columns: ChoiceColumns) -> bool:
    """Whether the first line has names: the same for all files of a run.

    Raises:
        InputError: it is not plain.
    """
    wanted, _ = _own_columns(path, columns, is_labelled=True)
    is_named = [isinstance(one, str) for one in wanted.values()]
    # The label's is named by default: do files that number the others have it?
    if columns.label_col is None and sum(is_named) == 1:
        read = read_csv if path.endswith(".csv") else read_tsv
        first = next(read(path, Problems(path)), None)
        label = str(wanted["label_col"])
        if first and label not in map(str.strip, first.cells):
            raise InputError(
                "`--label_col` must be given where the other columns are given "
                "by number: a number if the files have no header, a name if "
                f"they have one. Line 1 of {path} has no {label!r}"
            )
    return any(isinstance(column, str) for column in wanted.values())


def _own_columns(
    path: str, columns: ChoiceColumns, is_labelled: bool
) -> tuple[dict[str, str | int], dict[str, str]]:
    """Columns by role: those that must be there, and those that may be."""
    is_jsonl = path.endswith(".jsonl")
    if columns.choice_cols is None and not is_jsonl:
        raise InputError(
            "`--choice_cols` must name the columns of the choices, such as "
            f"a,b,c. {path} needs it"
        )
    wanted: dict[str, str | int] = {
        "context_col": columns.context_col or "context",
        **_choice_columns(path, columns.choice_cols or "choices"),
    }
    optional = {}
    if columns.question_col is None:
        optional["question_col"] = "question"
    else:
        wanted["question_col"] = columns.question_col
    if is_labelled:
        wanted["label_col"] = columns.label_col or "label"
    wanted = {role: parse_column(column) for role, column in wanted.items()}
    require_different({**optional, **wanted})
    return wanted, optional


def _choice_columns(path: str, choice_cols: str) -> dict[str, str]:
    """Columns by role: one with a list, or one for each choice."""
    names = [name.strip() for name in choice_cols.split(",")]
    if len(names) == 1 and path.endswith(".jsonl"):
        return {"choice_cols": names[0]}
    if len(names) < 2 or not all(names):
        raise InputError(
            "`--choice_cols` must name at least two columns, separated by "
            f"commas, for {path}. Received: --choice_cols={choice_cols}"
        )
    return {_role(number): name for number, name in enumerate(names)}


class _Reader:
    """Checks rows and makes examples of them.

    Attributes:
        examples: so far.
        empty: lines with an empty context or choice.
        first_label: as in `ChoiceColumns`; that of the file, once it is known.
    """

    def __init__(
        self, problems: Problems, first_label: str | None, noted: str | None
    ):
        self.problems = problems
        self.first_label = first_label or noted
        self._is_noted = first_label is None and noted is not None
        self.examples: list[ChoiceExample] = []
        self.empty: list[int] = []
        # The lines of the first row with choices, and with a label.
        self._num_choices = self._counted = self._labelled = 0

    def add(self, guid: str, line: int, values: Mapping[str, Any]) -> None:
        """Makes an example of a row, or adds it to the problems."""
        try:
            context = text_value("context_col", values["context_col"])
            question = text_value(
                "question_col", values.get("question_col") or ""
            )
            choices = self._choices(line, values)
            label = 0
            if "label_col" in values:
                label = self._label(line, values["label_col"])
        except BadValue as bad:
            self.problems.add(line, bad.found, bad.expected)
            return
        if not context.strip() or not all(map(str.strip, choices)):
            self.empty.append(line)
        self.examples.append(
            ChoiceExample(guid, context, question, choices, label)
        )

    def labels(self) -> tuple[str, ...] | None:
        """The names of the choices; None without labels."""
        if not self._labelled or self.first_label is None:
            return None
        return label_names(self._num_choices, self.first_label)

    def _choices(self, line: int, values: Mapping[str, Any]) -> tuple[str, ...]:
        if "choice_cols" in values:
            given = values["choice_cols"]
            if not isinstance(given, list):
                raise BadValue(
                    f"choice_cols: {quote(json.dumps(given))}",
                    "a list of texts",
                )
            texts = {_role(number): text for number, text in enumerate(given)}
        else:
            texts = {role: x for role, x in values.items() if "[" in role}
        choices = tuple(text_value(role, text) for role, text in texts.items())
        if len(choices) < 2:
            raise BadValue(count_of(len(choices), "choice"), "two or more")
        if not self._num_choices:
            self._num_choices, self._counted = len(choices), line
        if len(choices) != self._num_choices:
            raise BadValue(
                count_of(len(choices), "choice"),
                f"{self._num_choices} as in line {self._counted}",
            )
        return choices

    def _label(self, line: int, value: Any) -> int:
        text = _label_text(value)
        is_letter = len(text) == 1 and text.isalpha()
        first = self.first_label or (_LETTERS[0] if is_letter else "0")
        if first == _LETTERS[0] and self._num_choices > len(_LETTERS):
            raise BadValue(
                f"{self._num_choices} choices named by letters, {quote(text)}",
                f"at most {len(_LETTERS)}; numbers name more",
            )
        names = label_names(self._num_choices, first)
        if text not in names:
            expected = f"one of {', '.join(names)}"
            if self._labelled:
                expected += f", as in line {self._labelled}"
            if self._is_noted:
                expected += (
                    f", since the model's folder notes first_label={first} "
                    "(--first_label says otherwise)"
                )
            elif first == "0" and text == str(len(names)):
                expected += " (--first_label=1 for labels that count from 1)"
            raise BadValue(f"the label {quote(text)}", expected)
        if not self._labelled:
            self.first_label, self._labelled = first, line
        return names.index(text)
