"""The runs that flags ask for: one, several with --num_runs, or a --sweep."""

import contextlib
import dataclasses
import functools
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from absl import logging

from bert_tf.cli import (
    closing,
    export_flags,
    output_folder,
    sweep_flags,
    training_flags,
)
from bert_tf.errors import InputError
from bert_tf.support import files


class Command(NamedTuple):
    """What a command that fine-tunes does with its flags.

    Attributes:
        head: what it trains, as `export_saved_model` calls it.
        check: function of `FlagValues` that checks them; returns `RunSettings`.
        open: function of `FlagValues` and `RunSettings` that returns
            `OpenedModel`.
        prepare: function of `FlagValues`, `RunSettings` and `OpenedModel` that
            reads all input; returns `tasks.run.Prepared`.
        main_result: function of `FlagValues` that returns the name of the
            result by which runs are compared where --keep_best names none.
    """

    head: str
    check: Callable[[Any], Any]
    open: Callable[[Any, Any], Any]
    prepare: Callable[[Any, Any, Any], Any]
    main_result: Callable[[Any], str]


def run(flags: Any, command: Command) -> None:
    """Does what the parsed flags ask for."""
    # Imported here, since they load TensorFlow.
    from bert_tf.tasks.run import run_several
    from bert_tf.training import devices

    if flags.sweep is not None:
        _sweep(flags, command)
        return
    settings = command.check(flags)
    opened = command.open(flags, settings)
    strategy = devices.find_strategy(training_flags.devices(flags))

    with _summary(flags, command, strategy):
        run_several(
            lambda one: _finetune(command, flags, one, opened, strategy),
            settings,
            flags.num_runs,
            strategy,
        )


def _summary(flags, command, strategy):
    from bert_tf.training import devices

    return closing.summary(
        flags,
        command.head,
        lambda: command.main_result(flags),
        devices.is_chief(strategy),
    )


def _finetune(command, flags, settings, opened, strategy):
    """One run: results of evaluation by name; None without it."""
    from bert_tf.tasks.run import finetune

    ready = command.prepare(flags, settings, opened)
    return finetune(
        ready.task, ready.sets, opened, ready.settings, strategy, ready.export
    )


def _sweep(flags, command):
    grid = sweep_flags.parse(flags.sweep, flags)
    sweep_flags.check(flags, grid)
    output_folder.check(flags)

    # Not before the values are right, since they load TensorFlow.
    from bert_tf.tasks import sweep
    from bert_tf.tasks.beginning import alone
    from bert_tf.training import devices

    notes = sweep.Notes(flags.output_dir)
    notes.require_own_folder()
    trials = _find_trials(flags, command, grid, notes)
    settings = trials[0].settings
    metric = flags.keep_best or command.main_result(flags)
    _log_choices(flags, grid, metric)
    strategy = devices.find_strategy(training_flags.devices(flags))
    files.make_folder("output_dir", flags.output_dir)
    export_flags.find_export_dir(flags, flags.output_dir)
    here = settings.in_folder(flags.output_dir, settings.seed)
    with (
        _summary(flags, command, strategy),
        alone(dataclasses.replace(here, evaluation=None), strategy),
    ):
        if devices.is_chief(strategy):  # It alone has the lock.
            notes.require_unchanged()
        sweep.run_all(trials, notes, metric, strategy)
        keeps_best = settings.best_metric is not None
        best = sweep.settle(notes, metric, keeps_best, strategy)
        final = sweep_flags.finishing(flags, best.values)
        settings = command.check(final)
        opened = command.open(final, settings)
        _finetune(command, final, settings, opened, strategy)


def _find_trials(flags, command, grid, notes):
    """The `Trial`s of a grid, all of whose flags have been checked."""
    from bert_tf.checkpoints import finding
    from bert_tf.tasks import sweep
    from bert_tf.tasks.run import repeated

    points = []
    for values in sweep_flags.points(grid):
        deciding = sweep_flags.deciding(sweep_flags.with_values(flags, values))
        name = sweep_flags.folder_name(values)
        points.append(sweep.Point(name, values, deciding))
    trials, models = [], {}
    for point in notes.place(points):
        folder = notes.point_folder(point.name)
        own = sweep_flags.of_point(flags, point.values, folder)
        records = tuple(
            own[name].value for name in sweep_flags.RECORD_FLAGS if name in own
        )
        with _naming(point.values):
            settings = command.check(own)
            # A training that goes on has its model's files in its own folder.
            goes_on = finding.has_checkpoints(folder)
            key = folder if goes_on else "", records, settings.build
            if key not in models:
                models[key] = command.open(own, settings)
        for number, one in repeated(settings, flags.num_runs):
            trials.append(
                sweep.Trial(
                    notes.find(point, number),
                    one,
                    records,
                    models[key],
                    functools.partial(command.prepare, own),
                )
            )
    return trials


@contextlib.contextmanager
def _naming(values) -> Iterator[None]:
    """Names the values of a sweep in errors about their flags."""
    try:
        yield
    except InputError as error:
        if any(f"--{name}" in str(error) for name in values):
            name = sweep_flags.folder_name(values)
            raise InputError(f"`--sweep`, {name}: {error}") from error
        raise


def _log_choices(flags, grid, metric):
    for name in grid:
        if flags[name].present:
            logging.info(
                "--%s=%s is without effect: --sweep changes it.",
                name,
                flags[name].value,
            )
    logging.info(
        "Runs are compared by %s of the dev set%s.",
        metric,
        "" if flags.keep_best else "; --keep_best names another result",
    )
