"""BERT without a head: its configuration, its layers, and `BertModel`.

The layers stand in the order of the original's modeling.py. The tree of their
names is that of the variables in released checkpoints, so that a
`variable.path`, `bert/encoder/layer_0/intermediate/dense/bias`, needs no
translation.

Shape letters: B batch, S sequence (F and T when attending from and to), D
hidden size, N heads, H size of one head, V vocabulary; R rows, B * S, or the
number of tokens where padding is skipped.
"""

import contextlib
import copy
import json
import math

import keras
from keras import ops

from bert_tf.errors import InputError

# Re-exported for callers.
from bert_tf.layers import PRECISIONS as PRECISIONS
from bert_tf.layers import (
    PackedBatch,
    attention_adder,
    create_initializer,
    dense,
    dropout,
    get_activation,
    layer_norm,
    left_to_right_adder,
    packs_rows,
    softmax,
)
from bert_tf.layers import gelu as gelu
from bert_tf.layers import precision as precision
from bert_tf.layers import weights_to_come as weights_to_come
from bert_tf.support.ranges import require_in_call
from bert_tf.support.shapes import require_length_within, require_same_shape

DIRECTIONS = ("bidi", "left_to_right")
"""What tokens attend to: all tokens, or themselves and earlier ones."""


class BertConfig:
    """The architecture, as `bert_config.json` describes it.

    The constructor's defaults are the original's (BERT-Base, but with 16 token
    types; the files of released models set 2). Other keys of a file, such as
    the `pooler_*` ones of the Chinese and multilingual models, are kept as
    attributes and written back.

    Args:
        vocab_size: int, rows of the word embedding table.
        hidden_size: int, width of the encoder, a multiple of the heads.
        intermediate_size: int, width inside the feed-forward part.
        hidden_act: "gelu" (tanh form), "relu", "tanh", "linear", "gelu_exact"
            (erf form, for converted models only), None, or a callable.
        hidden_dropout_prob, attention_probs_dropout_prob: floats in [0, 1), or
            None for no dropout.
        max_position_embeddings: int, the longest possible sequence.
        type_vocab_size: int, rows of the token type table.
        initializer_range: float, standard deviation of initial weights before
            they are cut at two deviations.

    One more key is used: `directionality`, "bidi" in released models. With
    "left_to_right" tokens attend to themselves and to earlier ones only;
    `pooled_output`, of the first token, is then the same for every text.

    Raises:
        InputError: a value has the wrong type or is out of range.
    """

    def __init__(
        self,
        vocab_size,
        hidden_size=768,
        num_hidden_layers=12,
        num_attention_heads=12,
        intermediate_size=3072,
        hidden_act="gelu",
        hidden_dropout_prob=0.1,
        attention_probs_dropout_prob=0.1,
        max_position_embeddings=512,
        type_vocab_size=16,
        initializer_range=0.02,
    ):
        self.vocab_size = vocab_size
        self.hidden_size = hidden_size
        self.num_hidden_layers = num_hidden_layers
        self.num_attention_heads = num_attention_heads
        self.hidden_act = hidden_act
        self.intermediate_size = intermediate_size
        self.hidden_dropout_prob = hidden_dropout_prob
        self.attention_probs_dropout_prob = attention_probs_dropout_prob
        self.max_position_embeddings = max_position_embeddings
        self.type_vocab_size = type_vocab_size
        self.initializer_range = initializer_range
        self._check()

    @classmethod
    def from_dict(cls, json_object):
        """A config from a dictionary; absent keys take the defaults.

        Without a `vocab_size` the config can be read and written, but no model
        can be built from it.
        """
        config = cls(vocab_size=None)
        for key, value in json_object.items():
            if hasattr(cls, key):
                raise InputError(f"A config cannot have the key `{key}`")
            setattr(config, key, value)
        config._check()
        return config

    @classmethod
    def from_json_file(cls, json_file):
        """A config from a `bert_config.json`; errors name the file."""
        try:
            with open(json_file, encoding="utf-8") as file:
                json_object = json.load(file)
            if not isinstance(json_object, dict):
                kind = type(json_object).__name__
                raise InputError(f"it holds a {kind}, not an object")
            return cls.from_dict(json_object)
        except OSError as error:
            raise InputError(
                f"The model's config cannot be read: {json_file}: "
                f"{error.strerror}"
            ) from error
        except (ValueError, RecursionError) as error:
            # JSON errors, undecodable bytes and bad values alike.
            raise InputError(
                f"{json_file} is not a valid BERT config: {error}"
            ) from error

    def to_dict(self):
        """All keys and values, unknown ones too."""
        return copy.deepcopy(self.__dict__)

    def to_json_string(self):
        """The text of a `bert_config.json`: indented, sorted, one newline."""
        return json.dumps(self.to_dict(), indent=2, sort_keys=True) + "\n"

    def _check(self):
        for key in (
            "vocab_size",
            "hidden_size",
            "num_hidden_layers",
            "num_attention_heads",
            "intermediate_size",
            "max_position_embeddings",
            "type_vocab_size",
        ):
            value = getattr(self, key)
            if key == "vocab_size" and value is None:
                continue
            if type(value) is not int or value < 1:
                raise InputError(
                    f"`{key}` must be a positive integer. "
                    f"Received: {key}={value!r}"
                )
        if self.hidden_size % self.num_attention_heads:
            raise InputError(
                "`hidden_size` must be a multiple of `num_attention_heads`. "
                f"Received: hidden_size={self.hidden_size}, "
                f"num_attention_heads={self.num_attention_heads}"
            )
        for key in ("hidden_dropout_prob", "attention_probs_dropout_prob"):
            value = getattr(self, key)
            if value is not None and not _is_number(value, 0, 1):
                raise InputError(
                    f"`{key}` must be a probability below 1, or null. "
                    f"Received: {key}={value!r}"
                )
        if not _is_number(self.initializer_range, 0, math.inf):
            raise InputError(
                "`initializer_range` must be a number of at least 0. "
                f"Received: initializer_range={self.initializer_range!r}"
            )
        get_activation(self.hidden_act)
        if self.attention_direction() not in DIRECTIONS:
            raise InputError(
                f"`directionality` must be one of {DIRECTIONS}. Received: "
                f"directionality={self.attention_direction()!r}"
            )

    def attention_direction(self):
        """One of `DIRECTIONS`; "bidi" if the file does not set it."""
        return getattr(self, "directionality", None) or DIRECTIONS[0]


def _is_number(value, low, high):
    is_real = isinstance(value, int | float) and not isinstance(value, bool)
    return is_real and low <= value < high


class EmbeddingLookup(keras.layers.Layer):
    """Turns word ids into rows of the word embedding table.

    Always in float32: casting would convert the whole table to use a few rows.

    Args:
        config: a `BertConfig`.
        use_one_hot_embeddings: multiply the table by a one-hot matrix, as the
            original does on TPUs, instead of gathering rows. An id out of range
            then gives zeros; gathering it is an error on a CPU.

    Call arguments:
        input_ids: int tensor [B, S].

    Returns:
        float tensor [B, S, D].
    """

    def __init__(
        self, config, use_one_hot_embeddings=False, name="embeddings", **kwargs
    ):
        super().__init__(name=name, **kwargs)
        self.autocast = False
        self.config = config
        self.use_one_hot_embeddings = use_one_hot_embeddings

    def build(self, input_ids_shape):
        rows = self.config.vocab_size
        self.word_embeddings = _add_table(self, "word_embeddings", rows)

    def call(self, input_ids):
        table = ops.convert_to_tensor(self.word_embeddings)
        size = self.config.vocab_size
        if self.use_one_hot_embeddings:
            one_hot = ops.one_hot(input_ids, size, dtype=table.dtype)
            # Not `@`: TensorFlow's gradient of a batched product makes a copy
            # of the table for each row of the batch before it sums.
            return ops.matmul(one_hot, table)
        # Keras would count negative ids from the end of the table.
        ids = ops.where(input_ids < 0, size, input_ids)
        return ops.take(table, ids, axis=0)


class EmbeddingPostprocessor(keras.layers.Layer):
    """Adds token type and position embeddings, normalizes, drops out.

    The sum is float32 in any precision; the result has that of the model.

    Call arguments:
        word_embeddings: float tensor [B, S, D].
        token_type_ids: int tensor [B, S]; ids outside the table add zero.

    Returns:
        float tensor [B, S, D].
    """

    def __init__(self, config, name="embeddings", **kwargs):
        super().__init__(name=name, **kwargs)
        self.autocast = False
        self.config = config
        self.layer_norm = layer_norm(self.dtype_policy)
        self.dropout = dropout(config.hidden_dropout_prob, self.dtype_policy)

    def build(self, word_embeddings_shape, token_type_ids_shape):
        self.token_type_embeddings = _add_table(
            self, "token_type_embeddings", self.config.type_vocab_size
        )
        self.position_embeddings = _add_table(
            self, "position_embeddings", self.config.max_position_embeddings
        )
        self.layer_norm.build(word_embeddings_shape)

    def call(self, word_embeddings, token_type_ids, training=None):
        longest = self.config.max_position_embeddings
        require_length_within(word_embeddings.shape[1], longest)
        table = ops.convert_to_tensor(self.token_type_embeddings)
        # As in the original, always one-hot: the table has a handful of rows.
        size = self.config.type_vocab_size
        types = ops.one_hot(token_type_ids, size, dtype=table.dtype) @ table
        # A slice, so that a length known only at run time is checked as well.
        positions = ops.convert_to_tensor(self.position_embeddings)
        positions = positions[: ops.shape(word_embeddings)[1]]
        embedded = self.layer_norm(word_embeddings + types + positions)
        return self.dropout(embedded, training=training)


def _add_table(layer, name, rows):
    # An initializer for each table: a shared one would draw the same rows.
    return layer.add_weight(
        name=name,
        shape=(rows, layer.config.hidden_size),
        initializer=create_initializer(layer.config.initializer_range),
    )


class AttentionLayer(keras.layers.Layer):
    """Multi-headed scaled dot-product attention.

    Args:
        config: a `BertConfig`.
        query_act, key_act, value_act: activations of the three projections, as
            `get_activation` takes them; BERT uses none.

    Call arguments:
        from_rows: float tensor [B * F, D].
        to_rows: float tensor [B * T, D]; itself for self-attention.
        from_length, to_length: int, F and T.
        adder: float tensor that broadcasts to [B, N, F, T], added to the scores
            (`attention_adder`), or None to attend to everything.
        packing: a `PackedBatch` if the rows are those of tokens only, which
            has lengths and adder of its own; None for all rows of the batch.

    Returns:
        float tensor, as `from_rows`: the results of the heads, concatenated.
    """

    def __init__(
        self,
        config,
        query_act=None,
        key_act=None,
        value_act=None,
        name="self",
        **kwargs,
    ):
        super().__init__(name=name, **kwargs)
        self.num_heads = config.num_attention_heads
        self.head_size = config.hidden_size // config.num_attention_heads
        width, dtype = config.hidden_size, self.dtype_policy
        acts = map(get_activation, (query_act, key_act, value_act))
        self.query, self.key, self.value = (
            dense(config, width, dtype, act, projection)
            for projection, act in zip(("query", "key", "value"), acts)
        )
        self.dropout = dropout(config.attention_probs_dropout_prob, dtype)

    def build(self, from_rows_shape, to_rows_shape):
        self.query.build(from_rows_shape)
        self.key.build(to_rows_shape)
        self.value.build(to_rows_shape)

    def call(
        self,
        from_rows,
        to_rows,
        from_length,
        to_length,
        adder=None,
        packing=None,
        training=None,
    ):
        rows = self.query(from_rows), self.key(to_rows), self.value(to_rows)
        if packing is None:
            return self._attend(rows, (from_length, to_length), adder, training)

        def attend(rows, length, adder):
            return self._attend(rows, (length, length), adder, training)

        with self.dropout.drawing_once(training):
            return packing.attend(attend, rows)

    def _attend(self, rows, lengths, adder, training):
        from_length, to_length = lengths
        query, key, value = map(
            self._split_heads, rows, (from_length, to_length, to_length)
        )
        # Transposed in a step of its own, the key is not copied: TensorFlow
        # fuses this step with the product.
        key = ops.transpose(key, (0, 1, 3, 2))
        scores = query @ key * (1.0 / math.sqrt(self.head_size))  # [B, N, F, T]
        if adder is not None:
            scores = scores + adder
        probs = softmax(scores, training)
        probs = self.dropout(probs, training=training)

        attended = ops.transpose(probs @ value, (0, 2, 1, 3))  # [B, F, N, H]
        return ops.reshape(attended, (-1, self.num_heads * self.head_size))

    def _split_heads(self, rows, length):
        """Rows [B * S, D] as [B, N, S, H]."""
        x = ops.reshape(rows, (-1, length, self.num_heads, self.head_size))
        return ops.transpose(x, (0, 2, 1, 3))


class ResidualOutput(keras.layers.Layer):
    """Projects to the hidden size, adds the residual, and normalizes.

    Closes self-attention, and again the feed-forward part.

    Call arguments:
        x: float tensor [..., any width].
        residual: float tensor [..., D].

    Returns:
        float tensor [..., D].
    """

    def __init__(self, config, name="output", **kwargs):
        super().__init__(name=name, **kwargs)
        dtype, rate = self.dtype_policy, config.hidden_dropout_prob
        self.dense = dense(config, config.hidden_size, dtype)
        self.dropout = dropout(rate, dtype)
        self.layer_norm = layer_norm(dtype)

    def build(self, x_shape, residual_shape):
        self.dense.build(x_shape)
        self.layer_norm.build(residual_shape)

    def call(self, x, residual, training=None):
        x = self.dropout(self.dense(x), training=training)
        return self.layer_norm(x + residual)


class Attention(keras.layers.Layer):
    """Self-attention with its output projection and residual.

    Call arguments and result are those of `TransformerLayer`.
    """

    def __init__(self, config, name="attention", **kwargs):
        super().__init__(name=name, **kwargs)
        dtype = self.dtype_policy
        self.self_attention = AttentionLayer(config, dtype=dtype)
        self.residual_output = ResidualOutput(config, dtype=dtype)

    def build(self, rows_shape):
        self.self_attention.build(rows_shape, rows_shape)
        self.residual_output.build(rows_shape, rows_shape)

    def call(self, rows, length, adder=None, packing=None, training=None):
        where = {"from_length": length, "to_length": length}
        where |= {"adder": adder, "packing": packing}
        x = self.self_attention(rows, rows, **where, training=training)
        return self.residual_output(x, rows, training=training)


class TransformerLayer(keras.layers.Layer):
    """One encoder layer: attention, then the feed-forward part.

    Call arguments:
        rows: float tensor [R, D].
        length: int, S.
        adder: float tensor that broadcasts to [B, N, S, S], or None.
        packing: a `PackedBatch` if R are the tokens only, or None.

    Returns:
        float tensor [R, D].

    Attributes:
        recompute: keep only `rows` in training, and compute the layer again,
            with the same dropout, for its gradient.
    """

    def __init__(self, config, name, **kwargs):
        super().__init__(name=name, **kwargs)
        self.recompute = False
        dtype, act = self.dtype_policy, get_activation(config.hidden_act)
        self.attention = Attention(config, dtype=dtype)
        self.intermediate = dense(config, config.intermediate_size, dtype, act)
        self.residual_output = ResidualOutput(config, dtype=dtype)

    def build(self, rows_shape):
        self.attention.build(rows_shape)
        with keras.name_scope("intermediate"):
            self.intermediate.build(rows_shape)
        wide = (None, self.intermediate.units)
        self.residual_output.build(wide, rows_shape)

    def call(self, rows, length, adder=None, packing=None, training=None):
        where = {"length": length, "adder": adder, "packing": packing}
        if not (self.recompute and training):
            return self._transform(rows, where, training)
        dropouts = [
            self.attention.self_attention.dropout,
            self.attention.residual_output.dropout,
            self.residual_output.dropout,
        ]
        dropouts = [layer for layer in dropouts if layer.rate]
        # Drawn outside of `transform`, which runs twice.
        seeds = [layer.draw() for layer in dropouts]

        @keras.remat
        def transform(rows):
            with contextlib.ExitStack() as stack:
                for layer, seed in zip(dropouts, seeds):
                    stack.enter_context(layer.dropping_by(seed))
                return self._transform(rows, where, training)

        return transform(rows)

    def _transform(self, rows, where, training):
        attended = self.attention(rows, **where, training=training)
        x = self.intermediate(attended)  # [R, intermediate size]
        return self.residual_output(x, attended, training=training)


class TransformerModel(keras.layers.Layer):
    """The stack of encoder layers, `layer_0` first.

    As in the original, the tokens of a batch are the rows of one matrix,
    [B * S, D]: its products are fastest this way, and only attention needs to
    know the batch.

    Call arguments:
        hidden: float tensor [B, S, D], the embedding output.
        input_mask: int tensor [B, S], 1 for tokens and 0 for padding, or None
            if there is no padding.
        skip_padding: bool, see `BertModel`.

    Returns:
        A list of `num_hidden_layers` float tensors [B, S, D], each layer's
        output after its last LayerNorm.
    """

    def __init__(self, config, name="encoder", **kwargs):
        super().__init__(name=name, **kwargs)
        self.direction = config.attention_direction()
        self.layers = [
            TransformerLayer(config, f"layer_{i}", dtype=self.dtype_policy)
            for i in range(config.num_hidden_layers)
        ]

    def build(self, hidden_shape):
        for layer in self.layers:
            layer.build((None, hidden_shape[-1]))

    def call(self, hidden, input_mask=None, skip_padding=False, training=None):
        _, length, width = ops.shape(hidden)
        rows = ops.reshape(hidden, (-1, width))
        adder = packing = None
        if skip_padding and input_mask is not None and packs_rows():
            packing = PackedBatch(
                input_mask,
                lambda x: self._adder(x, ops.shape(x)[1], hidden.dtype),
                training,
            )
            rows = packing.pack(rows)
        else:
            adder = self._adder(input_mask, length, hidden.dtype)
        where = {"length": length, "adder": adder, "packing": packing}
        all_encoder_layers = []
        for layer in self.layers:
            rows = layer(rows, **where, training=training)
            output = rows if packing is None else packing.unpack(rows)
            all_encoder_layers.append(ops.reshape(output, (-1, length, width)))
        return all_encoder_layers

    def _adder(self, input_mask, length, dtype):
        adder = None
        if input_mask is not None:
            adder = attention_adder(input_mask, length, dtype)
        if self.direction == "left_to_right":
            later = left_to_right_adder(length, dtype)
            adder = later if adder is None else adder + later
        return adder


@keras.saving.register_keras_serializable("bert_tf")
class BertModel(keras.layers.Layer):
    """BERT without a head. Constructed means built: weights can be loaded.

    Any batch size, and any length up to `max_position_embeddings`.

    Args:
        config: a `BertConfig`, or a dictionary of its values.
        use_one_hot_embeddings: see `EmbeddingLookup`.
        skip_padding: compute the encoder at tokens only; its outputs at padding
            are zeros. Needs TensorFlow without XLA; other backends compute the
            padding all the same.
        name: the first part of every variable's name, `bert` in checkpoints.

    Call arguments:
        input_ids: int tensor [B, S].
        input_mask: int tensor [B, S], 1 for tokens and 0 for padding; all ones
            when None.
        token_type_ids: int tensor [B, S]; all zeros when None.

    Returns:
        A dictionary of the five tensors that the original's getters return:
        `pooled_output` [B, D], `sequence_output` [B, S, D],
        `all_encoder_layers` (a list of [B, S, D], without the embeddings),
        `embedding_output` [B, S, D], and `embedding_table` [V, D].

    Raises:
        InputError: `input_ids` is not two-dimensional, longer than the position
            table, or not of the shape of its mask or token types; outside of
            graphs, also for an id or a mask out of range.
    """

    def __init__(
        self,
        config,
        use_one_hot_embeddings=False,
        skip_padding=False,
        name="bert",
        **kwargs,
    ):
        super().__init__(name=name, **kwargs)
        if isinstance(config, dict):
            config = BertConfig.from_dict(config)
        if config.vocab_size is None:
            raise InputError("A model needs a config with a `vocab_size`.")
        self.config = config
        self.use_one_hot_embeddings = use_one_hot_embeddings
        dtype = self.dtype_policy
        self.embedding_lookup = EmbeddingLookup(
            config, use_one_hot_embeddings, dtype=dtype
        )
        self.embedding_postprocessor = EmbeddingPostprocessor(
            config, dtype=dtype
        )
        self.skip_padding = skip_padding
        # Keras' `compile` chooses XLA, which needs fixed shapes.
        self.supports_jit = not (skip_padding and packs_rows())
        self.encoder = TransformerModel(config, dtype=dtype)
        # Always tanh, whatever the config's activation.
        tanh = get_activation("tanh")
        self.pooler = dense(config, config.hidden_size, dtype, tanh)
        self.build()

    def build(self, *input_shapes):
        if self.built:
            return
        ids, hidden = (None, None), (None, None, self.config.hidden_size)
        self.embedding_lookup.build(ids)
        self.embedding_postprocessor.build(hidden, ids)
        self.encoder.build(hidden)
        with keras.name_scope("pooler"):
            self.pooler.build((None, self.config.hidden_size))
        self.built = True

    def call(
        self, input_ids, input_mask=None, token_type_ids=None, training=None
    ):
        if token_type_ids is None:
            token_type_ids = ops.zeros_like(input_ids)
        others = {"input_mask": input_mask, "token_type_ids": token_type_ids}
        require_same_shape(input_ids, **others)
        require_in_call(self.config.vocab_size - 1, input_ids=input_ids)
        require_in_call(1, input_mask=input_mask)
        embedded = self.embedding_postprocessor(
            self.embedding_lookup(input_ids), token_type_ids, training=training
        )
        layers = self.encoder(
            embedded,
            input_mask,
            skip_padding=self.skip_padding,
            training=training,
        )
        table = self.embedding_lookup.word_embeddings
        return {
            "pooled_output": self.pooler(layers[-1][:, 0]),
            "sequence_output": layers[-1],
            "all_encoder_layers": layers,
            "embedding_output": embedded,
            # A variable passed between layers would be saved as a constant, and
            # the tie to the masked-LM head would be lost.
            "embedding_table": ops.convert_to_tensor(table),
        }

    def compute_output_spec(
        self, input_ids, input_mask=None, token_type_ids=None, training=None
    ):
        # Keras would trace `call` for this, which takes longer, and which fails
        # on JAX while the length is unknown.
        require_same_shape(
            input_ids, input_mask=input_mask, token_type_ids=token_type_ids
        )
        longest = self.config.max_position_embeddings
        require_length_within(input_ids.shape[1], longest)
        sizes, width = tuple(input_ids.shape), self.config.hidden_size

        def spec(*shape):
            return keras.KerasTensor(shape, dtype=self.compute_dtype)

        layers = [spec(*sizes, width) for _ in self.encoder.layers]
        return {
            "pooled_output": spec(sizes[0], width),
            "sequence_output": spec(*sizes, width),
            "all_encoder_layers": layers,
            "embedding_output": spec(*sizes, width),
            "embedding_table": spec(self.config.vocab_size, width),
        }

    def get_config(self):
        return {
            **super().get_config(),
            "config": self.config.to_dict(),
            "use_one_hot_embeddings": self.use_one_hot_embeddings,
            "skip_padding": self.skip_padding,
        }
