"""--lora_rank as its users see it: checkpoints, a kill, and other commands."""

import json
import shutil

import numpy as np
import pytest
from helpers.commands import results_of, run_classifier
from helpers.golden import TINY, read_variables
from helpers.paths import GOLDEN

import bert_tf
from bert_tf.errors import InputError

pytestmark = [
    pytest.mark.slow,
    pytest.mark.usefixtures("graphs_as_traced"),
]

DATA = GOLDEN / "classification" / "mrpc" / "data"
PLACES = [
    f"bert/encoder/layer_{layer}/attention/self/{target}"
    for layer in range(3)
    for target in ("query", "value")
]
LORA = {"lora_rank": 2, "learning_rate": 1e-2}
WATCHED = {
    **LORA,
    "do_eval": True,
    "do_predict": True,
    "eval_every_steps": 3,
    "keep_best": "eval_loss",
}
ELSE = {
    **LORA,
    "lora_targets": "all",
    "freeze": "embeddings,0",
    "recompute": True,
    "precision": "mixed_bfloat16",
    "gradient_accumulation_steps": 2,
    "skip_padding": False,
}


def train(out, **flags):
    """A small training; the variables of its last checkpoint."""
    given = {
        "task_name": "mrpc",
        "data_dir": DATA,
        "init_checkpoint": TINY,
        "max_seq_length": 24,
        "do_train": True,
        "train_batch_size": 8,
        "num_train_epochs": 1,
        "save_checkpoints_steps": 3,
        "seed": 5,
        "output_dir": out,
    }
    run_classifier(**{**given, **flags})
    return read_variables(out)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The folder of a training with evaluation, prediction and the best."""
    out = tmp_path_factory.mktemp("lora") / "out"
    train(out, **WATCHED)
    return out


def cut_off(folder, copy, step=3):
    """A copy of a training folder as it was after that step."""
    shutil.copytree(folder, copy)
    for path in copy.glob("model.ckpt-*"):
        if int(path.name.split("-")[1].partition(".")[0]) > step:
            path.unlink()
    (copy / "checkpoint").write_text(
        f'model_checkpoint_path: "model.ckpt-{step}"\n'
    )


def test_a_checkpoint_has_merged_kernels_and_slots_of_what_is_trained(trained):
    start, after = read_variables(TINY), read_variables(trained)
    slots = {n.rpartition("/")[0] for n in after if n.endswith("/adam_m")}
    head = {"output_weights", "output_bias"}
    head |= {"bert/pooler/dense/kernel", "bert/pooler/dense/bias"}
    assert slots == head | {
        f"{place}/lora_kernel_{x}" for place in PLACES for x in "ab"
    }
    for name in start.keys() & after.keys() - head:
        place = name.removesuffix("/kernel")
        if place not in PLACES:
            np.testing.assert_array_equal(after[name], start[name], name)
            continue
        a, b = after[f"{place}/lora_kernel_a"], after[f"{place}/lora_kernel_b"]
        base = after[f"{place}/lora_base_kernel"]
        np.testing.assert_array_equal(base, start[name])
        np.testing.assert_allclose(after[name], base + a @ b, atol=1e-6)
        assert np.abs(a @ b).max() > 1e-3
    noted = json.loads((trained / "bert_tf.json").read_text())
    assert noted["lora_rank"] == 2 and noted["lora_targets"] == "query,value"
    best = read_variables(trained / "best")
    assert not [name for name in best if "lora" in name or "adam" in name]


@pytest.mark.exhaustive
def test_other_commands_read_the_merged_model(trained, tmp_path):
    before = results_of(trained)
    table = (trained / "test_results.tsv").read_bytes()
    common = {"task_name": "mrpc", "data_dir": DATA, "do_eval": True}
    out = tmp_path / "out"

    run_classifier(
        **common,
        do_predict=True,
        init_checkpoint=trained / "best",
        output_dir=out,
    )

    after = results_of(out)
    names = before.keys() - {"global_step"}
    assert {n: after[n] for n in names} == {n: before[n] for n in names}
    assert (out / "test_results.tsv").read_bytes() == table
    row = (DATA / "test.tsv").read_text().splitlines()[1].split("\t")
    got = bert_tf.Predictor(trained)(row[3], row[4]).probabilities
    want = [float(x) for x in table.decode().splitlines()[0].split("\t")]
    np.testing.assert_allclose([got["0"], got["1"]], want, atol=1e-5)


@pytest.mark.parametrize(
    "flags",
    [
        pytest.param(WATCHED, id="watched"),
        pytest.param(ELSE, id="else", marks=pytest.mark.exhaustive),
    ],
)
def test_a_killed_run_resumes_with_the_same_numbers(flags, trained, tmp_path):
    whole = trained
    if flags is ELSE:
        whole = tmp_path / "whole"
        train(whole, **flags)
    cut_off(whole, tmp_path / "cut")

    cut = train(tmp_path / "cut", **flags)

    want = read_variables(whole)
    assert cut.keys() == want.keys()
    for name, value in want.items():
        np.testing.assert_array_equal(cut[name], value, err_msg=name)
    layers = {name.split("/")[2] for name in cut if "lora" in name}
    assert ("layer_0" in layers) != ("freeze" in flags)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"lora_rank": 3}, "model.ckpt.*--lora_rank=2 .*Received.*rank=3"),
        ({"lora_targets": "key"}, "targets=query,value.*Received.*=key"),
        ({"lora_rank": None}, "--lora_rank=2 .*Received: no --lora_rank"),
        ({"freeze": "0"}, "--freeze.*Only the checkpoint has.*layer_0"),
    ],
    ids=str,
)
def test_a_training_is_resumed_with_its_flags_only(
    flags, message, trained, tmp_path
):
    shutil.copytree(trained, tmp_path / "out")
    given = {**LORA, "num_train_epochs": 2, **flags}
    given = {name: x for name, x in given.items() if x is not None}

    with pytest.raises(InputError, match=message):
        train(tmp_path / "out", **given)

    before, after = read_variables(trained), read_variables(tmp_path / "out")
    assert before["global_step"] == after["global_step"]


def test_adapters_need_a_checkpoint_to_adapt(tmp_path):
    with pytest.raises(InputError, match=r"--lora_rank. needs --init_check"):
        train(
            tmp_path / "out",
            **LORA,
            init_checkpoint="",
            vocab_file=TINY.parent / "vocab.txt",
            bert_config_file=TINY.parent / "bert_config.json",
        )
    assert not list((tmp_path / "out").glob("*.tf_record"))
