"""Tries a version in a process of its own before the server loads it.

A damaged model may end the process that loads it, in ways that no check of
its files foresees, or loading it never returns. A server must survive both, and
go on serving the version that it has.
"""

import importlib
import json
import os
import resource
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from typing import Any

from bert_tf.errors import InputError, quote
from bert_tf.exports import folder
from bert_tf.exports.settings import SAVED_MODEL

# What the process runs: the same modules as here, wherever they were found.
_PROGRAM = (
    "import json, sys; sys.path[:] = json.loads(sys.argv.pop(1)); "
    "from bert_tf.server import trial; trial.main(*sys.argv[1:])"
)

# The processor's time goes to requests first.
NICENESS = 10

# Seconds by which the process outlives its limit if nobody ends it.
ALONE_SECONDS = 5

SHOWN = 300


def by_format(path: str) -> str:
    """What loads a version, by its files."""
    # Without any file the message is that of SavedModels.
    if folder.format_of(path) in (None, SAVED_MODEL):
        return "bert_tf.server.model:ServedModel"
    return "bert_tf.server.plain_model:PlainModel"


class Loader:
    """Loads versions, each after a trial.

    Args:
        choose: function of a version's folder that returns "module:name" of a
            function of that folder and the version's number. The module is not
            imported before the trial runs.
        seconds: for a trial; None for loading without one.
    """

    def __init__(self, choose: Callable[[str], str], seconds: float | None):
        self.choose, self.seconds = choose, seconds
        self._process: subprocess.Popen | None = None
        self._lock = threading.Lock()
        self._has_loaded = self._stopped = False

    def __call__(self, path: str, version: int) -> Any:
        """The loaded version.

        Raises:
            InputError: the trial failed, did not end in time, or was stopped.
        """
        load = self.choose(path)
        if self.seconds is not None:
            process = self._start(load, path, version)
            try:
                find(load)  # Imports TensorFlow meanwhile.
                self._wait(process, path)
            finally:
                self._end()
        model = find(load)(path, version)
        self._has_loaded = True
        return model

    def stop(self) -> None:
        """Ends a trial that is under way, and any later one."""
        self._stopped = True
        # Only the thread that loads waits for the process and reads its output.
        with self._lock:
            if self._process and self._process.poll() is None:
                self._process.kill()

    def _start(self, load: str, path: str, version: int) -> subprocess.Popen:
        assert self.seconds is not None
        alone = str(int(self.seconds + ALONE_SECONDS) + 1)
        niceness = str(NICENESS if self._has_loaded else 0)
        command = [sys.executable, "-c", _PROGRAM, json.dumps(sys.path)]
        command += [load, os.fspath(path), str(version), alone, niceness]
        environment = {
            **os.environ,
            # Devices are in use by this process.
            "CUDA_VISIBLE_DEVICES": "",
            "TF_CPP_MIN_LOG_LEVEL": "2",
        }
        with self._lock:
            if self._stopped:
                raise InputError("The server is stopping.")
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=environment,
                start_new_session=True,  # Ctrl-C is for the server.
            )
        return self._process

    def _wait(self, process: subprocess.Popen, path: str) -> None:
        try:
            said, log = process.communicate(timeout=self.seconds)
        except subprocess.TimeoutExpired as error:
            raise InputError(
                f"{path} was not loaded and warmed up within "
                f"{self.seconds:g} seconds, in a process that tried it: it is "
                "damaged, or needs more --load_seconds."
            ) from error
        if process.returncode == 0:
            return
        if said:
            raise InputError(json.loads(said))
        raise InputError(
            f"{path} ends the process that loads it "
            f"({_how_it_ended(process.returncode)}), as a trial in another "
            "process showed: it is damaged, or needs more memory than there "
            "is. "
            f"{_last_words(log)}"
        )

    def _end(self) -> None:
        with self._lock:
            process, self._process = self._process, None
        if process and process.poll() is None:
            process.kill()
            process.communicate()


def find(name: str) -> Callable[[str, int], Any]:
    """The function "module:name"."""
    module, _, attribute = name.partition(":")
    return getattr(importlib.import_module(module), attribute)


def main(load: str, path: str, version: str, seconds: str, niceness: str):
    """Loads a version, and exits with 0; else with 1, and the error as JSON."""
    # Nobody has to end it: also where the server was killed.
    signal.alarm(int(seconds))
    os.nice(int(niceness))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _be_ended_first()
    answer = os.dup(1)
    os.dup2(2, 1)  # What TensorFlow prints is no answer.
    try:
        find(load)(path, int(version))
    except Exception as error:
        message = " ".join(str(error).split()) or type(error).__name__
        if not isinstance(error, InputError):
            message = f"{type(error).__name__}: {message}"
        os.write(answer, json.dumps(message).encode())
        os._exit(1)
    os._exit(0)


def _be_ended_first() -> None:
    """Where memory is short, this process is ended and not the server."""
    try:
        with open("/proc/self/oom_score_adj", "w") as file:
            file.write("1000")
    except OSError:
        pass  # Another system than Linux.


def _how_it_ended(code: int) -> str:
    try:
        return signal.Signals(-code).name
    except ValueError:
        return f"exit status {code}"


def _last_words(log: bytes) -> str:
    """The line of a fatal error, or the last one."""
    lines = [
        line.strip()
        for line in log.decode("utf-8", "replace").splitlines()
        if line.strip()
    ]
    fatal = [line for line in lines if line.startswith("F")]
    found = (fatal or lines)[-1:]
    return f"Its last output: {quote(found[0], SHOWN)}" if found else ""
