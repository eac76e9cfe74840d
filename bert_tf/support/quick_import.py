"""Imports TensorFlow with Python's garbage collector at rest.

Comes in: nothing but the wish, `install()`. Goes out: an import that takes less
time. TensorFlow makes hundreds of thousands of objects that stay for good, and
while it does the collector would look through them time and again.
(`benchmarks/speed.py --only 'startup*'` measures start-up as a whole.)
"""

import gc
import importlib.abc
import importlib.machinery
import sys

# Whichever comes first: Keras imports TensorFlow, TensorFlow not Keras.
NAMES = ("tensorflow", "keras")


def install():
    """The next import of TensorFlow or Keras is a quick one.

    Does nothing if TensorFlow is there already.
    """
    if "tensorflow" not in sys.modules:
        sys.meta_path.insert(0, _Finder())


class _Finder(importlib.abc.MetaPathFinder):
    """Finds the first of `NAMES` that is asked for, and retires."""

    def find_spec(self, name, path=None, target=None):
        if name not in NAMES:
            return None
        sys.meta_path.remove(self)
        spec = importlib.machinery.PathFinder.find_spec(name, path, target)
        if spec and spec.loader and gc.isenabled():
            spec.loader = _Loader(spec.loader)
        return spec


class _Loader(importlib.abc.Loader):
    """Another loader's work, while the collector rests."""

    def __init__(self, loader):
        self.loader = loader

    def create_module(self, spec):
        return self.loader.create_module(spec)

    def exec_module(self, module):
        # Nobody needs to know of this one.
        module.__loader__ = module.__spec__.loader = self.loader
        gc.collect()
        gc.disable()
        try:
            self.loader.exec_module(module)
        finally:
            # Later, too, it need not look at what is there now.
            gc.freeze()
            gc.enable()
