"""What the queue computes for one request, part by part."""

import json

import numpy as np

from bert_tf.server import protocol


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
