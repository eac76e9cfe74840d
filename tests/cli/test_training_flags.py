"""What flags of training do, and that a killed run goes on with each."""

import functools
import json
import logging
import shutil

import numpy as np
import pytest
from absl import flags as absl_flags
from helpers.golden import CHECKPOINTS, DATA, read_variables, write_small_config

from bert_tf import (
    layers,
    optimization,
    run_classifier,
    run_pretraining,
    run_squad,
)
from bert_tf.cli import command_line, training_flags
from bert_tf.errors import InputError
from bert_tf.support import parts
from bert_tf.training import settings, start

pytestmark = pytest.mark.usefixtures("without_graphs")

TINY = CHECKPOINTS / "tiny"
SCRIPTS = (run_classifier, run_squad, run_pretraining)


@pytest.fixture
def log(caplog):
    caplog.set_level(logging.INFO)
    return caplog


@pytest.fixture(scope="module")
def small_bert(tmp_path_factory):
    """A config of two layers, with the vocabulary of the records."""
    return write_small_config(
        tmp_path_factory.mktemp("bert"), num_hidden_layers=2
    )


@pytest.fixture(scope="module")
def pretrain(records_file, small_bert):
    """Function of flags that trains, and returns the last checkpoint."""

    def run(folder, **more):
        given = {
            "input_file": records_file,
            "output_dir": folder,
            "bert_config_file": small_bert,
            "max_seq_length": 32,
            "max_predictions_per_seq": 5,
            "do_train": True,
            "train_batch_size": 4,
            "learning_rate": 1e-3,
            "num_train_steps": 6,
            "num_warmup_steps": 2,
            "save_checkpoints_steps": 3,
            "seed": 3,
            **more,
        }
        values = absl_flags.FlagValues()
        run_pretraining.define_flags(values)
        arguments = [f"--{name}={value}" for name, value in given.items()]
        command_line.parse(values, ["run_pretraining", *arguments])
        run_pretraining.main(values)
        return read_variables(folder)

    return run


def cut_off(folder, copy, step=3):
    """A copy of a training folder as it was after that step."""
    shutil.copytree(folder, copy)
    (copy / "checkpoint").write_text(
        f'model_checkpoint_path: "model.ckpt-{step}"\n'
    )
    for path in copy.glob("model.ckpt-*"):
        if f"-{step}." not in path.name:
            path.unlink()


def assert_same(got, want):
    assert got.keys() == want.keys()
    for name, value in want.items():
        np.testing.assert_array_equal(got[name], value, err_msg=name)


# ---------------------------------------------------------------- the flags


def test_all_training_commands_have_the_flags_with_neutral_defaults():
    alone = absl_flags.FlagValues()
    training_flags.define(command_line.FlagSet(alone))
    for script in SCRIPTS:
        values = absl_flags.FlagValues()
        script.define_flags(values)
        for name in set(alone) - {"skip_padding"}:
            assert values[name].default == alone[name].default
            assert values[name].help == alone[name].help


def parsed(*arguments):
    values = absl_flags.FlagValues()
    flags = command_line.FlagSet(values)
    flags.integer("train_batch_size", 32, "As the scripts define it.")
    training_flags.define_original(flags)
    training_flags.define(flags)
    command_line.parse(values, ["program", "--output_dir=x", *arguments])
    return values


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--gradient_accumulation_steps=0"], "above 0.*steps=0"),
        (
            ["--gradient_accumulation_steps=3"],
            "divide --train_batch_size.*steps=3 --train_batch_size=32",
        ),
        (["--keep_best=f1"], "--keep_best. needs --eval_every_steps"),
        (
            ["--eval_every_steps=5", "--early_stopping_patience=2"],
            "--early_stopping_patience. needs --keep_best",
        ),
        (["--eval_every_steps=0"], "eval_every_steps.*above 0"),
        (
            ["--eval_every_steps=5", "--keep_best=accuracy"],
            "one of loss, f1. Received: --keep_best=accuracy",
        ),
        (["--bucket_by_length", "--use_tpu"], "TPU needs them of one"),
        (["--lora_rank=0"], "lora_rank. must be above 0"),
        (["--lora_targets=key"], "lora_targets. needs --lora_rank"),
        (["--lora_rank=2", "--lora_targets=q"], "--lora_targets.*query.*'q'"),
        (["--layerwise_lr_decay=0"], "above 0.*--freeze.*decay=0"),
        (["--layerwise_lr_decay=1.5"], "layerwise_lr_decay.*at most 1.*1.5"),
        (["--layerwise_lr_decay=nan"], "layerwise_lr_decay.*finite.*nan"),
        (
            ["--optimizer=lamb", "--nobias_correction"],
            "lamb always.*--bias_correction=false",
        ),
    ],
)
def test_an_invalid_value_is_reported(arguments, message):
    with pytest.raises(InputError, match=message):
        training_flags.check(parsed(*arguments), ["loss", "f1"])


@pytest.mark.parametrize(
    ("freeze", "message"),
    [
        ("embedding", "`--freeze`.*embeddings, pooler.*'embedding'"),
        ("0-2", "from 0 to 1.*'0-2'"),
        ("1-0", "from 0 to 1.*'1-0'"),
        ("-1", "from 0 to 1.*'-1'"),
        ("", "from 0 to 1.*''"),
    ],
)
def test_layers_that_the_model_lacks_cannot_be_frozen(
    freeze, message, small_bert, tmp_path
):
    files = settings.ModelFiles(bert_config_file=str(small_bert))
    build = settings.BuildSettings(freeze=freeze)
    with pytest.raises(InputError, match=message):
        start.open_model(files, str(tmp_path), build, reads_text=False)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        ({"lora_rank": 17}, "`--lora_rank`.* hidden size, 16.*17"),
        ({"lora_rank": 2, "freeze": "0-1"}, "`--lora_rank` needs.*=0-1"),
    ],
)
def test_adapters_that_the_model_cannot_have_are_refused(
    build, message, small_bert, tmp_path
):
    files = settings.ModelFiles(bert_config_file=str(small_bert))
    build = settings.BuildSettings(**build)
    with pytest.raises(InputError, match=message):
        start.open_model(files, str(tmp_path), build, reads_text=False)


def test_default_values_pass_the_checks():
    training_flags.check(parsed(), [])


def test_choices_of_flags_are_those_of_layers_and_optimizer():
    assert settings.OPTIMIZERS == optimization.OPTIMIZERS
    assert settings.PRECISIONS == layers.PRECISIONS


# ------------------------------------------------------------------ freezing


def test_freeze_takes_names_layers_and_ranges():
    found = parts.parse_parts("embeddings, 0-3,7 ,7-7,11,pooler", 12)
    assert found == {"embeddings", 0, 1, 2, 3, 7, 11, "pooler"}


@pytest.fixture(scope="module")
def frozen(pretrain, tmp_path_factory):
    """The folder of three steps with frozen weights, and what they logged."""
    folder, messages = tmp_path_factory.mktemp("frozen") / "out", []
    logger, handler = logging.getLogger("absl"), logging.Handler()
    handler.emit = lambda record: messages.append(record.getMessage())
    logger.setLevel(logging.INFO)
    logger.addHandler(handler)
    few = {"num_train_steps": 3, "num_warmup_steps": 0}
    pretrain(folder, freeze="embeddings,0", learning_rate=1e-2, **few)
    logger.removeHandler(handler)
    return folder, "\n".join(messages)


@pytest.mark.slow
def test_frozen_weights_do_not_change_and_have_no_slots(frozen):
    folder, log = frozen
    before, after = (read_variables(folder / f"model.ckpt-{n}") for n in (0, 3))
    frozen = ("bert/embeddings/", "bert/encoder/layer_0/")
    weights = [
        n for n in before if not n.endswith(("adam_m", "adam_v", "step"))
    ]
    count = 0
    for name in weights:
        is_frozen = name.startswith(frozen)
        assert np.array_equal(after[name], before[name]) == is_frozen, name
        assert (f"{name}/adam_m" in after) != is_frozen
        count += is_frozen
    assert count == 5 + 16
    text = f"{len(weights) - count} of {len(weights)} variables are trained"
    assert f"Frozen: embeddings,0. {text}" in log


@pytest.mark.slow
def test_frozen_weights_can_be_trained_later_with_new_slots(
    frozen, pretrain, tmp_path, log
):
    out = shutil.copytree(frozen[0], tmp_path / "out")
    before = read_variables(out)
    name = "bert/encoder/layer_0/output/dense/kernel"
    assert f"{name}/adam_m" not in before

    after = pretrain(out)

    # Two for each of the 5 weights of the embeddings and the 16 of the layer.
    assert "no optimizer state for 42 of" in log.text
    assert (after[name] != before[name]).any()
    assert np.abs(after[f"{name}/adam_m"]).max() > 0


# ------------------------------------------------------- killed and continued


OPTIONS = {
    "lamb": {
        "optimizer": "lamb",
        "gradient_accumulation_steps": 2,
        "bucket_by_length": True,
    },
    "float16": {
        "recompute": True,
        "precision": "mixed_float16",
        "bias_correction": True,
        "layerwise_lr_decay": 0.5,
        "freeze": "embeddings,0",
    },
}


@pytest.fixture(scope="module")
def undisturbed(pretrain, tmp_path_factory):
    """Function of a key of `OPTIONS`: the folder of such a training."""

    @functools.cache
    def run(name):
        folder = tmp_path_factory.mktemp(name) / "out"
        pretrain(folder, **OPTIONS[name])
        return folder

    return run


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    ["lamb", pytest.param("float16", marks=pytest.mark.exhaustive)],
)
def test_a_killed_run_resumes_with_the_same_numbers(
    name, undisturbed, pretrain, tmp_path
):
    whole = undisturbed(name)
    cut_off(whole, tmp_path / "cut")
    cut = pretrain(tmp_path / "cut", **OPTIONS[name])
    assert_same(cut, read_variables(whole))


@pytest.mark.slow
def test_slots_of_lamb_have_other_names_than_those_of_adam(
    undisturbed, pretrain, tmp_path, log
):
    cut_off(undisturbed("lamb"), tmp_path / "out")
    lamb = read_variables(tmp_path / "out")

    slots = {name for name in lamb if name.endswith(("lamb_m", "lamb_v"))}
    weights = {name.rpartition("/")[0] for name in slots}
    assert len(slots) == 2 * len(weights)
    assert lamb.keys() == weights | slots | {"global_step"}
    assert all(np.abs(lamb[name]).max() > 0 for name in slots)

    adam = pretrain(tmp_path / "out")

    assert f"no optimizer state for {len(slots)} of {len(slots)}" in log.text
    slots = {f"{name}/adam_{kind}" for name in weights for kind in "mv"}
    assert adam.keys() == weights | slots | {"global_step"}


# ------------------------------------------------------------------- padding


def padding_of(folder, *arguments):
    """--skip_padding as a run takes it that writes to a folder."""
    values = parsed(*arguments)
    command_line.FlagSet(values).boolean("do_train", True, "As in scripts.")
    training_flags.take_padding(values, str(folder))
    return values.skip_padding


def test_padding_is_skipped_unless_xla_needs_it(tmp_path, log):
    assert padding_of(tmp_path)
    assert not padding_of(tmp_path, "--skip_padding=false")
    assert not padding_of(tmp_path, "--jit_compile")
    assert "--jit_compile" in log.text
    with pytest.raises(InputError, match=r"--jit_compile.*--skip_padding"):
        padding_of(tmp_path, "--jit_compile", "--skip_padding")
    with pytest.raises(InputError, match=r"--use_tpu.*--skip_padding"):
        padding_of(tmp_path, "--use_tpu", "--skip_padding")


def test_padding_counts_in_answers_of_the_original():
    values = absl_flags.FlagValues()
    run_squad.define_flags(values)
    assert values["skip_padding"].default is False


def test_a_training_that_goes_on_keeps_its_padding(tmp_path):
    for file in (DATA / "run_classifier" / "micro_after_1").iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    # The original noted nothing.
    assert not padding_of(tmp_path)

    note = tmp_path / "bert_tf.json"
    note.write_text('{"skip_padding": false}')
    assert not padding_of(tmp_path)

    note.write_text('{"skip_padding": true}')
    assert padding_of(tmp_path)
    with pytest.raises(InputError) as caught:
        padding_of(tmp_path, "--jit_compile")
    off = "--skip_padding=false"
    for fact in (str(tmp_path), "--jit_compile", off, "ignore_folder_settings"):
        assert fact in str(caught.value)
    assert not padding_of(tmp_path, "--jit_compile", off)


@pytest.mark.slow
def test_without_padding_training_has_the_same_numbers_and_is_noted(
    pretrain, tmp_path, small_bert, log
):
    config = json.loads(small_bert.read_text())
    config["hidden_dropout_prob"] = 0.0
    config["attention_probs_dropout_prob"] = 0.0
    beside = tmp_path / "bert_config.json"
    beside.write_text(json.dumps(config))

    given = {"bert_config_file": beside}
    want = pretrain(tmp_path / "padded", **given, skip_padding=False)
    got = pretrain(tmp_path / "skipped", **given)

    for name, value in want.items():
        np.testing.assert_allclose(
            got[name], value, rtol=0, atol=2e-6, err_msg=name
        )
    for folder, skips in (("padded", False), ("skipped", True)):
        note = json.loads((tmp_path / folder / "bert_tf.json").read_text())
        assert note["skip_padding"] is skips

    cut_off(tmp_path / "padded", tmp_path / "resumed")
    with pytest.raises(InputError, match="skip_padding"):
        pretrain(tmp_path / "resumed", **given, skip_padding=True)
    assert_same(pretrain(tmp_path / "resumed", **given), want)

    # A training that skips padding may change over, if it is told twice.
    cut_off(tmp_path / "skipped", tmp_path / "changed")
    given |= {"skip_padding": False}
    with pytest.raises(InputError, match="skip_padding"):
        pretrain(tmp_path / "changed", **given)
    pretrain(tmp_path / "changed", **given, ignore_folder_settings=True)
    note = json.loads((tmp_path / "changed" / "bert_tf.json").read_text())
    assert note["skip_padding"] is False
