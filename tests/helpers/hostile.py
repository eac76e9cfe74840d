"""Reads many damaged and made-up files; run as a program, since it may die.

python -m helpers.hostile KIND COUNT FOLDER prints each exception that is none
of ours, and each file that was read as something else than it was.
"""

import random
import shutil
import sys
import traceback
from pathlib import Path

from helpers import index_table
from helpers.golden import CHECKPOINTS

ODD = (-(2**63), -1, 0, 1, 2, 3, 255, 2**31 - 1, 2**31, 2**40, 2**62, 2**63 - 1)


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


def made_up_entry(rng):
    """A tensor's entry in which one or two numbers are odd."""
    shape = [rng.randrange(1, 5) for _ in range(rng.randrange(4))]
    fields = {}
    for _ in range(rng.choice((0, 0, 1, 1, 2))):
        way = rng.randrange(8)
        if way == 0:
            shape.insert(rng.randrange(len(shape) + 1), rng.choice(ODD))
        elif way == 1:
            shape = [1] * rng.choice((33, 65, 254, 255, 300))
        elif way == 2:
            fields["dtype"] = rng.choice((*range(40), 100, 101, 119, 2**31 - 1))
        elif way == 3:
            fields["offset"] = rng.choice(ODD)
        elif way == 4:
            fields["size"] = rng.choice(ODD)
        elif way == 5:
            fields["shard_id"] = rng.choice((-1, 0, 1, 2**31 - 1))
        elif way == 6:
            odd = rng.choice(ODD), rng.choice(ODD)
            fields["slices"] = [[odd] * rng.randrange(4)]
        else:
            return rng.randbytes(rng.randrange(20))
    shape = [max(-(2**63), min(2**63 - 1, size)) for size in shape]
    return index_table.entry(shape, **fields)


def made_up_name(rng):
    """A name, now and then an odd one."""
    return rng.choice(
        (
            b"bert/pooler/dense/bias",
            b"global_step",
            b"a" * 5000,
            b"\0a",
            b"\0\x01a\0\x01\x02",
            b"\xff\xfe",
            b"\x1b[31m",
            b"x%d" % rng.randrange(9),
        )
    )


def read_checkpoint(prefix):
    """All tensors, in each of the two ways that there are."""
    from bert_tf import checkpoints

    reader = checkpoints.CheckpointReader(prefix)
    alone = {name: reader.tensor(name) for name in reader.names}
    with reader.reading_ahead():
        together = dict(reader.finite_tensors(reader.names))
    assert together.keys() == alone.keys()
    return {name: value.tobytes() for name, value in alone.items()}


def checkpoint_cases(count, folder):
    """Damaged copies of a checkpoint: half of the index, half of the data."""
    rng = random.Random(17)
    source = CHECKPOINTS / "micro"
    want = read_checkpoint(str(source / "bert_model.ckpt"))
    for number in range(count):
        place = folder / str(number)
        shutil.copytree(source, place)
        suffix = rng.choice((".index", ".index", ".data-00000-of-00001"))
        path = place / f"bert_model.ckpt{suffix}"
        path.write_bytes(damaged(rng, path.read_bytes()))
        yield str(place / "bert_model.ckpt"), want
        shutil.rmtree(place)


def made_up_checkpoint_cases(count, folder):
    """Checkpoints that are right by their checksums only."""
    rng = random.Random(18)
    for number in range(count):
        entries = {
            made_up_name(rng): made_up_entry(rng)
            for _ in range(rng.randrange(1, 4))
        }
        prefix = folder / f"c{number}"
        shards = rng.choice((1, 1, 1, 1, 0, -1, 2, 2**31 - 1))
        index_table.write_checkpoint(prefix, entries, shards)
        yield str(prefix), None


def read_records(path):
    """All records, in each of the three ways that there are."""
    import tensorflow as tf

    from bert_tf.data import records

    schema = {"x": records.Feature((1,))}
    with records.naming_bad_records([path], schema):
        found = [
            int(x)
            for batch in records.evaluation_batches([path], schema, 3)
            for x in tf.reshape(batch["x"], [-1])
        ]
    for at_once in (1, 2):
        batches = records.training_batches(
            [path], schema, 2, 1, files_at_once=at_once
        )
        with records.naming_bad_records([path], schema):
            assert len(list(batches.take(9))) == 9
    records.check_records([path], schema, whole=True)
    return found


def record_cases(count, folder):
    """Damaged files of records, and some with lengths that are lies."""
    from bert_tf.data import records

    rng = random.Random(19)
    schema = {"x": records.Feature((1,))}
    for number in range(count):
        values = [rng.randrange(300) for _ in range(rng.randrange(1, 9))]
        parts = [
            index_table.record(records.encode({"x": [x]}, schema))
            for x in values
        ]
        if rng.randrange(3):
            content = damaged(rng, b"".join(parts))
        else:
            lie = rng.choice([x for x in ODD if x > 2])
            parts[rng.randrange(len(parts))] = index_table.record(b"x", lie)
            content = b"".join(parts)
        path = folder / f"{number}.tf_record"
        path.write_bytes(content)
        yield str(path), values


def main(kind, count, folder):
    """Prints what is wrong with any of the cases, and counts how they end."""
    from bert_tf.errors import InputError

    cases, read = KINDS[kind]
    refused = 0
    for path, want in cases(int(count), Path(folder)):
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
    print(f"{refused} of {count} refused", file=sys.stderr)


def load_version(path):
    """Loads a SavedModel as the server and Predictor do."""
    from bert_tf.exports import loading

    return loading.load(path) and None


def version_cases(count, folder):
    """Damaged copies of an exported version's graph."""
    import tensorflow as tf

    rng = random.Random(20)
    module = tf.Module()
    module.v = tf.Variable([[1.0, 2.0]])
    module.f = tf.function(
        lambda x: tf.matmul(x, module.v, transpose_b=True),
        [tf.TensorSpec([None, 2])],
    )
    source = folder / "source"
    tf.saved_model.save(module, str(source), signatures=module.f)
    for number in range(count):
        place = folder / str(number)
        shutil.copytree(source, place)
        path = place / "saved_model.pb"
        path.write_bytes(damaged(rng, path.read_bytes()))
        yield str(place), None
        shutil.rmtree(place)


KINDS = {
    "versions": (version_cases, load_version),
    "records": (record_cases, read_records),
    "checkpoints": (checkpoint_cases, read_checkpoint),
    "made_up_checkpoints": (made_up_checkpoint_cases, read_checkpoint),
}

if __name__ == "__main__":
    main(*sys.argv[1:])
