"""The signature by which one looks into an exported model."""

import tensorflow as tf

from bert_tf import models
from bert_tf.exports import graph_rows, signature
from bert_tf.exports.signature import NUMBERS


def inspect(served):
    """The signature `inspect` of a `signature.Served`, and a small request.

    It computes the model once more, up to the layer that is asked for, and
    returns what no other signature keeps.

    Returns:
        A concrete function of rows, int32 [B, S] by name, and of `layer`,
        int32 []: 0 for the embedding output, 1 for the first layer. Its outputs
        are `hidden` [B, S, D] and `attention` [B, N, S, S]: zeros for layer 0,
        otherwise that by which `hidden` was computed. And inputs by name.
    """
    config, bert = served.rules.config, models.find_bert(served.plain.model)
    last = config.num_hidden_layers

    def look(layer, **rows):
        rows = graph_rows.checked(rows, config)
        check = tf.debugging.Assert(
            (layer >= 0) & (layer <= last),
            [f"layer must be from 0 to {last}. Received:", layer],
        )
        hidden, attention = models.look_inside(
            bert, *(rows[name] for name in models.ENCODER_INPUTS)
        )
        attention = [tf.zeros_like(attention[0]), *attention]
        with tf.control_dependencies([check]):
            layer = tf.identity(layer)
        # Not stacked: those of other layers are not kept until the end.
        chosen = [
            tf.switch_case(
                layer, [lambda x=x: tf.cast(x, tf.float32) for x in of]
            )
            for of in (hidden, attention)
        ]
        shapes = (
            [None, None, config.hidden_size],
            [
                None,
                config.num_attention_heads,
                None,
                None,
            ],
        )
        names = "hidden", "attention"
        return dict(zip(names, map(tf.ensure_shape, chosen, shapes)))

    specs = dict.fromkeys(models.ENCODER_INPUTS, NUMBERS)
    specs["layer"] = tf.TensorSpec([], tf.int32)
    ids = [[served.rules.id_of(token) for token in ("[CLS]", "[SEP]")]]
    sample = {
        "input_ids": ids,
        "input_mask": [[1, 1]],
        "segment_ids": [[0, 0]],
        "layer": last,
    }
    return signature.trace(look, specs), sample
