"""Whole models: functions that join `BertModel` to a head.

Each returns a functional `keras.Model` whose inputs have the names of the
records' features, so that `fit`, `export` and the training loop can feed it as
it is. Weights have the names of the original's checkpoints.
"""

import keras

from bert_tf.errors import InputError
from bert_tf.heads import ClassifierHead, PretrainingHeads, SpanHead
from bert_tf.modeling import BertModel

ENCODER_INPUTS = ("input_ids", "input_mask", "segment_ids")

EMBEDDINGS, POOLER = "embeddings", "pooler"


def integer_inputs(names, length=None):
    """Named int32 inputs [B, length]; None takes any length."""
    return {
        name: keras.Input((length,), dtype="int32", name=name) for name in names
    }


def pretraining(
    config,
    seq_length=None,
    num_predictions=None,
    use_one_hot_embeddings=False,
    next_sentence=True,
):
    """BERT with both pretraining heads.

    With `next_sentence=False` the pooler and that head are there, and in
    checkpoints, but are not trained.

    Returns:
        A model from `input_ids`, `input_mask`, `segment_ids` [B, S] and
        `masked_lm_positions` [B, P] to `masked_lm_logits` [B, P, V] and
        `next_sentence_logits` [B, 2].
    """
    inputs = integer_inputs(ENCODER_INPUTS, seq_length)
    positions = integer_inputs(("masked_lm_positions",), num_predictions)
    bert = BertModel(config, use_one_hot_embeddings)
    heads = PretrainingHeads(config)
    bert.pooler.trainable = heads.next_sentence.trainable = next_sentence
    encoded = bert(*inputs.values())
    logits = heads(
        encoded["sequence_output"],
        encoded["pooled_output"],
        encoded["embedding_table"],
        *positions.values(),
    )
    return keras.Model({**inputs, **positions}, logits)


def classifier(
    config, num_labels, seq_length=None, use_one_hot_embeddings=False
):
    """BERT with one linear layer over the pooled output: logits [B, L].

    Raises:
        InputError: the model attends from left to right. The first token, which
            is pooled, then sees no other.
    """
    if config.attention_direction() == "left_to_right":
        raise InputError(
            "A model with directionality=left_to_right cannot classify texts: "
            "[CLS], which is pooled, sees nothing but itself."
        )
    inputs = integer_inputs(ENCODER_INPUTS, seq_length)
    bert = BertModel(config, use_one_hot_embeddings)(*inputs.values())
    logits = ClassifierHead(config, num_labels)(bert["pooled_output"])
    return keras.Model(inputs, {"logits": logits})


def token_classifier(
    config, num_labels, seq_length=None, use_one_hot_embeddings=False
):
    """BERT with one linear layer over every token: logits [B, S, L]."""
    inputs = integer_inputs(ENCODER_INPUTS, seq_length)
    bert = BertModel(config, use_one_hot_embeddings)
    bert.pooler.trainable = False
    sequence = bert(*inputs.values())["sequence_output"]
    logits = ClassifierHead(config, num_labels)(sequence)
    return keras.Model(inputs, {"logits": logits})


def span(config, seq_length=None, use_one_hot_embeddings=False):
    """BERT that marks answers: `start_logits` and `end_logits` [B, S]."""
    inputs = integer_inputs(ENCODER_INPUTS, seq_length)
    bert = BertModel(config, use_one_hot_embeddings)
    # Nothing here depends on the pooler. It stays in checkpoints, but has no
    # gradient: as in the original it gets no optimizer slots and no decay.
    bert.pooler.trainable = False
    logits = SpanHead(config)(bert(*inputs.values())["sequence_output"])
    return keras.Model(inputs, logits)


# ------------------------------------------------------------ how it is trained


def parse_parts(text, num_hidden_layers):
    """The parts of the encoder that a text such as `embeddings,0-5` names.

    Args:
        text: `embeddings`, `pooler`, numbers of layers from 0 (the lowest) and
            ranges of them, separated by commas.
        num_hidden_layers: int, of the model.

    Returns:
        A set of `EMBEDDINGS`, `POOLER` and numbers.

    Raises:
        InputError: a part that the model does not have.
    """
    parts = set()
    for part in text.split(","):
        part = part.strip()
        first, dash, last = part.partition("-")
        last = last if dash else first
        if part in (EMBEDDINGS, POOLER):
            parts.add(part)
        elif (
            first.isdecimal()
            and last.isdecimal()
            and int(first) <= int(last) < num_hidden_layers
        ):
            parts.update(range(int(first), int(last) + 1))
        else:
            raise InputError(
                f"A part must be {EMBEDDINGS}, {POOLER}, a layer from 0 to "
                f"{num_hidden_layers - 1}, or several as in 0-"
                f"{num_hidden_layers - 1}. Received: {part!r} in {text!r}"
            )
    return parts


def freeze(model, parts):
    """Keeps parts of a model's encoder from being trained.

    They have no gradient, no optimizer slots and no weight decay; dropout in
    them goes on. Where the embeddings are frozen, the masked-LM output, which
    is tied to them, is too, but for its bias.

    Args:
        model: what a function of this module returns.
        parts: of `parse_parts`.
    """
    bert = _encoder_of(model)
    for part in parts:
        if part == EMBEDDINGS:
            bert.embedding_lookup.trainable = False
            bert.embedding_postprocessor.trainable = False
        elif part == POOLER:
            bert.pooler.trainable = False
        else:
            bert.encoder.layers[part].trainable = False


def recompute(model):
    """Trains a model in less memory, for about a third more computation.

    Of each encoder layer only the input is kept, and the rest is computed again
    when gradients are due. The numbers are the same.

    Args:
        model: what a function of this module returns.
    """
    for layer in _encoder_of(model).encoder.layers:
        layer.recompute = True


def _encoder_of(model):
    (bert,) = (x for x in model.layers if isinstance(x, BertModel))
    return bert
