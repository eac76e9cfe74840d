"""Models, inputs and training steps to measure, with fixed seeds.

They are what users run: encoder, batches and steps are compiled and formed by
the functions that the commands use. The programs that import this module have
the clocks and the tables.
"""

import pathlib
import zlib
from collections.abc import Callable
from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf

from bert_tf import (
    checkpoints,
    heads,
    layers,
    modeling,
    models,
)
from bert_tf.data import grouping, records
from bert_tf.optimization import create_optimizer
from bert_tf.tasks.classification import task as classification_task
from bert_tf.tasks.pretraining import task
from bert_tf.tasks.squad import task as squad_task
from bert_tf.training import settings as training_settings
from bert_tf.training import step as training_step

# vocab_size, hidden_size, num_hidden_layers, num_attention_heads,
# intermediate_size; dropout is BERT's own.
SIZES = {
    "large": (30522, 1024, 24, 16, 4096),
    "base": (30522, 768, 12, 12, 3072),
    "mini": (30522, 256, 4, 4, 1024),
    # Of the built-in checkpoint, but with 512 positions.
    "builtin": (8192, 160, 3, 5, 640),
}

NUM_PREDICTIONS = 20
LEARNING_RATE = 2e-5


def find_config(size):
    """The `BertConfig` of one of `SIZES`."""
    return modeling.BertConfig(*SIZES[size], type_vocab_size=2)


# ---------------------------------------------------------------------- models


def drawn_weight(name, shape):
    """A random float32 array, the same for the same name and shape."""
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    drawn = rng.standard_normal(shape, np.float32)
    drawn *= 0.02
    return drawn + 1 if name.endswith("gamma") else drawn


def build_model(make, precision="float32", weight=drawn_weight):
    """A model with the weights that `weight` gives.

    Args:
        make: function of no arguments that returns a `keras.Model`.
        precision: one of `layers.PRECISIONS`.
        weight: function of a weight's name in checkpoints and its shape.
    """
    with layers.precision(precision), layers.weights_to_come():
        model = make()
    for name, variable in checkpoints.named_weights(model).items():
        variable.assign(weight(name, tuple(variable.shape)))
    return model


def make_encoder(config):
    """BERT from ids to its `pooled_output` and its `sequence_output`."""
    inputs = models.integer_inputs(models.ENCODER_INPUTS)
    outputs = modeling.BertModel(config)(*inputs.values())
    names = ("pooled_output", "sequence_output")
    return keras.Model(inputs, {name: outputs[name] for name in names})


# ---------------------------------------------------------------------- inputs


def encoder_inputs(config, batch, length, lengths=None, seed=1):
    """Random pairs of texts, by the names that models know.

    Args:
        config: a `BertConfig`.
        batch, length: of the arrays, int32 [B, S].
        lengths: of the texts, B integers; None if nothing is padded.
        seed: of what is drawn.
    """
    rng = np.random.default_rng(seed)
    lengths = np.full(batch, length) if lengths is None else np.array(lengths)
    places = np.arange(length)
    mask = (places < lengths[:, None]).astype(np.int32)  # [B, S]
    second = (places >= lengths[:, None] // 2).astype(np.int32)
    ids = rng.integers(1000, config.vocab_size, (batch, length), np.int32)
    return {
        "input_ids": ids * mask,
        "input_mask": mask,
        "segment_ids": second * mask,
    }


def mixed_lengths(count, longest, seed=1):
    """Random lengths, distributed about as those of MRPC's sentence pairs."""
    drawn = np.random.default_rng(seed).gamma(13.0, 53 / 13, count)
    return np.clip(drawn.round(), 12, longest).astype(int).tolist()


def in_padded_batches(lengths, batch_size, longest):
    """Yields (row numbers, padded length) per batch, in order, one length."""
    for start in range(0, len(lengths), batch_size):
        yield list(range(len(lengths)))[start : start + batch_size], longest


def in_grouped_batches(lengths, batch_size, longest):
    """Yields (row numbers, padded length) per batch, grouped as commands do."""
    groups = grouping.group_by_length(
        range(len(lengths)), batch_size, lengths.__getitem__
    )
    for places in groups:
        most = max(lengths[place] for place in places)
        yield places, grouping.padded_length(most, longest)


def run_batches(run, inputs, batches):
    """Runs all batches; returns the outputs of each row, in order.

    Args:
        run: the compiled encoder.
        inputs: arrays [count, S] by name.
        batches: of one of the two functions above.

    Returns:
        A list of dictionaries.
    """

    def placed():
        for places, length in batches:
            part = {name: x[places, :length] for name, x in inputs.items()}
            outputs = run(part)
            for row, place in enumerate(places):
                yield place, {name: x[row] for name, x in outputs.items()}

    return list(grouping.in_order(placed()))


# -------------------------------------------------------------------- training


def _classifier_loss(outputs, features, totals=None):
    logits, labels = outputs["logits"], features["label_ids"]
    examples = (totals or {}).get("examples")
    return heads.classification_loss(logits, labels, examples)[0]


def _token_loss(outputs, features, totals=None):
    tokens = (totals or {}).get("tokens")
    return heads.token_loss(outputs["logits"], features["label_ids"], tokens)[0]


def _count_tokens(features):
    return {"tokens": heads.count_labelled(features["label_ids"])}


def _span_loss(outputs, features, totals=None):
    names = ("start_logits", "end_logits")
    ends = ("start_positions", "end_positions")
    examples = (totals or {}).get("examples")
    return heads.span_loss(
        *(outputs[name] for name in names),
        *(features[name] for name in ends),
        examples,
    )


class Training(NamedTuple):
    """A kind of training.

    Attributes:
        make: a model from a `BertConfig`.
        loss_fn, count: as in `training.train`.
    """

    make: Callable
    loss_fn: Callable
    count: Callable


TRAININGS = {
    "classifier": Training(
        lambda config: models.classifier(config, 2),
        _classifier_loss,
        training_step.count_examples,
    ),
    "squad": Training(models.span, _span_loss, training_step.count_examples),
    "tokens": Training(
        lambda config: models.token_classifier(config, 9),
        _token_loss,
        _count_tokens,
    ),
    "pretraining": Training(models.pretraining, task.losses, task.count),
}


def training_features(kind, config, batch, length, seed=1, lengths=None):
    """A random batch of one of `TRAININGS`, by the names of its features.

    Args:
        kind, config, batch, length, seed: as elsewhere here.
        lengths: of the texts, as for `encoder_inputs`.
    """
    features = encoder_inputs(config, batch, length, lengths, seed)
    rng = np.random.default_rng(seed + 1)

    def draw(low, high, *shape):
        return rng.integers(low, high, (batch, *shape), np.int32)

    if kind == "classifier":
        return {**features, "label_ids": draw(0, 2)}
    if kind == "squad":
        ends = ("start_positions", "end_positions")
        return {**features, **{name: draw(0, length) for name in ends}}
    if kind == "tokens":
        labels = np.where(features["input_mask"], draw(0, 9, length), -1)
        return {**features, "label_ids": labels.astype(np.int32)}
    count = NUM_PREDICTIONS
    places = rng.permuted(np.tile(np.arange(1, length - 1), (batch, 1)), axis=1)
    return {
        **features,
        "masked_lm_positions": np.sort(places[:, :count]).astype(np.int32),
        "masked_lm_ids": draw(1000, config.vocab_size, count),
        "masked_lm_weights": np.ones((batch, count), np.float32),
        "next_sentence_labels": draw(0, 2),
    }


SCHEMAS = {
    "classifier": classification_task.classifier_schema,
    "squad": squad_task.squad_training_schema,
    "pretraining": lambda length: task.pretraining_schema(
        length, NUM_PREDICTIONS
    ),
}


def write_training_records(path, kind, config, count, length):
    """A file of random records for one of `TRAININGS`; returns their schema."""
    schema = SCHEMAS[kind](length)
    features = training_features(kind, config, count, length)
    # Records also have columns that models do not read, such as unique_ids.
    columns = {
        name: features.get(name, np.zeros((count, *feature.shape), np.int64))
        for name, feature in schema.items()
    }
    rows = (
        {name: np.ravel(x[row]).tolist() for name, x in columns.items()}
        for row in range(count)
    )
    records.write_records(path, rows, schema)
    return schema


def compile_training(
    kind, model, features, parts=1, learning_rate=LEARNING_RATE
):
    """A function that takes one step of training and returns its scalars.

    Args:
        kind: one of `TRAININGS`.
        model: of that kind.
        features: the batch of each step, or a `tf.data.Dataset` of batches of
            one size.
        parts: gradient_accumulation_steps.
        learning_rate: constant.
    """
    _, loss_fn, count = TRAININGS[kind]
    optimizer = create_optimizer(
        learning_rate, 10**9, 0, clip_norm=None, gradients_are_summed=True
    )
    optimizer.build(model.trainable_variables)
    dataset = features
    if isinstance(features, dict):
        dataset = tf.data.Dataset.from_tensors(features).repeat()
    settings = training_settings.TrainingSettings(
        output_dir="",
        num_train_steps=10**9,
        learning_rate=learning_rate,
        num_warmup_steps=0,
        batch_size=dataset.element_spec["input_ids"].shape[0],
        gradient_accumulation_steps=parts,
    )
    strategy = tf.distribute.get_strategy()
    whole = training_step.Step(
        model, loss_fn, count, optimizer, strategy, settings
    )
    run_steps = training_step.compile_steps(whole, dataset)
    batches, one = iter(dataset), tf.constant(1)

    def step():
        rows, _ = run_steps(batches, one)
        return dict(zip(whole.scalar_names, rows.numpy()[0].tolist()))

    return step


# ------------------------------------------------------------------------ text


def read_words(vocab_file):
    """A vocabulary's whole words, and its pieces that continue a word."""
    text = pathlib.Path(vocab_file).read_text(encoding="utf-8")
    entries = text.splitlines()
    return (
        [e for e in entries if e.isascii() and e.isalpha()],
        [e[2:] for e in entries if e[:2] == "##" and e[2:].isalpha()],
    )


def make_text(vocab_file, megabytes, seed=1):
    """Lines of made-up sentences, a blank one after each tenth.

    Some of 40,000 words are frequent and most are rare, by Zipf's law; every
    second one is a word with another piece behind it. English is not quite like
    that, and real text should be preferred where the number is to be quoted.
    """
    rng = np.random.default_rng(seed)
    words, ends = read_words(vocab_file)
    lexicon = rng.choice(words, 40_000).tolist()
    lexicon[::2] = map("".join, zip(lexicon[::2], rng.choice(ends, 20_000)))
    odds = np.cumsum(1 / np.arange(3, 3 + len(lexicon)))
    lines, size = [], 0
    while size < megabytes * 1e6:
        for length in rng.integers(8, 30, 10):
            drawn = np.searchsorted(odds, rng.random(length) * odds[-1])
            line = " ".join(lexicon[place] for place in drawn)
            lines.append(line.capitalize() + ".")
        lines.append("")
        size += sum(len(line.encode()) + 1 for line in lines[-11:])
    return "\n".join(lines) + "\n"
