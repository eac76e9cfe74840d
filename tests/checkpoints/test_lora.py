"""Checkpoints of trainings with LoRA."""

import numpy as np
import pytest
from helpers.small_training import assert_same, contents

from bert_tf import checkpoints, models
from bert_tf.checkpoints import lora, stripping
from bert_tf.errors import InputError

VALUE = "bert/encoder/layer_1/attention/self/value"


@pytest.fixture
def adapted(config, rng):
    """A classifier whose adapters have been trained."""
    model = models.classifier(config, 3)
    models.add_lora(model, rank=2)
    for layer in models.lora_layers(model):
        layer.lora_kernel_b.assign(rng.normal(size=(2, 16)))
    return model


@pytest.fixture
def saved(adapted, tmp_path):
    """A checkpoint of it."""
    values = lora.resumable_weights(adapted)
    return checkpoints.save(tmp_path / "run", 7, values)


def test_kernels_are_merged_and_what_a_training_needs_lies_beside(
    adapted, saved
):
    stored, named = contents(saved), checkpoints.named_weights(adapted)
    a, b = stored[f"{VALUE}/lora_kernel_a"], stored[f"{VALUE}/lora_kernel_b"]
    base = stored[f"{VALUE}/lora_base_kernel"]

    np.testing.assert_array_equal(base, named[f"{VALUE}/kernel"])
    np.testing.assert_allclose(
        stored[f"{VALUE}/kernel"], base + a @ b, atol=1e-6
    )
    assert (stored[f"{VALUE}/kernel"] != base).any()
    others = {n for n in stored if "lora" in n} - {
        f"bert/encoder/layer_{layer}/attention/self/{target}/{name}"
        for layer in (0, 1)
        for target in ("query", "value")
        for name in ("lora_kernel_a", "lora_kernel_b", "lora_base_kernel")
    }
    assert others == set()


def test_others_read_the_merged_model(adapted, saved, config, tmp_path):
    reader = checkpoints.CheckpointReader(saved)
    plain = models.classifier(config, 3)
    weights = checkpoints.named_weights(plain)

    report = checkpoints.load(weights, reader, expect=weights)

    assert report.unused == [] and len(report.slots) == 1 + 3 * 4
    models.merge_lora(adapted)
    assert_same(
        {name: weight.numpy() for name, weight in weights.items()},
        {
            name: weight.numpy()
            for name, weight in checkpoints.named_weights(adapted).items()
        },
    )
    text = stripping.strip(saved, str(tmp_path / "bare" / "model.ckpt"))
    assert "4 lora_base_kernel, 4 lora_kernel_a, 4 lora_kernel_b" in text
    assert contents(tmp_path / "bare" / "model.ckpt").keys() == weights.keys()


def test_adapters_are_restored_with_the_kernels_below_them(
    adapted, saved, config
):
    again = models.classifier(config, 3)
    checkpoints.load(checkpoints.named_weights(again), saved)
    models.add_lora(again, rank=2)

    lora.restore(again, checkpoints.CheckpointReader(saved))

    assert_same(
        {w.path: w.numpy() for w in again.weights},
        {w.path: w.numpy() for w in adapted.weights},
    )


def test_adapters_of_other_layers_are_refused(saved, config):
    other = models.classifier(config, 3)
    models.freeze(other, "1")
    models.add_lora(other, rank=2)
    reader = checkpoints.CheckpointReader(saved)

    with pytest.raises(InputError, match=r"--freeze.*Only.*layer_1.*lora"):
        lora.restore(other, reader)


@pytest.mark.parametrize(
    ("rank", "targets", "message"),
    [
        (2, ("query", "value"), None),
        (3, ("query", "value"), "with --lora_rank=2 --lora.*rank=3"),
        (2, ("query", "key"), "targets=query,value.*targets=query,key"),
        (None, ("query", "value"), "--lora_rank=2.*Received: no --lora_rank"),
    ],
)
def test_a_training_goes_on_with_its_own_adapters_only(
    rank, targets, message, saved
):
    reader = checkpoints.CheckpointReader(saved)
    if message is None:
        lora.require_same(reader, rank, targets)
        return
    with pytest.raises(InputError, match=message):
        lora.require_same(reader, rank, targets)


def test_a_training_without_adapters_goes_on_without(config, tmp_path):
    weights = checkpoints.named_weights(models.classifier(config, 3))
    prefix = checkpoints.save(tmp_path, 7, weights)
    reader = checkpoints.CheckpointReader(prefix)

    lora.require_same(reader, None, ("query", "value"))
    with pytest.raises(InputError, match=r"without LoRA.*--lora_rank=8"):
        lora.require_same(reader, 8, ("query", "value"))


def test_kernels_without_their_adapters_are_not_written(adapted, tmp_path):
    with pytest.raises(InputError, match=r"merge_lora.*query/kernel"):
        checkpoints.save(tmp_path, 1, checkpoints.named_weights(adapted))
    assert list(tmp_path.iterdir()) == []

    # The adapters alone are something else.
    trained = {v.path: v for v in adapted.trainable_variables}
    checkpoints.write(tmp_path / "adapters.ckpt", trained)
    assert contents(tmp_path / "adapters.ckpt").keys() == trained.keys()
