"""The model of a checkpoint where a session of an exported one is taken."""

from bert_tf.checkpoints import inference
from bert_tf.data.grouping import LENGTH_STEP
from bert_tf.data.vocabulary import UnknownTokens


class CheckpointSession:
    """Computes a Keras model, with the weights that it has now.

    Args:
        model: a `keras.Model` with named inputs and outputs.
        vocab: {token: id}.

    Attributes:
        outputs: the names of all that it can compute.
        unknown: `UnknownTokens` of all rows.
    """

    length_step = LENGTH_STEP

    def __init__(self, model, vocab):
        self.outputs = tuple(model.output)
        self.unknown = UnknownTokens(vocab)
        self._forward = inference.compile_forward(model)

    def run(self, inputs, outputs):
        """Some outputs by name, as `exports.interface.Session.run`."""
        rows = zip(inputs["input_ids"], inputs["input_mask"], strict=True)
        for input_ids, mask in rows:
            self.unknown.add(input_ids[mask == 1].tolist())
        found = self._forward(inputs)
        return {name: found[name] for name in outputs}
