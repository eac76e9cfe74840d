"""attention as functions and as a command."""

import logging

import numpy as np
import pytest
from helpers.golden import TINY
from helpers.language_models import parse
from helpers.trained_folders import make_mrpc_folder

import bert_tf
from bert_tf import attention
from bert_tf.errors import InputError
from bert_tf.support import memory

PAIR = ("the quiet museum", "it measured .")
LINE = " ||| ".join(PAIR)
TOKENS = [
    *("[CLS]", "the", "quiet", "museum", "[SEP]"),
    *("it", "measured", ".", "[SEP]"),
]


@pytest.fixture(scope="module")
def tiny():
    return bert_tf.load(TINY)


def test_a_map_has_the_tokens_of_both_texts(tiny):
    found = attention.attention_map(tiny, PAIR)
    assert found.tokens == TOKENS
    assert found.segment_ids == [0] * 5 + [1] * 4
    assert found.weights.shape == (3, 4, 9, 9)
    assert found.weights.dtype == np.float32
    np.testing.assert_allclose(found.weights.sum(-1), 1, atol=1e-6)


def test_the_weights_of_values_give_what_the_layer_computes(tiny):
    # In the first layer, from the embeddings.
    found = attention.attention_map(tiny, PAIR)
    bert = tiny.model.layers[-1]
    layer = bert.encoder.layers[0].attention.self_attention
    inputs = [x[:, :9] for x in tiny.tokenize(PAIR).values()]
    rows = bert(*inputs)["embedding_output"][0]
    values = layer.value(rows).numpy().reshape(9, 4, 16).swapaxes(0, 1)
    want = (found.weights[0] @ values).swapaxes(0, 1).reshape(9, 64)
    got = layer(rows, rows, from_length=9, to_length=9)
    np.testing.assert_allclose(got, want, atol=1e-5)


def test_one_text_is_written_without_numbers(tmp_path, tiny, capsys):
    path = tmp_path / "new" / "maps.npz"
    attention.main(parse(attention, f"--text={LINE}", f"--output={path}"))

    want = attention.attention_map(tiny, PAIR)
    arrays = np.load(path)
    assert set(arrays) == {"tokens", "attention"}
    assert arrays["tokens"].tolist() == TOKENS
    np.testing.assert_array_equal(arrays["attention"], want.weights)

    table = capsys.readouterr().out.splitlines()[-3:]
    for number, (line, layer) in enumerate(
        zip(table, attention.summarize([want])), start=1
    ):
        shown = list(map(float, line.split()))
        assert shown[0] == number
        assert shown[1] == pytest.approx(layer.entropy, abs=0.005)
        shares = [100 * share for share in layer[1:]]
        assert shown[2:] == pytest.approx(shares, abs=0.05)


def test_several_texts_are_written_by_number_and_not_padded(tmp_path, tiny):
    (tmp_path / "in").write_text(f"the museum\n{LINE}\n")
    path = tmp_path / "maps.npz"
    attention.main(
        parse(attention, f"--input_file={tmp_path / 'in'}", f"--output={path}")
    )
    arrays = np.load(path)
    names = {f"{name}_{i}" for name in ("tokens", "attention") for i in (0, 1)}
    assert set(arrays) == names
    for i, text in enumerate(("the museum", PAIR)):
        want = attention.attention_map(tiny, text)
        assert arrays[f"tokens_{i}"].tolist() == want.tokens
        np.testing.assert_array_equal(arrays[f"attention_{i}"], want.weights)


def test_a_page_of_a_fine_tuned_model_is_written(tmp_path):
    folder = make_mrpc_folder(tmp_path / "mrpc")
    path = tmp_path / "map.html"
    attention.main(
        parse(
            attention,
            f"--checkpoint={folder}",
            f"--text={LINE}",
            f"--output={path}",
        )
    )
    assert path.read_text(encoding="utf-8").count('class="weights"') == 3


def test_what_is_cut_off_is_told(tiny, caplog):
    text = "museum " * 300
    attention.make_rows(tiny, [text, "the museum"])
    (told,) = [m for m in caplog.messages if "cut off" in m]
    assert "1 of 2" in told and "174 word pieces" in told


def test_the_size_is_told_first_and_refused_if_it_is_too_much(
    monkeypatch, tmp_path, caplog
):
    caplog.set_level(logging.INFO)
    page = parse(attention, "--text=the museum", "--output=map.html")
    monkeypatch.chdir(tmp_path)
    attention.main(page)
    # 3 layers, 4 heads, 4 x 4 tokens, 4 bytes.
    assert any("768 bytes" in message for message in caplog.messages)

    monkeypatch.setattr(attention, "MOST_OF_A_PAGE", 511)
    with pytest.raises(InputError, match=r"512 bytes.*\.npz.*map\.html"):
        attention.main(page)
    monkeypatch.setattr(memory, "room_for", lambda path: 767)
    arrays = parse(attention, "--text=the museum", "--output=maps.npz")
    with pytest.raises(InputError, match=r"768 bytes.*maps\.npz"):
        attention.main(arrays)
    monkeypatch.setattr(memory, "available", lambda: 2303)
    with pytest.raises(InputError, match=r"text 1.*3 layers x 4 heads x 4 x 4"):
        attention.main(arrays)
    assert [path.name for path in tmp_path.iterdir()] == ["map.html"]
