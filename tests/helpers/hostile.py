"""Reads many damaged and made-up files; run as a program, since it may die.

    cd tests && PYTHONPATH=..:. python helpers/hostile.py FOLDER KIND COUNT ...

prints each exception that is none of ours, and each file that was read as
something else than it was. FOLDER exists; there may be several kinds.
"""

import importlib
import os
import random
import sys
import traceback
from pathlib import Path

from helpers import prepared

ODD = (-(2**63), -1, 0, 1, 2, 3, 255, 2**31 - 1, 2**31, 2**40, 2**62, 2**63 - 1)
ODD_VALUES = (
    *ODD,
    None,
    True,
    "",
    "x",
    [],
    {},
    [[1]],
    {"a": 1},
    1.5,
    1e400,
    -0.0,
)

# Where the cases of a kind are, and how many a change of the readers is tried
# with.
KINDS = {
    "checkpoints": ("checkpoints", 300),
    "made_up_checkpoints": ("checkpoints", 150),
    "old_checkpoints": ("checkpoints", 100),
    "records": ("checkpoints", 200),
    "configs": ("models", 200),
    "hugging_face": ("models", 300),
    "versions": ("models", 100),
    "plain_versions": ("models", 100),
    "tables": ("texts", 300),
    "squad": ("texts", 300),
    "ner": ("tasks", 300),
    "choices": ("tasks", 300),
}


def count_of(kind, few):
    """The number of cases: a few, or all where the environment asks for it."""
    return KINDS[kind][1] if os.environ.get("BERT_TF_HOSTILE") else few


def run_in_process(folder, few_by_kind):
    """Fails unless each case of these kinds is read as it is, or refused."""
    wanted = []
    for kind, few in few_by_kind.items():
        wanted += [kind, str(count_of(kind, few))]
    ended = prepared.run(
        [__file__, folder, *wanted], capture_output=True, text=True
    )
    assert ended.stdout == ""
    assert ended.returncode == 0, ended.stderr[-3000:]


def damaged(rng, content):
    """Flips, cuts, fills or doubles a few bytes."""
    content = bytearray(content)
    place = rng.randrange(len(content))
    way = rng.randrange(5)
    if way == 0:
        content[place] ^= 1 << rng.randrange(8)
    elif way == 1:
        del content[place:]
    elif way == 2:
        size = rng.randrange(1, 64)
        content[place : place + size] = rng.randbytes(size)
    elif way == 3:
        del content[place : place + rng.randrange(1, 64)]
    else:
        content[place:place] = content[place : place + rng.randrange(1, 64)]
    return bytes(content)


def odd_json(rng, value):
    """JSON with one value, somewhere inside, that is odd."""
    if isinstance(value, dict) and value and rng.randrange(5):
        key = rng.choice(sorted(value))
        return {**value, key: odd_json(rng, value[key])}
    if isinstance(value, list) and value and rng.randrange(5):
        place = rng.randrange(len(value))
        return [
            odd_json(rng, one) if number == place else one
            for number, one in enumerate(value)
        ]
    return rng.choice(ODD_VALUES)


def run(kind, count, folder):
    """Prints what is wrong with any of the cases, and counts how they end."""
    from bert_tf.errors import InputError

    module = importlib.import_module(f"helpers.hostile_{KINDS[kind][0]}")
    cases = getattr(module, f"{kind}_cases")
    read = getattr(module, f"read_{kind}")
    rng = random.Random(f"{kind} 17")
    refused = 0
    for path, want in cases(rng, count, folder):
        print("reading", path, file=sys.stderr, flush=True)
        try:
            got = read(path)
        except InputError:
            refused += 1
        except Exception:
            print(f"{path}: {traceback.format_exc()}", flush=True)
        else:
            if want is not None and got != want:
                print(f"{path}: read as something else", flush=True)
    print(f"{kind}: {refused} of {count} refused", file=sys.stderr)


def main(folder, *arguments):
    """Runs each kind in a folder of its own."""
    for kind, count in zip(arguments[::2], arguments[1::2]):
        place = Path(folder) / kind
        place.mkdir()
        run(kind, int(count), place)


if __name__ == "__main__":
    main(*sys.argv[1:])
