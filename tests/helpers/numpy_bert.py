"""BERT in float64 NumPy, one row at a time, written from the paper's formulas.

Tests compare it with the original's numbers.
"""

import numpy as np


def softmax(x):
    x = np.exp(x - x.max(-1, keepdims=True))
    return x / x.sum(-1, keepdims=True)


def log_softmax(x):
    x = x - x.max(-1, keepdims=True)
    return x - np.log(np.exp(x).sum(-1, keepdims=True))


def gelu(x):
    cubed = x + 0.044715 * x**3
    return 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * cubed))


class NumpyBert:
    """Takes the variables of a checkpoint by name, and the number of heads."""

    def __init__(self, variables, num_heads):
        self.variables = {
            name: value.astype(np.float64) for name, value in variables.items()
        }
        self.num_heads = num_heads
        self.num_layers = sum(
            name.endswith("/intermediate/dense/bias") for name in variables
        )

    def dense(self, x, scope):
        v = self.variables
        return x @ v[f"{scope}/kernel"] + v[f"{scope}/bias"]

    def layer_norm(self, x, scope):
        v = self.variables
        x = x - x.mean(-1, keepdims=True)
        x = x / np.sqrt((x**2).mean(-1, keepdims=True) + 1e-12)
        return x * v[f"{scope}/LayerNorm/gamma"] + v[f"{scope}/LayerNorm/beta"]

    def embeddings(self, input_ids, segment_ids=None):
        """What the first layer reads [S, D], for ids without padding."""
        v, scope = self.variables, "bert/embeddings"
        types = [0] * len(input_ids) if segment_ids is None else segment_ids
        x = (
            v[f"{scope}/word_embeddings"][list(input_ids)]
            + v[f"{scope}/token_type_embeddings"][list(types)]
            + v[f"{scope}/position_embeddings"][: len(input_ids)]
        )
        return self.layer_norm(x, scope)

    def layers(self, input_ids, segment_ids=None):
        """The output [S, D] of every layer, for ids without padding."""
        x, outputs = self.embeddings(input_ids, segment_ids), []
        for number in range(self.num_layers):
            scope = f"bert/encoder/layer_{number}"
            x = x + self.dense(
                self.attention(x, f"{scope}/attention/self"),
                f"{scope}/attention/output/dense",
            )
            x = self.layer_norm(x, f"{scope}/attention/output")
            wide = gelu(self.dense(x, f"{scope}/intermediate/dense"))
            x = x + self.dense(wide, f"{scope}/output/dense")
            x = self.layer_norm(x, f"{scope}/output")
            outputs.append(x)
        return outputs

    def attention(self, x, scope):
        query, key, value = (
            np.stack(np.split(self.dense(x, f"{scope}/{n}"), self.num_heads, 1))
            for n in ("query", "key", "value")
        )  # [N, S, H]
        scores = query @ key.swapaxes(1, 2) / np.sqrt(query.shape[-1])
        return np.concatenate(softmax(scores) @ value, axis=1)

    def masked_lm_log_probs(self, input_ids, position, segment_ids=None):
        """Log probabilities [V] of the piece at a position."""
        v, scope = self.variables, "cls/predictions"
        x = self.layers(input_ids, segment_ids)[-1][position]
        x = gelu(self.dense(x, f"{scope}/transform/dense"))
        x = self.layer_norm(x, f"{scope}/transform")
        table = v["bert/embeddings/word_embeddings"]
        return log_softmax(table @ x + v[f"{scope}/output_bias"])

    def next_sentence_log_probs(self, input_ids, segment_ids):
        """Log probabilities [2]: B follows A, B is from elsewhere."""
        v, scope = self.variables, "cls/seq_relationship"
        x = self.layers(input_ids, segment_ids)[-1][0]
        pooled = np.tanh(self.dense(x, "bert/pooler/dense"))
        return log_softmax(
            v[f"{scope}/output_weights"] @ pooled + v[f"{scope}/output_bias"]
        )
