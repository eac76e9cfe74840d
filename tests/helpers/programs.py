"""Programs outside the package, as modules."""

import importlib.util
import sys


def load(path):
    """The module of a file of Python."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module  # Where dataclasses look themselves up.
    spec.loader.exec_module(module)
    return module
