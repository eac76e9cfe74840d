"""Measures what sorting rows and grouping them in attention are worth.

    python benchmarks/lengths.py predict --layers 4 --rounds 3
    python benchmarks/lengths.py train --layers 2 --rounds 12

`predict`: batches of 32 of 128 texts of mixed lengths, and of 1,000 short texts
with eight of 512 among them, packed in their own order, packed and grouped,
padded and grouped. `train`: steps of batches of several lengths, with attention
in one group and in two. Width 768, random weights; all ways in turns in one
process, and medians of its processor time and of the clock.
"""

import argparse
import statistics
import time

import keras
import numpy as np
import tensorflow as tf
import workloads

from bert_tf import layers, modeling, models
from bert_tf.checkpoints import inference

WIDTH, HEADS = 768, 12
RNG = np.random.default_rng(3)


def main():
    """Prints what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("predict", "train"))
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    config = modeling.BertConfig(
        8192, WIDTH, arguments.layers, HEADS, 4 * WIDTH, type_vocab_size=2
    )
    measure = {"predict": _predict, "train": _train}[arguments.what]
    measure(config, arguments.rounds)


def _drawn(mean, shape, least, most, count):
    """Lengths of a gamma distribution."""
    found = RNG.gamma(shape, mean / shape, count).round()
    return np.clip(found, least, most).astype(int).tolist()


def _build(config, skips):
    return workloads.build_model(
        lambda: models.classifier(config, 2, skip_padding=skips)
    )


def _timed(call, *arguments):
    """Processor seconds, and seconds."""
    spent, began = time.process_time(), time.perf_counter()
    call(*arguments)
    return time.process_time() - spent, time.perf_counter() - began


def _medians(found):
    return [round(statistics.median(x), 3) for x in zip(*found)]


# ------------------------------------------------------------------ prediction


def _in_own_order(lengths):
    for start in range(0, len(lengths), 32):
        places = list(range(len(lengths)))[start : start + 32]
        yield places, max(lengths[place] for place in places)


def _grouped(lengths):
    return workloads.in_grouped_batches(lengths, 32, 512)


def _predict(config, rounds):
    packed, padded = (
        inference.compile_forward(_build(config, skips))
        for skips in (True, False)
    )
    short = _drawn(13, 3, 3, 66, 1000)
    both = [*short, *[512] * 8]
    RNG.shuffle(both)
    sets = {
        "mixed": workloads.mixed_lengths(128, 128),
        "short and long": both,
        "short": short,
        "long": [512] * 8,
    }
    ways = {
        "packed, own order": (packed, _in_own_order),
        "packed, grouped": (packed, _grouped),
        "padded, grouped": (padded, _grouped),
    }
    found = {(name, way): [] for name in sets for way in ways}
    for number in range(rounds + 1):
        for name, way in found:
            lengths, (run, batches) = sets[name], ways[way]
            inputs = workloads.encoder_inputs(
                config, len(lengths), max(lengths), lengths
            )
            taken = _timed(
                workloads.run_batches, run, inputs, list(batches(lengths))
            )
            if number:
                found[name, way].append(taken)
    for (name, way), each in found.items():
        print(name, way, sum(sets[name]), "tokens", _medians(each))


# -------------------------------------------------------------------- training


class OneGroup(layers.PackedBatch):
    """Packed rows whose attention is that of the whole batch."""

    def __init__(self, input_mask, make_adder, training=None):
        super().__init__(input_mask, make_adder, training=None)
        self.training = self._groups[0].training = training


def _compile_step(model, kind):
    modeling.PackedBatch = kind
    names = ("input_ids", "input_mask", "segment_ids")
    spec = {name: tf.TensorSpec([None, None], tf.int32) for name in names}

    @tf.function(input_signature=[spec])
    def step(features):
        with tf.GradientTape() as tape:
            outputs = model(features, training=True)
            loss = tf.reduce_sum(outputs["logits"] ** 2)
        gradients = tape.gradient(loss, model.trainable_variables)
        return tf.linalg.global_norm(gradients)

    step.get_concrete_function()
    return lambda features: float(
        step({name: tf.constant(x) for name, x in features.items()})
    )


def _train(config, rounds):
    keras.utils.set_random_seed(1)
    model = _build(config, True)
    steps = [
        _compile_step(model, kind) for kind in (OneGroup, layers.PackedBatch)
    ]
    kinds = {
        "32 of MRPC's": lambda: _drawn(53, 13, 12, 128, 32),
        "32 of SST-2's": lambda: _drawn(13, 3, 3, 66, 32),
        "31 of these and 512": lambda: [*_drawn(13, 3, 3, 66, 31), 512],
        "8 of 230 in the mean, 512 at most": lambda: _drawn(
            230, 2.2, 20, 512, 8
        ),
        "32 of 128": lambda: [128] * 32,
    }
    for name, draw in kinds.items():
        found = ([], [])
        for number in range(rounds + 2):
            lengths = draw()
            features = workloads.encoder_inputs(
                config, len(lengths), max(lengths), lengths
            )
            for step, each in zip(steps, found):
                taken = _timed(step, features)
                if number > 1:
                    each.append(taken)
        ratios = [
            statistics.median(one[n] / two[n] for one, two in zip(*found))
            for n in (0, 1)
        ]
        print(name, *map(_medians, found), "ratios", np.round(ratios, 2))


if __name__ == "__main__":
    main()
