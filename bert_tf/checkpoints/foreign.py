"""A BERT as another program wrote it: what a reader of its files returns."""

import dataclasses
import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from bert_tf.checkpoints.folder_settings import NOTHING_SAID, FolderSettings


class Tensor(NamedTuple):
    """Where a program keeps one of our variables.

    Attributes:
        name: in its file.
        shape: there. Kernels of attention may have the heads on an axis.
        transposed: whether it is [D, L] where ours is [L, D].
    """

    name: str
    shape: tuple[int, ...]
    transposed: bool = False


@dataclasses.dataclass
class ForeignModel:
    """An open model of another program.

    Attributes:
        program: what it is called.
        source: the path of its weights.
        tensors: by our names.
        read: name in the file -> array.
        unknown: names in the file that are none of ours.
        left_out: names of what is left out without being asked for.
        config: those keys of bert_config.json that the files tell.
        computes: their name of an activation -> ours, where it differs.
        vocab_file: if the program keeps one.
        settings: what the files tell of texts and inputs.
        problem_type: of a classifier, as transformers calls it; None if unsaid.
        files: all that are read.
        notes: lines for the report.
    """

    program: str
    source: str
    tensors: dict[str, Tensor]
    read: Callable[[str], np.ndarray]
    unknown: list[str] = dataclasses.field(default_factory=list)
    left_out: list[str] = dataclasses.field(default_factory=list)
    config: dict[str, Any] = dataclasses.field(default_factory=dict)
    computes: Mapping[str, str] = dataclasses.field(default_factory=dict)
    vocab_file: str | None = None
    settings: FolderSettings = NOTHING_SAID
    problem_type: str | None = None
    files: list[str] = dataclasses.field(default_factory=list)
    notes: list[str] = dataclasses.field(default_factory=list)


def compiled(names: Mapping[str, str]) -> dict[re.Pattern[str], str]:
    """A table for `our_name`, of patterns and what they mean."""
    return {re.compile(pattern): ours for pattern, ours in names.items()}


def our_name(table: Mapping[re.Pattern[str], str], name: str) -> str | None:
    """What a program's name of a variable means; None if it is unknown.

    Args:
        table: patterns of whole names -> ours, with the groups of the pattern
            in braces.
        name: in the file.
    """
    for pattern, ours in table.items():
        found = pattern.fullmatch(name)
        if found:
            return ours.format(**found.groupdict())
    return None
