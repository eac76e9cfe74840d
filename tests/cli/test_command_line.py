"""What every entry point does with flags, mistakes and signals."""

import errno
import signal

import pytest
import tensorflow as tf
from absl import flags

from bert_tf import (
    answer,
    create_pretraining_data,
    learn_vocab,
    run_classifier,
    run_squad,
)
from bert_tf.checkpoints import named
from bert_tf.cli import command_line
from bert_tf.errors import InputError, Interrupted
from bert_tf.support import files


@pytest.fixture
def values():
    values = flags.FlagValues()
    for name in ("train_batch_size", "eval_batch_size", "num_train_epochs"):
        flags.DEFINE_integer(name, 1, "", flag_values=values)
    flags.DEFINE_float("rate", 0.5, "", flag_values=values)
    flags.DEFINE_string("input_file", None, "", flag_values=values)
    command_line.parse(values, ["program"])
    return values


def end_of(raised, capsys, values=None):
    """Exit code and last words of a program that ends with an exception."""

    def main(values):
        raise raised

    with pytest.raises(SystemExit) as end:
        command_line.finish(main, values)
    output, error = capsys.readouterr()
    assert output == ""
    return end.value.code, error.partition(": ")[2]


def test_a_user_error_exits_with_1_and_a_message(capsys):
    error = InputError("`task_name` must be one of cola, mnli.")
    assert end_of(error, capsys) == (1, f"error: {error}\n")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_exits_with_128_plus_its_number(number, capsys):
    stop = Interrupted("stopped at step 3", number)
    assert end_of(stop, capsys) == (128 + number, "stopped at step 3\n")


def test_control_c_outside_training_prints_no_traceback(capsys):
    assert end_of(KeyboardInterrupt(), capsys) == (130, "interrupted\n")


def test_a_file_that_cannot_be_opened_is_named(capsys):
    error = PermissionError(errno.EACCES, "Permission denied", "/data/x.tsv")
    message = "error: Permission denied: /data/x.tsv\n"
    assert end_of(error, capsys) == (1, message)


def test_bytes_that_are_not_utf8_are_shown(capsys):
    error = UnicodeEncodeError("utf-8", "a\udcff", 1, 2, "surrogates")
    code, message = end_of(error, capsys)
    assert code == 1 and "udcff" in message


def out_of_memory(kind):
    """Errors as NumPy, TensorFlow, its XLA and its CUDA libraries raise."""
    return {
        "python": MemoryError(),
        "numpy": MemoryError("Unable to allocate 8 GiB"),
        "tensorflow": tf.errors.ResourceExhaustedError(
            None,
            None,
            "Graph execution error:\n\nDetected at node ones\nOOM when "
            "allocating tensor with shape[20000,20000] and type float on CPU:0",
        ),
        "xla": tf.errors.ResourceExhaustedError(
            None, None, "Out of memory while trying to allocate 123 bytes."
        ),
        "kernel": tf.errors.ResourceExhaustedError(
            None, None, "failed to allocate memory [Op:AddV2]"
        ),
        "cuda": tf.errors.InternalError(
            None, None, "CUDA_ERROR_OUT_OF_MEMORY: out of memory"
        ),
    }[kind]


@pytest.mark.parametrize(
    ("kind", "what"),
    [
        ("python", "Python could not"),
        ("numpy", "Unable to allocate 8 GiB"),
        ("tensorflow", "tensor with shape[20000,20000]"),
        ("xla", "TensorFlow could not"),
        ("kernel", "TensorFlow could not"),
        ("cuda", "TensorFlow could not"),
    ],
)
def test_out_of_memory_names_the_flags_to_change(kind, what, capsys):
    values = flags.FlagValues()
    run_classifier.define_flags(values)
    given = (
        "--do_train --do_eval --train_batch_size=48 --eval_batch_size=1 "
        "--data_dir=x --bert_config_file=x --task_name=x --vocab_file=x "
        "--output_dir=x"
    )
    command_line.parse(values, ["program", *given.split()])
    code, message = end_of(out_of_memory(kind), capsys, values)
    assert code == 1
    assert message.startswith(f"error: There is not enough memory ({what}")
    assert message.endswith(
        "). In use: --train_batch_size=48 --eval_batch_size=1 "
        "--max_seq_length=128. Try --gradient_accumulation_steps=2 or "
        "--train_batch_size=24 or a lower "
        "--max_seq_length or a smaller model (--bert_config_file).\n"
    )


@pytest.mark.parametrize(
    ("script", "given", "advice"),
    [
        (
            run_squad,
            "--do_predict --predict_batch_size=9 --output_dir=x "
            "--vocab_file=x --bert_config_file=x",
            "In use: --predict_batch_size=9 --max_seq_length=384. Try "
            "--predict_batch_size=4 or a lower --max_seq_length or ",
        ),
        (
            answer,
            "--checkpoint=x",
            "In use: --batch_size=32. Try --batch_size=16 or a lower "
            "--max_seq_length or ",
        ),
        (
            create_pretraining_data,
            "--input_file=x --output_file=x --vocab_file=x",
            "Try more --num_shards or fewer --num_workers.",
        ),
        (
            learn_vocab,
            "--input_file=x --output_file=x --vocab_size=9",
            "Try a lower --max_words.",
        ),
    ],
)
def test_memory_advice_names_only_flags_of_the_command(
    script, given, advice, capsys
):
    values = flags.FlagValues()
    script.define_flags(values)
    command_line.parse(values, ["program", *given.split()])
    _, message = end_of(MemoryError(), capsys, values)
    assert f"any more). {advice}" in message


def test_a_full_disk_is_not_reported_as_out_of_memory():
    def main(values):
        raise tf.errors.ResourceExhaustedError(
            None, None, "model.ckpt-1; No space left on device"
        )

    with pytest.raises(tf.errors.ResourceExhaustedError):
        command_line.finish(main, None)


@pytest.mark.parametrize("bug", [KeyError("x"), OSError("no file in it")])
def test_other_errors_keep_their_traceback(bug):
    def main(values):
        raise bug

    with pytest.raises(type(bug)) as error:
        command_line.finish(main, None)
    assert error.value is bug


def test_an_argument_that_is_not_a_flag_is_refused(capsys):
    # The original took `--do_eval false` for --do_eval, and went on.
    with pytest.raises(SystemExit) as end:
        command_line.finish(lambda values: None, None, ["false", "x"])
    assert end.value.code == 1
    assert "Unexpected argument 'false'" in capsys.readouterr().err


def test_main_receives_the_parsed_flags(values):
    got = []
    command_line.finish(got.append, values)
    assert got == [values]


@pytest.mark.parametrize(
    ("given", "suggested"),
    [
        ("--train_batchsize=1", ["train_batch_size"]),
        ("--batch_size=1", ["eval_batch_size", "train_batch_size"]),
        ("--batch-size=1", ["eval_batch_size", "train_batch_size"]),
        ("--epochs=1", ["num_train_epochs"]),
        ("--nothing_like_it", []),
        ("--ep", []),
    ],
)
def test_an_unknown_flag_lists_similar_ones(values, given, suggested):
    with pytest.raises(flags.UnrecognizedFlagError) as error:
        command_line.parse(values, ["program", given])
    message = str(error.value)
    assert f"'{given[2:].split('=')[0]}'" in message
    assert ("Did you mean" in message) == bool(suggested)
    assert all(name in message for name in suggested)


@pytest.mark.parametrize("bad", [0, -1, 2**63])
def test_require_positive_refuses_other_numbers(values, bad):
    values.eval_batch_size = bad
    command_line.require_positive(values, "train_batch_size")
    with pytest.raises(
        InputError, match=f"--eval_batch_size.*(above|below).*{bad}"
    ):
        command_line.require_positive(
            values, "train_batch_size", "eval_batch_size"
        )


@pytest.mark.parametrize(
    ("value", "fits"),
    [
        (0, True),
        (1, True),
        (-1e-9, False),
        (1.1, False),
        (float("nan"), False),
        (float("inf"), False),
    ],
)
def test_require_between_refuses_numbers_out_of_range(values, value, fits):
    values.rate = value
    if fits:
        command_line.require_between(values, "rate", 0, 1)
    else:
        with pytest.raises(InputError, match=f"--rate.*0 and.*1.*={value}"):
            command_line.require_between(values, "rate", 0, 1)


def test_require_file_refuses_missing_files_and_folders(tmp_path):
    missing = tmp_path / "missing"
    with pytest.raises(
        InputError, match=r"--vocab_file.*missing does not exist"
    ):
        files.require_file("vocab_file", str(missing))
    with pytest.raises(InputError, match=r"--vocab_file.*is a folder"):
        files.require_file("vocab_file", str(tmp_path))
    missing.write_text("now it is there")
    files.require_file("vocab_file", str(missing))


def test_home_folder_in_paths_is_expanded_and_in_texts_is_not(monkeypatch):
    monkeypatch.setenv("HOME", "/home/ann")
    values = flags.FlagValues()
    for name in (
        "output_dir",
        "input_file",
        "checkpoint",
        "vocab_file",
        "text",
    ):
        flags.DEFINE_string(name, None, "", flag_values=values)
    words = ["--output_dir=~/run", "--input_file=a/~,~/b*.txt,~", "--text=~/x"]
    command_line.parse(values, ["program", *words, "--checkpoint=x~/y"])
    assert values.output_dir == "/home/ann/run"
    assert values.input_file == "a/~,/home/ann/b*.txt,/home/ann"
    assert values.text == "~/x"
    assert values.checkpoint == "x~/y"
    assert values.vocab_file is None


@pytest.mark.parametrize(
    "command", [answer, create_pretraining_data, run_classifier, run_squad]
)
def test_all_flags_that_take_paths_are_named_like_paths(command):
    values = flags.FlagValues()
    command.define_flags(values)
    texts = {name for name in values if values[name].flag_type() == "string"}
    others = {name for name in texts if not name.endswith(command_line._PATHS)}
    assert others <= {
        *("tpu_name", "tpu_zone", "gcp_project", "master", "task_name"),
        *("text_a_col", "text_b_col", "label_col", "keep_best", "freeze"),
        *("word_segmenter", "label_cols", "label_separator", "class_weights"),
        *("sweep", "lora_targets"),
    }


def test_a_model_or_a_folder_stands_for_its_vocabulary(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "vocab.txt").touch()
    (tmp_path / "file.txt").touch()
    builtin = str(named.here("builtin") / "vocab.txt")
    for given, found in (
        ("builtin", builtin),
        ("own", "own/vocab.txt"),
        ("file.txt", "file.txt"),
        ("nowhere", "nowhere"),
    ):
        values = flags.FlagValues()
        command_line.FlagSet(values).string("vocab_file", None, "A file.")
        command_line.parse(values, ["command", f"--vocab_file={given}"])
        command_line.resolve_models(values)
        assert values.vocab_file == found
