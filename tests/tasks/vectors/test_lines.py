"""Lines to batches and vectors to JSON, without a model."""

import gzip
import json

import numpy as np
import pytest
from helpers.golden import DATA, TINY

from bert_tf.errors import InputError
from bert_tf.tasks.vectors import lines
from bert_tf.tasks.vectors.lines import Example, LineVectors
from bert_tf.tokenization import FullTokenizer

GOLDEN = DATA / "extract_features"


@pytest.fixture(scope="module")
def tokenizer():
    return FullTokenizer(TINY.parent / "vocab.txt")


# ------------------------------------------------------------------------ lines


@pytest.mark.parametrize(
    ("line", "texts"),
    [
        ("a ||| b", ("a", "b")),
        ("a ||| b ||| c", ("a ||| b", "c")),
        ("  a  |||  b  ", ("a ", " b")),
        ("a|||b", ("a|||b", "")),
        (" ||| b", ("||| b", "")),
        ("a ||| ", ("a |||", "")),
        ("||| ||| |||", ("|||", "|||")),
        ("", ("", "")),
    ],
)
def test_the_last_separator_with_text_around_it_makes_a_pair(line, texts):
    assert lines.split_pair(line) == texts


@pytest.mark.parametrize(
    ("text", "tokens", "num_cut"),
    [
        ("a b", "[CLS] a b [SEP]", 0),
        ("a b c d e f", "[CLS] a b c d e [SEP]", 1),
        ("a b c ||| d e", "[CLS] a b [SEP] d e [SEP]", 1),
        ("a b ||| c d e f", "[CLS] a b [SEP] c d [SEP]", 2),
        # A second text of nothing is none, and takes no room.
        ("a b c d e ||| \u200b", "[CLS] a b c d e [SEP]", 0),
        ("", "[CLS] [SEP]", 0),
    ],
)
def test_lines_are_truncated_as_in_fine_tuning_and_lost_pieces_counted(
    tokenizer, text, tokens, num_cut
):
    texts = ["", "a", text]
    *_, example = lines.make_examples(texts, tokenizer, 7)

    assert example.tokens == tokens.split()
    assert example.num_cut == num_cut
    assert (example.place, example.line) == (2, 2)
    assert example.tokens[example.owned] == example.tokens
    first = example.tokens.index("[SEP]") + 1
    assert example.segment_ids == [0] * first + [1] * (
        len(tokens.split()) - first
    )
    assert [tokenizer.inv_vocab[i] for i in example.input_ids] == tokens.split()


def test_windows_are_numbered_and_have_the_number_of_their_line(tokenizer):
    texts = ["a", "a b c d e f", "a b c ||| f g h", "b"]
    examples = list(lines.make_examples(texts, tokenizer, 7, 3))

    assert [one.place for one in examples] == [0, 1, 2, 3, 4, 5]
    assert [one.line for one in examples] == [0, 1, 1, 2, 2, 3]
    assert [" ".join(one.tokens) for one in examples[1:5]] == [
        "[CLS] a b c d e [SEP]",
        "[CLS] d e f [SEP]",
        "[CLS] a b [SEP] f g [SEP]",
        "[CLS] a b [SEP] h [SEP]",
    ]
    assert [one.num_cut for one in examples] == [0, 0, 0, 1, 0, 0]
    found = lines.survey(examples, 2)
    assert found == (4, 3 + 8 + 8 + 3, 1, 1, 6, 0)


def test_survey_counts_lines_and_truncated_pieces():
    texts = [example(0, 5), example(1, 9, num_cut=4), example(2, 9, num_cut=1)]
    assert lines.survey(texts, 2) == (3, 23, 2, 5, 3, 0)


def test_a_pair_needs_a_second_token_type():
    pair = Example(9, 6, ["x"] * 4, [1] * 4, [0, 0, 1, 1], slice(0, 4), 0)
    with pytest.raises(InputError, match=r"Line 7 .* two texts.*is 1"):
        lines.survey([pair], 1)


def example(line, length, num_cut=0):
    ids, segment_ids, owned = [1] * length, [0] * length, slice(0, length)
    return Example(line, line, ["x"] * length, ids, segment_ids, owned, num_cut)


# ----------------------------------------------------------------------- layers


def test_layers_keep_their_order_and_their_numbers():
    layers = lines.find_layers("none", "-1, 0,2,-3,2", 3)
    assert layers == (-1, 0, 2, -3, 2)
    # The output of the embeddings is below the first of three layers, -3.
    assert lines.find_layers("none", "embeddings, -3", 3) == (-4, -3)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "3",
            "3 layers, 0 to 2 .* -1 to -3. There is no layer 3. .*--layers=3",
        ),
        ("-1,-4", "no layer -4"),
        ("", "whole numbers.*--layers="),
        ("-1;-2", "whole numbers.*--layers=-1;-2"),
        ("1.0", "whole numbers"),
    ],
)
def test_layers_that_the_model_lacks_are_rejected(text, message):
    with pytest.raises(InputError, match=message):
        lines.find_layers("none", text, 3)


# ---------------------------------------------------------------------- batches


def test_batches_are_padded_to_a_multiple_of_4_below_the_longest():
    batch = [example(4, 17), example(9, 3)]

    arrays = lines.pad_batch(batch, 128)

    for name in ("line", "place"):
        assert arrays[name].tolist() == [4, 9]
    assert arrays["first"].tolist() == [0, 0]
    assert arrays["stop"].tolist() == [17, 3]
    for name in ("input_ids", "input_mask"):
        assert arrays[name].shape == (2, 20)
        assert arrays[name].sum(axis=1).tolist() == [17, 3]
        assert arrays[name].dtype == np.int32
    assert lines.pad_batch(batch, 19)["input_ids"].shape == (2, 19)


def test_batches_of_fixed_shape_are_filled_up():
    batch = [example(4, 17), example(9, 3)]

    arrays = lines.pad_batch(batch, 40, fixed_size=4)

    assert arrays["line"].tolist() == [4, 9, -1, -1]
    assert arrays["input_mask"].shape == (4, 40)
    assert arrays["input_mask"].sum(axis=1).tolist() == [17, 3, 0, 0]


# ---------------------------------------------------------------------- windows


@pytest.mark.parametrize(
    ("over_tokens", "pooled"),
    [
        (None, lambda values: values),
        ("mean", lambda values: values.mean(axis=0)),
        ("max", lambda values: values.max(axis=0)),
    ],
)
def test_windows_become_lines_pooled_over_all_tokens(over_tokens, pooled, rng):
    # Three lines, of [tokens in each window].
    counts = {0: [5], 1: [3, 2, 4], 2: [1, 1]}
    values = {
        line: rng.normal(size=(sum(parts), 2, 3)).astype(np.float32)
        for line, parts in counts.items()
    }
    windows = []
    for line, parts in counts.items():
        ends = np.cumsum(parts)
        for start, end in zip([0, *ends], ends):
            tokens = [f"{line}.{token}" for token in range(start, end)]
            windows.append(LineVectors(line, tokens, values[line][start:end]))

    kept = [lines.pool_window(w, over_tokens) for w in windows]
    got = list(lines.join_windows(iter(kept), over_tokens))

    assert [one.line for one in got] == [0, 1, 2]
    for line, one in enumerate(got):
        count = sum(counts[line])
        assert one.tokens == [f"{line}.{token}" for token in range(count)]
        assert one.values.dtype == np.float32
        np.testing.assert_allclose(
            one.values, pooled(values[line]), rtol=1e-6, atol=1e-7
        )


def test_cls_of_a_line_is_the_mean_of_its_windows(rng):
    cls = rng.normal(size=(3, 2, 4)).astype(np.float32)
    windows = [
        LineVectors(line, ["x"], cls[i]) for i, line in enumerate([0, 0, 1])
    ]
    first, second = lines.join_windows(windows, "first")
    np.testing.assert_allclose(first.values, (cls[0] + cls[1]) / 2, rtol=1e-6)
    np.testing.assert_array_equal(second.values, cls[2])


# ------------------------------------------------------------------------- JSON


def read(path):
    with gzip.open(path, "rt", encoding="utf-8", newline="") as file:
        return file.read().splitlines(keepends=True)


def rewritten(line):
    """A line of the original's file, taken apart and written by us."""
    values = json.loads(line)
    first = values["features"][0]["layers"]
    return lines.json_line(
        LineVectors(
            values["linex_index"],
            [feature["token"] for feature in values["features"]],
            np.array(
                [
                    [layer["values"] for layer in feature["layers"]]
                    for feature in values["features"]
                ],
                np.float32,
            ),
        ),
        [layer["index"] for layer in first],
    )


@pytest.mark.parametrize(
    "name", ["layers_0_m1_cased", "layers_m1_m2_m3", "one_hot"]
)
def test_json_is_the_originals_byte_for_byte(name):
    originals = read(GOLDEN / f"{name}.jsonl.gz")
    assert len(originals) == 13
    for line in originals:
        assert rewritten(line) == line


@pytest.mark.shared
def test_json_is_what_the_original_wrote_of_a_released_model(shared_folder):
    path = shared_folder / "data/golden/extract_features/output.jsonl"
    (line,) = path.read_text().splitlines(keepends=True)
    assert len(json.loads(line)["features"]) == 14
    assert rewritten(line) == line


def test_numbers_are_rounded_as_python_rounds_them(rng):
    bits = rng.integers(0, 2**32, size=50_000, dtype=np.uint32)
    values = bits.view(np.float32)
    values = values[np.isfinite(values)]
    ties = (rng.integers(-(10**7), 10**7, size=50_000) / 128).astype(np.float32)
    near = rng.normal(size=50_000).astype(np.float32)
    values = np.concatenate([values, ties, near, [0.0, -0.0, 1e-7, -1e-7]])
    values = values.astype(np.float32)
    vectors = LineVectors(0, [], values[None])

    line = lines.json_line(vectors, [-1])

    got = line.partition('"values": [')[2].removesuffix("]}]}\n")
    assert got == ", ".join(repr(round(float(x), 6)) for x in values)


def test_pooled_vectors_have_no_tokens():
    values = np.array([[0.5, 1e-6], [2, -3]], np.float32)
    line = lines.json_line(LineVectors(7, ["[CLS]"], values), [-1, 0])
    assert line == (
        '{"linex_index": 7, "layers": [{"index": -1, "values": [0.5, 1e-06]}, '
        '{"index": 0, "values": [2.0, -3.0]}]}\n'
    )
