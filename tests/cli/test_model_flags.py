"""Flags that several scripts have, and what is said of bad values."""

import pytest
from absl import flags
from helpers.golden import TINY

from bert_tf.cli import command_line, model_flags
from bert_tf.cli.command_line import FlagSet
from bert_tf.errors import InputError

FOLDER = TINY.parent


@pytest.fixture
def parse():
    """Function of changes to flags in which nothing is wrong."""

    def parse(**changes):
        values = flags.FlagValues()
        flag_set = FlagSet(values)
        model_flags.define_text(flag_set)
        model_flags.define_training(flag_set)
        model_flags.define_epochs(flag_set, "all of it")
        for name in ("max_seq_length", "train_batch_size"):
            flags.DEFINE_integer(name, 8, "", flag_values=values)
        given = {
            "bert_config_file": FOLDER / "bert_config.json",
            "vocab_file": FOLDER / "vocab.txt",
            "output_dir": "x",
            **changes,
        }
        arguments = [f"--{name}={value}" for name, value in given.items()]
        command_line.parse(values, ["program", *arguments])
        return values

    return parse


def check_all(values):
    config = model_flags.check_text(values)
    model_flags.require_positions(values, config, "Do read on.")
    model_flags.check_training(values)
    model_flags.check_epochs(values)
    return model_flags.load_tokenizer(values, config)


def test_what_the_flags_name_is_loaded(parse):
    tokenizer = check_all(parse(do_lower_case=False))
    assert len(tokenizer.vocab) == 1027
    assert tokenizer.tokenize("New") != check_all(parse()).tokenize("New")


@pytest.mark.parametrize("name", ["bert_config_file", "vocab_file"])
def test_a_file_that_is_needed_must_be_given(name, parse):
    values = parse()
    with pytest.raises(flags.Error, match=f"--{name}=None"):
        values[name].value = None
        values.validate_all_flags()


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
def test_a_bad_value_is_named(name, bad, message, parse):
    with pytest.raises(InputError, match=message):
        check_all(parse(**{name: bad}))


def test_a_vocabulary_of_another_model_is_named(parse, tmp_path):
    lines = (FOLDER / "vocab.txt").read_text().splitlines()
    (tmp_path / "short.txt").write_text("\n".join(lines[:-1]))
    with pytest.raises(InputError, match=r"short.txt.*1027.*1026 lines"):
        check_all(parse(vocab_file=tmp_path / "short.txt"))
