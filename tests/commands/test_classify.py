"""classify as a command, held to the original's test_results.tsv."""

import json

import numpy as np
import pytest
from helpers.commands import run_command
from helpers.trained_folders import (
    make_mrpc_folder,
    mrpc_pairs,
    mrpc_probabilities,
)

from bert_tf.errors import InputError
from bert_tf.tasks.classification import labeller


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make_mrpc_folder(tmp_path_factory.mktemp("classify") / "mrpc")


@pytest.fixture(scope="module")
def loaded(folder):
    return labeller.Labeller(folder)


@pytest.fixture
def loaded_once(loaded, monkeypatch):
    monkeypatch.setattr(labeller, "Labeller", lambda *_, **__: loaded)


def test_a_file_gets_the_probabilities_of_test_results(
    folder, loaded_once, tmp_path
):
    lines = [f"{a} ||| {b}\n" if b else f"{a}\n" for a, b in mrpc_pairs()]
    (tmp_path / "in").write_text("".join(lines), encoding="utf-8")

    run_command(
        "classify",
        checkpoint=folder,
        input_file=tmp_path / "in",
        output_file=tmp_path / "out",
    )

    rows = (tmp_path / "out").read_text(encoding="utf-8").splitlines()
    found = list(map(json.loads, rows))
    assert [f"{one['text']}\n" for one in found] == lines
    got = [list(one["probabilities"].values()) for one in found]
    np.testing.assert_allclose(got, mrpc_probabilities(), atol=1e-5)
    for one, chances in zip(found, got):
        assert one["label"] == "01"[int(np.argmax(chances))]
        assert one["probability"] == max(chances)


def test_labels_are_printed_the_most_probable_first(
    folder, loaded_once, capsys
):
    a, b = mrpc_pairs()[0]
    run_command("classify", checkpoint=folder, text=f"{a} ||| {b}")

    text, *rows = capsys.readouterr().out.splitlines()
    assert text == f"{a} ||| {b}"
    want = sorted(zip(mrpc_probabilities()[0], "01"), reverse=True)
    assert rows == [f"  {chance:8.4f}  {label}" for chance, label in want]


def test_windows_are_combined_as_in_training(folder, loaded):
    cut = labeller.Labeller(
        folder,
        max_seq_length=16,
        doc_stride=4,
        window_pooling="max",
        ignore_folder_settings=True,
    )
    (a, b), *_ = mrpc_pairs()
    ((value,),) = ([one] for one in cut.classify([(a, b)]))
    assert value.num_cut >= 0 and cut.doc_stride == 4
    tokens = cut._inference.tokenizer.tokenize(a)
    assert len(tokens) > 14  # More than one window.
    parts = []
    for start in range(0, len(tokens), 4):
        parts.append(tokens[start : start + 14])
        if start + 14 >= len(tokens):
            break
    ids = [
        cut._inference.tokenizer.convert_tokens_to_ids(
            ["[CLS]", *part, "[SEP]"]
        )
        for part in parts
    ]
    logits = [
        loaded._inference.session.run(
            {
                "input_ids": np.array([one]),
                "input_mask": np.ones((1, len(one)), int),
                "segment_ids": np.zeros((1, len(one)), int),
            },
            ["logits"],
        )["logits"][0]
        for one in ids
    ]
    (got,) = cut.classify([(a, "")])
    want = np.exp(np.max(logits, axis=0))
    np.testing.assert_allclose(
        list(got.probabilities.values()), want / want.sum(), atol=1e-5
    )


@pytest.mark.parametrize(
    ("noted", "facts"),
    [
        ({"head": "tokens"}, ["bert_tf.json", "tokens", "bert_tf.tag"]),
        ({"head": "classifier", "label_type": "odd"}, ["label_type", "odd"]),
        (
            {"head": "classifier", "max_seq_length": 24},
            ["--max_seq_length=40", "max_seq_length=24", "bert_tf.json"],
        ),
    ],
)
def test_a_folder_that_does_not_fit_is_refused(tmp_path, noted, facts):
    folder = make_mrpc_folder(tmp_path / "mrpc")
    (folder / "bert_tf.json").write_text(json.dumps(noted))
    with pytest.raises(InputError) as error:
        run_command("classify", checkpoint=folder, text="a", max_seq_length=40)
    for fact in facts:
        assert fact in str(error.value)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "Either.*Received: neither"),
        ({"text": "a", "batch_size": 0}, "--batch_size.*above 0"),
        ({"text": "a", "checkpoint": "nowhere"}, "No checkpoint at nowhere"),
        ({"text": "a", "task_name": "MRPC", "labels_file": "x"}, "not both"),
        ({"input_file": "nowhere.txt"}, "--input_file.*nowhere.txt"),
    ],
)
def test_an_error_names_the_flag(folder, given, message):
    with pytest.raises(InputError, match=message):
        run_command("classify", **{"checkpoint": folder, **given})
