"""TensorFlow's import, with the garbage collector at rest."""

import subprocess
import sys

IN_A_NEW_PROCESS = """
import gc, sys
import bert_tf
assert "tensorflow" not in sys.modules
seen = []
gc.callbacks.append(lambda phase, info: seen.append(info["generation"]))
import keras
# One before, of the whole heap; a collector at work makes hundreds.
assert seen[:2] == [2, 2] and len(seen) < 10, seen
assert gc.isenabled() and gc.get_freeze_count() > 100_000
import tensorflow
for module in (keras, tensorflow):
    assert module.__loader__ is module.__spec__.loader
    loader = type(module.__loader__)
    assert loader.__module__.startswith("_frozen_importlib"), loader
print(keras.ops.add(1, 1).numpy())
"""

COLLECTOR_OFF = """
import gc
gc.disable()
import bert_tf
import tensorflow
assert not gc.isenabled() and not gc.get_freeze_count()
print(2)
"""


def answer_of(code):
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return done.stdout.strip()


def test_collector_rests_while_tensorflow_is_imported_and_then_goes_on():
    assert answer_of(IN_A_NEW_PROCESS) == "2"


def test_collector_that_was_off_stays_off():
    assert answer_of(COLLECTOR_OFF) == "2"
