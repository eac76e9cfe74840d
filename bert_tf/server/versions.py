"""The versions of a served model: loads new ones and unloads old ones.

The highest number in the folder is served. A new version is loaded beside the
current one, and replaces it at once; the old one is unloaded after its last
request. A new folder is loaded once it stops growing. A version that fails to
load is reported, and tried again when its files change. Where the current
version is deleted from the folder, the highest of the others is served.
"""

import contextlib
import gc
import logging
import os
import threading
import time
from collections.abc import Callable
from typing import Any, Generic, NamedTuple, TypeVar

from bert_tf.errors import InputError, list_folder, printable
from bert_tf.exports import folder as model_folder
from bert_tf.exports.settings import MODEL_FILES
from bert_tf.server.protocol import RequestError

Model = TypeVar("Model")
Fingerprint = tuple[tuple[str, int, int], ...]

_log = logging.getLogger("absl")

# The states of a version, with TensorFlow Serving's names.
LOADING, AVAILABLE, UNLOADING, END = "LOADING", "AVAILABLE", "UNLOADING", "END"

# Number of unloaded and broken versions whose status is kept.
ENDED_SHOWN = 10


class Status(NamedTuple):
    """The state of one version, and the error or ""."""

    version: int
    state: str
    error: str


class Lent(Generic[Model]):
    """A loaded version, and the number of requests that use it."""

    def __init__(self, model: Model, version: int):
        self.model: Model | None = model
        self.version = version
        self.users = 0


class ModelVersions(Generic[Model]):
    """The current version of a model, kept up to date with its folder.

    Args:
        folder: has a subfolder for each version.
        load: function of a version's folder and number that returns the model;
            an exception becomes the version's error.
        poll_seconds: time between checks of the folder.
        tell: called with a version, and whether it could be loaded.
        stop_loading: called by `close`: makes a `load` that is under way end
            soon.

    Raises:
        InputError: there is no version that can be loaded.
    """

    def __init__(
        self,
        folder: str,
        load: Callable[[str, int], Model],
        poll_seconds: float = 2.0,
        tell: Callable[[int, bool], Any] = lambda version, succeeded: None,
        stop_loading: Callable[[], None] = lambda: None,
    ):
        self.folder = folder
        self._load = load
        self._tell = tell
        self._stop_loading = stop_loading
        self._lock = threading.Lock()
        self._current: Lent[Model] | None = None
        self._retired: list[Lent[Model]] = []
        self._statuses: dict[int, Status] = {}
        self._seen: dict[int, Fingerprint] = {}
        self._failed: dict[int, Fingerprint] = {}
        self._stop = threading.Event()
        versions = self._find()
        if not versions:
            raise InputError(_no_version(folder))
        self._seen = versions
        self._update(versions)
        if self._current is None:
            errors = "\n".join(
                f"{os.path.join(folder, str(s.version))}: {s.error}"
                for s in self.statuses()
            )
            raise InputError(f"No version can be loaded.\n{errors}")
        arguments = (poll_seconds,)
        self._watcher: threading.Thread = threading.Thread(
            target=self._watch, args=arguments, name="versions", daemon=True
        )
        self._watcher.start()

    @property
    def version(self) -> int:
        """The number of the current version."""
        assert self._current is not None
        return self._current.version

    @contextlib.contextmanager
    def borrow(self, version: int | None = None):
        """A context with the current model, which stays loaded meanwhile.

        Raises:
            RequestError: 404, another version is asked for.
        """
        lent = self.take(version)
        try:
            yield lent.model
        finally:
            self.give_back(lent)

    def take(self, version: int | None = None) -> Lent[Model]:
        """Lends the current version, which stays loaded until `give_back`.

        Args:
            version: the number that it must have; None for any.

        Raises:
            RequestError: 404, another version is asked for.
        """
        with self._lock:
            lent = self._current
            assert lent is not None
            if version not in (None, lent.version):
                raise RequestError(
                    f"Version {version} is not served; version "
                    f"{lent.version} is.",
                    404,
                )
            lent.users += 1
            return lent

    def give_back(self, lent: Lent[Model]) -> None:
        """Ends the use of a version, so that it may be unloaded."""
        with self._lock:
            lent.users -= 1

    def statuses(self, version: int | None = None) -> list[Status]:
        """The statuses of all versions, the newest first, or of one.

        Raises:
            RequestError: 404, there is no such version.
        """
        with self._lock:
            known = sorted(self._statuses.values(), reverse=True)
        if version is None:
            return known
        found = [status for status in known if status.version == version]
        if not found:
            numbers = ", ".join(str(status.version) for status in known)
            raise RequestError(
                f"There is no version {version}. There are: {numbers}", 404
            )
        return found

    def close(self) -> None:
        """Stops checking the folder."""
        self._stop.set()
        self._stop_loading()
        self._watcher.join()

    def _watch(self, seconds: float) -> None:
        while not self._stop.wait(seconds):
            try:
                self._free()
                found = self._find()
                # A folder that has changed since the last check may still be
                # incomplete.
                settled = {
                    version: fingerprint
                    for version, fingerprint in found.items()
                    if self._seen.get(version) == fingerprint
                    or version == self.version
                }
                self._seen = found
                if found:
                    self._update(settled)
            except Exception:
                _log.exception("Checking %s failed", self.folder)

    def _find(self) -> dict[int, Fingerprint]:
        """The versions in the folder, with fingerprints of their files."""
        try:
            numbers = model_folder.versions(self.folder)
        except FileNotFoundError:
            return {}
        except NotADirectoryError as error:
            raise InputError(_no_version(self.folder)) from error
        folders = {
            number: os.path.join(self.folder, str(number)) for number in numbers
        }
        return {
            number: _fingerprint(folder)
            for number, folder in folders.items()
            if os.path.isdir(folder)
        }

    def _update(self, versions: dict[int, Fingerprint]) -> None:
        """Serves the highest version that can be loaded."""
        for version in sorted(versions, reverse=True):
            if self._current and self._current.version == version:
                return
            if self._failed.get(version) == versions[version]:
                continue
            if self._try(version):
                self._failed.pop(version, None)
                return
            self._failed[version] = versions[version]

    def _try(self, version: int) -> bool:
        path = os.path.join(self.folder, str(version))
        self._set(version, LOADING)
        began = time.monotonic()
        try:
            model = self._load(path, version)
        except Exception as error:
            if self._stop.is_set():
                return False
            # It may have names from a damaged file.
            message = printable(" ".join(str(error).split()))
            message = message or type(error).__name__
            self._set(version, END, message)
            kept = f" Version {self.version} stays." if self._current else ""
            _log.error("%s cannot be served: %s%s", path, message, kept)
            self._tell(version, False)
            return False
        with self._lock:
            old, self._current = self._current, Lent(model, version)
            if old:
                self._retired.append(old)
        self._set(version, AVAILABLE)
        if old:
            self._set(old.version, UNLOADING)
        _log.info(
            "Version %d is served; it took %.1f s to load.",
            version,
            time.monotonic() - began,
        )
        self._tell(version, True)
        self._free()
        return True

    def _free(self) -> None:
        """Unloads versions that are no longer in use."""
        with self._lock:
            done = [lent for lent in self._retired if lent.users == 0]
            self._retired = [lent for lent in self._retired if lent.users]
        for lent in done:
            lent.model = None
            self._set(lent.version, END)
            _log.info("Version %d is unloaded.", lent.version)
        if done:
            gc.collect()  # A loaded graph has reference cycles.

    def _set(self, version: int, state: str, error: str = "") -> None:
        with self._lock:
            self._statuses[version] = Status(version, state, error)
            ended = [
                number
                for number, status in sorted(self._statuses.items())
                if status.state == END
            ]
            for number in ended[:-ENDED_SHOWN]:
                del self._statuses[number]


def _fingerprint(folder: str) -> Fingerprint:
    found = []
    for place, _, names in os.walk(folder):
        for name in names:
            path = os.path.join(place, name)
            with contextlib.suppress(OSError):  # Deleted in between.
                status = os.stat(path)
                found.append((path, status.st_size, status.st_mtime_ns))
    return tuple(sorted(found))


def _no_version(folder: str) -> str:
    if not os.path.isdir(folder):
        kind = "is a file" if os.path.exists(folder) else "does not exist"
        return f"The folder {folder} {kind}."
    if model_folder.format_of(folder):
        return (
            f"{folder} is one version of a model. Name the folder above it, "
            "whose subfolders 1, 2, ... are versions."
        )
    return (
        f"{folder} must have a subfolder for each version of the model, named "
        f"1, 2, ..., with a {' or '.join(MODEL_FILES.values())}. `python -m "
        "bert_tf.export_saved_model` makes one. There is: "
        f"{list_folder(folder)}"
    )
