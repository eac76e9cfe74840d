"""A sweep: a run for each combination of values, and the best one's model.

`sweep/sweep.json` in the output folder notes the settings and results of each
run; `sweep.tsv` is the same for people.
"""

import dataclasses
import json
import os
from collections.abc import Callable, Hashable
from typing import Any, NamedTuple

import numpy as np
from absl import logging

from bert_tf import checkpoints
from bert_tf.checkpoints import finding
from bert_tf.checkpoints.names import GLOBAL_STEP
from bert_tf.checkpoints.reader import CheckpointReader
from bert_tf.errors import InputError
from bert_tf.exports.export import checkpoint_of_run
from bert_tf.support import files
from bert_tf.tasks.run import Prepared, finetune, write_runs
from bert_tf.training import devices
from bert_tf.training.evaluation import copy_model_files
from bert_tf.training.history import is_better
from bert_tf.training.settings import (
    RUNS_FILE,
    SWEEP_FILE,
    SWEEP_FOLDER,
    SWEEP_NOTES,
    RunSettings,
    folder_of_run,
)
from bert_tf.training.start import OpenedModel


class Point(NamedTuple):
    """A combination of values.

    Attributes:
        name: of its folder, in that of the sweep.
        values: as they are written, by the names of the flags that the sweep
            changes.
        flags: all flags that decide about results, by name.
    """

    name: str
    values: dict[str, str]
    flags: dict[str, Any]


@dataclasses.dataclass
class Entry:
    """What is noted of a run.

    Attributes:
        name, values, flags: of its `Point`.
        number: of the run among those of its point, from 1; None for a point
            of one run.
        results: of the dev set by name; None until it has ended.
        step: of the weights that have these results.
    """

    name: str
    values: dict[str, str]
    flags: dict[str, Any]
    number: int | None = None
    results: dict[str, float] | None = None
    step: int | None = None

    @property
    def title(self) -> str:
        """The values of the run, in words."""
        values = [f"{name}={value}" for name, value in self.values.items()]
        return ", ".join(values + [f"run {self.number}"] * bool(self.number))


class Notes:
    """What is noted of a sweep, and its table.

    Args:
        output_dir: of the command.

    Attributes:
        path: of the file with the notes.
        entries: the `Entry`s of runs that have begun; a run whose folder was
            removed is as if it had never begun.

    Raises:
        InputError: the notes cannot be read.
    """

    def __init__(self, output_dir: str) -> None:
        self.output_dir = output_dir
        self.path = os.path.join(output_dir, SWEEP_FOLDER, SWEEP_NOTES)
        self.entries: list[Entry] = []
        self._saved: list[int] = []
        self._text = ""
        self.read()

    def read(self) -> None:
        """Reads the file again."""
        if not os.path.exists(self.path):
            return
        try:
            self._text = self._in_file()
            noted = json.loads(self._text)
            self._saved = [int(step) for step in noted["saved"]]
            found = [Entry(**entry) for entry in noted["runs"]]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InputError(
                f"{self.path} must hold what --sweep wrote there, and cannot "
                f"be read so ({error!r}). Restore it, or take another "
                "--output_dir."
            ) from error
        self.entries = [e for e in found if os.path.isdir(self.folder(e))]

    def _in_file(self) -> str:
        if not os.path.exists(self.path):
            return ""
        with open(self.path, encoding="utf-8") as file:
            return file.read()

    def require_unchanged(self) -> None:
        """Raises `InputError` if another process has written the file."""
        if self._in_file() != self._text:
            raise InputError(
                f"Another process has just written {self.path}. Start the "
                "sweep again."
            )

    def _write(self) -> None:
        noted = {
            "saved": self._saved,
            "runs": [dataclasses.asdict(entry) for entry in self.entries],
        }
        os.makedirs(os.path.dirname(self.path), exist_ok=True)
        files.write_text(self.path, json.dumps(noted, indent=1) + "\n")

    def point_folder(self, name: str) -> str:
        """The folder of a point, by its name."""
        return os.path.join(self.output_dir, SWEEP_FOLDER, name)

    def folder(self, entry: Entry) -> str:
        """The folder of a run."""
        folder = self.point_folder(entry.name)
        return folder_of_run(folder, entry.number) if entry.number else folder

    def find(self, point: Point, number: int | None) -> Entry:
        """The entry of a run; a new one if it has not begun."""
        for entry in self.entries:
            if (entry.name, entry.number) == (point.name, number):
                return entry
        return Entry(*point, number)

    def begin(self, entry: Entry) -> None:
        """Notes that a run begins."""
        if entry not in self.entries:
            self.entries.append(entry)
        self._write()

    def end(self, entry: Entry, results: dict[str, float], step: int) -> None:
        """Notes the results of a run, and writes the table."""
        entry.results = {name: float(x) for name, x in results.items()}
        entry.step = step
        self._write()
        self.write_table()

    def write_table(self) -> None:
        """Writes sweep.tsv: a line for each run that has ended."""
        text = table([e for e in self.entries if e.results is not None])
        files.write_text(os.path.join(self.output_dir, SWEEP_FILE), text)

    # ------------------------------------------------- what may be added to it

    def place(self, points: list[Point]) -> list[Point]:
        """The points, each with the folder that it has or gets.

        A run that was noted under another spelling of its values is the same.

        Raises:
            InputError: runs that are noted have other flags, which the sweep
                does not change; names both.
        """
        swept = {name for point in points for name in point.values}
        swept |= {name for entry in self.entries for name in entry.values}
        placed = []
        for point in points:
            known = None
            for entry in self.entries:
                wrong = _differences(point.flags, entry.flags)
                fixed = sorted(wrong.keys() - swept)
                if fixed:
                    raise self._contradiction(entry, fixed[0], wrong[fixed[0]])
                known = known or (None if wrong else entry.name)
            point = point._replace(name=known or point.name)
            for entry in self.entries:
                wrong = _differences(point.flags, entry.flags)
                if wrong and entry.name == point.name:
                    raise self._contradiction(entry, *sorted(wrong.items())[0])
            placed.append(point)
        return placed

    def _contradiction(self, entry, name, values):
        now, before = map(_shown, values)
        return InputError(
            f"--{name}={now} must agree with {self.folder(entry)}, which has "
            f"{name}={before}: the runs of a sweep differ in nothing but what "
            f"--sweep changes. Give --{name}={before}, put {name} into "
            "--sweep, or take another --output_dir."
        )

    def require_own_folder(self) -> None:
        """Raises `InputError` if the output folder has another training."""
        if not finding.has_checkpoints(self.output_dir):
            return
        latest = checkpoints.latest(self.output_dir)
        ours = {f"model.ckpt-{step}" for step in self._saved}
        if latest is not None and os.path.basename(latest) not in ours:
            raise InputError(
                "`--sweep` writes the best model to --output_dir, and there is "
                f"another training's: {latest}. Take another --output_dir. "
                f"Received: --output_dir={self.output_dir}"
            )

    # ---------------------------------------------------------------- the best

    def best(self, metric: str) -> Entry:
        """The best run of the best point, by the mean of its runs."""
        groups: dict[str, list[Entry]] = {}
        for entry in self.entries:
            if entry.results is not None:
                groups.setdefault(entry.name, []).append(entry)
        whole = [
            group
            for group in groups.values()
            if len(group) == group[0].flags["num_runs"]
        ]

        def value(entry):
            return entry.results[metric]

        def mean(group):
            return float(np.mean([value(entry) for entry in group]))

        return best_of(metric, best_of(metric, whole, mean), value)

    def publish(self, entry: Entry, keeps_best: bool) -> None:
        """Writes the model of a run to the output folder, and no slots.

        Args:
            entry: of the run.
            keeps_best: whether runs keep their best checkpoint.
        """
        prefix = checkpoint_of_run(self.folder(entry), keeps_best, None)
        reader = CheckpointReader(prefix)
        slots = checkpoints.optimizer_slots(reader.names)
        kept = [name for name in reader.names if name not in slots]
        step = checkpoints.global_step(reader)
        self._saved = [*dict.fromkeys([*self._saved, step])]
        self._write()
        weights = {name: reader.tensor(name) for name in kept}
        copy_model_files(os.path.dirname(prefix), self.output_dir)
        checkpoints.save(self.output_dir, step, weights, keep=1)


def _differences(now, before):
    """{name: both values} of the flags that differ."""
    return {
        name: (now[name], before[name])
        for name in now.keys() & before.keys()
        if not _is_same(now[name], before[name])
    }


def _is_same(now, before):
    """Whether two values of a flag mean the same; they may be paths."""
    if isinstance(now, str) and isinstance(before, str):
        return now == before or os.path.realpath(now) == os.path.realpath(
            before
        )
    return now == before


def _shown(value):
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "none"}[value]
    return str(value)


def best_of(metric: str, candidates, value):
    """The first of those with the best value; NaN is the worst.

    Args:
        metric: the name of the result, which says whether lower is better.
        candidates: at least one.
        value: function of a candidate.
    """
    best = candidates[0]
    for candidate in candidates[1:]:
        if is_better(metric, value(candidate), value(best)):
            best = candidate
    return best


def table(entries) -> str:
    """The lines of sweep.tsv, with a header and tabs between.

    The values of the flags that the sweep changes, `run` if there are several
    of the same values, the results, step, and the folder as a path below the
    output folder. A value that a run's grid did not have is that of its flag.
    """
    swept = dict.fromkeys(name for e in entries for name in e.values)
    results = dict.fromkeys(name for e in entries for name in e.results)
    several = any(entry.number for entry in entries)
    header = [*swept, *["run"] * several, *results, "step", "folder"]
    lines = [header]
    for entry in entries:
        values = [
            entry.values.get(name, _shown(entry.flags.get(name)))
            for name in swept
        ]
        folder = [SWEEP_FOLDER, entry.name]
        if entry.number:
            values.append(str(entry.number))
            folder = [folder_of_run("/".join(folder), entry.number)]
        numbers = [str(np.float32(entry.results[name])) for name in results]
        lines.append([*values, *numbers, str(entry.step), "/".join(folder)])
    return "".join("\t".join(line) + "\n" for line in lines)


class Trial(NamedTuple):
    """A run that a sweep wants.

    Attributes:
        entry: what is noted of it.
        settings: its `RunSettings`.
        records: trials with the same use the same records.
        opened: its `OpenedModel`.
        prepare: function of `settings` and `opened` that reads its input;
            returns `Prepared`.
    """

    entry: Entry
    settings: RunSettings
    records: Hashable
    opened: OpenedModel
    prepare: Callable[[RunSettings, OpenedModel], Prepared]


def run_all(trials: list[Trial], notes: Notes, metric: str, strategy) -> None:
    """Trains and evaluates what has not been, one run after the other.

    Args:
        trials: `Trial`s, in order.
        notes: `Notes`, written after every run.
        metric: by which runs are compared.
        strategy: a `tf.distribute.Strategy`.
    """
    is_chief = devices.is_chief(strategy)
    has_ended = [trial.entry.results is not None for trial in trials]
    has_ended = list(devices.as_chief_says(strategy, has_ended))
    written: dict[Hashable, dict] = {}
    is_first = True
    for number, (trial, ended) in enumerate(zip(trials, has_ended), 1):
        entry = trial.entry
        title = f"Run {number} of {len(trials)}: {entry.title}"
        if ended:
            logging.info("%s: has ended before.", title)
            continue
        prepared = trial.prepare(trial.settings, trial.opened)
        if is_first:
            waiting = [t for t, ends in zip(trials, has_ended) if not ends]
            _require_steps(waiting, prepared)
            is_first = False
        logging.info("***** %s *****", title)
        if is_chief:
            notes.begin(entry)
        results = finetune(
            prepared.task,
            # Only the best run predicts.
            dataclasses.replace(prepared.sets, prediction={}),
            trial.opened,
            prepared.settings,
            strategy,
            written=written.setdefault(trial.records, {}),
        )
        if is_chief:
            notes.end(entry, results, _step_of(notes, trial))
            logging.info("%s: %s %.6g", title, metric, results[metric])
            _write_runs_of_point(notes, entry)


def _require_steps(trials, prepared):
    """Raises `InputError` if a training would have no step."""
    if prepared.has_windows and prepared.task.epochs_count_records:
        return  # Their number is not known yet.
    for trial in trials:
        trial.settings.epochs.count_steps(
            len(prepared.sets.train), trial.settings.training.batch_size
        )


def _step_of(notes, trial):
    keeps_best = trial.settings.best_metric is not None
    folder = notes.folder(trial.entry)
    reader = CheckpointReader(checkpoint_of_run(folder, keeps_best, None))
    return int(reader.tensor(GLOBAL_STEP))


def _write_runs_of_point(notes, entry):
    """Writes mean and deviation once all runs of a point have ended."""
    found = [
        other.results
        for other in notes.entries
        if other.name == entry.name and other.results is not None
    ]
    if entry.number and len(found) == entry.flags["num_runs"]:
        path = os.path.join(notes.point_folder(entry.name), RUNS_FILE)
        write_runs(path, found)


def settle(notes: Notes, metric: str, keeps_best: bool, strategy) -> Entry:
    """Writes the model of the best run to the output folder.

    Args:
        notes: `Notes` with at least one run that has ended.
        metric: by which runs are compared.
        keeps_best: whether runs keep their best checkpoint.
        strategy: a `tf.distribute.Strategy`.

    Returns:
        The `Entry` of the run.
    """
    devices.wait_for_workers(strategy)
    notes.read()
    best = notes.best(metric)
    if devices.is_chief(strategy):
        notes.write_table()
        notes.publish(best, keeps_best)
    devices.wait_for_workers(strategy)
    logging.info(
        "***** The best of %d runs: %s (%s %.6g, step %d) *****",
        sum(entry.results is not None for entry in notes.entries),
        best.title,
        metric,
        (best.results or {})[metric],
        best.step,
    )
    return best
