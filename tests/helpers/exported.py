"""SavedModels of the small checkpoints, each written once for all tests."""

import fcntl
import functools
import os
import pathlib
import shutil
import tempfile

import numpy as np
import pytest
import tensorflow as tf

from bert_tf import checkpoints
from bert_tf.checkpoints import folder_settings
from bert_tf.checkpoints.folder_settings import FolderSettings
from bert_tf.exports.settings import Source
from bert_tf.tasks.choices.served import export_choices
from bert_tf.tasks.classification.served import export_classifier
from bert_tf.tasks.classification.targets import ManyLabels
from bert_tf.tasks.ner.served import export_tokens
from bert_tf.tasks.pretraining.served import export_pretraining
from bert_tf.tasks.several_served import export_several
from bert_tf.tasks.squad.served import export_span
from bert_tf.tasks.vectors.served import export_features
from helpers.golden import DATA, TINY, read_variables
from helpers.paths import EXPORTS_VARIABLE

# For as long as the process runs.
_OWN = tempfile.TemporaryDirectory(prefix="bert_tf_choices_")


def _write_choices():
    """A checkpoint with a random head for multiple choice; its prefix."""
    values = {
        name: value
        for name, value in read_variables(TINY).items()
        if name.startswith("bert/")
    }
    width = len(values["bert/pooler/dense/bias"])
    rng = np.random.default_rng(5)
    values["output_weights"] = rng.normal(size=(1, width)).astype("float32")
    values["output_bias"] = np.ones(1, "float32")
    return checkpoints.save(_OWN.name, 0, values)


def write_head(folder, head, label_type, labels, seed, pooler=True, **noted):
    """A folder as training leaves it, with a random head on one encoder.

    Args:
        folder: a path that is not there yet.
        head: what it is trained for.
        label_type: what a classifier predicts.
        labels: names of labels; a number has none.
        seed: of the head.
        pooler: whether it has the pooler of others.
        **noted: further settings in bert_tf.json.
    """
    folder.mkdir(parents=True)
    file = DATA / "run_classifier" / "tiny_classifier3" / "model.ckpt"
    values = read_variables(file)
    rng = np.random.default_rng(seed)
    width = len(values["bert/pooler/dense/bias"])
    shape = max(len(labels), 1), width
    values["output_weights"] = (rng.normal(size=shape) / 5).astype("float32")
    values["output_bias"] = rng.normal(size=shape[0]).astype("float32")
    if not pooler:
        kernel = rng.normal(size=(width, width)) / 9
        values["bert/pooler/dense/kernel"] = kernel.astype("float32")
    checkpoints.save(str(folder), 0, values)
    for name in ("vocab.txt", "bert_config.json"):
        shutil.copy(TINY.parent / name, folder)
    if labels:
        (folder / "labels.txt").write_text("".join(f"{x}\n" for x in labels))
    if head == "classifier":
        noted = {"label_type": label_type, "doc_stride": None, **noted}
    noted = {"max_seq_length": 24, "do_lower_case": True, **noted}
    folder_settings.replace(str(folder), FolderSettings(head=head, **noted))
    return str(folder)


@functools.cache
def several_folders():
    """The folders of several heads by name: of words, then all targets."""
    root = pathlib.Path(_OWN.name, "several")
    heads = {
        "people": ("tokens", None, TOKEN_LABELS),
        "mood": ("classifier", "class", LABELS),
        "score": ("classifier", "number", ()),
        "topics": ("classifier", "multi", LABELS[::-1]),
    }
    return {
        name: write_head(root / name, *head, seed, pooler=name != "score")
        for seed, (name, head) in enumerate(heads.items())
    }


def _export_several(source, output_dir):
    return export_several(source, output_dir, several_folders())


BESIDE = {
    "vocab_file": str(TINY.parent / "vocab.txt"),
    "bert_config_file": str(TINY.parent / "bert_config.json"),
}
CHECKPOINTS = {
    "classifier": str(DATA / "run_classifier" / "tiny_classifier3"),
    "span": str(DATA / "squad" / "checkpoint" / "model.ckpt"),
    "span_v2": str(DATA / "squad" / "checkpoint" / "model.ckpt"),
    "pretraining": str(TINY),
    "features": str(TINY),
    "tokens": str(TINY),
    "choices": _write_choices(),
    "classifier_windows": str(DATA / "run_classifier" / "tiny_classifier3"),
    "features_windows": str(TINY),
    "features_unit": str(TINY),
    "tokens_windows": str(TINY),
    "multi": str(DATA / "run_classifier" / "tiny_classifier3"),
    # As many outputs, and of the same names, as a token classifier has.
    "ner": str(DATA / "run_classifier" / "tiny_classifier3"),
}
LENGTHS = {
    "classifier": 40,
    "multi": 40,
    "pretraining": 24,
    "features": 40,
    "tokens": 24,
    "choices": 24,
    "classifier_windows": 24,
    "features_windows": 24,
    "features_unit": 24,
    "tokens_windows": 24,
    "ner": 24,
}
# Those of the default run: to write, load and first ask a model takes seconds.
QUICK = ("classifier", "span", "features")
# Heads that are there with other options too. That each gives the numbers of
# the Python model is tested; what all models have in common, with the others.
VARIANTS = (
    "span_v2",
    "multi",
    "classifier_windows",
    "features_windows",
    "features_unit",
    "tokens_windows",
)


def parameters(names):
    """Parameters of a test of what all models have in common."""
    for name in names:
        marks = () if name in QUICK else pytest.mark.slow
        if name in VARIANTS:
            marks = pytest.mark.exhaustive
        yield pytest.param(name, marks=marks)


STRIDE = 9
LABELS = ("good", "bad, or worse", "très")
TOKEN_LABELS = ("B-PER", "I-PER", "O")
SPANS = {"doc_stride": 48, "max_query_length": 24, "max_answer_length": 5}
THRESHOLD = -0.5
LAYERS = (-1, 0)
TOKEN_LAYERS = (2, -2)
TOP_K = 7

EXPORT = {
    "classifier": (export_classifier, {"labels": LABELS}),
    "multi": (export_classifier, {"target": ManyLabels(LABELS)}),
    "span": (export_span, {**SPANS, "rows_at_once": 4}),
    "span_v2": (
        export_span,
        {
            **SPANS,
            "version_2_with_negative": True,
            "null_score_diff_threshold": THRESHOLD,
        },
    ),
    "pretraining": (
        export_pretraining,
        {"top_k": TOP_K, "rows_at_once": 3},
    ),
    "features": (export_features, {"layers": LAYERS}),
    "tokens": (
        export_features,
        {"pooling": "none", "layers": TOKEN_LAYERS},
    ),
    "choices": (export_choices, {"rows_at_once": 5}),
    "classifier_windows": (
        export_classifier,
        {"labels": LABELS, "doc_stride": STRIDE, "rows_at_once": 4},
    ),
    "features_windows": (
        export_features,
        {"layers": LAYERS, "doc_stride": STRIDE, "rows_at_once": 4},
    ),
    "features_unit": (
        export_features,
        {"layers": LAYERS, "doc_stride": STRIDE, "normalize": True},
    ),
    "tokens_windows": (
        export_features,
        {"pooling": "none", "layers": TOKEN_LAYERS, "doc_stride": STRIDE},
    ),
    "ner": (export_tokens, {"labels": TOKEN_LABELS, "rows_at_once": 3}),
    "several": (_export_several, {}),
}


def source(name, **more):
    given = {"max_seq_length": LENGTHS.get(name), **BESIDE, **more}
    return Source(CHECKPOINTS.get(name, ""), **given)


@functools.cache
def folder(name, quantize=None, format="saved_model"):
    """MODEL, which has one version. Not to be written to."""
    root = pathlib.Path(os.environ[EXPORTS_VARIABLE], format)
    root /= quantize or "float32"
    root.mkdir(parents=True, exist_ok=True)
    path = root / name
    with open(root / f"{name}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (path / "1").exists():
            export, options = EXPORT[name]
            asked = source(name, quantize=quantize, format=format)
            written = export(asked, str(path), **options)
            assert written == str(path / "1")
    return path


@functools.cache
def loaded(name):
    return tf.saved_model.load(str(folder(name) / "1"))


def call(name, signature, **inputs):
    """Outputs of a signature as NumPy arrays."""
    inputs = {key: tf.constant(value) for key, value in inputs.items()}
    found = loaded(name).signatures[signature](**inputs)
    return {key: value.numpy() for key, value in found.items()}
