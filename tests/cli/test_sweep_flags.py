"""How --sweep is read: names, values, order; no model is needed."""

import pytest
from absl import flags as absl_flags

from bert_tf.cli import (
    command_line,
    export_flags,
    model_flags,
    sweep_flags,
    training_flags,
)
from bert_tf.cli.command_line import FlagSet
from bert_tf.errors import InputError


def parse(*given):
    values = absl_flags.FlagValues()
    flags = FlagSet(values)
    flags.string("data_dir", None, "")
    flags.integer("max_seq_length", 128, "")
    training_flags.define_actions(flags)
    model_flags.define(flags)
    model_flags.define_casing(flags)
    training_flags.define_original(flags)
    training_flags.define_epochs(flags, "")
    training_flags.define(flags)
    training_flags.define_runs(flags)
    export_flags.define(flags)
    command_line.parse(values, ["command", "--output_dir=out", *given])
    return values


def test_the_grid_of_the_paper():
    grid = sweep_flags.parse(
        "learning_rate=5e-5,3e-5; train_batch_size=16, 32 ;num_train_epochs=3",
        parse(),
    )

    assert list(grid.items()) == [
        ("learning_rate", ["5e-5", "3e-5"]),
        ("train_batch_size", ["16", "32"]),
        ("num_train_epochs", ["3"]),
    ]
    names = [sweep_flags.folder_name(p) for p in sweep_flags.points(grid)]
    assert names == [
        "learning_rate=5e-5,train_batch_size=16,num_train_epochs=3",
        "learning_rate=5e-5,train_batch_size=32,num_train_epochs=3",
        "learning_rate=3e-5,train_batch_size=16,num_train_epochs=3",
        "learning_rate=3e-5,train_batch_size=32,num_train_epochs=3",
    ]


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("", "''"),
        ("learning_rate", "'learning_rate'"),
        ("=3", "'=3'"),
        ("seed=1;;optimizer=lamb", "''"),
        (
            "learning_rate=1e-4;learning_rte=1",
            ("'learning_rte=1'", "learning_"),
        ),
        ("output_dir=a,b", ("'output_dir=a,b'", "--output_dir")),
        ("data_dir=a,b", "--data_dir"),
        ("vocab_file=a,b", "--vocab_file"),
        ("init_checkpoint=a,b", "--init_checkpoint"),
        ("sweep=1", "--sweep"),
        ("v=1", "'v=1'"),  # A flag of absl's.
        ("doc_stride=8", "doc_stride"),  # Not every command has it.
        ("seed=1;learning_rate=1e-4;seed=2", ("'seed=2'", "second time")),
        ("learning_rate=5e-5,0.00005", ("'learning_rate=", "0.00005 twice")),
        ("learning_rate=5e-5,", ("'learning_rate=5e-5,'", "empty")),
        ("learning_rate=fast", ("'learning_rate=fast'", "fast")),
        ("train_batch_size=16,3.5", ("'train_batch_size=16,3.5'", "3.5")),
        ("optimizer=adamw,sgd", ("'optimizer=adamw,sgd'", "sgd")),
        ("bias_correction=maybe", "'bias_correction=maybe'"),
    ],
)
def test_a_message_names_the_flag_and_the_part(text, named):
    with pytest.raises(InputError) as caught:
        sweep_flags.parse(text, parse())
    for name in (named,) if isinstance(named, str) else named:
        assert name in str(caught.value)
    assert "`--sweep`" in str(caught.value)


def test_what_a_command_lacks_is_not_offered():
    with pytest.raises(InputError) as caught:
        sweep_flags.parse("output_dir=a", parse())
    assert "max_seq_length" in str(caught.value)
    assert "doc_stride" not in str(caught.value)


@pytest.mark.parametrize(
    ("given", "named"),
    [
        (("--do_train",), "--do_eval"),
        (("--do_eval",), "--do_train"),
        (("--do_train", "--do_eval", "--num_runs=2"), "--num_runs=2"),
        (
            ("--do_train", "--do_eval", "--output_dir=gs://bucket/run"),
            "--output_dir=gs://bucket/run",
        ),
    ],
)
def test_flags_that_do_not_go_with_a_sweep(given, named):
    flags = parse("--sweep=seed=1,2", *given)
    with pytest.raises(InputError) as caught:
        sweep_flags.check(flags, {"seed": ["1", "2"]})
    assert named in str(caught.value)


def test_the_flags_of_a_run_are_copies_that_count_as_given():
    flags = parse("--learning_rate=1", "--do_export", "--num_runs=3")
    values = {"learning_rate": "5e-5", "train_batch_size": "16"}

    of_run = sweep_flags.of_point(flags, values, "elsewhere")
    final = sweep_flags.finishing(flags, values)

    for changed in (of_run, final):
        assert changed.learning_rate == 5e-5
        assert changed.train_batch_size == 16
        assert changed["train_batch_size"].present
    assert (of_run.output_dir, of_run.do_export) == ("elsewhere", False)
    assert (final.output_dir, final.do_export) == ("out", True)
    assert (of_run.num_runs, final.num_runs) == (3, 1)
    assert (flags.learning_rate, flags.train_batch_size) == (1, 32)
    assert not flags["train_batch_size"].present


def test_what_decides_about_results():
    def deciding(*given):
        return sweep_flags.deciding(parse(*given))

    base = deciding()
    same = (
        "--do_train",
        "--do_predict",
        "--save_checkpoints_steps=7",
        "--keep_best=eval_loss",
        "--export_dir=a",
    )
    assert deciding(*same) == base
    for given in (
        "--learning_rate=1",
        "--seed=1",
        "--data_dir=a",
        "--init_checkpoint=b",
        "--num_runs=2",
        "--eval_every_steps=5",
    ):
        assert deciding(given) != base
    assert {"v", "verbosity", "sweep"}.isdisjoint(base)


def test_every_name_is_a_flag_of_a_command_that_sweeps():
    flags = parse()

    assert set(sweep_flags.SWEPT) - set(flags) == {
        *("doc_stride", "distill_temperature", "distill_weight"),
    }
    assert set(sweep_flags.RECORD_FLAGS) <= set(sweep_flags.SWEPT)
