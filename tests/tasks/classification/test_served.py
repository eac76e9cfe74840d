"""Exported classifiers, held to the Python model."""

import os
import shutil

import numpy as np
import pytest
import tensorflow as tf
from helpers import exported
from helpers.exported import LABELS, call, source
from helpers.golden import TINY, read_variables
from helpers.reference import (
    PAIRS,
    TEXTS,
    as_examples,
    assert_close,
    python_model,
    random_rows,
    rows_of,
    softmax,
    tokenizer,
    window_inputs,
    windows_of,
)

import bert_tf
from bert_tf import checkpoints
from bert_tf.checkpoints import folder_settings
from bert_tf.checkpoints.folder_settings import FolderSettings
from bert_tf.errors import InputError
from bert_tf.exports.settings import Source
from bert_tf.tasks.classification import served
from bert_tf.tasks.classification.targets import OneLabel


def test_a_classifier_gives_texts_what_python_gives_them():
    got = call("classifier", "serve_text", text_a=TEXTS)
    pairs = [(text, "") for text in TEXTS]
    assert_classified(got, pairs)


def test_a_classifier_gives_pairs_what_python_gives_them():
    first, second = zip(*PAIRS)
    got = call("classifier", "serve_text_pair", text_a=first, text_b=second)
    assert_classified(got, PAIRS)


@pytest.mark.slow
def test_a_classifier_reads_long_texts_in_windows():
    name = "classifier_windows"
    first, second = zip(*PAIRS)
    got = call(name, "serve_text_pair", text_a=first, text_b=second)
    most = 0
    for row, (text_a, text_b) in enumerate(PAIRS):
        windows, num_cut = windows_of(text_a, text_b)
        most = max(most, len(windows))
        logits = np.mean(
            [
                python_model("classifier")(inputs)["logits"][0]
                for inputs in map(window_inputs, windows)
            ],
            axis=0,
        )
        assert_close(got["probabilities"][row], softmax(logits))
        assert got["num_cut"][row] == num_cut
    assert most > 4  # More than are computed at once.


def assert_classified(got, pairs):
    for row, inputs in enumerate(rows_of(pairs, 40)):
        (logits,) = python_model("classifier")(inputs)["logits"]
        assert_close(got["probabilities"][row], softmax(logits))
        names = [name.decode() for name in got["labels"][row]]
        assert tuple(names) == LABELS
        assert got["label"][row].decode() == LABELS[logits.argmax()]
        count = sum(len(tokenizer().tokenize(text)) for text in pairs[row])
        special = 3 if all(map(tokenizer().tokenize, pairs[row])) else 2
        if not tokenizer().tokenize(pairs[row][0]) and pairs[row][1]:
            special = 3
        left = inputs["input_ids"].shape[1] - special
        assert got["num_cut"][row] == count - left


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("features", {"labels": LABELS}, "no head to classify"),
        (
            "classifier",
            {"labels": ["a", "b"]},
            "as many labels as .* has classes, 3. Received: 2, a, b",
        ),
        ("classifier", {}, r"no labels\.txt.*--labels_file.*--task_name"),
    ],
)
def test_a_model_that_cannot_be_exported_is_refused(
    name, options, message, tmp_path
):
    with pytest.raises(InputError, match=message):
        served.export_classifier(source(name), str(tmp_path), **options)
    assert os.listdir(tmp_path) == []


# ---------------------------------------------- a number, and several labels

THRESHOLDS = (0.25, 0.75, 0.5)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Folders as a training leaves them, of a number and of several labels."""
    root = tmp_path_factory.mktemp("trained")
    values = read_variables(exported.CHECKPOINTS["classifier"] + "/model.ckpt")
    for name, count in (("number", 1), ("multi", 3)):
        folder = root / name
        folder.mkdir()
        arrays = {**values, "output_weights": values["output_weights"][:count]}
        arrays["output_bias"] = values["output_bias"][:count]
        checkpoints.write(str(folder / "model.ckpt"), arrays)
        for file in ("vocab.txt", "bert_config.json"):
            shutil.copy(TINY.parent / file, folder / file)
        folder_settings.write(
            str(folder), FolderSettings("classifier", label_type=name)
        )
    (root / "multi" / "labels.txt").write_text("a\nb c\nd\n")
    rows = zip(("a", "b c", "d"), THRESHOLDS)
    text = "".join(f"{label}\t{limit}\n" for label, limit in rows)
    (root / "multi" / "thresholds.tsv").write_text(text)
    return root


@pytest.fixture(scope="module")
def models(folders):
    """The models exported from them, by name: what they are was found out."""
    for name in ("number", "multi"):
        source = Source(str(folders / name / "model.ckpt"), max_seq_length=40)
        served.export_classifier(source, str(folders / f"{name}_model"))
    return {
        name: bert_tf.Predictor(folders / f"{name}_model")
        for name in ("number", "multi")
    }


def python_logits(pairs):
    return np.stack(
        [
            python_model("classifier")(inputs)["logits"][0]
            for inputs in rows_of(pairs, 40)
        ]
    )


def sigmoid(logits):
    return 1 / (1 + np.exp(-logits.astype(np.float64)))


def outputs_of(model, signature, **inputs):
    tensors = {name: tf.constant(value) for name, value in inputs.items()}
    found = model.signatures[signature](**tensors)
    return {name: value.numpy() for name, value in found.items()}


@pytest.mark.slow
def test_all_signatures_give_the_numbers_of_the_python_model(models, rng):
    rows = random_rows(rng, "classifier")
    logits = python_model("classifier")(rows)["logits"]
    first, second = zip(*PAIRS)
    asked = {
        "serving_default": (rows, logits),
        "serve_examples": ({"examples": as_examples(rows)}, logits),
        "serve_text": (
            {"text_a": TEXTS},
            python_logits([(text, "") for text in TEXTS]),
        ),
        "serve_text_pair": (
            {"text_a": first, "text_b": second},
            python_logits(PAIRS),
        ),
    }
    for signature, (inputs, wanted) in asked.items():
        cut = {"num_cut"} if "text" in signature else set()
        got = outputs_of(models["number"], signature, **inputs)
        assert got.keys() == {"value"} | cut
        assert_close(got["value"], wanted[:, 0])
        got = outputs_of(models["multi"], signature, **inputs)
        assert got.keys() == {"scores", "labels"} | cut
        assert_close(got["scores"], sigmoid(wanted))
        names = [[name.decode() for name in row] for row in got["labels"]]
        assert names == [["a", "b c", "d"]] * len(wanted)


@pytest.mark.slow
def test_the_predictor_gives_a_value(models):
    results = list(models["number"](TEXTS))
    (want, *_) = python_logits([(text, "") for text in TEXTS]).T
    assert_close([one.value for one in results], want)
    assert results[2].num_cut > 0 and results[0].num_cut == 0
    assert models["number"].labels is None


@pytest.mark.slow
def test_the_predictor_gives_labels_over_their_thresholds(models):
    results = list(models["multi"](PAIRS))
    wanted = sigmoid(python_logits(PAIRS))
    found = set()
    for got, scores in zip(results, wanted, strict=True):
        assert list(got.scores) == ["a", "b c", "d"]
        assert_close(list(got.scores.values()), scores)
        over = [
            name
            for name, score, limit in zip(got.scores, scores, THRESHOLDS)
            if score >= limit
        ]
        assert got.labels == over
        found |= set(over)
    assert len(found) > 0
    assert models["multi"].settings["thresholds"] == list(THRESHOLDS)


def test_a_head_of_another_size_is_refused(folders, tmp_path):
    source = Source(
        str(folders / "number" / "model.ckpt"), ignore_folder_settings=True
    )
    target = OneLabel(("a", "b"))
    with pytest.raises(InputError, match=r"has classes, 1\. Received: 2, a, b"):
        served.export_classifier(source, str(tmp_path), target=target)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("name", "options", "named"),
    [
        (
            "multi",
            {"target": OneLabel(("a", "b c", "d"))},
            ("multi/bert_tf.json", "label_type=multi", "class", "--task_name"),
        ),
        (
            "number",
            {"labels": ("a",)},
            ("number/model.ckpt", "number", "--labels_file", "1 label"),
        ),
    ],
)
def test_labels_of_another_type_than_the_folders_are_refused(
    folders, tmp_path, name, options, named
):
    source = Source(str(folders / name / "model.ckpt"))
    with pytest.raises(InputError) as caught:
        served.export_classifier(source, str(tmp_path), **options)
    for fact in named:
        assert fact in str(caught.value)
    assert os.listdir(tmp_path) == []
