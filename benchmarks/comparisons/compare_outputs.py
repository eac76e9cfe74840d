"""Compares two recordings of `record_outputs.py`, file by file.

Bytes first; where they differ and may, values, bit by bit. What SavedModels
return for fixed inputs is written beside them, to be compared as a file.
"""

import difflib
import hashlib
import json
import os
import re
import sys

import numpy as np

# Folders of runs that log steps as time allows: with steps that only one of two
# recordings has.
TIMED = ("mrpc", "pretraining", "squad1")

# ------------------------------------------------------- signatures of exports

TEXTS = {
    "text": [
        "The [MASK] was [MASK].",
        "Très bien, 中文!",
        "He [MASK] home. " * 9,
    ],
    "text_a": ["The food was wonderful.", "Très bien, 中文!", "So bad. " * 20],
    "text_b": ["We [MASK] it.", "", "Never come back. " * 15],
    "question": ["Who wrote it?", "Which city?", "When was the war?"],
    "context": [
        "Ann wrote it in 1912, before the war.",
        "The river of Reykjavík is nearer than that of São Paulo.",
        "The war began in May 1842, and ended in the winter of 1845. " * 6,
    ],
}


def dump_signatures(arguments):
    """Writes signatures of all SavedModels, and what they return."""
    import tensorflow as tf

    for path in sorted(arguments.folder.rglob("saved_model.pb")):
        folder = path.parent
        model, shown, arrays = tf.saved_model.load(str(folder)), {}, {}
        for name, function in sorted(model.signatures.items()):
            inputs = function.structured_input_signature[1]
            outputs = function.structured_outputs
            shown[name] = {
                kind: {k: str((s.dtype.name, s.shape)) for k, s in d.items()}
                for kind, d in (("inputs", inputs), ("outputs", outputs))
            }
            for key, value in function(**fixed_inputs(tf, inputs)).items():
                array = value.numpy()
                if array.dtype == object:
                    array = array.astype(bytes)
                arrays[f"{name}/{key}"] = array
        target = str(folder.relative_to(arguments.folder)).replace("/", "_")
        (arguments.folder / "signatures").mkdir(exist_ok=True)
        target = arguments.folder / "signatures" / target
        text = json.dumps(shown, indent=1, sort_keys=True)
        target.with_suffix(".json").write_text(text + "\n")
        np.savez(target.with_suffix(".npz"), **arrays)
    assert "bert_tf" not in sys.modules
    return 0


def fixed_inputs(tf, names):
    """Three rows for each of the inputs of a signature."""
    ids = np.random.default_rng(1).integers(1000, 8000, (3, 20))
    mask = (np.arange(20) < np.array([[20], [13], [5]])).astype(int)
    encoded = {
        "input_ids": ids * mask,
        "input_mask": mask,
        "segment_ids": (np.arange(20) > 9) * mask,
        "masked_lm_positions": ids[:, :4] % 20,
    }

    def example(row):
        features = {
            name: tf.train.Feature(
                int64_list=tf.train.Int64List(value=values[row].tolist())
            )
            for name, values in encoded.items()
        }
        features = tf.train.Features(feature=features)
        return tf.train.Example(features=features).SerializeToString()

    values = {**TEXTS, **encoded, "examples": list(map(example, range(3)))}
    return {k: tf.constant(values[k], names[k].dtype) for k in names}


# ------------------------------------------------------------------ comparison


def compare(arguments):
    """Prints all differences; returns the exit code."""
    first, second = (find_files(f) for f in (arguments.a, arguments.b))
    kinds = {"same": [], "by value": [], "paths": [], "different": []}
    for name in sorted(first.keys() | second.keys()):
        if name not in first or name not in second:
            where = arguments.a if name in first else arguments.b
            kinds["different"].append((name, f"only in {where}"))
            continue
        pair = first[name], second[name]
        kind, why = compare_files(name, *pair)
        kinds[kind].append((name, why))
    for kind, title in (
        ("by value", "Other bytes, but the same values"),
        ("paths", "`checkpoint` files that name the same, by other paths"),
        ("different", "Different"),
    ):
        print(f"{title}: {len(kinds[kind])}")
        for name, why in kinds[kind]:
            print(f"  {name}: {why}")
    print(f"The same bytes: {len(kinds['same'])}")
    return int(bool(kinds["different"]))


def find_files(folder):
    """Paths by names; event files are numbered, for their names hold a time."""
    found, events = {}, {}
    for path in folder.rglob("*"):
        name = str(path.relative_to(folder))
        if not path.is_file() or name.startswith("logs/"):
            continue
        if ".tfevents." in name:
            events.setdefault(path.parent, []).append(path)
        else:
            found[name] = path
    for parent, paths in events.items():
        # events.out.tfevents.TIME.HOST.PID.NUMBER.v2
        paths.sort(key=lambda p: list(map(int, re.findall(r"\d+", p.name))))
        for i, path in enumerate(paths):
            found[f"{parent.relative_to(folder)}/tfevents {i}"] = path
    return found


def compare_files(name, a, b):
    """How two files compare: a kind, and more about it."""
    if a.read_bytes() == b.read_bytes():
        return "same", None
    base, in_model = a.name, a.parent.name == "variables"
    if base == "checkpoint":
        one, other = (re.sub(r'"[^"]*/', '"', p.read_text()) for p in (a, b))
        return ("paths", "") if one == other else ("different", diff(a, b))
    if base in ("saved_model.pb", "fingerprint.pb"):
        return "by value", "its signatures and outputs are in signatures/"
    readers = {
        r".*\.tfevents\..*": read_events,
        r".*\.(index|data-.*)": read_variables if in_model else read_checkpoint,
        r".*\.tf_?record.*(?<!\.json)": read_records,
        r"tf_serving_warmup_requests": read_requests,
        r".*\.npz": lambda path: dict(np.load(path)),
        r".*\.tfrecord\.json": read_notes,
    }
    for pattern, reader in readers.items():
        if re.fullmatch(pattern, base):
            one, other = reader(a), reader(b)
            keys, left_out = {**one, **other}, 0
            if reader is read_events and name.split("/")[0] in TIMED:
                left_out = len(keys)
                keys = one.keys() & other.keys()
                left_out -= len(keys)
            where = [k for k in keys if differs(k, one, other)]
            if where or not keys:
                return "different", f"{len(where)} values: {where[:5]}"
            more = f", without {left_out} of other steps" if left_out else ""
            return "by value", f"{len(keys)} values{more}"
    return "different", diff(a, b)


def differs(key, one, other):
    """Whether two dictionaries differ in a key, bit by bit."""
    if key not in one or key not in other:
        return True
    x, y = np.asarray(one[key]), np.asarray(other[key])
    if x.dtype == object or y.dtype == object:
        return x.tolist() != y.tolist()
    return (x.dtype, x.shape, x.tobytes()) != (y.dtype, y.shape, y.tobytes())


def diff(a, b):
    """The first differing lines."""
    try:
        lines = [
            path.read_text(encoding="utf-8").split("\n") for path in (a, b)
        ]
    except UnicodeDecodeError:
        return f"{a.stat().st_size} and {b.stat().st_size} bytes"
    changes = list(difflib.unified_diff(*lines, n=0, lineterm=""))[3:7]
    return " | ".join(line[:200] for line in changes)


def read_events(path):
    """Scalars by tag and step. Of speeds only that they are there.

    A loss is a mean over all steps since the last one logged, which therefore
    is part of the key.
    """
    import tensorflow as tf

    found, last = {}, {}
    for event in tf.compat.v1.train.summary_iterator(str(path)):
        for value in event.summary.value:
            tag, scalar = value.tag, tf.make_ndarray(value.tensor)
            if tag == "global_step/sec":
                scalar = None
            found[tag, last.get(tag), event.step] = scalar
            last[tag] = event.step
    return found


def read_checkpoint(path):
    """Tensors of a checkpoint by name."""
    import tensorflow as tf

    prefix = re.sub(r"\.(index|data-\d+-of-\d+)$", "", str(path))
    reader = tf.train.load_checkpoint(prefix)
    names = reader.get_variable_to_shape_map()
    return {name: reader.get_tensor(name) for name in names}


def read_variables(path):
    """Tensors of a SavedModel, whatever they are called, by their hash."""
    found = {}
    for value in map(np.asarray, read_checkpoint(path).values()):
        if value.dtype != object:
            hashed = hashlib.sha256(value.tobytes()).hexdigest()
            key = str(value.dtype), value.shape, hashed
            found[key] = found.get(key, 0) + 1
    return found


def read_records(path):
    """Features of examples, by number and name."""
    import tensorflow as tf

    found = {}
    for i, record in enumerate(tf.data.TFRecordDataset(str(path))):
        example = tf.train.Example.FromString(record.numpy())
        for name, feature in example.features.feature.items():
            found[i, name] = str(feature.SerializeToString())
    return found


def read_requests(path):
    """Warm-up requests; features of an example in them come in any order."""
    import tensorflow as tf
    from google.protobuf.message import DecodeError

    found = {}
    for i, record in enumerate(tf.data.TFRecordDataset(str(path))):
        found[i] = data = record.numpy()
        if b"serve_examples" not in data:
            continue
        for start in range(len(data)):
            try:
                example = tf.train.Example.FromString(data[start:])
            except DecodeError:
                continue
            if "input_ids" in example.features.feature:
                features = dict(example.features.feature)
                found[i] = data[:start], str(sorted(features.items(), key=str))
                break
    return {key: str(value) for key, value in found.items()}


def read_notes(path):
    """Notes on shards in any order, without folder and time of the text."""
    notes = json.loads(path.read_text())
    files = notes["settings"]["input_file"]
    files = [[os.path.basename(f), size] for f, size, _ in files]
    notes["settings"]["input_file"] = files
    return {"notes": json.dumps(notes, sort_keys=True)}
