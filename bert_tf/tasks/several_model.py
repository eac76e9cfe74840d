"""A model with several heads on one encoder."""

import contextlib
from collections.abc import Mapping
from typing import NamedTuple

import keras

from bert_tf import heads, models
from bert_tf.checkpoints import names
from bert_tf.modeling import BertConfig, BertModel


class HeadShape(NamedTuple):
    """What a head needs to be built.

    Attributes:
        num_outputs: L.
        reads_words: whether it has logits for each token.
        own_pooler: of one that has not, whether it has a pooler of its own.
    """

    num_outputs: int
    reads_words: bool = False
    own_pooler: bool = False


def several_heads(config: BertConfig, shapes: Mapping[str, HeadShape]):
    """BERT with several linear layers over one pass through the encoder.

    Its weights are those of `models.classifier` and `models.token_classifier`,
    but those of a head are in `heads/NAME/`.

    Args:
        config: a `BertConfig`.
        shapes: of the heads, by name.

    Returns:
        A model from `input_ids`, `input_mask`, `segment_ids` [B, S] to
        `NAME/logits` of each head: [B, L], or [B, S, L] for each token.
    """
    inputs = models.integer_inputs(models.ENCODER_INPUTS)
    bert = BertModel(config)(*inputs.values())
    outputs = {}
    for name, shape in shapes.items():
        kind, source = heads.ClassifierHead, "pooled_output"
        if shape.own_pooler:
            kind = heads.PooledClassifierHead
        if shape.own_pooler or shape.reads_words:
            source = "sequence_output"
        with _scope_of(name):
            head = kind(config, shape.num_outputs, name=f"head_{name}")
        outputs[f"{name}/logits"] = head(bert[source])
    return keras.Model(inputs, outputs)


@contextlib.contextmanager
def _scope_of(name):
    outer, inner = names.scope_of_head(name).rstrip("/").split("/")
    with keras.name_scope(outer), keras.name_scope(inner):
        yield
