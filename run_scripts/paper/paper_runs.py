"""Runs the commands of a table's rows, and reads their results.

A row is one command, which trains `--num_runs` times and evaluates. A finished
row is kept in `finished.json` of its folder; a row that was stopped goes on
where it was, since the commands do.
"""

import dataclasses
import json
import pathlib
import shutil
import signal
import subprocess
import sys
import time

from slices import copy_first

from bert_tf.support import files

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[1]
BUILTIN = "builtin"
BUILTIN_FOLDER = ROOT / "checkpoints" / BUILTIN
EVAL_RESULTS = "eval_results.txt"
TEST_RESULTS = "test_eval_results.txt"

# The layers and the width of the paper's two models.
SIZES = {(12, 768): "base", (24, 1024): "large"}

TINY_ROWS = 40
# What the built-in model takes: it is small, and has 128 positions.
BUILTIN_FLAGS = {
    "run_classifier": {"learning_rate": 3e-4},
    "run_multiple_choice": {"learning_rate": 3e-4},
    "run_ner": {"learning_rate": 5e-4, "max_seq_length": 128},
    "run_squad": {
        "learning_rate": 5e-4,
        "max_seq_length": 128,
        "doc_stride": 48,
        "max_query_length": 32,
    },
    "lm_perplexity": {},
    "conll_features": {"max_seq_length": 128, "doc_stride": 64, "units": 128},
}
TINY_FLAGS = {
    "num_train_epochs": 1,
    "train_batch_size": 4,
    "max_seq_length": 48,
    "doc_stride": 16,
    "max_query_length": 16,
    "units": 4,
}


@dataclasses.dataclass(frozen=True)
class Result:
    """A number of the table.

    Attributes:
        name: as the table has it.
        key: its name in the file of results.
        paper: the paper's number in percent, for "base" and "large"; or one
            number; None where the paper has none.
        file: the file of results.
        scale: makes percent of the number there.
    """

    name: str
    key: str
    paper: float | dict[str, float] | None = None
    file: str = EVAL_RESULTS
    scale: float = 100.0

    @property
    def id(self):
        """Tells it from the other results of its row."""
        return f"{self.file}: {self.key}"

    def of_paper(self, size):
        """The paper's number, or None."""
        if isinstance(self.paper, dict):
            return self.paper.get(size)
        return self.paper


@dataclasses.dataclass(frozen=True)
class Row:
    """A command of the table, and what it gives.

    Attributes:
        name: as the table has it, and the name of the row's folder.
        command: a module of bert_tf, or a program beside this one.
        data: folder of its files below --data_dir; its first part may be
            missing there.
        files: of that folder; `a|b` for one of two names.
        flags: of the command, where `{data}` is the folder of the files.
        results: the `Result`s.
        checkpoint: folder, or function of a `Work` that makes it; None for that
            of the table.
        optional: files that are used if they are there.
        optional_flags: of the command, if they are.
        why_not: says why the row is not computed.
    """

    name: str
    command: str = ""
    data: str = ""
    files: tuple[str, ...] = ()
    flags: dict[str, object] = dataclasses.field(default_factory=dict)
    results: tuple[Result, ...] = ()
    checkpoint: object = None
    optional: tuple[str, ...] = ()
    optional_flags: dict[str, object] = dataclasses.field(default_factory=dict)
    why_not: str = ""


class NoNumbers(Exception):
    """A row has no numbers; the text says why."""


class Missing(NoNumbers):
    """Data or a checkpoint is not there, or the row is not computed here."""


class Failed(NoNumbers):
    """A command failed, or its folder has results of other settings."""


def config_file(folder):
    """The config of a model's folder."""
    return pathlib.Path(folder) / "bert_config.json"


class Work:
    """Runs the commands of a table.

    Attributes:
        arguments: of the command line.
        folder: of the output.
        checkpoint: folder of the table's model, or None.
    """

    def __init__(self, arguments):
        self.arguments = arguments
        self.folder = pathlib.Path(arguments.output_dir).resolve()
        self.checkpoint = None
        if arguments.size == BUILTIN:
            self.checkpoint = BUILTIN_FOLDER
        elif arguments.checkpoint:
            self.checkpoint = pathlib.Path(arguments.checkpoint).resolve()

    @property
    def shape(self):
        """Layers and width of the table's model; None without a model."""
        if self.checkpoint is None:
            return None
        text = config_file(self.checkpoint).read_text(encoding="utf-8")
        config = json.loads(text)
        return config["num_hidden_layers"], config["hidden_size"]

    @property
    def size(self):
        """Whose numbers of the paper to compare with: "base" or "large"."""
        return SIZES.get(self.shape, "base")

    def numbers_of(self, row):
        """The numbers of all runs for each `Result` of a row, by its `id`.

        Raises:
            NoNumbers: with the reason.
        """
        if row.why_not:
            raise Missing(row.why_not)
        data, optional = self.find_data(row)
        checkpoint = row.checkpoint or self.checkpoint
        if callable(checkpoint):
            checkpoint = checkpoint(self)
        if not config_file(checkpoint).exists():
            raise Missing(f"no checkpoint: {checkpoint}")
        folder = self.folder / name_of_folder(row.name)
        more = row.optional_flags if optional else {}
        row = dataclasses.replace(row, flags={**row.flags, **more})
        flags = self.flags_of(row, data, checkpoint, folder)
        num_runs = self.arguments.num_runs
        found = self.run(
            row.name,
            row.command,
            flags,
            folder,
            () if own_program(row.command) else self.arguments.more,
            lambda: read_runs(folder, num_runs, row.results),
        )
        if not self.arguments.keep_checkpoints:
            remove_checkpoints(folder)
        return found

    def flags_of(self, row, data, checkpoint, folder):
        """The flags of a row's command by name."""
        given = self.arguments
        flags = dict(row.flags)
        if given.size == BUILTIN:
            flags |= BUILTIN_FLAGS[row.command]
        if given.tiny:
            flags |= {k: TINY_FLAGS[k] for k in TINY_FLAGS if k in flags}
        for name in ("learning_rate", "num_train_epochs"):
            if getattr(given, name) is not None:
                flags[name] = getattr(given, name)
        flags |= {
            "init_checkpoint": checkpoint,
            "num_runs": given.num_runs,
            "seed": given.seed,
            "output_dir": folder,
        }
        return {
            name: str(value).replace("{data}", str(data))
            for name, value in flags.items()
        }

    def find_data(self, row):
        """The folder of a row's files, or of their first rows.

        Returns:
            The folder, and the optional files there.

        Raises:
            Missing: a file that is needed.
        """
        given = self.arguments
        parts = pathlib.Path(row.data).parts
        source = pathlib.Path(given.data_dir).resolve().joinpath(*parts)
        if not source.is_dir():
            source = source.parents[len(parts) - 1].joinpath(*parts[1:])
        needed = {names: find_one(source, names) for names in row.files}
        missing = [names for names, path in needed.items() if path is None]
        if missing:
            names = ", ".join(missing).replace("|", " or ")
            raise Missing(f"no data: {source} has no {names}")
        found = [find_one(source, names) for names in row.optional]
        optional = [path for path in found if path]
        if not (given.train_rows or given.dev_rows):
            return source, optional
        counts = f"{given.train_rows or 'all'}-{given.dev_rows or 'all'}"
        folder = self.folder / "data" / counts / row.data
        folder.mkdir(parents=True, exist_ok=True)
        for path in (*needed.values(), *optional):
            is_train = "train" in path.name
            count = given.train_rows if is_train else given.dev_rows
            copy_first(path, folder / path.name, count or sys.maxsize - 1)
        return folder, optional

    def run(self, name, command, flags, folder, more=(), read=dict):
        """Runs a command, unless it has been finished; what `read` gives then.

        Args:
            name: of the work, for messages.
            command: a module of bert_tf, or a program beside this one.
            flags: {name: text}.
            folder: of the command's output.
            more: flags as they were given.
            read: function without arguments that returns what JSON can hold.

        Raises:
            Failed: the folder has results of other flags, or the command
                fails.
        """
        settings = {"command": command, "flags": flags, "more": [*more]}
        folder.mkdir(parents=True, exist_ok=True)
        begun, finished = folder / "settings.json", folder / "finished.json"
        require_same(begun, settings)
        if finished.exists():
            return json.loads(finished.read_text(encoding="utf-8"))
        files.write_text(str(begun), json.dumps(settings, indent=2) + "\n")
        own = own_program(command)
        program = [str(own)] if own else ["-m", f"bert_tf.{command}"]
        given = [f"--{name}={value}" for name, value in flags.items()]
        print(f"{name}: {command} in {folder}", flush=True)
        began = time.monotonic()
        log = folder.parent / f"{folder.name}.log"
        code = call([sys.executable, *program, *given, *more], log)
        if code:
            raise Failed(
                f"{command} ended with {code}: {last_line(log)} ({log})"
            )
        found = read()
        files.write_text(str(finished), json.dumps(found, indent=2) + "\n")
        print(f"{name}: {time.monotonic() - began:.0f} s", flush=True)
        return found


def own_program(command):
    """The program beside this one, or None for a module of bert_tf."""
    path = HERE / f"{command}.py"
    return path if path.exists() else None


def find_one(folder, names):
    """The first of `a|b` that is a file in the folder, or None."""
    paths = (folder / name for name in names.split("|"))
    return next((path for path in paths if path.is_file()), None)


def name_of_folder(name):
    """A name that is good for files."""
    return "".join(c if c.isalnum() or c in "-." else "_" for c in name)


def require_same(path, settings):
    """Raises `Failed` if work was begun with other settings."""
    if not path.exists():
        return
    found = json.loads(path.read_text(encoding="utf-8"))
    if found == settings:
        return
    flags, before = settings["flags"], found["flags"]
    changed = [
        f"--{name}={before.get(name)}, now {flags.get(name)}"
        for name in sorted({*flags, *before})
        if flags.get(name) != before.get(name)
    ]
    raise Failed(
        f"{path.parent} was begun with other settings "
        f"({'; '.join(changed) or 'flags after --'}): use another "
        "--output_dir, or remove that folder"
    )


def call(command, log):
    """Runs a command, its output added to a file; returns its exit code.

    If this process is interrupted or terminated, so is the command, and it has
    time to save a checkpoint.
    """

    def stop(number, frame):
        raise SystemExit(128 + number)

    before = signal.signal(signal.SIGTERM, stop)
    try:
        with open(log, "ab") as file:
            process = subprocess.Popen(command, stdout=file, stderr=file)
            try:
                return process.wait()
            except KeyboardInterrupt:  # The command has got it, too.
                process.wait()
                raise
            except SystemExit:
                process.terminate()
                process.wait()
                raise
    finally:
        signal.signal(signal.SIGTERM, before)


def last_line(log):
    """The last line of a log that is not blank."""
    text = log.read_text(encoding="utf-8", errors="replace")
    lines = [line for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "no output"


def remove_checkpoints(folder):
    """Removes weights and records: results and predictions stay."""
    for pattern in ("model.ckpt-*", "checkpoint", "*.tf_record"):
        for path in folder.rglob(pattern):
            path.unlink()
    for path in folder.rglob("best"):
        shutil.rmtree(path)


def read_runs(folder, num_runs, results):
    """The numbers of all runs by `id` of the result.

    A result that was not written, as without labels, has none.
    """
    folders = [folder]
    if num_runs > 1:
        folders = [folder / f"run_{n}" for n in range(1, num_runs + 1)]
    found = {}
    for result in results:
        paths = [one / result.file for one in folders]
        runs = [read_results(path) for path in paths if path.exists()]
        values = [run[result.key] for run in runs if result.key in run]
        if len(values) == num_runs:
            found[result.id] = values
    return found


def read_results(path):
    """The numbers of an eval_results.txt."""
    lines = pathlib.Path(path).read_text(encoding="utf-8").splitlines()
    pairs = [line.split(" = ") for line in lines if " = " in line]
    return {name: float(value) for name, value in pairs}
