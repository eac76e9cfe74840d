"""What a loaded model offers, whatever runs it: named functions of arrays.

A function is a signature, as TensorFlow Serving calls it. docs/serving.md lists
those of each head.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

ROWS, EXAMPLES = "serving_default", "serve_examples"
TEXT, PAIR, WORDS = "serve_text", "serve_text_pair", "serve_words"
INSPECT = "inspect"

Arrays = dict[str, np.ndarray]
"""Inputs or outputs by name; texts are `bytes` in arrays of objects."""


class Tensor(NamedTuple):
    """The type and shape of an input or output of a signature.

    Attributes:
        dtype: NumPy's name, or "string"; TensorFlow's name for other types.
        shape: None in place of a length that is not fixed; None for all of it
            where the rank is not fixed either.
        default: the value of an input that a request leaves out.
    """

    dtype: str
    shape: tuple[int | None, ...] | None
    default: NDArray | None = None

    def __str__(self) -> str:
        shape = "[...]" if self.shape is None else show_shape(self.shape)
        return f"{self.dtype} {shape}"


class Signature(NamedTuple):
    """The inputs and outputs of a function, by name."""

    inputs: Mapping[str, Tensor]
    outputs: Mapping[str, Tensor]


class Session(Protocol):
    """A model that runs without TensorFlow.

    Attributes:
        outputs: the names of all that it can compute.
        length_step: rows are padded to a multiple of this: 1 where a batch of
            another length costs nothing but its computation.
    """

    outputs: tuple[str, ...]
    length_step: int

    def run(
        self, inputs: Mapping[str, np.ndarray], outputs: Sequence[str]
    ) -> Arrays:
        """Computes some outputs by name; may be called by several threads."""
        ...


def show_shape(shape: Sequence[int | None]) -> str:
    """A shape for a message; None is a length that is not fixed."""
    return f"[{', '.join('any' if n is None else str(n) for n in shape)}]"
