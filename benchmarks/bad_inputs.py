"""Bad inputs, each with the message that its user gets; writes docs/errors.md.

Run it as `python benchmarks/bad_inputs.py`; with `--only TEXT` it prints the
cases that have the text in their description, and writes nothing.

A case takes a folder in which everything is in order (sample data in `data/`,
`mrpc/`, `squad/` and `texts/`, a small checkpoint in `bert/`), spoils one
thing, and runs a command in this process, through the code that prints its
errors. An exception that the command does not report would be a traceback: that
is a failure, and so is a message that does not name what is wrong, or work
begun before the mistake was found. The tests run the same cases.
"""

import argparse
import contextlib
import dataclasses
import io
import json
import os
import pathlib
import re
import resource
import shutil
import sys
import tempfile
import traceback
from collections.abc import Callable, Mapping
from unittest import mock

from bert_tf.checkpoints import hugging_face as checkpoints_hugging_face

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np
import tensorflow as tf
from absl import flags

from bert_tf import (
    answer,
    checkpoints,
    convert_checkpoint,
    extend_positions,
    extract_features,
    fill_mask,
    released_models,
    run_classifier,
    run_squad,
    score,
)
from bert_tf.cli import command_line

ROOT = pathlib.Path(__file__).resolve().parent.parent
TABLE = ROOT / "docs" / "errors.md"
SMALL_MODEL = ROOT / "tests" / "golden" / "checkpoints" / "small"
SAMPLES = ROOT / "run_scripts" / "sample_data"

TRAIN, DEV = "data/train.tsv", "data/dev.tsv"
CONFIG_FILE, VOCAB_FILE = "bert/bert_config.json", "bert/vocab.txt"
PREFIX = "bert/bert_model.ckpt"
INDEX, WEIGHTS = f"{PREFIX}.index", f"{PREFIX}.data-00000-of-00001"

SQUAD_TRAIN, SQUAD_DEV = "squad/train.json", "squad/dev.json"
TEXT, LINES, QUESTIONS = (
    "texts/park.txt",
    "texts/lines.txt",
    "texts/asked.jsonl",
)

BERT = {"vocab_file": VOCAB_FILE, "bert_config_file": CONFIG_FILE}
GOOD_FLAGS = {
    "run_classifier": {
        "task_name": "tsv",
        "data_dir": "data",
        **BERT,
        "init_checkpoint": PREFIX,
        "output_dir": "output",
        "max_seq_length": 32,
        "train_batch_size": 4,
        "num_train_epochs": 1,
        "do_train": True,
        "do_eval": True,
        "seed": 1,
    },
    "run_squad": {
        "train_file": SQUAD_TRAIN,
        "predict_file": SQUAD_DEV,
        **BERT,
        "init_checkpoint": PREFIX,
        "output_dir": "output",
        "max_seq_length": 48,
        "doc_stride": 16,
        "max_query_length": 16,
        "train_batch_size": 4,
        "num_train_epochs": 1,
        "do_train": True,
        "do_predict": True,
        "seed": 1,
    },
    "answer": {
        "checkpoint": PREFIX,
        "question": "Who made the park?",
        "context_file": TEXT,
        "max_seq_length": 48,
        "max_query_length": 16,
        "output_file": "output/answers.jsonl",
    },
    "extract_features": {
        **BERT,
        "init_checkpoint": PREFIX,
        "input_file": LINES,
        "output_file": "output/vectors.jsonl",
        "layers": "-1",
        "max_seq_length": 16,
    },
    "fill_mask": {
        "checkpoint": "bert",
        "text": "the park is [MASK] .",
        "output_file": "output/filled.jsonl",
    },
    "score": {
        "checkpoint": "bert",
        "text": "the park is old .",
        "output_file": "output/scores.jsonl",
    },
    "extend_positions": {
        "init_checkpoint": PREFIX,
        "max_position_embeddings": 200,
        "output_dir": "output",
    },
}
# The commands with flags, and those that read words.
SCRIPTS = {
    "run_classifier": run_classifier,
    "run_squad": run_squad,
    "answer": answer,
    "extract_features": extract_features,
    "fill_mask": fill_mask,
    "score": score,
    "extend_positions": extend_positions,
}
TOOLS = {
    "convert_checkpoint": convert_checkpoint,
    "released_models": released_models,
}

MRPC = {"task_name": "MRPC", "data_dir": "mrpc"}
# What a training leaves before it begins.
BESIDE = ("bert_config.json", "labels.txt", "vocab.txt")
PREDICT = {"do_train": False, "do_eval": False, "do_predict": True}


@dataclasses.dataclass(frozen=True)
class Case:
    """One thing wrong.

    Attributes:
        tried: what is wrong, in the table's words.
        names: what the message must name.
        spoil: function without arguments that is called in the case's folder.
        flags: changes to the command's `GOOD_FLAGS`; None leaves a flag out.
        arguments: what the command line has besides these flags.
        command: a key of `SCRIPTS` or `TOOLS`.
        leaves: how names of files may begin that the output folder holds
            afterwards: none, where the mistake can be seen before work begins.
        largest_file: bytes; stands in for a disk with no more room.
        is_fine: it looks odd, but the command ends well.
        is_slow: takes seconds; tests that are to be quick leave it out.
    """

    tried: str
    names: tuple[str, ...] = ()
    spoil: Callable[[], object] = lambda: None
    flags: Mapping[str, object] = dataclasses.field(default_factory=dict)
    arguments: tuple[str, ...] = ()
    command: str = "run_classifier"
    leaves: tuple[str, ...] = ()
    largest_file: int = resource.RLIM_INFINITY
    is_fine: bool = False
    is_slow: bool = False


@dataclasses.dataclass(frozen=True)
class Outcome:
    """How a command ended.

    Attributes:
        exit_code: 0 where nothing was wrong with it.
        message: what it printed about the mistake, its own name left out.
        left: names in the output folder.
    """

    exit_code: int
    message: str
    left: tuple[str, ...]


# ------------------------------------------------------------ spoiling things
# Each of these returns a function without arguments, to be called in a case's
# folder.


def write(path, content):
    """Writes a file of text, bytes, or anything else as JSON."""

    def spoil():
        raw = (
            content if isinstance(content, str | bytes) else json.dumps(content)
        )
        raw = raw.encode() if isinstance(raw, str) else raw
        os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
        pathlib.Path(path).write_bytes(raw)

    return spoil


def folder(path):
    """Puts an empty folder there, in place of what may be there."""

    def spoil():
        if os.path.exists(path):
            os.remove(path)
        os.makedirs(path)

    return spoil


def remove(path):
    """Removes a file."""
    return lambda: os.remove(path)


def move(path, target):
    """Gives a file or folder another name."""
    return lambda: os.rename(path, target)


def copy_file(path, target):
    """Copies a file."""
    return lambda: shutil.copyfile(path, target)


def edit(path, change):
    """Changes a file's bytes by a function of them."""

    def spoil():
        file = pathlib.Path(path)
        file.write_bytes(change(file.read_bytes()))

    return spoil


def replace(path, old, new):
    """Replaces bytes wherever they are in a file."""
    return edit(path, lambda raw: raw.replace(old, new))


def append(path, text):
    """Adds text to the end of a file."""
    return edit(path, lambda raw: raw + text.encode())


def cut(path, share):
    """Leaves this share of a file, from its start."""
    return edit(path, lambda raw: raw[: int(len(raw) * share)])


def flip_byte(path, place):
    """Changes all bits of one byte."""

    def change(raw):
        return raw[:place] + bytes([raw[place] ^ 255]) + raw[place + 1 :]

    return edit(path, change)


def line(path, number, text):
    """Replaces a line, counted from 1, by text or bytes."""

    def change(raw):
        lines = raw.split(b"\n")
        lines[number - 1] = text if isinstance(text, bytes) else text.encode()
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


def as_on_windows(path):
    """Gives a text file what Windows does: a byte-order mark, its line ends."""
    return edit(path, lambda raw: b"\xef\xbb\xbf" + raw.replace(b"\n", b"\r\n"))


def squad(path, *questions, context="The old park was made by Ann in 1895 ."):
    """Writes a SQuAD file of one text."""
    paragraph = {"context": context, "qas": list(questions)}
    articles = [{"title": "Park", "paragraphs": [paragraph]}]
    return write(path, {"version": "1.1", "data": articles})


def asked(number=1, *answers, **more):
    """A question of a SQuAD file; its answers as (text, place)."""
    return {
        "id": f"q{number}",
        "question": "Who made the park?",
        "answers": [{"text": t, "answer_start": at} for t, at in answers],
        **more,
    }


def in_turn(*spoils):
    """Does several things, one after the other."""

    def spoil():
        for one in spoils:
            one()

    return spoil


def rows(name, *lines):
    """Replaces data/train.tsv by a file of these lines."""
    return in_turn(remove(TRAIN), write(f"data/{name}", "\n".join(lines)))


def weights(change, prefix=PREFIX):
    """Writes bert/'s weights again, after a function has changed them."""

    def spoil():
        reader = checkpoints.CheckpointReader(PREFIX)
        values = {name: reader.tensor(name) for name in reader.names}
        checkpoints.write(prefix, change(values))

    return spoil


def trained(change):
    """Gives output/ the checkpoint of a training, after step 3."""
    return in_turn(
        weights(change, "output/model.ckpt-3"),
        write("output/checkpoint", 'model_checkpoint_path: "model.ckpt-3"\n'),
    )


def with_classes(number):
    """Changes weights: beside the encoder only a classifier."""

    def change(values):
        encoder = {k: v for k, v in values.items() if k.startswith("bert/")}
        return {
            **encoder,
            "output_weights": np.zeros((number, 128), np.float32),
            "output_bias": np.zeros(number, np.float32),
        }

    return change


def with_span_head(values):
    """Changes weights: a head to answer questions."""
    return {
        **values,
        "cls/squad/output_weights": np.zeros((2, 128), np.float32),
        "cls/squad/output_bias": np.zeros(2, np.float32),
    }


def one_token_type(values):
    """Changes weights: the table of token types has one row."""
    name = "bert/embeddings/token_type_embeddings"
    return {**values, name: values[name][:1]}


def without(scope):
    """Changes weights: none whose name begins so."""
    return lambda values: {
        name: value
        for name, value in values.items()
        if not name.startswith(scope)
    }


def with_nan(values):
    """Changes weights: one column of the embeddings is not a number."""
    values["bert/embeddings/word_embeddings"][:, 0] = np.nan
    return values


def save_half_precision():
    """Adds bert/half.ckpt, of float16."""
    reader = checkpoints.CheckpointReader(PREFIX)
    halves = [reader.tensor(n).astype(np.float16) for n in reader.names]
    tf.raw_ops.SaveV2(
        prefix="bert/half.ckpt",
        tensor_names=reader.names,
        shape_and_slices=[""] * len(halves),
        tensors=halves,
    )


def save_object_based():
    """Adds bert/tf2.ckpt, as TensorFlow 2 writes checkpoints."""
    tf.train.Checkpoint(weights=tf.Variable(1.0)).write("bert/tf2.ckpt")


def hugging_face(**changes):
    """Adds hf/, as transformers saves it, with changes to its config."""

    def spoil():
        checkpoints_hugging_face.to_hf("bert", "hf")
        edit_json("hf/config.json", **changes)()

    return spoil


def hf_labels(id2label):
    """Adds hf/ of a classifier of two labels."""
    return in_turn(weights(with_classes(2)), hugging_face(id2label=id2label))


def hf_tokenizer(content):
    """Adds hf/ with a tokenizer.json instead of its vocab.txt."""
    return in_turn(
        hugging_face(),
        remove("hf/vocab.txt"),
        write("hf/tokenizer.json", content),
    )


def hf_tensors(**changes):
    """Adds hf/, with changes to tensors (`__` for a dot); None removes one."""

    def spoil():
        from safetensors import numpy as safetensors

        hugging_face()()
        path = "hf/model.safetensors"
        values = safetensors.load_file(path)
        values |= {k.replace("__", "."): v for k, v in changes.items()}
        values = {k: v for k, v in values.items() if v is not None}
        safetensors.save_file(values, path)

    return spoil


def write_8_bit_floats():
    """Adds hf/ with one tensor, of a dtype that NumPy has not."""
    hugging_face()()
    entry = {"dtype": "F8_E4M3", "shape": [4], "data_offsets": [0, 4]}
    header = json.dumps({"bert.pooler.dense.bias": entry}).encode()
    size = len(header).to_bytes(8, "little")
    write("hf/model.safetensors", size + header + bytes(4))()


# ------------------------------------------------------------------ the cases


def bad(tried, *names, spoil=lambda: None, leaves=(), **flags):
    """A case of run_classifier."""
    return Case(tried, names, spoil, flags, leaves=leaves)


def odd_word(tried, *names, word):
    """A case of run_classifier with one more word on its command line."""
    return Case(tried, names, arguments=(word,))


def row(tried, *names, path=TRAIN, at, text, **flags):
    """A case of run_classifier in which one row is bad."""
    return bad(
        tried, f"{path}, line {at}", *names, spoil=line(path, at, text), **flags
    )


def jsonl_row(tried, *names, text):
    """A case in which the second line of train.jsonl is bad."""
    lines = ('{"text": "Good.", "label": 1}', text)
    return bad(
        tried,
        "data/train.jsonl, line 2",
        *names,
        spoil=rows("train.jsonl", *lines),
    )


def from_hf(tried, *names, spoil=lambda: None, folder="hf"):
    """A case of `convert_checkpoint from_hf`."""
    words = ("from_hf", folder, "--output", "output")
    return Case(tried, names, spoil, {}, words, "convert_checkpoint")


def to_hf(tried, *names, spoil=lambda: None, more=(), source="bert", **case):
    """A case of `convert_checkpoint to_hf`."""
    words = ("to_hf", source, "--output", "output", *more)
    return Case(tried, names, spoil, {}, words, "convert_checkpoint", **case)


def strip(tried, *names, spoil=lambda: None, source="bert", output, **case):
    """A case of `convert_checkpoint strip`."""
    words = ("strip", source, "--output", output)
    return Case(tried, names, spoil, {}, words, "convert_checkpoint", **case)


def released(tried, *names, words, spoil=lambda: None):
    """A case of released_models."""
    return Case(tried, names, spoil, {}, tuple(words), "released_models")


def download(tried, *names, more=(), **case):
    """A case of `released_models download`."""
    words = ("download", "BERT-Tiny", "--dir", "models", *more)
    return released(tried, *names, words=words, **case)


FLAGS = [
    odd_word(
        "an unknown flag, `--do_lower=False`",
        "'do_lower'",
        "do_lower_case",
        word="--do_lower=False",
    ),
    odd_word(
        "half a flag's name, `--epochs=3`",
        "'epochs'",
        "num_train_epochs",
        word="--epochs=3",
    ),
    bad("`--do_train=maybe`", "--do_train=maybe", do_train="maybe"),
    bad(
        "`--max_seq_length=long`",
        "--max_seq_length=long",
        max_seq_length="long",
    ),
    bad(
        "`--learning_rate=2e-5x`",
        "--learning_rate=2e-5x",
        learning_rate="2e-5x",
    ),
    bad("`--header=maybe`", "--header=maybe", header="maybe"),
    bad("no `--data_dir`", "--data_dir", data_dir=None),
    odd_word(
        "`--flagfile` names no file", "nowhere", word="--flagfile=nowhere"
    ),
    odd_word(
        "`--do_lower_case False`, without `=`",
        "'False'",
        "--do_train=true",
        word="False",
    ),
    bad(
        "nothing to do",
        "do_train",
        "do_eval",
        "do_predict",
        do_train=False,
        do_eval=False,
    ),
    bad("`--task_name=SST-2`", "task_name", "SST-2", task_name="SST-2"),
    bad(
        "`--text_a_col` for a task whose columns are fixed",
        "text_a_col",
        "MRPC",
        **MRPC,
        text_a_col="text",
    ),
    bad(
        "the same column for text and label",
        "text_a_col",
        "label_col",
        text_a_col="text",
        label_col="text",
    ),
    bad(
        "prediction for XNLI, which has no test set",
        "do_predict",
        "xnli",
        task_name="XNLI",
        **PREDICT,
    ),
    bad(
        "`--max_seq_length` above the model's positions",
        "--max_seq_length",
        "512",
        "128",
        max_seq_length=512,
    ),
    *[
        bad(f"`--{name}={value}`", f"--{name}={value}", **{name: value})
        for name, value in [
            ("max_seq_length", 2),
            ("train_batch_size", 0),
            ("eval_batch_size", -8),
            ("eval_batch_size", 10**30),
            ("predict_batch_size", 0),
            ("save_checkpoints_steps", 0),
            ("iterations_per_loop", 0),
            ("learning_rate", -1.0),
            ("learning_rate", "nan"),
            ("learning_rate", "inf"),
            ("num_train_epochs", 0.0),
            ("num_train_epochs", -1.0),
            ("num_train_epochs", "inf"),
            ("warmup_proportion", 1.5),
            ("warmup_proportion", -0.1),
            ("warmup_proportion", "nan"),
            ("seed", -1),
            ("seed", 2**32),
        ]
    ],
    bad(
        "a batch larger than the training set",
        "--train_batch_size=64",
        "12 examples",
        train_batch_size=64,
    ),
    Case(
        "a learning rate with which the loss is soon not a number",
        ("step 1", "nan", "--learning_rate"),
        flags={"learning_rate": 1e30, "warmup_proportion": 0.0},
        leaves=(
            *BESIDE,
            "checkpoint",
            "events.out.tfevents",
            "model.ckpt-0",
            "not_finite_at_step_1.npz",
            "train.tf_record",
        ),
        is_slow=True,
    ),
    bad("`--use_tpu` where there is no TPU", "--use_tpu", use_tpu=True),
    bad(
        "a cased model without `--do_lower_case=False`",
        "--do_lower_case=False",
        "cased_L-12_H-768_A-12",
        spoil=move("bert", "cased_L-12_H-768_A-12"),
        init_checkpoint="cased_L-12_H-768_A-12/bert_model.ckpt",
    ),
]

FILES = [
    bad(
        "`--data_dir` does not exist",
        "data_dir",
        "'nowhere'",
        data_dir="nowhere",
    ),
    bad("`--data_dir` is a file", "data_dir", TRAIN, data_dir=TRAIN),
    bad("`--data_dir` is empty", "data_dir", data_dir=""),
    bad(
        "`--data_dir` lies in a bucket",
        "gs://bucket/reviews",
        data_dir="gs://bucket/reviews",
    ),
    bad(
        "no training file; the folder has something else",
        "train.tsv",
        "training.tsv",
        spoil=move(TRAIN, "data/training.tsv"),
    ),
    bad(
        "two training files",
        "train.tsv",
        "train.csv",
        spoil=write("data/train.csv", "text,label\n"),
    ),
    bad("no dev file", "dev.tsv", spoil=remove(DEV)),
    bad(
        "no test file",
        "test.tsv",
        spoil=remove("data/test.tsv"),
        do_predict=True,
    ),
    bad("the training file is a folder", "train.tsv/", spoil=folder(TRAIN)),
    bad(
        "`--task_name=MRPC`, and files of another layout",
        TRAIN,
        "line 2",
        "5",
        task_name="MRPC",
    ),
    bad("an empty training file", TRAIN, spoil=write(TRAIN, "")),
    bad(
        "a header and nothing else",
        TRAIN,
        "header",
        spoil=write(TRAIN, "text\tlabel\n"),
    ),
    bad(
        "MRPC: a header and nothing else",
        "mrpc/dev.tsv",
        "header",
        spoil=write("mrpc/dev.tsv", "Quality\t#1\t#2\tfirst\tsecond\n"),
        **MRPC,
    ),
    bad(
        "XNLI: no rows in Chinese",
        "xnli/xnli.dev.tsv",
        "zh",
        spoil=write("xnli/xnli.dev.tsv", "language\tlabel\nde\tneutral\n"),
        task_name="XNLI",
        data_dir="xnli",
        do_train=False,
    ),
    bad(
        "a UTF-16 file",
        TRAIN,
        "UTF-16",
        spoil=edit(TRAIN, lambda raw: b"\xff\xfe" + raw),
    ),
    bad(
        "bare carriage returns as line ends",
        TRAIN,
        "carriage returns",
        spoil=replace(TRAIN, b"\n", b"\r"),
    ),
]

ROWS = [
    row("a blank line", "blank", at=4, text=""),
    row("no label", "1 column", at=3, text="The soup was poor."),
    row(
        "a tab in a text",
        "3 columns",
        at=3,
        text="The soup\twas poor.\tnegative",
    ),
    row("an empty label", "label", at=5, text="The soup was poor.\t"),
    row(
        "bytes that are not UTF-8",
        "0xe9",
        at=2,
        text=b"The caf\xe9 was poor.\tnegative",
    ),
    row("a NUL byte", "NUL", at=2, text="The soup\0was poor.\tnegative"),
    bad(
        "bad rows in several places",
        TRAIN,
        "3 bad rows",
        "line 3",
        "line 7",
        "line 9",
        spoil=in_turn(
            line(TRAIN, 3, "The soup was poor."),
            line(TRAIN, 7, ""),
            line(TRAIN, 9, b"The caf\xe9 was poor.\tnegative"),
        ),
    ),
    row(
        "dev: a label that the training file has not",
        "'neutral'",
        "'negative'",
        path=DEV,
        at=2,
        text="The soup was soup.\tneutral",
    ),
    bad(
        "dev: no column of labels",
        DEV,
        "label_col",
        "'text'",
        spoil=write(DEV, "text\nThe soup was poor.\n"),
    ),
    bad(
        "the same label everywhere",
        TRAIN,
        "'positive'",
        "label_col",
        spoil=replace(TRAIN, b"\tnegative", b"\tpositive"),
    ),
    row(
        "MRPC: a short row",
        "5",
        path="mrpc/train.tsv",
        at=3,
        text="1\t2\t3\tOnly one sentence.",
        **MRPC,
    ),
    row(
        "MRPC: an unknown label, in the dev set",
        "'2'",
        path="mrpc/dev.tsv",
        at=4,
        text="2\t1\t2\tA sentence.\tAnother.",
        **MRPC,
    ),
    bad(
        "CoLA: a header, which its files do not have",
        "cola/train.tsv, line 1",
        "header",
        spoil=write(
            "cola/train.tsv", "from\tlabel\tmark\ttext\nx\t1\t\tYes.\n"
        ),
        task_name="CoLA",
        data_dir="cola",
        do_eval=False,
    ),
    bad(
        "csv: a comma in a text without quotes",
        "data/train.csv, line 3",
        "quotes",
        spoil=rows(
            "train.csv", "text,label", "Good.,positive", "Poor, poor.,negative"
        ),
    ),
    bad(
        "csv: a quote that is not closed",
        "data/train.csv, line 3",
        "quoting",
        spoil=rows(
            "train.csv", "text,label", "Good.,positive", '"Poor.,negative'
        ),
    ),
    jsonl_row(
        "jsonl: a line that is not JSON",
        "JSON object",
        text="{'text': 'Poor.', 'label': 0}",
    ),
    jsonl_row(
        "jsonl: a list instead of an object", "JSON object", text='["Poor.", 0]'
    ),
    jsonl_row(
        "jsonl: a key that a line lacks",
        "'label'",
        "label_col",
        text='{"text": "Poor."}',
    ),
    jsonl_row(
        "jsonl: a number for a text",
        "text_a_col",
        "a string",
        text='{"text": 5, "label": 0}',
    ),
    jsonl_row(
        "jsonl: half of a surrogate pair",
        "surrogate",
        text=r'{"text": "Poor \ud83d", "label": 0}',
    ),
    bad(
        "a column name that the header has not",
        "text_a_col",
        "'texts'",
        "'text'",
        text_a_col="texts",
    ),
    bad(
        "a column name that the header has twice",
        "text_a_col",
        "twice",
        spoil=line(TRAIN, 1, "text\ttext"),
    ),
    bad(
        "a column number beyond the last",
        "label_col=7",
        "2 columns",
        text_a_col="0",
        label_col="7",
    ),
    bad(
        "a column name with `--header=no`",
        "text_a_col",
        "no header",
        header="no",
    ),
    bad(
        "columns by number, and what may be a header",
        "`header`",
        "line 1",
        "'label'",
        text_a_col="0",
        label_col="1",
    ),
    bad(
        "commas in a .tsv file",
        TRAIN,
        "tabs",
        spoil=replace(TRAIN, b"\t", b","),
    ),
]

CONFIG = [
    bad(
        "no such file",
        "--bert_config_file",
        "bert/config.json",
        bert_config_file="bert/config.json",
    ),
    bad("a folder", "--bert_config_file", "bert", bert_config_file="bert"),
    bad("another file", VOCAB_FILE, bert_config_file=VOCAB_FILE),
    bad("cut short", CONFIG_FILE, spoil=cut(CONFIG_FILE, 0.5)),
    bad(
        "not UTF-8",
        CONFIG_FILE,
        spoil=write(CONFIG_FILE, b'{"hidden_act": "gel\xfc"}'),
    ),
    bad("a list", CONFIG_FILE, "list", spoil=write(CONFIG_FILE, [])),
    bad(
        "100,000 brackets in brackets",
        CONFIG_FILE,
        spoil=write(CONFIG_FILE, "[" * 100_000),
    ),
    *[
        bad(
            f"`{json.dumps({key: value})[1:-1]}`",
            CONFIG_FILE,
            f"{key}={value!r}",
            spoil=config(**{key: value}),
        )
        for key, value in [
            ("hidden_size", -128),
            ("hidden_size", "128"),
            ("num_hidden_layers", 0),
            ("num_attention_heads", 3),
            ("intermediate_size", 512.0),
            ("hidden_act", "swish"),
            ("hidden_dropout_prob", 1.0),
            ("initializer_range", "0.02"),
        ]
    ],
    bad(
        "a key that means something to Python",
        CONFIG_FILE,
        "`to_dict`",
        spoil=config(to_dict=1),
    ),
    bad(
        "no `vocab_size`",
        CONFIG_FILE,
        "vocab_size",
        spoil=config(vocab_size=None),
    ),
    *[
        bad(
            f"`{key}` {value}, where the checkpoint has {stored}",
            CONFIG_FILE,
            PREFIX,
            f"{key}={value}",
            str(stored),
            spoil=config(**{key: value}),
        )
        for key, value, stored in [
            ("hidden_size", 256, 128),
            ("num_hidden_layers", 1, 2),
            ("num_hidden_layers", 12, 2),
            ("intermediate_size", 3072, 512),
            ("max_position_embeddings", 512, 128),
            ("type_vocab_size", 16, 2),
        ]
    ],
    bad(
        "`vocab_size` and vocab.txt of another model than the checkpoint",
        CONFIG_FILE,
        PREFIX,
        "vocab_size=694",
        "693",
        spoil=in_turn(config(vocab_size=694), append(VOCAB_FILE, "more\n")),
    ),
    bad(
        "a model of one token type, for pairs",
        "type_vocab_size",
        "train-1",
        spoil=in_turn(config(type_vocab_size=1), weights(one_token_type)),
        **MRPC,
    ),
    bad(
        "a model larger than any memory, and no checkpoint",
        "memory",
        str(2**50),
        "--train_batch_size=2",
        "--bert_config_file",
        spoil=config(hidden_size=2**50),
        init_checkpoint=None,
    ),
]

VOCABULARY = [
    bad(
        "no such file",
        "--vocab_file",
        "bert/words.txt",
        vocab_file="bert/words.txt",
    ),
    bad("a folder", "--vocab_file", "bert", vocab_file="bert"),
    bad("empty", VOCAB_FILE, "693", "0 lines", spoil=write(VOCAB_FILE, "")),
    bad(
        "one token too few",
        VOCAB_FILE,
        "693",
        "692 lines",
        spoil=edit(VOCAB_FILE, lambda raw: raw.partition(b"\n")[2]),
    ),
    bad(
        "one token too many: its id would have no embedding",
        VOCAB_FILE,
        "693",
        "694 lines",
        spoil=append(VOCAB_FILE, "more\n"),
    ),
    bad(
        "not UTF-8",
        f"{VOCAB_FILE}, line 600",
        "0xe9",
        spoil=line(VOCAB_FILE, 600, b"caf\xe9"),
    ),
    bad(
        "without [CLS]",
        VOCAB_FILE,
        "[CLS]",
        spoil=line(VOCAB_FILE, 3, "[BEGIN]"),
    ),
    bad(
        "without [UNK]",
        VOCAB_FILE,
        "[UNK]",
        spoil=line(VOCAB_FILE, 2, "[UNKNOWN]"),
    ),
]

CHECKPOINT = [
    bad(
        "no such checkpoint",
        "bert/model.ckpt",
        "bert_model.ckpt.index",
        init_checkpoint="bert/model.ckpt",
    ),
    bad(
        "no such folder",
        "nowhere/bert_model.ckpt",
        init_checkpoint="nowhere/bert_model.ckpt",
    ),
    bad(
        "an empty folder",
        "empty",
        "nothing",
        spoil=folder("empty"),
        init_checkpoint="empty",
    ),
    bad(
        "a folder with two checkpoints",
        PREFIX,
        "bert/second.ckpt",
        spoil=weights(dict, "bert/second.ckpt"),
        init_checkpoint="bert",
    ),
    bad("another file", VOCAB_FILE, init_checkpoint=VOCAB_FILE),
    bad(
        "a zip that is still packed",
        "bert.zip",
        "unzip",
        spoil=write("bert.zip", "PK"),
        init_checkpoint="bert.zip",
    ),
    bad(
        "a PyTorch file",
        "hf/pytorch_model.bin",
        "convert_checkpoint",
        spoil=write("hf/pytorch_model.bin", "PK"),
        init_checkpoint="hf/pytorch_model.bin",
    ),
    bad(
        "a Hugging Face folder",
        "hf",
        "convert_checkpoint",
        spoil=hugging_face(),
        init_checkpoint="hf",
    ),
    bad(
        "TensorFlow 2's object-based format",
        "bert/tf2.ckpt",
        "object-based",
        spoil=save_object_based,
        init_checkpoint="bert/tf2.ckpt",
    ),
    bad("the .data file is missing", WEIGHTS, spoil=remove(WEIGHTS)),
    bad(
        "the .data file is cut short",
        WEIGHTS,
        "2,145,500",
        spoil=cut(WEIGHTS, 0.5),
    ),
    bad(
        "the .data file is a Git LFS pointer",
        WEIGHTS,
        "git lfs pull",
        spoil=write(WEIGHTS, "version https://git-lfs.github.com/spec/v1\n"),
    ),
    bad(
        "one byte of a weight is another",
        PREFIX,
        "bert/encoder/layer_0/intermediate/dense/kernel",
        spoil=flip_byte(WEIGHTS, 900_000),
    ),
    bad("the index is cut short", INDEX, spoil=cut(INDEX, 0.5)),
    bad("the index is empty", INDEX, spoil=write(INDEX, "")),
    bad("one byte of the index is another", INDEX, spoil=flip_byte(INDEX, 300)),
    bad(
        "no name in common with BERT",
        PREFIX,
        "model/bert",
        spoil=weights(lambda v: {f"model/{k}": x for k, x in v.items()}),
    ),
    bad(
        "a classifier of three labels, for data with two",
        PREFIX,
        "`output_weights`",
        "[2, 128]",
        "[3, 128]",
        spoil=weights(with_classes(3)),
    ),
    bad(
        "weights of half precision",
        "bert/half.ckpt",
        "bert/embeddings/word_embeddings",
        "float16",
        spoil=save_half_precision,
        init_checkpoint="bert/half.ckpt",
    ),
    bad(
        "a bracket in its path",
        "be[r]t/bert_model.ckpt",
        spoil=move("bert", "be[r]t"),
        vocab_file="be[r]t/vocab.txt",
        bert_config_file="be[r]t/bert_config.json",
        init_checkpoint="be[r]t/bert_model.ckpt",
    ),
    bad(
        "a path that is not UTF-8",
        r"be\udce9t/bert_model.ckpt",
        init_checkpoint="be\udce9t/bert_model.ckpt",
    ),
    bad(
        "weights that are not numbers",
        PREFIX,
        "bert/embeddings/word_embeddings",
        "not finite",
        spoil=weights(with_nan),
    ),
]

OUTPUT = [
    bad("`--output_dir` is empty", "--output_dir", output_dir=""),
    bad(
        "`--output_dir` is a file",
        "--output_dir",
        "'output'",
        spoil=write("output", "x"),
    ),
    bad(
        "`--output_dir` lies below a file",
        "--output_dir",
        "data/train.tsv/output",
        output_dir="data/train.tsv/output",
    ),
    bad(
        "`--output_dir` where no folder can be made",
        "--output_dir",
        "/proc/output",
        output_dir="/proc/output",
    ),
    bad("a bracket in `--output_dir`", "out[1]", output_dir="out[1]"),
    bad(
        "its `checkpoint` file names what is not there",
        "output/checkpoint",
        "output/model.ckpt-7",
        spoil=write(
            "output/checkpoint", 'model_checkpoint_path: "model.ckpt-7"\n'
        ),
        leaves=("checkpoint",),
    ),
    bad(
        "its `checkpoint` file cannot be read",
        "output/checkpoint",
        spoil=write("output/checkpoint", "model.ckpt-7\n"),
        leaves=("checkpoint",),
    ),
    bad(
        "its only checkpoint is cut short",
        "output/model.ckpt-3.data-00000-of-00001",
        spoil=in_turn(
            trained(with_classes(2)),
            cut("output/model.ckpt-3.data-00000-of-00001", 0.5),
        ),
        leaves=("checkpoint", "model.ckpt-3"),
    ),
    bad(
        "its checkpoint has more labels",
        "output/model.ckpt-3",
        "`output_weights`",
        "[3, 128]",
        spoil=trained(with_classes(3)),
        leaves=("checkpoint", "model.ckpt-3"),
    ),
    bad(
        "its checkpoint is of another task",
        "output/model.ckpt-3",
        "output_weights",
        "--output_dir",
        spoil=trained(dict),
        leaves=("checkpoint", "model.ckpt-3"),
    ),
    bad(
        "its labels.txt has other labels than the training file",
        "output/labels.txt",
        "'bad'",
        "'negative'",
        spoil=write("output/labels.txt", "bad\ngood\n"),
        leaves=("labels.txt",),
    ),
    bad(
        "its labels.txt has a label twice",
        "output/labels.txt",
        "'good'",
        spoil=write("output/labels.txt", "good\ngood\n"),
        leaves=("labels.txt",),
        **PREDICT,
    ),
    bad("no labels.txt to predict with", "output/labels.txt", **PREDICT),
    bad(
        "a folder where train.tf_record is to be written",
        "output/train.tf_record",
        spoil=folder("output/train.tf_record"),
        leaves=(*BESIDE, "train.tf_record"),
    ),
    bad(
        "a folder where eval_results.txt is to be written",
        "output/eval_results.txt",
        spoil=in_turn(
            folder("output/eval_results.txt"),
            write("output/labels.txt", "negative\npositive\n"),
        ),
        leaves=("eval.tf_record", "eval_results.txt", "labels.txt"),
        do_train=False,
    ),
    Case(
        "no room for train.tf_record (files of at most 4,000 bytes)",
        ("output/train.tf_record",),
        flags={"max_seq_length": 128},
        largest_file=4_000,
        leaves=BESIDE,
    ),
    Case(
        "no room for a checkpoint (files of at most 100,000 bytes)",
        ("output/model.ckpt-0",),
        largest_file=100_000,
        leaves=(*BESIDE, "events.out.tfevents", "train.tf_record"),
    ),
]

CONVERTER = [
    Case("no command", ("command",), command="convert_checkpoint"),
    Case(
        "no `--output`",
        ("--output",),
        arguments=("strip", "bert"),
        command="convert_checkpoint",
    ),
    from_hf("from_hf: no such folder", "hf"),
    from_hf("from_hf: an empty folder", "hf/config.json", spoil=folder("hf")),
    from_hf(
        "from_hf: a checkpoint of the original's format",
        "bert/config.json",
        folder="bert",
    ),
    from_hf(
        "from_hf: PyTorch's format only",
        "hf",
        "model.safetensors",
        "pytorch_model.bin",
        spoil=in_turn(
            hugging_face(), move("hf/model.safetensors", "hf/pytorch_model.bin")
        ),
    ),
    from_hf(
        "from_hf: config.json is cut short",
        "hf/config.json",
        spoil=in_turn(hugging_face(), cut("hf/config.json", 0.5)),
    ),
    from_hf(
        "from_hf: not BERT",
        "hf/config.json",
        "model_type",
        "roberta",
        spoil=hugging_face(model_type="roberta"),
    ),
    from_hf(
        "from_hf: another LayerNorm epsilon",
        "hf/config.json",
        "layer_norm_eps=1e-05",
        spoil=hugging_face(layer_norm_eps=1e-5),
    ),
    from_hf(
        "from_hf: an activation that BERT has not",
        "hf/config.json",
        "hidden_act='silu'",
        spoil=hugging_face(hidden_act="silu"),
    ),
    from_hf(
        "from_hf: a size in quotes",
        "hf/config.json",
        "hidden_size='128'",
        spoil=hugging_face(hidden_size="128"),
    ),
    from_hf(
        "from_hf: model.safetensors is cut short",
        "hf/model.safetensors",
        spoil=in_turn(hugging_face(), cut("hf/model.safetensors", 0.5)),
    ),
    from_hf(
        "from_hf: an index of shards without a table of tensors",
        "hf/model.safetensors.index.json",
        "weight_map",
        spoil=in_turn(
            hugging_face(),
            remove("hf/model.safetensors"),
            write("hf/model.safetensors.index.json", {"metadata": {}}),
        ),
    ),
    from_hf(
        "from_hf: floats of 8 bits",
        "hf/model.safetensors",
        "bert.pooler.dense.bias",
        "F8_E4M3",
        spoil=write_8_bit_floats,
    ),
    from_hf(
        "from_hf: a tensor is missing",
        "hf",
        "bert/pooler/dense/bias",
        spoil=hf_tensors(bert__pooler__dense__bias=None),
    ),
    from_hf(
        "from_hf: a tensor that BERT has not",
        "hf",
        "bert.pooler.gate",
        spoil=hf_tensors(bert__pooler__gate=np.zeros(1, np.float32)),
    ),
    from_hf(
        "from_hf: a tensor of a wrong shape",
        "hf",
        "bert.pooler.dense.bias",
        "[128]",
        "[64]",
        spoil=hf_tensors(bert__pooler__dense__bias=np.zeros(64, np.float32)),
    ),
    from_hf(
        "from_hf: labels that are not numbered",
        "hf/config.json",
        "id2label",
        spoil=hf_labels({"good": 0, "bad": 1}),
    ),
    from_hf(
        "from_hf: labels as a list",
        "hf/config.json",
        "id2label",
        spoil=hf_labels(["good", "bad"]),
    ),
    from_hf(
        "from_hf: a label twice",
        "hf/config.json",
        "id2label",
        spoil=hf_labels({"0": "good", "1": "good"}),
    ),
    from_hf(
        "from_hf: a tokenizer_config.json that is a list",
        "hf/tokenizer_config.json",
        spoil=in_turn(hugging_face(), write("hf/tokenizer_config.json", [])),
    ),
    from_hf(
        "from_hf: no vocabulary",
        "hf",
        "vocab.txt",
        spoil=in_turn(hugging_face(), remove("hf/vocab.txt")),
    ),
    from_hf(
        "from_hf: a tokenizer.json of another kind",
        "hf/tokenizer.json",
        "'BPE'",
        spoil=hf_tokenizer({"model": {"type": "BPE"}}),
    ),
    from_hf(
        "from_hf: a tokenizer.json without a vocabulary",
        "hf/tokenizer.json",
        "vocab",
        spoil=hf_tokenizer({"model": {"type": "WordPiece"}}),
    ),
    dataclasses.replace(
        from_hf(
            "from_hf: the output is there already",
            "output/bert_model.ckpt.index",
            "--overwrite",
            spoil=in_turn(
                hugging_face(), write("output/bert_model.ckpt.index", "x")
            ),
        ),
        leaves=("bert_model.ckpt.index",),
    ),
    to_hf("to_hf: no such checkpoint", "nowhere", source="nowhere"),
    to_hf(
        "to_hf: no config beside the checkpoint",
        CONFIG_FILE,
        spoil=remove(CONFIG_FILE),
    ),
    to_hf(
        "to_hf: a vocabulary of another length",
        VOCAB_FILE,
        "694 lines",
        spoil=append(VOCAB_FILE, "more\n"),
    ),
    to_hf(
        "to_hf: a head that the checkpoint has not",
        PREFIX,
        "output_weights",
        more=("--head", "classifier"),
    ),
    to_hf(
        "to_hf: an activation that transformers has not",
        "hidden_act='swish'",
        more=("--hidden_act", "swish"),
    ),
    to_hf(
        "to_hf: one byte of a weight is another",
        PREFIX,
        "bert/encoder/layer_0/intermediate/dense/kernel",
        spoil=flip_byte(WEIGHTS, 900_000),
    ),
    to_hf("to_hf: the output is a file", "output", spoil=write("output", "x")),
    to_hf(
        "to_hf: no room on the disk (files of at most 100,000 bytes)",
        "output/model.safetensors",
        leaves=("vocab.txt",),
        largest_file=100_000,
    ),
    strip("strip: the output is a folder", "bert", "prefix", output="bert"),
    strip("strip: the output ends in a slash", "'new/'", output="new/"),
    strip(
        "strip: the output is the checkpoint itself",
        INDEX,
        "--overwrite",
        output=PREFIX,
    ),
    strip(
        "strip: nothing but optimizer slots",
        "slots/slots.ckpt",
        "weights",
        spoil=weights(
            lambda values: {"bias/adam_m": np.zeros(1, np.float32)},
            "slots/slots.ckpt",
        ),
        source="slots/slots.ckpt",
        output="output/slots.ckpt",
    ),
    strip(
        "strip: no room on the disk (files of at most 100,000 bytes)",
        "output/bert_model.ckpt",
        output="output/bert_model.ckpt",
        largest_file=100_000,
    ),
]

RELEASED = [
    released(
        "a name that no model has",
        "'BERT-Tinny'",
        "'BERT-Tiny'",
        words=("download", "BERT-Tinny"),
    ),
    released(
        "`--timeout=0`",
        "--timeout",
        "'0'",
        words=("download", "BERT-Tiny", "--timeout=0"),
    ),
    download(
        "download: not an address", "'model.zip'", more=("--url", "model.zip")
    ),
    download(
        "download: nobody answers",
        "http://127.0.0.1:9/model.zip",
        more=("--url", "http://127.0.0.1:9/model.zip", "--retries=0"),
    ),
    download(
        "download: `--dir` is a file", "models", spoil=write("models", "x")
    ),
    download(
        "download: the model's folder holds something else",
        "models/uncased_L-2_H-128_A-2",
        spoil=folder("models/uncased_L-2_H-128_A-2"),
    ),
    released(
        "verify: a model that is not there",
        "models",
        "download uncased_L-2_H-128_A-2",
        words=("verify", "BERT-Tiny", "--dir", "models"),
    ),
    released(
        "verify: a folder that is called like no model",
        "bert",
        "--model",
        words=("verify", "bert"),
    ),
    released(
        "verify: another model",
        "vocab.txt",
        "bert_config.json",
        "vocab_size must be 30522",
        words=("verify", "bert", "--model", "BERT-Tiny"),
    ),
]


def of(command):
    """A function that makes cases of a command with flags."""

    def case(tried, *names, spoil=lambda: None, leaves=(), is_fine=False, **f):
        return Case(
            tried,
            names,
            spoil,
            f,
            command=command,
            leaves=leaves,
            is_fine=is_fine,
        )

    return case


ask_squad, ask = of("run_squad"), of("answer")
ANSWER = ("Ann", 25)
UNKNOWN = "squad/unknown.json"

SQUAD = [
    ask_squad(
        "nothing to do",
        "do_train",
        "do_predict",
        do_train=False,
        do_predict=False,
    ),
    ask_squad("no `--train_file`", "train_file", train_file=None),
    ask_squad("no `--predict_file`", "predict_file", predict_file=None),
    ask_squad(
        "`--train_file` is not there",
        "--train_file",
        "nowhere.json",
        train_file="nowhere.json",
    ),
    ask_squad(
        "`--predict_file` is a folder",
        "--predict_file",
        "squad",
        predict_file="squad",
    ),
    ask_squad(
        "the file to train on is cut short",
        SQUAD_TRAIN,
        "line 1",
        spoil=cut(SQUAD_TRAIN, 0.5),
    ),
    ask_squad(
        "the file to predict is not UTF-8",
        SQUAD_DEV,
        "UTF-8",
        spoil=replace(SQUAD_DEV, b"Ann", b"\xe9nn"),
    ),
    ask_squad(
        "a list instead of an object",
        SQUAD_TRAIN,
        "'data'",
        spoil=write(SQUAD_TRAIN, []),
    ),
    ask_squad(
        "a text without questions",
        f"{SQUAD_DEV}: data[0].paragraphs[0]",
        "'qas'",
        spoil=replace(SQUAD_DEV, b'"qas"', b'"questions"'),
    ),
    ask_squad("no questions at all", SQUAD_DEV, spoil=squad(SQUAD_DEV)),
    ask_squad(
        "a number for a question",
        SQUAD_DEV,
        "qas[0]",
        "'q1'",
        spoil=squad(SQUAD_DEV, asked(1, ANSWER, question=7)),
    ),
    ask_squad(
        "two questions of one id to predict",
        SQUAD_DEV,
        "'q1'",
        spoil=squad(SQUAD_DEV, asked(1, ANSWER), asked(1, ANSWER)),
    ),
    ask_squad(
        "two answers to train on",
        SQUAD_TRAIN,
        "'q1'",
        "has 2",
        spoil=squad(SQUAD_TRAIN, asked(1, ANSWER, ANSWER)),
    ),
    ask_squad(
        "no answer to train on",
        SQUAD_TRAIN,
        "'q1'",
        "--version_2_with_negative=true",
        spoil=squad(SQUAD_TRAIN, asked(1)),
    ),
    ask_squad(
        "a file of SQuAD 1.1 with `--version_2_with_negative`",
        SQUAD_TRAIN,
        "is_impossible",
        version_2_with_negative=True,
    ),
    ask_squad(
        "an answer that is nowhere near its place, with `--on_bad_answer=stop`",
        SQUAD_TRAIN,
        "'q1'",
        "'Bob'",
        spoil=squad(SQUAD_TRAIN, asked(1, ("Bob", 25))),
        on_bad_answer="stop",
    ),
    ask_squad(
        "no answer is at its place",
        SQUAD_TRAIN,
        "No question",
        spoil=squad(SQUAD_TRAIN, asked(1, ("Bob", 25))),
    ),
    ask_squad(
        "an answer behind the end of the text",
        SQUAD_TRAIN,
        "'q1'",
        spoil=squad(SQUAD_TRAIN, asked(1, ("Ann", 2500))),
        on_bad_answer="stop",
    ),
    ask_squad(
        "`--on_bad_answer=drop`",
        "on_bad_answer=drop",
        "skip",
        on_bad_answer="drop",
    ),
    ask_squad(
        "`--max_seq_length` above the model's positions",
        "512",
        "128",
        "--max_seq_length",
        max_seq_length=512,
    ),
    ask_squad(
        "`--max_seq_length` with no room beside the question",
        "max_seq_length (19)",
        "max_query_length (16)",
        max_seq_length=19,
    ),
    *[
        ask_squad(f"`--{flag}={value}`", flag, str(value), **{flag: value})
        for flag, value in [
            ("doc_stride", 0),
            ("max_query_length", 0),
            ("train_batch_size", 0),
            ("predict_batch_size", -1),
            ("n_best_size", 0),
            ("max_answer_length", 0),
            ("learning_rate", "nan"),
            ("num_train_epochs", -1.0),
            ("warmup_proportion", 1.5),
            ("seed", -1),
            ("null_score_diff_threshold", "often"),
            ("null_score_diff_threshold", "nan"),
        ]
    ],
    ask_squad(
        "`--null_score_diff_threshold=auto` without "
        "`--version_2_with_negative`",
        "--null_score_diff_threshold=auto",
        "--version_2_with_negative",
        null_score_diff_threshold="auto",
    ),
    ask_squad(
        "`--null_score_diff_threshold=auto`, no right answers, and none "
        "chosen before",
        SQUAD_DEV,
        "output/null_score_diff_threshold.txt",
        do_train=False,
        version_2_with_negative=True,
        null_score_diff_threshold="auto",
        spoil=squad(SQUAD_DEV, asked(1)),
    ),
    ask_squad(
        "a kept threshold that is no number",
        "output/null_score_diff_threshold.txt",
        "'high'",
        do_train=False,
        version_2_with_negative=True,
        null_score_diff_threshold="auto",
        leaves=("null_score",),
        spoil=in_turn(
            squad(SQUAD_DEV, asked(1)),
            write("output/null_score_diff_threshold.txt", "high\n"),
        ),
    ),
    ask_squad(
        "a model of one token type",
        "type_vocab_size",
        "1",
        spoil=in_turn(config(type_vocab_size=1), weights(one_token_type)),
    ),
    ask_squad(
        "a batch larger than the training set",
        "8 examples",
        "--train_batch_size=9",
        train_batch_size=9,
    ),
    ask_squad(
        "the output folder has another vocab.txt",
        "output/vocab.txt",
        VOCAB_FILE,
        "line 694",
        leaves=BESIDE,
        spoil=in_turn(
            folder("output"),
            copy_file(VOCAB_FILE, "output/vocab.txt"),
            append("output/vocab.txt", "[more]\n"),
        ),
    ),
    ask_squad(
        "the output folder has another bert_config.json",
        "output/bert_config.json",
        CONFIG_FILE,
        "hidden_act",
        leaves=BESIDE,
        spoil=in_turn(
            folder("output"),
            copy_file(CONFIG_FILE, "output/bert_config.json"),
            edit_json("output/bert_config.json", hidden_act="relu"),
        ),
    ),
    ask_squad(
        "a folder where predictions.json is to be written",
        "output/predictions.json",
        do_train=False,
        leaves=("eval.tf_record", "nbest_predictions.json", "predictions.json"),
        spoil=folder("output/predictions.json"),
    ),
]

HEAD = weights(with_span_head)
ANSWERS = [
    ask(
        "a checkpoint that cannot answer questions",
        PREFIX,
        "cls/squad/output_weights",
        "run_squad",
    ),
    ask("no such checkpoint", "nowhere", checkpoint="nowhere"),
    ask(
        "no vocab.txt beside the checkpoint",
        PREFIX,
        "--vocab_file",
        spoil=remove(VOCAB_FILE),
    ),
    ask(
        "no bert_config.json beside the checkpoint",
        PREFIX,
        "--bert_config_file",
        spoil=remove(CONFIG_FILE),
    ),
    ask(
        "`--vocab_file` is not there",
        "--vocab_file",
        "words.txt",
        vocab_file="words.txt",
    ),
    ask(
        "neither `--question` nor `--input_file`",
        "--question",
        "--input_file",
        question=None,
        context_file=None,
    ),
    ask(
        "both `--question` and `--input_file`",
        "--question",
        "--input_file",
        input_file=QUESTIONS,
    ),
    ask("`--question` without a text", "--context_file", context_file=None),
    ask(
        "a text that is not there",
        "--context_file",
        "nowhere.txt",
        context_file="nowhere.txt",
    ),
    ask(
        "a text without words",
        "--context_file",
        TEXT,
        spoil=write(TEXT, " \n\n"),
    ),
    ask(
        "a text that is not UTF-8",
        "--context_file",
        TEXT,
        "UTF-8",
        spoil=replace(TEXT, b"Ann", b"\xe9nn"),
    ),
    ask(
        "a text of which the tokenizer leaves nothing",
        "contexts[0]",
        "\\u200b",
        spoil=in_turn(HEAD, write(TEXT, "\u200b\u200b")),
    ),
    ask("a blank question", "question", "' '", question=" "),
    ask(
        "a question of which the tokenizer leaves nothing",
        "question",
        question="\u200b",
        spoil=HEAD,
    ),
    *[
        ask(
            tried,
            f"{QUESTIONS}, line 2",
            *names,
            question=None,
            context_file=None,
            input_file=QUESTIONS,
            spoil=append(QUESTIONS, f"\n{text}\n"),
        )
        for tried, text, *names in [
            ("a line that is not JSON", "Who?", "'Who?'"),
            ("a line without a question", '{"context": "Ann."}', '"question"'),
            ("a line without a text", '{"question": "Who?"}', '"contexts"'),
            (
                "a line with both kinds of text",
                '{"question": "Who?", "context": "Ann.", "contexts": ["Ann."]}',
                'either "context" or "contexts"',
            ),
            (
                "a line with one text for many",
                '{"question": "Who?", "contexts": "Ann."}',
                '"contexts"',
            ),
            (
                "a line with a number among its texts",
                '{"question": "Who?", "contexts": ["Ann.", 7]}',
                "place 1",
            ),
        ]
    ],
    ask(
        "an empty `--input_file`",
        QUESTIONS,
        question=None,
        context_file=None,
        input_file=QUESTIONS,
        spoil=write(QUESTIONS, ""),
    ),
    ask(
        "`--output_file` is the input",
        QUESTIONS,
        question=None,
        context_file=None,
        input_file=QUESTIONS,
        output_file=QUESTIONS,
    ),
    ask("`--output_file` is a folder", "bert", output_file="bert", spoil=HEAD),
    *[
        ask(f"`--{flag}={value}`", flag, str(value), **{flag: value})
        for flag, value in [
            ("num_answers", 0),
            ("batch_size", 0),
            ("max_answer_length", 0),
            ("max_query_length", 0),
            ("doc_stride", 0),
            ("max_seq_length", 512),
            ("max_seq_length", 19),
            ("null_score_diff_threshold", 1.5),
        ]
    ],
    ask(
        "`--null_score_diff_threshold=auto`, and none kept",
        "bert/null_score_diff_threshold.txt",
        "run_squad",
        version_2_with_negative=True,
        null_score_diff_threshold="auto",
    ),
    ask(
        "a kept threshold that is no number",
        "bert/null_score_diff_threshold.txt",
        "'high'",
        version_2_with_negative=True,
        null_score_diff_threshold="auto",
        spoil=write("bert/null_score_diff_threshold.txt", "high\n"),
    ),
    ask(
        "a model of one token type",
        "type_vocab_size",
        "1",
        spoil=in_turn(config(type_vocab_size=1), weights(one_token_type)),
    ),
]

features_of = of("extract_features")
FEATURES = [
    features_of(
        "no such text", "--input_file", "nowhere.txt", input_file="nowhere.txt"
    ),
    features_of("an empty text", "--input_file", LINES, spoil=write(LINES, "")),
    features_of(
        "a text that is not UTF-8",
        LINES,
        "line 1",
        spoil=replace(LINES, b"old", b"\xe9ld"),
    ),
    features_of(
        "a pipe",
        "--input_file",
        "twice",
        "pipe",
        spoil=lambda: os.mkfifo("pipe"),
        input_file="pipe",
    ),
    features_of("`--output_file` is the text", LINES, output_file=LINES),
    features_of(
        "`--output_file` is a folder",
        "--output_file",
        "bert",
        output_file="bert",
    ),
    features_of(
        "`--output_file` lies below a file",
        "--output_file",
        LINES,
        output_file=f"{LINES}/vectors.jsonl",
    ),
    *[
        features_of(f"`--{flag}={value}`", flag, str(value), **{flag: value})
        for flag, value in [
            ("layers", "last"),
            ("layers", "-3"),
            ("layers", "2"),
            ("layers", ""),
            ("pooling", "sum"),
            ("pooling", "concat_last_4"),
            ("output_format", "csv"),
            ("batch_size", 0),
            ("max_seq_length", 2),
            ("max_seq_length", 129),
            ("doc_stride", 0),
            ("doc_stride", 100),
        ]
    ],
    features_of(
        "`--float16` with JSON", "--float16", "--output_format", float16=True
    ),
    features_of(
        "`--layers` with a pooling that says which",
        "--layers",
        "--pooling=second_to_last_mean",
        pooling="second_to_last_mean",
    ),
    features_of("no such checkpoint", "nowhere", init_checkpoint="nowhere"),
    features_of(
        "a layer of the encoder is missing",
        PREFIX,
        "bert/encoder/layer_1/output/dense/bias",
        spoil=weights(without("bert/encoder/layer_1/output/dense/bias")),
    ),
    features_of(
        "weights that are not numbers",
        PREFIX,
        "bert/embeddings/word_embeddings",
        spoil=weights(with_nan),
    ),
    features_of(
        "pairs, and a model of one token type",
        "type_vocab_size",
        spoil=in_turn(config(type_vocab_size=1), weights(one_token_type)),
    ),
    features_of(
        "the vocabulary lacks [SEP]",
        VOCAB_FILE,
        "[SEP]",
        spoil=replace(VOCAB_FILE, b"[SEP]", b"[END]"),
    ),
    dataclasses.replace(
        features_of(
            "no room on the disk (files of at most 100 bytes)",
            "output/vectors.jsonl",
        ),
        largest_file=100,
    ),
]

fill, rate = of("fill_mask"), of("score")
LANGUAGE = [
    case
    for make in (fill, rate)
    for name in [make("").command]
    for case in [
        make(
            f"{name}: neither `--text` nor `--input_file`",
            "--text",
            "--input_file",
            text=None,
        ),
        make(
            f"{name}: both `--text` and `--input_file`",
            "--text",
            "--input_file",
            input_file=LINES,
        ),
        make(
            f"{name}: no such file of texts",
            "--input_file",
            "nowhere.txt",
            text=None,
            input_file="nowhere.txt",
        ),
        make(
            f"{name}: a file that is not UTF-8",
            LINES,
            "line 1",
            text=None,
            input_file=LINES,
            spoil=replace(LINES, b"old", b"\xe9ld"),
        ),
        make(
            f"{name}: `--output_file` is the input",
            LINES,
            text=None,
            input_file=LINES,
            output_file=LINES,
            spoil=write(LINES, "the [MASK] .\n"),
        ),
        make(
            f"{name}: `--output_file` is a folder", "bert", output_file="bert"
        ),
        make(
            f"{name}: no masked-LM head",
            "bert",
            "masked-LM head",
            "cls/predictions/output_bias",
            spoil=weights(without("cls/predictions")),
        ),
        make(
            f"{name}: no vocab.txt beside the checkpoint",
            PREFIX,
            "--vocab_file",
            spoil=remove(VOCAB_FILE),
        ),
        make(
            f"{name}: the vocabulary lacks [MASK]",
            VOCAB_FILE,
            "[MASK]",
            spoil=replace(VOCAB_FILE, b"[MASK]", b"[GAP]"),
        ),
        make(
            f"{name}: `--max_seq_length=129`",
            "max_seq_length=129",
            "128",
            max_seq_length=129,
        ),
        make(f"{name}: `--batch_size=0`", "--batch_size=0", batch_size=0),
    ]
] + [
    fill(
        "fill_mask: a text without [MASK]",
        "[MASK]",
        "text 1",
        "'the park'",
        text="the park",
    ),
    fill("fill_mask: `--top_k=0`", "--top_k=0", top_k=0),
    rate(
        "score: a pair, and no next-sentence head",
        "next-sentence head",
        "cls/seq_relationship/output_weights",
        text="old ||| very old",
        spoil=weights(without("cls/seq_relationship")),
    ),
    rate(
        "score: a pair of which the tokenizer leaves half",
        "\\u200b",
        text="\u200b ||| very old",
    ),
]

extend = of("extend_positions")
POSITIONS = [
    extend("no such checkpoint", "nowhere", init_checkpoint="nowhere"),
    extend(
        "no `--max_position_embeddings`",
        "--max_position_embeddings",
        max_position_embeddings=None,
    ),
    extend(
        "as many positions as there are",
        "--max_position_embeddings=128",
        "above 128",
        max_position_embeddings=128,
    ),
    extend(
        "more positions than hierarchical ones can be",
        "16384",
        "--max_position_embeddings=16385",
        new_positions="hierarchical",
        max_position_embeddings=16385,
    ),
    extend(
        "`--new_positions=random`",
        "new_positions=random",
        "repeat",
        new_positions="random",
    ),
    extend(
        "`--output_dir` holds something",
        "--output_dir",
        "output",
        spoil=write("output/labels.txt", "x"),
        leaves=("labels.txt",),
    ),
    extend(
        "`--output_dir` is a file",
        "--output_dir",
        "output",
        spoil=write("output", "x"),
    ),
    extend(
        "`--output_dir` lies below a file",
        "--output_dir",
        TEXT,
        output_dir=f"{TEXT}/new",
    ),
    extend(
        "no bert_config.json beside the checkpoint",
        "--bert_config_file",
        spoil=remove(CONFIG_FILE),
    ),
    extend(
        "no vocab.txt beside the checkpoint",
        "--vocab_file",
        spoil=remove(VOCAB_FILE),
    ),
    extend(
        "a config of another model",
        CONFIG_FILE,
        PREFIX,
        "hidden_size",
        spoil=config(hidden_size=64),
    ),
    extend(
        "no positions in the checkpoint",
        PREFIX,
        "bert/embeddings/position_embeddings",
        spoil=weights(without("bert/embeddings/position_embeddings")),
    ),
    extend(
        "one byte of a weight is another",
        PREFIX,
        "bert/encoder/layer_0/intermediate/dense/kernel",
        spoil=flip_byte(WEIGHTS, 900_000),
    ),
    extend(
        "more positions than any memory holds",
        "memory",
        "--max_position_embeddings",
        max_position_embeddings=2**40,
    ),
    dataclasses.replace(
        extend(
            "no room on the disk (files of at most 100,000 bytes)", "output"
        ),
        largest_file=100_000,
    ),
]

FINE = [
    Case(
        "dev.csv with a byte-order mark, Windows line ends, a line break in "
        "quotes and a text of 200,000 characters; vocab.txt with Windows line "
        "ends",
        spoil=in_turn(
            remove(DEV),
            write("data/dev.csv", 'text,label\n"Poor,\npoor.",negative\n'),
            append("data/dev.csv", "good " * 40_000 + ",positive\n"),
            as_on_windows("data/dev.csv"),
            replace(VOCAB_FILE, b"\n", b"\r\n"),
            write("output/labels.txt", "negative\npositive\n"),
        ),
        flags={"do_train": False},
        is_fine=True,
    ),
]

GROUPS = {
    "Flags": FLAGS,
    "Data files": FILES,
    "Rows and columns": ROWS,
    "bert_config.json": CONFIG,
    "vocab.txt": VOCABULARY,
    "The initial checkpoint": CHECKPOINT,
    "The output folder": OUTPUT,
    "convert_checkpoint": CONVERTER,
    "released_models": RELEASED,
    "run_squad": SQUAD,
    "answer": ANSWERS,
    "extract_features": FEATURES,
    "fill_mask and score": LANGUAGE,
    "extend_positions": POSITIONS,
    "Odd, but no mistake": FINE,
}


# ---------------------------------------------------------------- running them


def prepare():
    """Fills the current folder with inputs in which nothing is wrong."""
    shutil.copytree(SMALL_MODEL, "bert")
    answer_at = ("Ann", 25)
    squad(SQUAD_TRAIN, *(asked(n, answer_at) for n in range(8)))()
    squad(SQUAD_DEV, asked(1, answer_at), asked(2, answer_at))()
    write(TEXT, "The old park was made by Ann in 1895 .\n")()
    write(LINES, "the park is old .\nhow old ? ||| very old .\n")()
    write(QUESTIONS, {"question": "Who?", "context": "Ann made it."})()
    for source, target, kept in (("reviews", "data", 13), ("mrpc", "mrpc", 9)):
        os.mkdir(target)
        for name in ("train.tsv", "dev.tsv", "test.tsv"):
            lines = (SAMPLES / source / name).read_bytes().split(b"\n")
            text = b"\n".join(lines[:kept]) + b"\n"
            pathlib.Path(target, name).write_bytes(text)


def run_case(case):
    """Spoils the inputs and runs the command, in a folder of its own.

    Returns:
        An `Outcome`. An exception that the command does not report goes
        through.
    """
    with tempfile.TemporaryDirectory() as place, contextlib.chdir(place):
        prepare()
        case.spoil()
        printed = io.StringIO()
        with (
            contextlib.redirect_stdout(printed),
            contextlib.redirect_stderr(printed),
            _files_of_at_most(case.largest_file),
        ):
            code = _run_command(case)
        left = os.listdir("output") if os.path.isdir("output") else ()
    message = _message(printed.getvalue()) if code else ""
    return Outcome(code, message, tuple(sorted(left)))


@contextlib.contextmanager
def _files_of_at_most(size):
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def _run_command(case):
    """Runs the command line of a case; returns the exit code."""
    argv = [f"{case.command}.py", *_flags_of(case), *case.arguments]
    with mock.patch.object(sys, "argv", argv):
        try:
            if case.command in TOOLS:
                return TOOLS[case.command].cli() or 0
            return _run_script(SCRIPTS[case.command]) or 0
        except SystemExit as stop:
            if isinstance(stop.code, str):  # As Python does at the end.
                print(stop.code, file=sys.stderr)
                return 1
            return stop.code or 0


def _flags_of(case):
    values = {**GOOD_FLAGS.get(case.command, {}), **case.flags}
    return [f"--{k}={v}" for k, v in values.items() if v is not None]


def _run_script(script):
    """What the script's `cli` does, but with flags of its own.

    absl has one set of flags in a process, and parses them once.
    """
    values = flags.FlagValues()
    script.define_flags(values)
    flags.DEFINE_string("flagfile", "", "", flag_values=values)
    arguments = command_line.parse_or_exit(values, sys.argv)[1:]
    command_line.finish(script.main, values, arguments)


def _message(printed):
    """The message in all that a command printed, without the command's name."""
    start = re.search(r"^([\w. -]+: error: |Error: )", printed, re.M)
    return printed[start.end() if start else 0 :].strip()


def faults(case, outcome):
    """What is not as it should be with an outcome, in words; [] if all is."""
    found = [
        f"the message does not name {name!r}: {outcome.message}"
        for name in case.names
        if name not in outcome.message
    ]
    if bool(outcome.exit_code) == case.is_fine:
        found.append(f"it ended with {outcome.exit_code}: {outcome.message}")
    if "Traceback" in outcome.message:
        found.append("there is a traceback")
    begun = [n for n in outcome.left if not n.startswith(case.leaves)]
    if begun and not case.is_fine:
        found.append(f"work had begun: {', '.join(begun)}")
    return found


# ------------------------------------------------------------------- the table


def render(messages):
    """The text of docs/errors.md.

    Args:
        messages: for each group the messages of its cases, "" for none.
    """
    number = sum(len(cases) for cases in GROUPS.values())
    text = [
        "# Bad inputs, and what is said about them",
        f"`benchmarks/bad_inputs.py` tries these {number} inputs and writes "
        "this file; the tests\ntry them again. A mistake ends a command with "
        "the message shown and an exit code\nof 1 (2 where a command line "
        "cannot be parsed), before any work begins, unless\nthe mistake can "
        "only be seen later, as that of a full disk.",
        "In each of them one thing is wrong. `data/` holds texts with labels, "
        "`mrpc/` a few\npairs in the layout of MRPC, `squad/` questions, "
        "`texts/` plain text, `bert/` a\nsmall checkpoint, `hf/` the same "
        "checkpoint as transformers saves it. The command\nis "
        "run_classifier, where no other is named.",
    ]
    for group, cases in GROUPS.items():
        lines = [f"## {group}\n", "| tried | message |", "|---|---|"]
        lines += map(table_row, cases, messages[group])
        text.append("\n".join(lines))
    return "\n\n".join(text) + "\n"


def table_row(case, message):
    """One case in the table."""
    for character in "\\|*<":
        message = message.replace(character, f"\\{character}")
    message = message.replace("\n", "<br>")
    return f"| {case.tried} | {message or 'none: it ends well'} |"


def try_case(case):
    """The message of a case; what is wrong with it is printed.

    Returns:
        (message, whether all is as it should be).
    """
    try:
        outcome = run_case(case)
    except Exception:
        print(f"FAILED: {case.tried}: a traceback")
        traceback.print_exc()
        return "", False
    wrong = faults(case, outcome)
    for fault in wrong:
        print(f"FAILED: {case.tried}: {fault}")
    return outcome.message, not wrong


def main():
    """Runs the cases; writes the table, or prints what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--only", help="only cases that have this text")
    only = parser.parse_args().only
    messages, all_is_well, number = {}, True, 0
    for group, cases in GROUPS.items():
        messages[group] = []
        for case in cases:
            if only is not None and only not in case.tried:
                continue
            message, is_well = try_case(case)
            messages[group].append(message)
            all_is_well &= is_well
            number += 1
            if only is not None:
                print(f"{group}: {case.tried}\n  {message}")
    if only is None:
        TABLE.parent.mkdir(exist_ok=True)
        TABLE.write_text(render(messages), encoding="utf-8")
        print(f"{number} cases; wrote {TABLE.relative_to(ROOT)}.")
    return 0 if all_is_well else 1


if __name__ == "__main__":
    sys.exit(main())
