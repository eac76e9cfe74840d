"""Hostile checkpoints and TFRecords; see `helpers.hostile`."""

import shutil

from helpers import index_table
from helpers.golden import CHECKPOINTS
from helpers.hostile import ODD, damaged


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


def read_checkpoints(prefix):
    """All tensors, in each of the two ways that there are."""
    from bert_tf import checkpoints

    reader = checkpoints.CheckpointReader(prefix)
    alone = {name: reader.tensor(name) for name in reader.names}
    with reader.reading_ahead():
        together = dict(reader.finite_tensors(reader.names))
    assert together.keys() == alone.keys()
    return {name: value.tobytes() for name, value in alone.items()}


def checkpoints_cases(rng, count, folder):
    """Damaged copies of a checkpoint: half of the index, half of the data."""
    source = CHECKPOINTS / "micro"
    want = read_checkpoints(str(source / "bert_model.ckpt"))
    for number in range(count):
        place = folder / str(number)
        shutil.copytree(source, place)
        suffix = rng.choice((".index", ".index", ".data-00000-of-00001"))
        path = place / f"bert_model.ckpt{suffix}"
        path.write_bytes(damaged(rng, path.read_bytes()))
        yield str(place / "bert_model.ckpt"), want
        shutil.rmtree(place)


def made_up_checkpoints_cases(rng, count, folder):
    """Checkpoints that are right by their checksums only."""
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
    records.check_records([path], schema)
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


def records_cases(rng, count, folder):
    """Damaged files of records, and some with lengths that are lies."""
    from bert_tf.data import records

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


read_made_up_checkpoints = read_old_checkpoints = read_checkpoints


def write_old(path):
    """A checkpoint of before 2017, as TensorFlow still writes it."""
    import tensorflow as tf

    v1 = tf.compat.v1
    with tf.Graph().as_default(), v1.Session() as session:
        made = [
            v1.get_variable(f"v{n}", initializer=tf.range(n * 7.0))
            for n in range(1, 5)
        ]
        made.append(v1.get_variable("step", initializer=tf.constant(7)))
        session.run(v1.global_variables_initializer())
        saver = v1.train.Saver(made, write_version=1)
        options = {"write_meta_graph": False, "write_state": False}
        saver.save(session, str(path), **options)


def old_checkpoints_cases(rng, count, folder):
    """Such files, damaged, and right by their checksums only."""
    import io

    from tensorflow.core.util.saved_tensor_slice_pb2 import SavedTensorSlices

    from bert_tf.checkpoints.table import entries

    write_old(folder / "source")
    content = (folder / "source").read_bytes()
    want = read_checkpoints(str(folder / "source"))
    for number in range(count):
        path = folder / f"{number}.ckpt"
        if number % 2:
            path.write_bytes(damaged(rng, content))
            yield str(path), want
            continue
        pairs = dict(entries(io.BytesIO(content), len(content)))
        key = rng.choice(sorted(pairs))
        pairs[key] = odd_slices(
            rng, SavedTensorSlices.FromString(pairs[key])
        ).SerializeToString()
        path.write_bytes(index_table.table(sorted(pairs.items())))
        yield str(path), None


def odd_slices(rng, saved):
    """A header, or a tensor's values, in which something is odd."""
    if not saved.meta.tensor:
        tensor = saved.data.data
        values = tensor.int_val or tensor.float_val
        if rng.randrange(2):
            del values[rng.randrange(len(values)) :]
        else:
            values.extend([1] * rng.randrange(1, 9))
        return saved
    tensor = rng.choice(saved.meta.tensor)
    way = rng.randrange(4)
    if way == 0:
        tensor.type = rng.randrange(30)
    elif way == 1:
        tensor.shape.dim.add(size=rng.choice(ODD))
    elif way == 2 and tensor.slice:
        extent = tensor.slice[0].extent.add()
        extent.start, extent.length = rng.choice(ODD), rng.choice(ODD)
    elif tensor.shape.dim:
        tensor.shape.dim[0].size = rng.choice(ODD)
    return saved
