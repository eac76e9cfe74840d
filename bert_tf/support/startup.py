"""Makes commands start sooner: most of that time is TensorFlow's import.

TensorFlow creates hundreds of thousands of objects that stay for good, and the
garbage collector would traverse them again and again while it is imported.
"""

import gc
import importlib.abc
import importlib.machinery
import os
import sys

# Whichever is imported first: Keras imports TensorFlow, not the reverse.
NAMES = ("tensorflow", "keras")


def is_command() -> bool:
    """Whether this process was started to run a command of bert_tf.

    Works while the package itself is imported, which is before the command's
    module is.
    """
    program = sys.argv[0] if sys.argv else ""
    if program == "-m":  # Until Python has found the module to run.
        modules = [word.removeprefix("-m") for word in sys.orig_argv]
        return any(name.split(".")[0] == "bert_tf" for name in modules)
    return os.path.basename(program).startswith("bert-tf-")


def prepare() -> None:
    """Makes the coming import of TensorFlow or Keras quick and quiet.

    For commands only: it changes the environment and the import system.
    """
    # TensorFlow's native side prints notices when it is imported. Without an
    # NVIDIA driver its errors, too, are only about the missing driver.
    has_gpu = os.path.exists("/proc/driver/nvidia")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2" if has_gpu else "3")
    if "tensorflow" not in sys.modules:
        sys.meta_path.insert(0, _Finder())


class _Finder(importlib.abc.MetaPathFinder):
    """Handles the first import of a name in `NAMES`, then removes itself."""

    def find_spec(self, name, path=None, target=None):
        if name not in NAMES:
            return None
        sys.meta_path.remove(self)
        spec = importlib.machinery.PathFinder.find_spec(name, path, target)
        if spec and spec.loader and gc.isenabled():
            spec.loader = _Loader(spec.loader)
        return spec


class _Loader(importlib.abc.Loader):
    """Runs another loader with the garbage collector disabled."""

    def __init__(self, loader):
        self.loader = loader

    def create_module(self, spec):
        return self.loader.create_module(spec)

    def exec_module(self, module):
        # Hide this wrapper from the module.
        module.__loader__ = module.__spec__.loader = self.loader
        gc.collect()
        gc.disable()
        try:
            self.loader.exec_module(module)
        finally:
            # Later collections need not traverse these objects either.
            gc.freeze()
            gc.enable()
