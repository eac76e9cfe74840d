"""Runs a command that has several subcommands, each with flags of its own.

Parsing, help, error messages and exit codes are those of all commands.
"""

import difflib
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from absl import flags

from bert_tf.cli import command_line, help, output


class Subcommand(NamedTuple):
    """One of several things that a command does.

    Attributes:
        doc: what its `--help` shows before the flags; the first line says what
            it does.
        define_flags: function that defines its flags on a `FlagValues`.
        main: function of the parsed `FlagValues` and the argument.
        argument: as `positional` of `command_line.run`.
    """

    doc: str
    define_flags: Callable[[Any], None]
    main: Callable[[Any, Any], None]
    argument: str

    @property
    def summary(self) -> str:
        return self.doc.strip().partition("\n")[0]


Subcommands = Mapping[str, Subcommand]


def run(subcommands: Subcommands, doc: str) -> None:
    """Runs what the command line of this process asks for.

    Args:
        subcommands: by name.
        doc: the command's docstring, shown by `--help`.
    """
    arguments = sys.argv[1:]
    with output.printing():
        if arguments and help.is_asked(arguments[:1]):
            print(overview(subcommands, doc))
            return
    name = arguments[0] if arguments else ""
    if name not in subcommands:
        command_line.fail(_which(subcommands, name))
    chosen = subcommands[name]
    rest = join_booleans(chosen.define_flags, arguments[1:])
    # It begins each message.
    sys.argv = [f"{command_line.program()} {name}", *rest]
    command_line.run(
        chosen.define_flags, chosen.main, chosen.doc, chosen.argument
    )


def overview(subcommands: Subcommands, doc: str) -> str:
    """The help text: all subcommands, with a line each."""
    width = max(map(len, subcommands))
    lines = [doc.strip(), "", "Commands:", ""]
    lines += [
        f"  {name:{width}}  {one.summary}" for name, one in subcommands.items()
    ]
    first = next(iter(subcommands))
    program = command_line.program()
    lines += ["", f"Flags of each: {program} {first} --help"]
    return "\n".join(lines)


def _which(subcommands: Subcommands, name: str) -> str:
    """The message about a name that is missing or not known."""
    names = ", ".join(subcommands)
    if not name:
        message = f"There must be a command, one of {names}."
    else:
        near = difflib.get_close_matches(name, subcommands, 1)
        hint = f" Did you mean {near[0]}?" if near else ""
        message = (
            f"The command must be one of {names}.{hint} Received: {name!r}"
        )
    return f"{message}\nAll commands: {command_line.program()} --help"


def join_booleans(
    define_flags: Callable[[Any], None], arguments: Sequence[str]
) -> list[str]:
    """A command line with `--flag=false` for `--flag false`.

    Elsewhere the value of a boolean follows a `=`. These commands have always
    taken both.

    Args:
        define_flags: of a `Subcommand`.
        arguments: the command line.
    """
    values = _defined(define_flags)
    booleans = {f"--{name}" for name in values if values[name].boolean}
    joined: list[str] = []
    for argument in arguments:
        is_value = argument.lower() in ("true", "false")
        if is_value and joined and joined[-1] in booleans:
            joined[-1] += f"={argument}"
        else:
            joined.append(argument)
    return joined


def names(define_flags: Callable[[Any], None]) -> list[str]:
    """Names of the flags that a function defines, in order."""
    return command_line.in_order(_defined(define_flags))


def _defined(define_flags):
    values = flags.FlagValues()
    define_flags(values)
    return values
