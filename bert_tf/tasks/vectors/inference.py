"""Embeds texts with an exported model, without TensorFlow.

Shape letters: T tokens of a text, L layers, D width of a layer.
"""

import numpy as np

from bert_tf.exports.interface import Tensor
from bert_tf.tasks import inference, metrics
from bert_tf.tasks.vectors import lines
from bert_tf.tasks.vectors.lines import LineVectors


class FeaturesInference(inference.Inference):
    """Embeds texts, or their tokens."""

    def __init__(self, *args):
        super().__init__(*args)
        self.kind = lines.POOLINGS[self.settings["pooling"]]
        self.width = self.config["hidden_size"] * len(self.settings["layers"])

    def row_outputs(self):
        size = self.config["hidden_size"]
        found = {"sequence_output": Tensor("float32", (None, None, size))}
        if "pooled_output" in self.session.outputs:
            found["pooled_output"] = Tensor("float32", (None, size))
        return {**found, "embedding": self._embedding()}

    def token_outputs(self):
        if self.kind.over_tokens is None:
            return frozenset(("sequence_output", "embedding"))
        return frozenset(("sequence_output",))

    def _embedding(self):
        tokens = (None,) if self.kind.over_tokens is None else ()
        return Tensor("float32", (None, *tokens, self.width))

    def text_outputs(self):
        found = {"embedding": self._embedding(), "num_cut": inference.NUM_CUT}
        if self.kind.over_tokens is None:
            found["tokens"] = Tensor("string", (None, None))
        return found

    def texts(self, first, second):
        windows, texts, num_cut = self.windows(first, second)
        over_tokens = self.kind.over_tokens

        def take(number, outputs):
            values, owned = outputs["values"], windows[number].owned
            kept = values[0] if over_tokens == "first" else values[owned]
            vectors = LineVectors(
                texts[number], windows[number].tokens[owned], kept
            )
            pooled = lines.pool_window(vectors, over_tokens)
            # A view would keep the whole batch in memory.
            return pooled._replace(values=pooled.values.copy())

        found = self.compute(
            [self.row(window) for window in windows], ["values"], take
        )
        joined = list(lines.join_windows(found, over_tokens))
        outputs = {"num_cut": np.array(num_cut, np.int32)}
        if over_tokens is not None:
            values = [one.values.reshape(-1) for one in joined]
            embedding = np.zeros((len(joined), self.width), np.float32)
            for number, value in enumerate(values):
                embedding[number] = value
            if self.settings.get("normalize"):
                embedding = metrics.unit(embedding)
            return {**outputs, "embedding": embedding}
        by_token = [one.values.reshape(len(one.tokens), -1) for one in joined]
        return {
            **outputs,
            "embedding": inference.table(by_token, 0, np.float32),
            "tokens": inference.table(
                [one.tokens for one in joined], b"", object
            ),
        }
