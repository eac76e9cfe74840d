"""Runs a command: parsing, help, logging, error messages, exit codes.

The exit code is 0, or 1 after an error with one readable message, or 128 + N
after signal N.
"""

import functools
import logging as python_logging
import math
import os
import pathlib
import re
import signal
import sys

from absl import app, flags, logging

from bert_tf.checkpoints import named
from bert_tf.checkpoints.names import VOCAB
from bert_tf.cli import help, output
from bert_tf.errors import InputError, Interrupted, printable
from bert_tf.support import startup


def run(define_flags, main, doc, positional=None):
    """Parses the command line, runs `main(flag_values)`, reports errors.

    Args:
        define_flags: function that defines the command's flags on a
            `FlagValues`.
        main: function of the parsed `FlagValues` and, with `positional`, of the
            argument.
        doc: the command's docstring, shown by `--help`.
        positional: name of the one argument that is no flag, in brackets if it
            may be left out and is then None; None if the command takes none.
    """
    values, known = flags.FLAGS, set(flags.FLAGS)
    define_flags(values)
    logging.set_verbosity(logging.INFO)
    logging.get_absl_handler().setFormatter(_LogFormat())

    def start(values, *argument):
        resolve_models(values)
        startup.load_deferred()
        main(values, *argument)

    with output.printing():
        if help.is_asked(sys.argv[1:]):
            names = [name for name in in_order(values) if name not in known]
            print(help.text(values, names, doc))
            return
        app.run(
            lambda argv: finish(start, values, argv[1:], positional),
            flags_parser=lambda argv: parse_or_exit(values, argv),
        )


def in_order(values):
    """Names of flags in the order of their definition."""
    modules = values.flags_by_module_dict().values()
    return [flag.name for module in modules for flag in module]


class FlagSet:
    """Defines flags on a `FlagValues`.

    absl's own functions define flags for the whole process, where those of two
    commands would collide.
    """

    def __init__(self, values):
        self.values = values
        # Without a name absl looks at all modules for the one that defines a
        # flag, and deferred ones would be loaded.
        self._where = {"flag_values": values, "module_name": __name__}

    def string(self, name, default, help):
        """Defines a flag that takes text."""
        flags.DEFINE_string(name, default, help, **self._where)

    def strings(self, name, help):
        """Defines a flag that may be repeated: a list of texts."""
        flags.DEFINE_multi_string(name, [], help, **self._where)

    def integer(self, name, default, help):
        """Defines a flag that takes a whole number."""
        flags.DEFINE_integer(name, default, help, **self._where)

    def number(self, name, default, help):
        """Defines a flag that takes a number."""
        flags.DEFINE_float(name, default, help, **self._where)

    def number_or(self, word, name, default, help):
        """Defines a flag that takes a number or one word."""
        flags.DEFINE(
            NumberOr(word),
            name,
            default,
            help,
            **self._where,
            serializer=flags.ArgumentSerializer(),
        )

    def boolean(self, name, default, help):
        """Defines a flag that takes true or false."""
        flags.DEFINE_bool(name, default, help, **self._where)

    def choice(self, name, default, choices, help):
        """Defines a flag that takes one of several words."""
        flags.DEFINE_enum(name, default, list(choices), help, **self._where)

    def require(self, *names):
        """Makes flags mandatory; they must be defined already."""
        for name in names:
            flags.mark_flag_as_required(name, flag_values=self.values)


def own_names(values):
    """Names of the flags that a `FlagSet` has defined: those of the command."""
    return {
        name
        for name in values
        if values.find_module_defining_flag(name) == __name__
    }


class NumberOr(flags.FloatParser):
    """Parses a flag that takes a number or one word."""

    def __init__(self, word):
        super().__init__()
        self.word = word

    def parse(self, argument):
        return argument if argument == self.word else super().parse(argument)


def parse(values, argv):
    """Sets flags from a command line; returns the remaining arguments.

    Raises:
        absl.flags.Error: an unknown flag, with similar names, or an invalid
            value.
    """
    try:
        rest = values(argv)
        expand_home(values)
        return rest
    except flags.UnrecognizedFlagError as error:
        # absl suggests names with a typo, but not longer ones:
        # --num_train_epochs for --epochs.
        name = error.flagname.replace("-", "_")
        similar = [known for known in values if len(name) > 2 and name in known]
        if "Did you mean" in str(error) or not similar:
            raise
        raise flags.UnrecognizedFlagError(
            error.flagname, error.flagvalue, sorted(similar)
        ) from None


# Flags that take a model's name too.
_CHECKPOINTS = ("init_checkpoint", "checkpoint", "teacher")

# How the names of flags end that take paths.
_PATHS = (
    *("_dir", "_file", "checkpoint", "check", "output", "dir", "save"),
    "teacher",
)


def expand_home(values):
    """Replaces `~` and `~user` in flags that take paths, as shells do.

    Shells leave it as it is after `--flag=`. In a list, each path is expanded.
    """
    for name in values:
        flag = values[name]
        if name.endswith(_PATHS) and isinstance(flag.value, str):
            paths = map(os.path.expanduser, flag.value.split(","))
            flag.value = ",".join(paths)


def resolve_models(values):
    """Replaces names of models in flags by the paths of their folders.

    A model or a folder as --vocab_file stands for its vocab.txt.

    `finding` does it for Python; here too, since checks compare paths.

    Raises:
        InputError: as `named.resolve`.
    """
    for name in _CHECKPOINTS:
        if name in values and values[name].value:
            values[name].value = named.resolve(values[name].value)
    given = values.vocab_file if "vocab_file" in values else None
    if given and not os.path.isfile(given):
        found = os.path.join(named.resolve(given), VOCAB)
        if os.path.isfile(found):
            values["vocab_file"].value = found


def parse_or_exit(values, argv):
    """Like `parse`, but exits with a message and code 1 after an error."""
    try:
        return parse(values, argv)
    except flags.Error as error:
        fail(f"{error}\nAll flags: {program()} --help")


def finish(main, values, arguments=(), positional=None):
    """Runs `main(values)`; exits with a message and code 1 after an error.

    Args:
        main: as in `run`.
        values: the parsed `FlagValues`.
        arguments: the command-line arguments that are no flags.
        positional: as in `run`.

    Raises:
        SystemExit: after an error of the user, or a signal.
    """
    if positional:
        least = 0 if positional.startswith("[") else 1
        if not least <= len(arguments) <= 1:
            received = " ".join(map(repr, arguments)) or "none"
            name = positional.strip("[]")
            fail(
                f"There must be {'one' if least else 'at most one'} {name}, "
                f"beside flags. Received: {received}\n"
                f"All flags: {program()} --help"
            )
        argument = arguments[0] if arguments else None
        main = functools.partial(_call, main, argument)
    elif arguments:
        fail(
            f"Unexpected argument {arguments[0]!r}: flags start with `--`, and "
            "the value of a boolean follows a `=`, as in --do_train=true."
        )
    try:
        main(values)
    except Interrupted as stop:
        print(f"{program()}: {stop}", file=sys.stderr)
        sys.exit(128 + stop.signal_number)
    except KeyboardInterrupt:
        print(f"{program()}: interrupted", file=sys.stderr)
        sys.exit(128 + signal.SIGINT)
    except InputError as error:
        fail(error)
    except OSError as error:
        if error.filename is None:
            raise
        fail(f"{error.strerror}: {error.filename}")
    except UnicodeEncodeError as error:
        if not _NOT_UTF8.search(error.object):
            raise
        fail(f"This must be UTF-8, without other bytes: {error.object!a}")
    except Exception as error:
        if not _is_out_of_memory(error):
            raise
        fail(
            f"There is not enough memory ({_allocation(error)}). "
            f"{_memory_advice(values)}"
        )


# Bytes of arguments and names of files that are not UTF-8, as Python has them.
_NOT_UTF8 = re.compile("[\udc80-\udcff]")


def _call(main, argument, values):
    return main(values, argument)


# The wording of XLA, its kernels and CUDA. ResourceExhaustedError alone is not
# enough: it may mean a full disk.
_OUT_OF_MEMORY = re.compile("OOM|out of memory|allocate memory", re.IGNORECASE)


def _is_out_of_memory(error):
    if isinstance(error, MemoryError):
        return True
    # Any other error of this kind is TensorFlow's, which is then imported.
    tf = sys.modules.get("tensorflow")
    return (
        tf is not None
        and isinstance(error, tf.errors.OpError)
        and _OUT_OF_MEMORY.search(str(error)) is not None
    )


def _allocation(error):
    """What could not be allocated, from a message of many lines."""
    tensor = re.search(r"tensor with shape\[[^]]*\]", str(error))
    if tensor:
        return tensor[0]
    if isinstance(error, MemoryError):
        return str(error) or "Python could not allocate any more"
    return "TensorFlow could not allocate any more"


# Batch sizes, each with the flag that enables its use, if there is one.
_BATCH_SIZES = {
    "train_batch_size": "do_train",
    "eval_batch_size": "do_eval",
    "predict_batch_size": "do_predict",
    "batch_size": None,
}

# Flags of commands without a model that reduce memory.
_LESS_MEMORY = {
    "num_shards": "more",
    "num_workers": "fewer",
    "max_words": "a lower",
    "max_position_embeddings": "a lower",
}


def _memory_advice(values):
    """The flags in use that determine memory, and what to try."""
    used = {
        name: values[name].value
        for name, action in _BATCH_SIZES.items()
        if name in values and (action is None or values[action].value)
    }
    advice = [
        f"--{name}={size // 2}" for name, size in used.items() if size > 1
    ]
    if used:
        if (
            "train_batch_size" in used
            and "gradient_accumulation_steps" in values
        ):
            # Smaller micro-batches do not change the training.
            parts = 2 * values["gradient_accumulation_steps"].value
            if used["train_batch_size"] % parts == 0:
                advice.insert(0, f"--gradient_accumulation_steps={parts}")
        if "max_seq_length" in values:
            used["max_seq_length"] = values["max_seq_length"].value
            advice.append("a lower --max_seq_length")
        advice.append("a smaller model (--bert_config_file)")
    advice += [
        f"{less} --{name}"
        for name, less in _LESS_MEMORY.items()
        if name in values
    ]
    given = [f"--{n}={value}" for n, value in used.items() if value is not None]
    return (f"In use: {' '.join(given)}. " if given else "") + (
        f"Try {' or '.join(advice)}." if advice else ""
    )


def fail(message):
    """Prints a message of an error and exits with code 1."""
    message = printable(str(message))
    print(f"{program()}: error: {message}", file=sys.stderr)
    sys.exit(1)


def program():
    """The name of the command, as messages have it."""
    return pathlib.Path(sys.argv[0]).stem


class _LogFormat(python_logging.Formatter):
    """The time and the message; the level only for warnings and errors."""

    def format(self, record):
        level = record.levelname + ": " if record.levelno > 20 else ""
        message = printable(super().format(record))
        return f"{self.formatTime(record, '%H:%M:%S')} {level}{message}"


def require_positive(values, *names):
    """Raises `InputError` for an integer flag among `names` not above 0."""
    for name in names:
        value = values[name].value
        if not 0 < value < 2**63:
            limit = "above 0" if value <= 0 else "below 2^63"
            raise InputError(
                f"`--{name}` must be {limit}. Received: --{name}={value}"
            )


def require_between(values, name, low, high):
    """Raises `InputError` unless a flag is a finite number in [low, high]."""
    value = values[name].value
    if not (low <= value <= high and math.isfinite(value)):
        limit = "" if high == math.inf else f" and at most {high}"
        raise InputError(
            f"`--{name}` must be a finite number of at least {low}{limit}. "
            f"Received: --{name}={value}"
        )
