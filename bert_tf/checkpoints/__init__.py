"""Weights on disk: the original's name-based TensorFlow checkpoints.

A variable's Keras path is its name in the file. The public functions are
imported when they are first used: names and labels can then be had without
TensorFlow.
"""

import importlib

_MODULES = {
    "CheckpointReader": "reader",
    "LoadReport": "reading",
    "check_config": "folders",
    "check_vocab": "folders",
    "find": "finding",
    "global_step": "reading",
    "latest": "finding",
    "load": "reading",
    "named_weights": "names",
    "open_latest": "reader",
    "optimizer_slots": "names",
    "save": "writing",
    "tidy": "writing",
    "write": "writing",
}


def __getattr__(name):
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = importlib.import_module(f"{__name__}.{_MODULES[name]}")
    return getattr(module, name)


def __dir__():
    return sorted({*globals(), *_MODULES})
