"""What the queue computes for one request, part by part."""

import json

import numpy as np

from bert_tf.server import protocol


class Limited:
    """Computes one request, and counts the values of its parts on the way.

    Args:
        compute: function of the inputs of a part.
        limits: of the answer.
    """

    def __init__(self, compute, limits):
        self.compute, self.limits = compute, limits
        self.values = 0

    def __call__(self, inputs):
        outputs = self.compute(inputs)
        self.values += sum(array.size for array in outputs.values())
        protocol.limit_values(self.values, self.limits)
        return outputs


class Tokenizing:
    """The pieces of texts of one request, each text's list as JSON.

    Counts the values on the way.

    Args:
        model: a `ServedModel`.
        limits: of the answer.
    """

    def __init__(self, model, limits):
        self.model, self.limits = model, limits
        self.values = 0

    def __call__(self, inputs):
        found = np.empty(len(inputs["texts"]), object)
        for index, text in enumerate(inputs["texts"]):
            (pieces,) = self.model.tokenize([text])
            self.values += sum(map(len, pieces))
            protocol.limit_values(self.values, self.limits)
            found[index] = json.dumps(pieces, ensure_ascii=False).encode()
        return {"json": found}
