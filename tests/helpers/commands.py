"""Runs commands in this process, with flags by name."""

import importlib

from absl import flags as absl_flags

from bert_tf.cli import command_line, subcommands


def run_command(name, **flags):
    """Runs `bert_tf.NAME` with these flags."""
    command = importlib.import_module(f"bert_tf.{name}")
    values = absl_flags.FlagValues()
    command.define_flags(values)
    given = [f"--{flag}={value}" for flag, value in flags.items()]
    command_line.parse(values, [name, *given])
    return command.main(values)


def run_subcommand(command, name, argument=None, *words):
    """Runs `bert_tf.COMMAND NAME ARGUMENT`, with flags as words."""
    module = importlib.import_module(f"bert_tf.{command}")
    chosen = module.COMMANDS[name]
    values = absl_flags.FlagValues()
    chosen.define_flags(values)
    words = subcommands.join_booleans(chosen.define_flags, words)
    assert command_line.parse(values, [name, *words]) == [name]
    chosen.main(values, argument)


def run_classifier(**flags):
    """Runs run_classifier with these flags."""
    return run_command("run_classifier", **flags)


def results_of(folder, file="eval_results.txt"):
    """The numbers in a folder's eval_results.txt, by name."""
    lines = (folder / file).read_text().splitlines()
    pairs = (line.split(" = ") for line in lines)
    return {name: float(value) for name, value in pairs}
