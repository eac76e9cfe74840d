"""run_pretraining as its users see it: flags in, files and messages out."""

import json
import logging
import pathlib
import shutil

import numpy as np
import pytest
import tensorflow as tf
from absl import flags as absl_flags
from helpers import prepared
from helpers.golden import read_config, read_scalars
from helpers.paths import GOLDEN

from bert_tf import checkpoints, run_pretraining
from bert_tf.cli import command_line
from bert_tf.data import records
from bert_tf.errors import InputError
from bert_tf.tasks.pretraining import task

TINY = GOLDEN / "checkpoints" / "tiny"
PRETRAINING = GOLDEN / "run_pretraining"
NO_DROPOUT = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}

# The original's results are computed by graphs as users have them.
as_traced = pytest.mark.usefixtures("graphs_as_traced")
without_graphs = pytest.mark.usefixtures("steps_without_graphs")


def parse(*arguments):
    values = absl_flags.FlagValues()
    run_pretraining.define_flags(values)
    command_line.parse(values, ["run_pretraining", *arguments])
    return values


def run(input_file, output_dir, **more):
    given = {
        "input_file": input_file,
        "output_dir": output_dir,
        "bert_config_file": TINY / "bert_config.json",
        "max_seq_length": 32,
        "max_predictions_per_seq": 5,
        **more,
    }
    arguments = [f"--{name}={value}" for name, value in given.items()]
    run_pretraining.main(parse(*arguments))


@pytest.fixture
def log(caplog):
    caplog.set_level(logging.INFO)
    return caplog


@pytest.fixture
def training_dir(tmp_path):
    """A copy of the folder that the original trained in."""
    return shutil.copytree(PRETRAINING / "train_ckpt", tmp_path / "out")


# --------------------------------------------------- the original's own results


@pytest.mark.parametrize(
    ("name", "checkpoint", "flags"),
    [
        ("eval_from_init_checkpoint", TINY / "bert_model.ckpt", {}),
        ("eval_from_training_checkpoint", PRETRAINING / "train_ckpt", {}),
        ("eval_in_training_dir", None, {}),
        (
            "eval_repeating",
            TINY / "bert_model.ckpt",
            {"eval_batch_size": 64, "max_eval_steps": 40},
        ),
    ],
)
def test_evaluates_like_the_original(
    name, checkpoint, flags, tmp_path, records_file
):
    flags = {"eval_batch_size": 4, "max_eval_steps": 7, **flags}
    if checkpoint:
        flags["init_checkpoint"] = checkpoint
    else:
        shutil.copytree(PRETRAINING / "train_ckpt", tmp_path / "out")

    run(records_file, tmp_path / "out", do_eval=True, **flags)

    got = (tmp_path / "out" / "eval_results.txt").read_text().splitlines()
    want = (PRETRAINING / f"{name}.txt").read_text().splitlines()
    assert [line.split(" = ")[0] for line in got] == [
        line.split(" = ")[0] for line in want
    ]
    for got_line, want_line in zip(got, want):
        number = pytest.approx(float(want_line.split(" = ")[1]), rel=2e-6)
        assert float(got_line.split(" = ")[1]) == number, want_line


@pytest.mark.slow
def test_resumes_the_originals_training_with_its_losses(
    training_dir, tmp_path, records_file, monkeypatch
):
    with np.load(PRETRAINING / "resume.npz") as file:
        want = {key: file[key] for key in file.files}
    batches = {
        name: np.stack([want[f"batches/{i:02d}/{name}"] for i in range(6)])
        for name in task.pretraining_schema(32, 5)
    }

    def in_order(files, schema, batch_size, seed, step, *more):
        # The original was given these batches; only their order is at stake.
        return tf.data.Dataset.from_tensor_slices(batches).skip(step - 240)

    monkeypatch.setattr(records, "training_batches", in_order)
    config_file = tmp_path / "no_dropout.json"
    config = read_config(TINY, **NO_DROPOUT)
    config_file.write_text(config.to_json_string())

    with pytest.raises(tf.errors.OutOfRangeError):
        # The schedule goes to step 260, the batches to 246.
        run(
            records_file,
            training_dir,
            do_train=True,
            bert_config_file=config_file,
            init_checkpoint=TINY / "bert_model.ckpt",  # Without effect.
            train_batch_size=8,
            learning_rate=1e-3,
            num_train_steps=260,
            num_warmup_steps=24,
            iterations_per_loop=1,
        )

    got = read_scalars(training_dir)
    for name, tag in (
        ("loss", "loss"),
        ("masked_lm_loss", "masked_lm_loss"),
        ("next_sentence_loss", "next_sentence_loss"),
        ("grad_global_norm", "gradient_norm"),
        ("learning_rate", "learning_rate"),
    ):
        steps = [got[tag][step] for step in range(241, 247)]
        np.testing.assert_allclose(
            steps, want[f"per_step/{name}"], rtol=1e-5, err_msg=name
        )


@pytest.mark.slow
def test_a_folder_of_the_original_is_resumed_and_readable_by_it_afterwards(
    training_dir, records_file, log
):
    run(
        records_file,
        training_dir,
        do_train=True,
        train_batch_size=16,
        learning_rate=1e-3,
        num_train_steps=242,
        num_warmup_steps=24,
        seed=1,
    )

    assert "model.ckpt-240 (step 240)" in log.text
    # As TensorFlow's own Saver would read them.
    before = tf.train.load_checkpoint(str(training_dir / "model.ckpt-240"))
    after = tf.train.load_checkpoint(str(training_dir))
    assert (
        after.get_variable_to_shape_map() == before.get_variable_to_shape_map()
    )
    assert after.get_tensor("global_step") == 242
    assert tf.train.latest_checkpoint(str(training_dir)).endswith("-242")


# ------------------------------------------------------------------- training


# `cli/test_training_flags` resumes with other optimizers and precisions.
@as_traced
@pytest.mark.exhaustive
def test_a_resumed_run_gives_the_numbers_of_an_uninterrupted_one(
    tmp_path, records_file
):
    flags = {
        "do_train": True,
        "init_checkpoint": TINY / "bert_model.ckpt",
        "train_batch_size": 4,
        "num_train_steps": 6,
        "num_warmup_steps": 2,
        "save_checkpoints_steps": 3,
        "seed": 3,
    }

    run(records_file, tmp_path / "whole", **flags)
    kept = (tmp_path / "whole" / "bert_config.json").read_bytes()
    assert kept == (TINY / "bert_config.json").read_bytes()
    shutil.copytree(tmp_path / "whole", tmp_path / "cut")
    state = 'model_checkpoint_path: "model.ckpt-3"\n'
    (tmp_path / "cut" / "checkpoint").write_text(state)
    for path in (tmp_path / "cut").glob("model.ckpt-6*"):
        path.unlink()
    run(records_file, tmp_path / "cut", **flags)

    whole = tf.train.load_checkpoint(str(tmp_path / "whole" / "model.ckpt-6"))
    cut = tf.train.load_checkpoint(str(tmp_path / "cut" / "model.ckpt-6"))
    for name in whole.get_variable_to_shape_map():
        np.testing.assert_array_equal(
            whole.get_tensor(name), cut.get_tensor(name), err_msg=name
        )


@as_traced
@pytest.mark.exhaustive
def test_training_on_few_records_learns_them(tmp_path, records_file):
    run(
        records_file,
        tmp_path / "out",
        do_train=True,
        do_eval=True,
        train_batch_size=16,
        learning_rate=2e-3,
        num_train_steps=60,
        num_warmup_steps=6,
        max_eval_steps=10,
        seed=1,
    )

    got = read_scalars(tmp_path / "out")
    losses = [got["masked_lm_loss"][step] for step in sorted(got["loss"])]
    assert losses[0] > 6.5  # About log 1027, of a uniform guess.
    assert losses[-1] < 6
    lines = (tmp_path / "out" / "eval_results.txt").read_text()
    assert "global_step = 60" in lines


@without_graphs
def test_files_are_listed_in_sorted_order(tmp_path, records_file, log):
    for name in ("a.tfrecord", "b.tfrecord"):
        shutil.copy(records_file, tmp_path / name)

    run(
        f"{tmp_path}/b.tfrecord,{tmp_path}/*.tfrecord",
        tmp_path / "out",
        do_eval=True,
        max_eval_steps=1,
        init_checkpoint=TINY,
    )

    listed = log.text[log.text.index("*** Input Files ***") :].splitlines()
    names = [pathlib.Path(line.strip()).name for line in listed[1:4]]
    assert names == ["b.tfrecord", "a.tfrecord", "b.tfrecord"]


@pytest.fixture(scope="module")
def masked_only(tmp_path_factory):
    """Flags of a training without next sentence and without dropout."""
    folder = tmp_path_factory.mktemp("masked_only")
    config = read_config(TINY, **NO_DROPOUT)
    (folder / "bert_config.json").write_text(config.to_json_string())
    return {
        "bert_config_file": folder / "bert_config.json",
        "do_train": True,
        "next_sentence": False,
        "init_checkpoint": TINY,
        "train_batch_size": 8,
        "learning_rate": 1e-2,
        "num_train_steps": 3,
        "num_warmup_steps": 0,
        "seed": 1,
    }


@pytest.fixture(scope="module")
def trained(masked_only, records_file, tmp_path_factory):
    """The folder of that training."""
    out = tmp_path_factory.mktemp("trained") / "out"
    with prepared.graphs(False):
        run(records_file, out, **masked_only, do_eval=True, max_eval_steps=1)
    return out


@as_traced
@pytest.mark.slow
def test_without_next_sentence_its_weights_stay_and_have_no_slots(trained):
    before = tf.train.load_checkpoint(str(TINY / "bert_model.ckpt"))
    after = tf.train.load_checkpoint(str(trained))
    names = set(after.get_variable_to_shape_map())
    for name in (
        "cls/seq_relationship/output_weights",
        "bert/pooler/dense/kernel",
    ):
        np.testing.assert_array_equal(
            before.get_tensor(name), after.get_tensor(name)
        )
        assert f"{name}/adam_m" not in names
    name = "cls/predictions/transform/dense/kernel"
    assert f"{name}/adam_m" in names
    assert (before.get_tensor(name) != after.get_tensor(name)).any()
    results = (trained / "eval_results.txt").read_text()
    assert "masked_lm_loss" in results
    assert "next_sentence" not in results


@without_graphs
@pytest.mark.slow
def test_new_masks_are_drawn_in_training(
    masked_only, trained, tmp_path, records_file
):
    run(
        records_file,
        tmp_path / "new",
        mask_on_the_fly=True,
        vocab_file=TINY / "vocab.txt",
        do_whole_word_mask=True,
        **masked_only,
    )

    # Of the same records, before the first step has changed anything.
    old = read_scalars(trained)["masked_lm_loss"]
    new = read_scalars(tmp_path / "new")["masked_lm_loss"]
    assert old[1] != pytest.approx(new[1], rel=1e-3)


# ------------------------------------------------------- warnings and mistakes


def test_a_schedule_that_is_over_is_warned_about(
    training_dir, records_file, log
):
    run(records_file, training_dir, do_train=True, num_train_steps=240)

    assert "--num_train_steps=240 is reached, nothing is trained" in log.text


@without_graphs
@pytest.mark.slow
def test_slots_without_use_and_a_long_warm_up_are_warned_about(
    tmp_path, records_file, log
):
    run(
        records_file,
        tmp_path / "out",
        do_train=True,
        init_checkpoint=PRETRAINING / "train_ckpt" / "model.ckpt-240",
        num_train_steps=1,
        train_batch_size=2,
    )

    assert "--num_warmup_steps=10000 is not below" in log.text
    assert "saved at step 240" in log.text
    assert checkpoints.global_step(str(tmp_path / "out" / "model.ckpt-1")) == 1


def test_ids_outside_the_vocabulary_are_named(tmp_path, records_file):
    config = json.loads((TINY / "bert_config.json").read_text())
    small = tmp_path / "small.json"
    small.write_text(json.dumps({**config, "vocab_size": 300}))

    with pytest.raises(
        InputError, match=r"record \d+: input_ids must hold .* 0 to 299"
    ):
        run(
            records_file,
            tmp_path / "out",
            do_train=True,
            bert_config_file=small,
            num_train_steps=60,
            num_warmup_steps=0,
        )


@without_graphs
def test_a_left_to_right_model_cannot_train_next_sentence(
    tmp_path, records_file
):
    config = json.loads((TINY / "bert_config.json").read_text())
    file = tmp_path / "left_to_right.json"
    file.write_text(json.dumps({**config, "directionality": "left_to_right"}))
    flags = {"bert_config_file": file, "init_checkpoint": TINY}

    with pytest.raises(InputError, match="Give --next_sentence=false"):
        run(records_file, tmp_path / "out", do_eval=True, **flags)
    run(
        records_file,
        tmp_path / "out",
        do_eval=True,
        next_sentence=False,
        max_eval_steps=2,
        **flags,
    )

    results = (tmp_path / "out" / "eval_results.txt").read_text()
    assert "masked_lm_loss" in results


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"max_seq_length": 64}, "input_ids must have length 64"),
        ({"max_predictions_per_seq": 7}, "masked_lm_positions must have"),
        (
            {"max_seq_length": 129},
            "up to sequence length 128: .*create_pretraining_data",
        ),
        ({"num_train_steps": 0}, "num_train_steps. must be above 0"),
        ({"learning_rate": -1}, "learning_rate"),
        ({"vocab_file": "x"}, "`--vocab_file`: the file x does not exist"),
        ({"mask_on_the_fly": True}, "`--vocab_file` must be given"),
        ({"do_train": False}, "`do_train` or `do_eval` must be True"),
    ],
)
def test_errors_are_reported_before_any_work(
    flags, message, tmp_path, records_file
):
    with pytest.raises(InputError, match=message):
        run(records_file, tmp_path / "out", **{"do_train": True, **flags})

    assert not (tmp_path / "out").exists()


def test_missing_files_are_named(tmp_path):
    with pytest.raises(InputError, match=r"Nothing matches .*none\*"):
        run(tmp_path / "none*", tmp_path / "out", do_train=True)


def test_has_the_originals_flags_and_defaults():
    golden = json.loads((PRETRAINING / "flags.json").read_text())
    assert len(golden) == 22
    values = parse(
        "--input_file=x", "--output_dir=x", "--bert_config_file=x"
    ).flag_values_dict()

    for flag in golden:
        if flag["default"] is None:
            assert flag["name"] in values
        else:
            assert values[flag["name"]] == flag["default"], flag["name"]


@pytest.mark.slow
def test_runs_as_a_command(tmp_path, records_file):
    command = [
        "-m",
        "bert_tf.run_pretraining",
        f"--input_file={records_file}",
        f"--output_dir={tmp_path / 'out'}",
        f"--bert_config_file={TINY / 'bert_config.json'}",
        "--max_seq_length=32",
        "--max_predictions_per_seq=4",
        "--do_train",
    ]

    done = prepared.run(command, capture_output=True, text=True)

    assert done.returncode == 1
    assert "give the max_predictions_per_seq that the file" in done.stderr
    assert "Traceback" not in done.stderr
