"""SavedModels as functions of arrays."""

import json
import shutil

import numpy as np
import pytest
import tensorflow as tf
from helpers import small_models
from helpers.in_process import answering

from bert_tf.errors import InputError
from bert_tf.exports import warmup
from bert_tf.exports.interface import Tensor
from bert_tf.server.model import ServedModel
from bert_tf.server.protocol import RequestError


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("models")


@pytest.fixture(scope="module")
def reviews(folder):
    return ServedModel(
        small_models.save(small_models.Reviews(), folder / "1"), 1
    )


@pytest.fixture
def copy(reviews, tmp_path):
    """A copy of the folder of reviews, to be spoilt."""
    return shutil.copytree(reviews.path, tmp_path / "1")


@pytest.fixture(scope="module")
def odd(folder):
    return ServedModel(small_models.save(small_models.Odd(), folder / "2"), 2)


@pytest.fixture(scope="module")
def masks(folder):
    return ServedModel(small_models.save(small_models.Masks(), folder / "3"), 3)


@pytest.fixture(scope="module")
def choices(folder):
    return ServedModel(
        small_models.save(small_models.Choices(), folder / "4"), 4
    )


def texts(*values):
    return np.array([value.encode() for value in values], object)


def softmax(rows):
    shares = np.exp(rows)
    return shares / shares.sum(-1, keepdims=True)


def test_signatures_have_types_shapes_and_defaults(reviews, odd):
    numbers = Tensor("int32", (None, None))
    inputs = reviews.signatures["serving_default"].inputs
    assert inputs == dict.fromkeys(sorted(small_models.IDS), numbers)
    outputs = reviews.signatures["serve_text"].outputs
    assert outputs["probabilities"] == Tensor("float32", (None, 2))
    join = odd.signatures["serving_default"].inputs
    assert join["a"] == Tensor("string", (None,))
    assert join["b"].default.tolist() == [b" and more"]
    assert odd.signatures["wait"].inputs["seconds"].shape == ()
    assert reviews.about["labels"] == ["bad", "good"]
    assert odd.about == {}


def test_it_computes_what_the_module_computes(reviews, rng):
    rows = rng.integers(4, 8, (4, 6), np.int32)
    mask = rng.integers(0, 2, (4, 6), np.int32)
    inputs = {
        "input_ids": rows,
        "input_mask": mask,
        "segment_ids": np.zeros_like(rows),
    }
    bad, good = (mask * (rows == one) for one in (6, 5))
    wanted = np.stack([bad.sum(1), good.sum(1)], 1)
    got = reviews.run("serving_default", inputs)
    np.testing.assert_array_equal(got["logits"], wanted)
    np.testing.assert_allclose(got["probabilities"], softmax(wanted), rtol=1e-5)
    got = reviews.run("serve_text", {"text_a": texts("good good", "bad")})
    np.testing.assert_allclose(
        got["probabilities"], softmax([[0.0, 2], [1, 0]]), rtol=1e-5
    )
    assert got["label"].tolist() == [b"good", b"bad"]
    assert got["labels"].tolist() == [[b"bad", b"good"]] * 2


def test_an_export_whose_graph_checks_nothing_is_asked_with_its_ids_only(copy):
    config = {"vocab_size": 9, "type_vocab_size": 2}
    (copy / "assets" / "bert_config.json").write_text(json.dumps(config))
    body = {
        "instances": [
            {"input_ids": [1], "input_mask": [1], "segment_ids": [n]}
            for n in (0, 5)
        ]
    }
    with answering(ServedModel(copy, 1)) as server:
        status, _, content = server.ask("predict", body)
        assert (status, content["error"]) == (
            400,
            "segment_ids must be from 0 to 1. Received: 5 at [1, 0]",
        )
        body["instances"].pop()
        assert server.predict(body)


def test_what_the_graph_refuses_is_a_bad_request(reviews):
    inputs = {"text_a": np.array([b"good", b"\xff"], object)}
    with pytest.raises(RequestError, match=r"Text must be UTF-8\.") as error:
        reviews.run("serve_text", inputs)
    assert error.value.status == 400
    assert "node" not in str(error.value)


def test_requests_of_one_kind_have_equal_shapes(reviews):
    def kind(length, rows=1):
        row = np.zeros((rows, length), np.int32)
        return reviews.kind(
            "serving_default", dict.fromkeys(small_models.IDS, row)
        )

    assert kind(8) == kind(8, 3)
    assert kind(8) != kind(16)
    ragged = {"text_a": texts("a"), "text_b": texts("b", "c")}
    assert reviews.kind("serve_text_pair", ragged) is None


def test_requests_of_one_kind_ask_one_signature(reviews):
    one, two = {"text_a": texts("a")}, {"text_a": texts("b", "c" * 99)}
    kind = reviews.kind("serve_text", one)
    assert kind == reviews.kind("serve_text", two)
    assert kind != reviews.kind(
        "serve_text_pair", {**one, "text_b": texts("b")}
    )


def test_rows_that_depend_on_each_other_are_not_batched(reviews, odd, masks):
    assert odd.kind("characters", {"text": texts("abc")}) is None
    assert odd.kind("total", {"x": np.zeros(3, np.float32)}) is None
    wait = {"x": np.zeros(3, np.float32), "seconds": np.float32(0)}
    assert odd.kind("wait", wait) is None
    join = {"a": texts("a"), "b": texts("b")}
    assert odd.kind("serving_default", join) is not None
    assert masks.kind("serve_text", {"text": texts("[MASK]")}) is not None


def example(**features):
    made = tf.train.Example()
    for name, values in features.items():
        made.features.feature[name].int64_list.value.extend(values)
    return made.SerializeToString()


def test_rows_of_examples_are_computed_apart_where_they_are_equally_long(
    reviews,
):
    def kind(*given):
        inputs = {"examples": np.array(given, object)}
        return reviews.kind("serve_examples", inputs)

    two, three = example(input_ids=[1, 2]), example(input_ids=[1, 2, 3])
    assert kind(two, two) not in (None, kind(two, two))
    assert kind(two, three) is None
    assert kind(two, b"\xff") is None


def test_values_are_counted_before_they_are_computed(reviews, masks):
    rows = dict.fromkeys(small_models.IDS, np.zeros((3, 5), np.int32))
    # Two logits and two probabilities for each row.
    assert reviews.least_values("serving_default", rows) == 12
    given = {"examples": np.array([example(input_ids=[1] * 5)] * 3, object)}
    assert reviews.least_values("serve_examples", given) == 12
    assert reviews.least_values("serve_text", {"text_a": texts("a")}) == 0
    assert masks.least_values("serve_text", {"text": texts("a")}) == 0


def asked_to_choose(count, rows=2):
    choices = [[b"good"] * count] * rows
    return {
        "context": texts(*["It is"] * rows),
        "choices": np.array(choices, object),
    }


def test_rows_with_as_many_choices_are_of_one_kind(choices):
    def kind(count, rows=2):
        return choices.kind("serve_text", asked_to_choose(count, rows))

    assert kind(3) == kind(3, 1) is not None
    assert kind(3) != kind(4)


def test_each_choice_counts_as_a_window(choices):
    asked = asked_to_choose(3)
    assert choices.costs("serve_text", asked, 6) == [3, 3]
    with pytest.raises(RequestError, match="5 windows") as error:
        choices.costs("serve_text", asked, 5)
    assert error.value.status == 413


def test_guesses_are_truncated_to_the_masks_of_one_request(masks):
    given = texts("a [MASK]", "none", "[MASK] b [MASK] c [MASK]")
    together = masks.run("serve_text", {"text": given})
    assert together["tokens"].shape == (3, 3, 2)
    for row in range(3):
        one = slice(row, row + 1)
        alone = masks.run("serve_text", {"text": given[one]})
        cut = masks.cut({name: out[one] for name, out in together.items()})
        for name, wanted in alone.items():
            np.testing.assert_array_equal(cut[name], wanted, strict=True)
    assert masks.cut(together)["tokens"].shape == (3, 3, 2)


def test_scalars_are_returned_as_arrays(odd):
    got = odd.run("total", {"x": np.float32([1, 2.5])})
    assert got["total"].shape == () and got["total"] == 3.5


def test_pieces_have_ids_and_offsets(reviews):
    assert reviews.tokenize(["Goodly.", "", "é"]) == [
        [
            {"token": "good", "start": 0, "end": 4, "id": 5},
            {"token": "##ly", "start": 4, "end": 6, "id": 7},
            {"token": ".", "start": 6, "end": 7, "id": 8},
        ],
        [],
        [{"token": "[UNK]", "start": 0, "end": 1, "id": 1}],
    ]


def test_a_mask_is_one_piece_in_models_with_masks(masks, reviews):
    (pieces,) = masks.tokenize(["good[MASK]bad"])
    assert [tuple(piece.values()) for piece in pieces] == [
        ("good", 0, 4, 5),
        ("[MASK]", 4, 10, 4),
        ("bad", 10, 13, 6),
    ]
    (pieces,) = reviews.tokenize(["[MASK]"])
    assert [piece["token"] for piece in pieces] == ["[UNK]", "[UNK]", "[UNK]"]


def test_other_models_have_no_pieces(odd):
    with pytest.raises(RequestError, match=r"assets/vocab\.txt"):
        odd.tokenize(["a"])


def write_warm_up(folder, requests):
    (folder / "assets.extra").mkdir()
    path = folder / "assets.extra" / "tf_serving_warmup_requests"
    warmup.write(str(path), requests)
    return path


def test_warm_up_requests_are_run(copy, monkeypatch):
    write_warm_up(
        copy,
        [
            ("serve_text", {"text_a": [b"one"]}),
            ("", dict.fromkeys(small_models.IDS, np.int32([[1, 1]]))),
        ],
    )
    seen = []
    monkeypatch.setattr(
        ServedModel,
        "run",
        lambda model, name, inputs: seen.append((name, inputs)),
    )
    ServedModel(copy, 1)
    (first, text), (second, rows) = seen
    assert (first, second) == ("serve_text", "serving_default")
    assert text["text_a"].tolist() == [b"one"]
    assert rows["segment_ids"].tolist() == [[1, 1]]


@pytest.mark.parametrize(
    ("requests", "message"),
    [
        ([("nothing", {"text_a": [b"a"]})], "no signature 'nothing'"),
        ([("serve_text", {"text_a": [b"\xff"]})], "Text must be UTF-8"),
        ([("serve_text", {})], "record 0 must be a log of a predict"),
    ],
)
def test_a_version_that_fails_its_own_warm_up_is_broken(
    copy, requests, message
):
    write_warm_up(copy, requests)
    with pytest.raises(InputError, match=message):
        ServedModel(copy, 1)


def test_a_warm_up_file_of_something_else_is_an_error(copy):
    file = write_warm_up(copy, [])
    with tf.io.TFRecordWriter(str(file)) as writer:
        writer.write(b"\xff\xff")
    with pytest.raises(InputError, match="record 0 is not a PredictionLog"):
        ServedModel(copy, 1)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda path: (path / "saved_model.pb").unlink(), "it has none"),
        (
            lambda path: (path / "saved_model.pb").write_bytes(b"\xff" * 9),
            "is not a SavedModel",
        ),
        (
            lambda path: (path / "variables" / "variables.index").unlink(),
            "cannot be loaded",
        ),
        (
            lambda path: (path / "assets" / "bert_tf.json").write_text("{"),
            "must be what bert_tf.export_saved_model writes",
        ),
        (
            lambda path: (path / "assets" / "bert_tf.json").write_text(
                '{"format": 2, "head": "span"}'
            ),
            "is of format 2, for the head span",
        ),
    ],
)
def test_a_damaged_folder_is_an_error(copy, spoil, message):
    spoil(copy)
    with pytest.raises(InputError, match=message):
        ServedModel(copy, 1)


def test_a_model_without_signatures_is_an_error(tmp_path):
    tf.saved_model.save(tf.Module(), str(tmp_path / "1"))
    with pytest.raises(InputError, match="no signatures"):
        ServedModel(str(tmp_path / "1"), 1)
