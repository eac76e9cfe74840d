"""Ways to spoil the inputs of a command, one at a time.

Each function here, unless it takes no arguments, returns one without arguments
that does the damage later, in the folder of a case.
"""

import contextlib
import functools
import json
import os
import pathlib
import shutil

import numpy as np
import tensorflow as tf
from safetensors import numpy as safetensors

from bert_tf import checkpoints
from bert_tf.checkpoints import to_hugging_face

CONFIG_FILE, VOCAB_FILE = "bert/bert_config.json", "bert/vocab.txt"
PREFIX = "bert/bert_model.ckpt"
INDEX, WEIGHTS = f"{PREFIX}.index", f"{PREFIX}.data-00000-of-00001"


def later(function):
    """Makes calls of a function return one without arguments, to run later."""

    @functools.wraps(function)
    def bind(*arguments, **changes):
        return functools.partial(function, *arguments, **changes)

    return bind


# ----------------------------------------------------------------------- files


@later
def write(path, content):
    """Writes a file of text, bytes, or anything else as JSON."""
    if not isinstance(content, str | bytes):
        content = json.dumps(content)
    raw = content.encode() if isinstance(content, str) else content
    os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
    pathlib.Path(path).write_bytes(raw)


@later
def folder(path):
    """Puts an empty folder there, replacing a file of that name."""
    with contextlib.suppress(FileNotFoundError):
        os.remove(path)
    os.makedirs(path)


remove, move, copy_file = map(later, (os.remove, os.rename, shutil.copyfile))


@later
def edit(path, change):
    """Replaces a file's bytes by a function of them."""
    file = pathlib.Path(path)
    file.write_bytes(change(file.read_bytes()))


def replace(path, old, new):
    """Replaces bytes wherever they occur in a file."""
    return edit(path, lambda raw: raw.replace(old, new))


def append(path, text):
    """Appends text to a file."""
    return edit(path, lambda raw: raw + text.encode())


def cut(path):
    """Keeps the first half of a file."""
    return edit(path, lambda raw: raw[: len(raw) // 2])


def flip_byte(path, at):
    """Inverts all bits of one byte."""
    return edit(
        path, lambda raw: raw[:at] + bytes([raw[at] ^ 255]) + raw[at + 1 :]
    )


def line(path, number, text):
    """Replaces a line, counted from 1, by text or bytes."""
    text = text if isinstance(text, bytes) else text.encode()

    def change(raw):
        lines = raw.split(b"\n")
        lines[number - 1] = text
        return b"\n".join(lines)

    return edit(path, change)


def edit_json(path, **changes):
    """Changes values of a JSON object; None removes one."""

    def change(raw):
        values = {**json.loads(raw), **changes}
        values = {k: v for k, v in values.items() if v is not None}
        return json.dumps(values).encode()

    return edit(path, change)


def config(**changes):
    """Changes values of bert_config.json; None removes one."""
    return edit_json(CONFIG_FILE, **changes)


# ----------------------------------------------------------------------- SQuAD


def squad(path, *questions):
    """Writes a SQuAD file with one paragraph."""
    context = "The old park was made by Ann in 1895 ."
    paragraph = {"context": context, "qas": list(questions)}
    articles = [{"title": "Park", "paragraphs": [paragraph]}]
    return write(path, {"version": "1.1", "data": articles})


def asked(number, *answers, question="Who made the park?"):
    """A question of a SQuAD file, with its answers as (text, start)."""
    return {
        "id": f"q{number}",
        "question": question,
        "answers": [{"text": t, "answer_start": at} for t, at in answers],
    }


# ----------------------------------------------------------------- checkpoints


def save_checkpoint(prefix, values):
    """Writes arrays as they are, whatever their dtype."""
    os.makedirs(os.path.dirname(prefix), exist_ok=True)
    tf.raw_ops.SaveV2(
        prefix=prefix,
        tensor_names=list(values),
        shape_and_slices=[""] * len(values),
        tensors=list(values.values()),
    )


@later
def weights(change, prefix=PREFIX):
    """Writes a function of the weights in bert/, there or elsewhere."""
    reader = checkpoints.CheckpointReader(PREFIX)
    values = {name: reader.tensor(name) for name in sorted(reader.names)}
    save_checkpoint(prefix, change(values))


@later
def trained(change):
    """Puts a function of the weights into output/, as if after step 3."""
    weights(change, "output/model.ckpt-3")()
    write("output/checkpoint", 'model_checkpoint_path: "model.ckpt-3"\n')()


def with_classes(number):
    """Changes weights: the encoder and a classifier only."""

    def change(values):
        encoder = {k: v for k, v in values.items() if k.startswith("bert/")}
        return {
            **encoder,
            "output_weights": np.zeros((number, 128), np.float32),
            "output_bias": np.zeros(number, np.float32),
        }

    return change


def without(scope):
    """Changes weights: drops those whose names start with this."""
    return lambda values: {
        name: value
        for name, value in values.items()
        if not name.startswith(scope)
    }


def with_nan(values):
    """Changes weights: one column of the embeddings is NaN."""
    values["bert/embeddings/word_embeddings"][:, 0] = np.nan
    return values


def one_token_type():
    """Makes bert/ a model with one token type."""
    name = "bert/embeddings/token_type_embeddings"
    config(type_vocab_size=1)()
    weights(lambda values: {**values, name: values[name][:1]})()


# ---------------------------------------------------------------- Hugging Face


@later
def hugging_face(**changes):
    """Adds hf/, as transformers saves it, with changes to its config."""
    to_hugging_face.to_hf("bert", "hf")
    edit_json("hf/config.json", **changes)()


@later
def hf_tensors(**changes):
    """Adds hf/, with changes to tensors (`__` for a dot); None removes one."""
    hugging_face()()
    path = "hf/model.safetensors"
    values = safetensors.load_file(path)
    values |= {k.replace("__", "."): v for k, v in changes.items()}
    values = {k: v for k, v in values.items() if v is not None}
    safetensors.save_file(values, path)
