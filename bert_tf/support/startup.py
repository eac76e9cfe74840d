"""Makes commands start sooner: most of that time is TensorFlow's import.

TensorFlow creates hundreds of thousands of objects that stay for good, and the
garbage collector would traverse them again and again while it is imported. It
also prints notices, which say nothing to users of a command. And neither a help
text nor an error in flags needs it.
"""

import contextlib
import gc
import importlib.abc
import importlib.machinery
import importlib.util
import os
import sys
import tempfile
from collections.abc import Iterator

# Whichever is imported first: Keras imports TensorFlow, not the reverse.
NAMES = ("tensorflow", "keras")
LOG_LEVEL = "TF_CPP_MIN_LOG_LEVEL"  # Read once, while it is imported.

# What `deferred` found; None where it has no effect, since this is no command.
_deferred: list[str] | None = None


def is_command() -> bool:
    """Whether this process was started to run a command of bert_tf.

    Works while the package itself is imported, which is before the command's
    module is.
    """
    program = sys.argv[0] if sys.argv else ""
    if program == "-m":  # Until Python has found the module to run.
        modules = [word.removeprefix("-m") for word in sys.orig_argv]
        return any(name.split(".")[0] == "bert_tf" for name in modules)
    name, _ = os.path.splitext(os.path.basename(program))
    return name == "bert-tf" or name.startswith("bert-tf-")


def prepare() -> None:
    """Makes the coming import of TensorFlow or Keras quick and quiet.

    For commands only: it changes the environment and the import system.
    """
    global _deferred
    _deferred = []
    os.environ.setdefault(LOG_LEVEL, _quiet_level())
    if "tensorflow" not in sys.modules:
        sys.meta_path.insert(0, _Finder(_Loader))


def _quiet_level():
    # TensorFlow's native side prints notices when it is imported. Without an
    # NVIDIA driver its errors, too, are only about the missing driver.
    return "2" if os.path.exists("/proc/driver/nvidia") else "3"


def quieten() -> None:
    """Hides the notices of the coming import of TensorFlow or Keras.

    For programs that use bert_tf. Environment and import system are as before
    once the import has ended.
    """
    is_coming = any(isinstance(one, _Finder) for one in sys.meta_path)
    if not is_coming and not any(name in sys.modules for name in NAMES):
        sys.meta_path.insert(0, _Finder(_QuietLoader))


@contextlib.contextmanager
def deferred() -> Iterator[None]:
    """In a command, modules imported in this block are not executed before
    `load_deferred`, or before they are used.

    Only modules may be imported in it, no names of theirs. In other programs it
    changes nothing.
    """
    if _deferred is None:
        yield
        return
    finder = _Deferring()
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)


def load_deferred() -> None:
    """Executes the modules that were imported in `deferred`."""
    while _deferred:
        # Whatever attribute is asked for.
        _ = sys.modules[_deferred.pop()].__doc__


class _Deferring(importlib.abc.MetaPathFinder):
    """Finds modules of this package, to be executed later."""

    def find_spec(self, name, path=None, target=None):
        if not name.startswith("bert_tf."):
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path, target)
        # Packages are nearly empty, and needed to find their modules.
        if (
            spec is None
            or spec.loader is None
            or spec.submodule_search_locations is not None
        ):
            return spec
        spec.loader = importlib.util.LazyLoader(spec.loader)
        assert _deferred is not None
        _deferred.append(name)
        return spec


class _Finder(importlib.abc.MetaPathFinder):
    """Handles the first import of a name in `NAMES`, then removes itself."""

    def __init__(self, wrap):
        self.wrap = wrap

    def find_spec(self, name, path=None, target=None):
        if name not in NAMES:
            return None
        sys.meta_path.remove(self)
        spec = importlib.machinery.PathFinder.find_spec(name, path, target)
        if spec and spec.loader:
            spec.loader = self.wrap(spec.loader)
        return spec


class _QuietLoader(importlib.abc.Loader):
    """Runs another loader without notices."""

    def __init__(self, loader):
        self.loader = loader

    def create_module(self, spec):
        return self.loader.create_module(spec)

    def exec_module(self, module):
        # Hide this wrapper from the module.
        module.__loader__ = module.__spec__.loader = self.loader
        was_set = LOG_LEVEL in os.environ
        os.environ.setdefault(LOG_LEVEL, _quiet_level())
        try:
            with _without_notices():
                self.loader.exec_module(module)
        finally:
            if not was_set:
                os.environ.pop(LOG_LEVEL, None)


class _Loader(_QuietLoader):
    """Runs another loader without the garbage collector, too."""

    def exec_module(self, module):
        if not gc.isenabled():
            super().exec_module(module)
            return
        gc.collect()
        gc.disable()
        try:
            super().exec_module(module)
        finally:
            # Later collections need not traverse these objects either.
            gc.freeze()
            gc.enable()


@contextlib.contextmanager
def _without_notices() -> Iterator[None]:
    """What is written to standard error in this block is shown if it fails.

    TensorFlow writes to the file descriptor, some of it before it has read how
    much to write.
    """
    try:
        sys.stderr.flush()
        shown = os.dup(2)
    except (AttributeError, OSError, ValueError):  # It is closed.
        yield
        return
    with tempfile.TemporaryFile() as hidden:
        os.dup2(hidden.fileno(), 2)
        try:
            yield
        except BaseException:
            _restore(shown)
            hidden.seek(0)
            os.write(2, hidden.read())
            raise
        else:
            _restore(shown)


def _restore(shown: int) -> None:
    with contextlib.suppress(OSError, ValueError):
        sys.stderr.flush()
    os.dup2(shown, 2)
    os.close(shown)
