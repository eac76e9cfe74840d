"""How many tokens a model without TensorFlow computes."""

import numpy as np
import pytest

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

from helpers import small_plain

from bert_tf.exports.sessions import OnnxSession
from bert_tf.tasks import predictor


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    path = tmp_path_factory.mktemp("plain")
    small_plain.save(path / "1")
    return path


@pytest.fixture
def computed(monkeypatch):
    """The shapes of all batches."""
    shapes = []
    run = OnnxSession.run

    def note(session, inputs, outputs):
        shapes.append(inputs["input_ids"].shape)
        return run(session, inputs, outputs)

    monkeypatch.setattr(OnnxSession, "run", note)
    return shapes


def test_few_long_texts_among_many_cost_little_more_than_themselves(
    path, computed, rng
):
    counts = [*rng.integers(1, 18, 1000).tolist(), *[62] * 8]
    rng.shuffle(counts)
    predict = predictor.Predictor(path)
    results = list(predict("good " * count for count in counts))

    for count, result in zip(counts, results, strict=True):
        chance = 1 / (1 + np.exp(-count))
        assert result.probabilities["good"] == pytest.approx(chance)
    own = sum(count + 2 for count in counts)
    assert own < sum(rows * length for rows, length in computed) < 1.1 * own


def test_rows_are_computed_without_the_columns_that_are_padding(path, computed):
    model = predictor.open_inference(str(path / "1"))
    lengths = np.array([3, 60, 4, 3] * 20)
    mask = (np.arange(64) < lengths[:, None]).astype(int)
    rows = {"input_ids": 5 * mask, "input_mask": mask, "segment_ids": 0 * mask}
    got = model.run("serving_default", rows)

    np.testing.assert_array_equal(got["logits"][:, 1], lengths)
    assert max(rows for rows, _ in computed) <= model.rows_at_once
    assert sum(rows * length for rows, length in computed) < 1.1 * mask.sum()


def test_rows_without_tokens_are_computed_whole(path, computed):
    model = predictor.open_inference(str(path / "1"))
    nothing = np.zeros((2, 7), int)
    rows = dict.fromkeys(("input_ids", "input_mask", "segment_ids"), nothing)
    model.run("serving_default", rows)

    assert computed == [(2, 7)]
