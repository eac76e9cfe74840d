"""--sweep: the grid of values that flags take, one run for each combination."""

import copy
import difflib
import itertools
import os

from absl import flags as absl_flags

from bert_tf.cli import command_line
from bert_tf.errors import InputError
from bert_tf.support import files

SWEPT = (
    "learning_rate",
    "train_batch_size",
    "num_train_epochs",
    "warmup_proportion",
    "max_seq_length",
    "doc_stride",
    "layerwise_lr_decay",
    "lora_rank",
    "optimizer",
    "bias_correction",
    "bucket_by_length",
    "precision",
    "distill_temperature",
    "distill_weight",
    "seed",
)
"""Flags that a sweep may change."""

RECORD_FLAGS = ("max_seq_length", "doc_stride")
"""Those of `SWEPT` on which the records depend."""

_FREE = {
    "sweep",
    "output_dir",
    "export_dir",
    "do_train",
    "do_eval",
    "do_predict",
    "do_export",
    "eval_batch_size",
    "predict_batch_size",
    "save_checkpoints_steps",
    "iterations_per_loop",
    "gradient_accumulation_steps",
    "recompute",
    "jit_compile",
    "distribution",
    "use_tpu",
    "tpu_name",
    "tpu_zone",
    "gcp_project",
    "master",
    "num_tpu_cores",
    "test_labels",
    # Compared with what each run's bert_tf.json has.
    "do_lower_case",
    "strip_accents",
    "ignore_folder_settings",
    "skip_padding",
}


def define(flags):
    """Defines --sweep on a `FlagSet`."""
    flags.string(
        "sweep",
        None,
        "Train with every combination of values, as in "
        "'learning_rate=5e-5,3e-5;train_batch_size=16,32'. Each is a run in "
        "OUTPUT_DIR/sweep/NAME=VALUE,NAME=VALUE; OUTPUT_DIR/sweep.tsv has "
        "their results. OUTPUT_DIR then gets the model of the best run on the "
        "dev set, by the result that --keep_best names [the task's main "
        "result], and its evaluation, prediction and export. The same command "
        "goes on after a kill; other values add runs. Needs --do_train and "
        f"--do_eval. Flags: {', '.join(SWEPT)}.",
    )


def parse(text, flags):
    """Reads the value of --sweep.

    Args:
        text: such as `learning_rate=5e-5,3e-5;seed=1,2`.
        flags: `FlagValues` of the command; not changed.

    Returns:
        {name: its values as they are written}, both in the order of the text.

    Raises:
        InputError: a part is not of this form, or has an unknown name, a name
            for the second time, or a value that the flag does not take; names
            the part.
    """
    grid: dict[str, list[str]] = {}
    for part in text.split(";"):
        name, equals, values = part.partition("=")
        name = name.strip()
        if not equals or not name:
            raise _wrong(
                part, "must have the form NAME=VALUE,VALUE, with ; between"
            )
        if name not in flags or name not in SWEPT:
            raise _wrong(part, _why_not(name, flags))
        if name in grid:
            raise _wrong(part, f"names {name} for the second time")
        grid[name] = [value.strip() for value in values.split(",")]
        seen = []
        for value in grid[name]:
            parsed = _parsed(part, flags[name], value)
            if parsed in seen:
                raise _wrong(part, f"has the value {value} twice")
            seen.append(parsed)
    return grid


def _wrong(part, why):
    return InputError(f"`--sweep`: the part {part.strip()!r} {why}.")


def _why_not(name, flags):
    offered = [known for known in SWEPT if known in flags]
    listed = f"It takes: {', '.join(offered)}"
    if name in command_line.own_names(flags):
        return (
            f"names --{name}, which must be the same in all runs of a sweep. "
            f"{listed}"
        )
    similar = difflib.get_close_matches(name, offered, n=1)
    hint = f" Did you mean {similar[0]}?" if similar else ""
    return f"names no flag of this command: {name}.{hint} {listed}"


def _parsed(part, flag, value):
    if not value:
        raise _wrong(part, f"has an empty value for --{flag.name}")
    flag = copy.deepcopy(flag)
    try:
        flag.parse(value)
    except absl_flags.Error as error:
        raise _wrong(part, f"has a value that does not fit: {error}") from None
    return flag.value


def points(grid):
    """All combinations of a grid's values, the last name's changing first.

    Returns:
        A list of {name: value as it is written}.
    """
    combinations = itertools.product(*grid.values())
    return [dict(zip(grid, values)) for values in combinations]


def check(flags, grid):
    """Raises `InputError` for flags that do not go with a sweep."""
    for name in ("do_train", "do_eval"):
        if not flags[name].value:
            raise InputError(
                f"`--sweep` needs --{name}: it trains, and compares its runs "
                "on the dev set. To use the model of a sweep that is done, "
                f"leave --sweep out. Received: --sweep={flags.sweep} "
                f"--{name}=false"
            )
    if flags.num_runs > 1 and "seed" in grid:
        raise InputError(
            "`--sweep`: seed cannot be among its values with --num_runs, which "
            f"counts seeds up. Received: --sweep={flags.sweep} "
            f"--num_runs={flags.num_runs}"
        )
    if not files.is_local(flags.output_dir):
        raise InputError(
            "`--sweep` needs an --output_dir on this machine. Received: "
            f"--output_dir={flags.output_dir}"
        )


def with_values(flags, texts, **values):
    """A copy of flags with other values.

    Args:
        flags: parsed `FlagValues`; not changed.
        texts: values as they are written, by name; they count as given.
        **values: further values, by name.
    """
    changed = copy.deepcopy(flags)
    for name, text in texts.items():
        changed[name].parse(text)
    for name, value in values.items():
        if name in changed:
            changed[name].value = value
    return changed


def deciding(flags):
    """{name: value} of all flags on which the results of a run depend."""
    free = set(_FREE)
    if "eval_every_steps" in flags and flags.eval_every_steps is None:
        free.add("keep_best")  # It compares runs then, and changes none.
    return {
        name: flags[name].value
        for name in sorted(command_line.own_names(flags))
        if name not in free
    }


def folder_name(point):
    """The name of a combination's folder."""
    return ",".join(f"{name}={value}" for name, value in point.items())


def of_point(flags, texts, output_dir):
    """The flags of a run: it trains and evaluates, but exports nothing.

    Args:
        flags: parsed `FlagValues` of the sweep.
        texts: values as they are written, by name.
        output_dir: of the run.
    """
    return with_values(
        flags, texts, output_dir=output_dir, do_export=False, export_dir=None
    )


def finishing(flags, texts):
    """The flags of what follows: evaluation, prediction, export of the best.

    Args:
        flags: parsed `FlagValues` of the sweep.
        texts: values of the best run as they are written, by name.
    """
    return with_values(
        flags,
        texts,
        sweep=None,
        num_runs=1,
        do_train=False,
        eval_every_steps=None,
        keep_best=None,
        early_stopping_patience=None,
        class_weights=None,
        transfer_file=None,
    )


def folder_of_sweep(flags):
    """The output folder of a sweep.

    Args:
        flags: what `of_point` returns.
    """
    return os.path.dirname(os.path.dirname(flags.output_dir))
