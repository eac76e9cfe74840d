"""Whole models: functions that join `BertModel` to a head.

Each returns a functional `keras.Model`. Its inputs have the names of features
in records, so that `fit`, `export` and the training loop can use it directly;
its weights have the names of those in the original's checkpoints.
"""

import keras
from keras import ops

# Re-exported for callers.
from bert_tf.data.packing import ENCODER_INPUTS as ENCODER_INPUTS
from bert_tf.errors import InputError
from bert_tf.heads import ClassifierHead, PretrainingHeads, SpanHead
from bert_tf.layers import keeping_attention, packs_rows
from bert_tf.modeling import BertModel
from bert_tf.support import parts as encoder_parts


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
    skip_padding=False,
):
    """BERT with both pretraining heads.

    With `next_sentence=False` the pooler and the next-sentence head remain in
    the model and in checkpoints, but are not trained.

    Returns:
        A model from `input_ids`, `input_mask`, `segment_ids` [B, S] and
        `masked_lm_positions` [B, P] to `masked_lm_logits` [B, P, V] and
        `next_sentence_logits` [B, 2].
    """
    inputs = integer_inputs(ENCODER_INPUTS, seq_length)
    positions = integer_inputs(("masked_lm_positions",), num_predictions)
    bert = BertModel(config, use_one_hot_embeddings, skip_padding)
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
    config,
    num_labels,
    seq_length=None,
    use_one_hot_embeddings=False,
    skip_padding=False,
):
    """BERT with one linear layer over the pooled output: logits [B, L].

    Raises:
        InputError: the model attends from left to right, so that the first
            token, which is pooled, sees no other.
    """
    _require_pooling(config)
    inputs = integer_inputs(ENCODER_INPUTS, seq_length)
    bert = BertModel(config, use_one_hot_embeddings, skip_padding)(
        *inputs.values()
    )
    logits = ClassifierHead(config, num_labels)(bert["pooled_output"])
    return keras.Model(inputs, {"logits": logits})


@keras.saving.register_keras_serializable("bert_tf")
class MergeFirstAxes(keras.layers.Layer):
    """Makes one axis of the first two, both of any length.

    Call arguments:
        x: tensor [B, N, S].

    Returns:
        The same values, [B N, S].
    """

    def call(self, x):
        return ops.reshape(x, (-1, ops.shape(x)[-1]))

    def compute_output_shape(self, x_shape):
        return (None, x_shape[-1])


@keras.saving.register_keras_serializable("bert_tf")
class SplitFirstAxis(keras.layers.Layer):
    """Undoes `MergeFirstAxes` for one value of each row.

    Call arguments:
        values: tensor [B N, 1].
        x: the tensor [B, N, S] that was merged.

    Returns:
        The same values, [B, N].
    """

    def call(self, values, x):
        return ops.reshape(values, ops.shape(x)[:2])

    def compute_output_shape(self, values_shape, x_shape):
        return tuple(x_shape[:2])


def multiple_choice(
    config,
    num_choices=None,
    seq_length=None,
    use_one_hot_embeddings=False,
    skip_padding=False,
):
    """BERT with one output over the pooled output of each choice.

    Its weights are those of `classifier` with one label. Each choice is a row
    of the encoder; nothing is shared between the choices of an example before
    the softmax over them.

    Args:
        config: a `BertConfig`.
        num_choices: N; None for any number.
        seq_length: S; None for any length.
        use_one_hot_embeddings, skip_padding: see `BertModel`.

    Returns:
        A model from `input_ids`, `input_mask`, `segment_ids` [B, N, S] to
        `logits` [B, N].

    Raises:
        InputError: as `classifier`.
    """
    _require_pooling(config)
    inputs = {
        name: keras.Input((num_choices, seq_length), dtype="int32", name=name)
        for name in ENCODER_INPUTS
    }
    rows = [MergeFirstAxes()(x) for x in inputs.values()]  # [B N, S]
    bert = BertModel(config, use_one_hot_embeddings, skip_padding)(*rows)
    scores = ClassifierHead(config, 1)(bert["pooled_output"])  # [B N, 1]
    logits = SplitFirstAxis()(scores, inputs["input_ids"])
    return keras.Model(inputs, {"logits": logits})


def _require_pooling(config):
    if config.attention_direction() == "left_to_right":
        raise InputError(
            "A model with directionality=left_to_right cannot classify texts: "
            "[CLS], which is pooled, sees nothing but itself."
        )


def token_classifier(
    config,
    num_labels,
    seq_length=None,
    use_one_hot_embeddings=False,
    skip_padding=False,
):
    """BERT with one linear layer over every token: logits [B, S, L]."""
    inputs = integer_inputs(ENCODER_INPUTS, seq_length)
    bert = BertModel(config, use_one_hot_embeddings, skip_padding)
    bert.pooler.trainable = False
    sequence = bert(*inputs.values())["sequence_output"]
    logits = ClassifierHead(config, num_labels)(sequence)
    return keras.Model(inputs, {"logits": logits})


def span(
    config, seq_length=None, use_one_hot_embeddings=False, skip_padding=False
):
    """BERT that finds answers: `start_logits` and `end_logits` [B, S].

    As in the original they are for padding too; with `skip_padding`, which
    computes nothing there, they are -1e9.
    """
    inputs = integer_inputs(ENCODER_INPUTS, seq_length)
    bert = BertModel(config, use_one_hot_embeddings, skip_padding)
    # The pooler stays in checkpoints, but nothing here depends on it. As in the
    # original it has no gradient, no optimizer slots and no decay.
    bert.pooler.trainable = False
    sequence = bert(*inputs.values())["sequence_output"]
    logits = SpanHead(config, skip_padding)(sequence, inputs["input_mask"])
    return keras.Model(inputs, logits)


def headless(config, pools=True):
    """BERT without a head.

    Args:
        config: a `BertConfig`.
        pools: whether there is a `pooled_output`; otherwise the pooler is not
            trained either.

    Returns:
        A model from `input_ids`, `input_mask`, `segment_ids` [B, S] to
        `sequence_output` [B, S, D] and `pooled_output` [B, D].
    """
    inputs = integer_inputs(ENCODER_INPUTS)
    bert = BertModel(config)
    bert.pooler.trainable = pools
    encoded = bert(*inputs.values())
    names = ("sequence_output", "pooled_output")[: 2 if pools else 1]
    return keras.Model(inputs, {name: encoded[name] for name in names})


def feature_extractor(
    config,
    layers,
    pooling,
    use_one_hot_embeddings=False,
    skip_padding=False,
    bert=None,
):
    """BERT that returns the outputs of some of its layers.

    Args:
        config: a `BertConfig`.
        layers: numbers of L layers, from 0, or from -1 down to the embeddings.
        pooling: over tokens and layers: an object with `over_tokens` ("first",
            "mean", "max" or None) and `concatenated` (bool).
        use_one_hot_embeddings, skip_padding: see `BertModel`.
        bert: a `BertModel` to use; None for a new one.

    Returns:
        A model from `input_ids`, `input_mask`, `segment_ids` [B, S] to
        `values` [B, S, L, D], or [B, L, D] where tokens are pooled.
    """
    inputs = integer_inputs(ENCODER_INPUTS)
    bert = bert or BertModel(config, use_one_hot_embeddings, skip_padding)
    values = _layer_values(bert(*inputs.values()), inputs, layers, pooling)
    return keras.Model(inputs, {"values": values})


def encoder(config, layers, pooling, skip_padding=False):
    """BERT without a head, with outputs for every use.

    Args:
        config, layers, pooling, skip_padding: as for `feature_extractor`, but
            tokens are not pooled.

    Returns:
        A model to the same `values`, `sequence_output` [B, S, D] and
        `pooled_output` [B, D], float32 in any precision.
    """
    inputs = integer_inputs(ENCODER_INPUTS)
    bert = BertModel(config, skip_padding=skip_padding)(*inputs.values())
    pooling = pooling._replace(over_tokens=None)
    outputs = {
        "values": _layer_values(bert, inputs, layers, pooling),
        "sequence_output": bert["sequence_output"],
        "pooled_output": bert["pooled_output"],
    }
    return keras.Model(
        inputs, {name: ops.cast(x, "float32") for name, x in outputs.items()}
    )


def _layer_values(bert, inputs, layers, pooling):
    hidden = [bert["embedding_output"], *bert["all_encoder_layers"]]
    encoded = [hidden[n + 1 if n >= 0 else n] for n in layers]
    if pooling.concatenated:
        encoded = [ops.concatenate(encoded, axis=-1)]
    if pooling.over_tokens is None:
        return ops.stack(encoded, axis=2)
    values = ops.stack(encoded, axis=1)  # [B, L, S, D]
    return pool(values, inputs["input_mask"], pooling.over_tokens)


def pool(values, input_mask, kind):
    """Pools tokens into one vector.

    Args:
        values: float tensor [B, L, S, D].
        input_mask: int tensor [B, S], 1 for tokens, 0 for padding.
        kind: "first", "mean" or "max".

    Returns:
        float tensor [B, L, D].
    """
    if kind == "first":
        return values[:, :, 0]
    is_token = ops.cast(input_mask, values.dtype)[:, None, :, None]
    if kind == "mean":
        total = ops.sum(values * is_token, axis=2)
        return total / ops.sum(is_token, axis=2)
    lowest = ops.full_like(values, float("-inf"))
    return ops.max(ops.where(is_token > 0, values, lowest), axis=2)


def look_inside(bert, input_ids, input_mask=None, token_type_ids=None):
    """What the encoder computes on its way, not training.

    The attention is that with which it computes, after the softmax. In a graph
    only those tensors are computed that are used.

    Args:
        bert: a `BertModel`; the others are its call arguments, tensors [B, S].

    Returns:
        A list of L + 1 tensors [B, S, D], the embedding output and those of the
        layers; and a list of L float32 tensors [B, N, S, S], what each position
        attends to. Where padding is skipped, its rows are without meaning.
    """
    with keeping_attention() as attention:
        encoded = bert(input_ids, input_mask, token_type_ids, training=False)
    hidden = [encoded["embedding_output"], *encoded["all_encoder_layers"]]
    return hidden, [ops.cast(weights, "float32") for weights in attention]


# ------------------------------------------------------------ how to train them


def freeze(model, parts):
    """Excludes parts of a model's encoder from training.

    They have no gradient, no optimizer slots and no weight decay, but still
    dropout. Frozen embeddings also freeze the masked-LM output, which is tied
    to them, except for its bias.

    Args:
        model: see `find_bert`.
        parts: text such as `embeddings,0-5`, or the result of
            `support.parts.parse_parts`.

    Raises:
        InputError: as `parts.parse_parts` and `find_bert`.
    """
    bert = find_bert(model)
    if isinstance(parts, str):
        parts = encoder_parts.parse_parts(parts, len(bert.encoder.layers))
    for part in parts:
        if part == encoder_parts.EMBEDDINGS:
            bert.embedding_lookup.trainable = False
            bert.embedding_postprocessor.trainable = False
        elif part == encoder_parts.POOLER:
            bert.pooler.trainable = False
        else:
            bert.encoder.layers[part].trainable = False


def add_lora(model, rank=8, alpha=None, targets="query,value"):
    """Trains adapters of low rank instead of the encoder (Hu et al. 2021).

    A linear layer gets two matrices A [in, rank] and B [rank, out], and adds
    alpha / rank x A B to x W. B begins with 0, so that outputs do not change;
    A with uniform numbers up to 1 / sqrt(in), as in the authors' loralib. All
    else in the encoder is frozen; the pooler and heads are trained as before.
    Layers that `freeze` froze get no adapters. Call it before `compile`.

    Args:
        model: see `find_bert`.
        rank: int, at most the hidden size.
        alpha: float; None for the rank, so that the factor is 1.
        targets: see `parts.parse_targets`.

    Raises:
        InputError: an argument does not fit, all layers are frozen, or there
            are adapters already.
    """
    bert, targets = find_bert(model), encoder_parts.parse_targets(targets)
    require_rank(rank, bert.config)
    if lora_layers(model):
        raise InputError("The model has LoRA's adapters already: merge_lora.")
    parts = [layer for layer in bert.encoder.layers if layer.trainable]
    if not parts:
        raise InputError("All layers are frozen: none can get adapters.")
    for part in _adapted_parts(bert):
        for weight in part.weights:
            weight.trainable = False
    for part in parts:
        for target in targets:
            # One for each: a shared one would draw the same numbers.
            initializer = keras.initializers.VarianceScaling(
                1 / 3, "fan_in", "uniform"
            )
            _linear_layers(part)[target].enable_lora(rank, alpha, initializer)


def merge_lora(model):
    """Adds the adapters of `add_lora` to the kernels, and removes them.

    Outputs differ by rounding only. What was frozen is trained again, but for
    parts that `freeze` froze. Does nothing to a model without adapters.

    Args:
        model: see `find_bert`.
    """
    merged = lora_layers(model)
    for layer in merged:
        layer.merge_lora()
    for part in _adapted_parts(find_bert(model)) if merged else ():
        if part.trainable:
            # To set it in all weights: what does not change it is ignored.
            part.trainable = False
            part.trainable = True


def lora_layers(model):
    """The linear layers of a model that have adapters."""
    return [
        linear
        for bert in _berts_in(model)
        for layer in bert.encoder.layers
        for linear in _linear_layers(layer).values()
        if linear.lora_enabled
    ]


def require_rank(rank, config):
    """Raises `InputError` if LoRA's rank does not fit a `BertConfig`."""
    if type(rank) is not int or not 1 <= rank <= config.hidden_size:
        raise InputError(
            "LoRA's rank must be at least 1 and at most the hidden size, "
            f"{config.hidden_size}. Received: {rank!r}"
        )


def _adapted_parts(bert):
    embeddings = bert.embedding_lookup, bert.embedding_postprocessor
    return (*embeddings, *bert.encoder.layers)


def _linear_layers(layer):
    """The linear layers of an encoder layer by the names of LoRA's targets."""
    attention = layer.attention
    heads = attention.self_attention
    outputs = attention.residual_output, layer.residual_output
    closing, last = (output.dense for output in outputs)
    linear = (heads.query, heads.key, heads.value, closing)
    return dict(
        zip(encoder_parts.LORA_TARGETS, (*linear, layer.intermediate, last))
    )


def recompute(model):
    """Makes a model train in less memory, with a third more computation.

    Only the input of each encoder layer is kept; the layer is computed again
    for its gradient. Results differ by rounding only.

    Args:
        model: the result of a function of this module.
    """
    for layer in find_bert(model).encoder.layers:
        layer.recompute = True


def skip_padding(model):
    """Makes a model compute its encoder at tokens only, from its next call on.

    Logits and vectors of tokens differ by rounding only, so do all results that
    depend on tokens. See `BertModel` and `span` for those of padding.

    Args:
        model: the result of a function of this module.
    """
    bert = find_bert(model)
    bert.skip_padding, bert.supports_jit = True, not packs_rows()
    for layer in model.layers:
        if isinstance(layer, SpanHead):
            layer.skip_padding = True


def find_bert(model):
    """The `BertModel` of a model.

    Args:
        model: a `keras.Model` that has one, also in a model within it.

    Raises:
        InputError: it has none, or several.
    """
    found = list({id(bert): bert for bert in _berts_in(model)}.values())
    if len(found) != 1:
        raise InputError(
            f"The model must have one `BertModel`. {model.name} has "
            f"{len(found)}."
        )
    return found[0]


def _berts_in(layer):
    if isinstance(layer, BertModel):
        yield layer
    elif isinstance(layer, keras.Model):
        for inner in layer.layers:
            yield from _berts_in(inner)
