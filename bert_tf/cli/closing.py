"""What a command that trains shows at its end: results, files, what is next."""

import contextlib
import os
import re
import shlex
import textwrap
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from absl import logging

from bert_tf.checkpoints.names import EVAL_RESULTS, STATE_FILE
from bert_tf.exports.settings import EXPORT_FOLDER
from bert_tf.support.files import is_local
from bert_tf.training.settings import RUNS_FILE, folder_of_run

USES = {
    "classifier": "classify --checkpoint={} --text='...'",
    "tokens": "tag --checkpoint={} --text='...'",
    "span": "answer --checkpoint={} --question='...' --context='...'",
    "features": "search --checkpoint={} --input_file=lines.txt --text='...'",
    "pretraining": "fill_mask --checkpoint={} --text='... [MASK] ...'",
}
"""The command that asks a model, by its head."""

_WIDTH = 78

# Names of files that are one thing, as a user sees it.
_ONE_NAME = (
    (re.compile(r"(model\.ckpt-\d+)\.(index|data-.*)"), r"\1.*"),
    (re.compile(r"events\.out\.tfevents\..*"), "events.out.tfevents.*"),
)

_Times = dict[str, tuple[int, int]]


@contextlib.contextmanager
def summary(
    flags: Any, head: str, main_result: Callable[[], str], is_chief: bool
) -> Iterator[None]:
    """A context around all work, with a summary in the log at its end.

    Args:
        flags: parsed `FlagValues` of a command that trains.
        head: of the model.
        main_result: gives the result to show where --keep_best names none;
            called if there are results.
        is_chief: whether this process is the one to show it.
    """
    before = _times(flags.output_dir)
    yield
    if not is_chief:
        return
    after = _times(flags.output_dir)
    written = [name for name in after if after[name] != before.get(name)]
    lines = ["***** Done *****"]
    result = _result(flags, main_result, written)
    if result:
        lines.append(f"  {result}")
    if written:
        lines += [f"  Written to {flags.output_dir}:", *_listed(written)]
    following = _next(flags, head)
    if following:
        lines += ["  Next:", *(f"    {one}" for one in following)]
    logging.info("%s", "\n".join(lines))


def _times(folder: str) -> _Times:
    """When each file in a folder, and those below, were written."""
    found = {}
    for place, _, names in os.walk(folder):
        for name in names:
            path = os.path.join(place, name)
            with contextlib.suppress(OSError):
                status = os.stat(path)
                key = os.path.relpath(path, folder)
                found[key] = status.st_mtime_ns, status.st_ino
    return found


def _listed(names: Iterable[str]) -> list[str]:
    """Names of files, those of one folder or checkpoint as one."""
    shown = set()
    for name in names:
        if os.sep in name:
            name = name.partition(os.sep)[0] + os.sep
        for pattern, short in _ONE_NAME:
            name = pattern.sub(short, name)
        shown.add(name)
    indent = " " * 4
    return textwrap.wrap(
        "  ".join(sorted(shown)),
        _WIDTH,
        initial_indent=indent,
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    )


def _result(flags, main_result: Callable[[], str], written: list[str]) -> str:
    """The main result in words; empty if there is none."""
    if not {RUNS_FILE, EVAL_RESULTS} & set(written):
        return ""
    name = flags.keep_best or main_result()
    if RUNS_FILE in written:
        with open(os.path.join(flags.output_dir, RUNS_FILE)) as file:
            rows = [line.rstrip("\n").split("\t") for line in file]
        for result, mean, deviation, *values in rows:
            if result == name:
                return (
                    f"{name}: mean {mean}, deviation {deviation} of "
                    f"{len(values)} runs ({RUNS_FILE})"
                )
    if EVAL_RESULTS not in written:
        return ""
    with open(os.path.join(flags.output_dir, EVAL_RESULTS)) as file:
        pairs = dict(line.rstrip("\n").split(" = ", 1) for line in file)
    if name not in pairs:
        return ""
    step = pairs.get("global_step")
    best = "the best, " if flags.keep_best else ""
    return f"{name} = {pairs[name]} ({best}step {step}; {EVAL_RESULTS})"


def _next(flags, head: str) -> list[str]:
    """Commands that use what was trained; none if nothing was."""
    folder = flags.output_dir
    if "num_runs" in flags and flags.num_runs > 1 and not _sweeps(flags):
        folder = folder_of_run(folder, 1)
    place = shlex.quote(folder)
    state = os.path.join(folder, STATE_FILE)
    has_model = os.path.exists(state) or not is_local(folder)
    found = []
    if has_model and head in USES:
        found.append(USES[head].format(place))
    if flags.do_export:
        export = flags.export_dir or os.path.join(folder, EXPORT_FOLDER)
        found.append(f"serve {shlex.quote(export)}")
    elif has_model:
        export = shlex.quote(os.path.join(folder, EXPORT_FOLDER))
        found.append(
            f"export_saved_model --head={head} --checkpoint={place} "
            f"--output_dir={export}"
        )
    return [f"python -m bert_tf.{command}" for command in found]


def _sweeps(flags) -> bool:
    return "sweep" in flags and flags.sweep is not None
