"""What the queue computes for one request, part by part."""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from bert_tf.server import costs, protocol, values


class Job(NamedTuple):
    """What the queue computes for a request that is not of the protocol.

    Attributes:
        compute: function of the inputs of a part.
        inputs: arrays by name, a row for each thing to compute.
        costs: of the rows.
        write: function of the outputs of all parts that returns the answer.
    """

    compute: Callable[[dict[str, Any]], Mapping[str, Any]]
    inputs: dict[str, Any]
    costs: Sequence[int]
    write: Callable[[Mapping[str, Any]], bytes]


class _Counting:
    """Counts the values of the parts of one request on the way.

    Args:
        limits: of the answer.
    """

    def __init__(self, limits):
        self.limits, self.values = limits, 0

    def count(self, values):
        """Adds values; raises `RequestError`, 413, above the limit."""
        self.values += values
        protocol.limit_values(self.values, self.limits)


class Limited(_Counting):
    """Computes one request up to a number of values.

    Args:
        compute: function of the inputs of a part.
        limits: of the answer.
    """

    def __init__(self, compute, limits):
        super().__init__(limits)
        self.compute = compute

    def __call__(self, inputs):
        outputs = self.compute(inputs)
        self.count(sum(array.size for array in outputs.values()))
        return outputs


class Tokenizing(_Counting):
    """The pieces of texts of one request, each text's list as JSON.

    Args:
        model: a `ServedModel`.
        limits: of the answer.
    """

    def __init__(self, model, limits):
        super().__init__(limits)
        self.model = model

    def __call__(self, inputs):
        found = np.empty(len(inputs["texts"]), object)
        for index, text in enumerate(inputs["texts"]):
            (pieces,) = self.model.tokenize([text])
            self.count(sum(map(len, pieces)))
            found[index] = json.dumps(pieces, ensure_ascii=False).encode()
        return {"json": found}


def tokenize(body, model, limits):
    """A request for the word pieces of texts.

    Args:
        body: JSON with `instances`, texts.
        model: a `LoadedVersion`.
        limits: of the request and its answer.

    Raises:
        RequestError: it is not that, or exceeds a limit.
    """
    texts = values.read_texts(protocol.parse_tokenize(body), limits)
    column = np.empty(len(texts), object)
    column[:] = texts
    return Job(
        # Part by part, so that others get their turn, and as JSON, which is
        # smaller than the pieces.
        Tokenizing(model, limits),
        {"texts": column},
        [costs.of_text(text) for text in texts],
        lambda found: b'{"predictions": [' + b", ".join(found["json"]) + b"]}",
    )
