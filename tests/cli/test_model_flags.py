"""Flags that several scripts have, and what is said of bad values."""

import shutil

import pytest
from absl import flags as absl_flags
from helpers.golden import TINY

from bert_tf.cli import command_line, model_flags, training_flags
from bert_tf.cli.command_line import FlagSet
from bert_tf.errors import InputError
from bert_tf.training import start

FOLDER = TINY.parent


@pytest.fixture
def parse():
    """Function of changes to flags in which nothing is wrong."""

    def parse(**changes):
        values = absl_flags.FlagValues()
        flags = FlagSet(values)
        flags.integer("max_seq_length", 8, "")
        flags.integer("train_batch_size", 8, "")
        flags.boolean("do_train", True, "")
        model_flags.define(flags)
        model_flags.define_casing(flags)
        training_flags.define_original(flags)
        training_flags.define_epochs(flags, "all of it")
        training_flags.define(flags)
        given = {
            "bert_config_file": FOLDER / "bert_config.json",
            "vocab_file": FOLDER / "vocab.txt",
            "output_dir": "x",
            **changes,
        }
        arguments = [
            f"--{name}={value}"
            for name, value in given.items()
            if value is not None
        ]
        command_line.parse(values, ["program", *arguments])
        return values

    return parse


def open_model(values):
    training_flags.check(values, [])
    training_flags.check_epochs(values)
    settings = training_flags.run_settings(values)
    opened = start.open_model(settings.files, settings.output_dir)
    start.require_positions(opened.config, values.max_seq_length, "Do read on.")
    return opened


def test_the_files_named_by_flags_are_loaded(parse):
    tokenizer = open_model(parse(do_lower_case=False)).tokenizer
    assert len(tokenizer.vocab) == 1027
    uncased = open_model(parse()).tokenizer
    assert tokenizer.tokenize("New") != uncased.tokenize("New")


@pytest.mark.parametrize("checkpoint", [TINY, TINY.parent])
def test_config_and_vocabulary_default_to_those_beside_the_checkpoint(
    checkpoint, parse
):
    opened = open_model(
        parse(
            bert_config_file=None, vocab_file=None, init_checkpoint=checkpoint
        )
    )

    assert opened.config_file == str(FOLDER / "bert_config.json")
    assert opened.vocab_file == str(FOLDER / "vocab.txt")


def test_a_resumed_run_has_its_config_and_vocabulary_in_its_folder(
    parse, tmp_path
):
    shutil.copytree(FOLDER, tmp_path, dirs_exist_ok=True)
    state = 'model_checkpoint_path: "bert_model.ckpt"'
    (tmp_path / "checkpoint").write_text(state)

    opened = open_model(
        parse(bert_config_file=None, vocab_file=None, output_dir=tmp_path)
    )

    assert opened.vocab_file == str(tmp_path / "vocab.txt")
    assert opened.config.vocab_size == 1027


@pytest.mark.parametrize("name", ["bert_config_file", "vocab_file"])
def test_a_missing_file_must_be_given_by_flag(name, parse, tmp_path):
    with pytest.raises(InputError, match=f"--{name}. must be given"):
        open_model(parse(**{name: None}, output_dir=tmp_path))


@pytest.mark.parametrize(
    ("name", "bad", "message"),
    [
        ("bert_config_file", "nowhere", "--bert_config_file.*nowhere"),
        ("vocab_file", "nowhere", "--vocab_file.*nowhere"),
        ("max_seq_length", 1000, "length 1000 .*: lower .*h. Do read on.$"),
        ("train_batch_size", 0, "--train_batch_size=0"),
        ("save_checkpoints_steps", 0, "--save_checkpoints_steps=0"),
        ("iterations_per_loop", -1, "--iterations_per_loop=-1"),
        ("learning_rate", "inf", "--learning_rate=inf"),
        ("seed", 2**32, "--seed=4294967296"),
        ("num_train_epochs", -1, "--num_train_epochs=-1"),
        ("warmup_proportion", 1.5, "--warmup_proportion=1.5"),
        (
            "init_checkpoint",
            "cased_L-12_H-768_A-12/bert_model.ckpt",
            "--do_lower_case=False",
        ),
    ],
)
def test_an_invalid_value_is_named(name, bad, message, parse):
    with pytest.raises(InputError, match=message):
        open_model(parse(**{name: bad}))


def test_a_vocabulary_of_another_model_is_refused(parse, tmp_path):
    lines = (FOLDER / "vocab.txt").read_text().splitlines()
    (tmp_path / "short.txt").write_text("\n".join(lines[:-1]))
    with pytest.raises(InputError, match=r"short.txt.*1027.*1026 lines"):
        open_model(parse(vocab_file=tmp_path / "short.txt"))
