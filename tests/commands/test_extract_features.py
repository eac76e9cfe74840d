"""extract_features as a whole command: flags, files and messages."""

import gzip
import itertools
import json
import logging
import os

import keras
import numpy as np
import pytest
from absl import flags as absl_flags
from helpers.golden import DATA, TINY, read_config, read_variables
from helpers.numpy_bert import NumpyBert

from bert_tf import (
    checkpoints,
    extract_features,
    models,
)
from bert_tf.checkpoints import inference
from bert_tf.cli import command_line
from bert_tf.data import grouping
from bert_tf.errors import InputError
from bert_tf.tasks.vectors import lines
from bert_tf.tokenization import FullTokenizer

GOLDEN = DATA / "extract_features"
RUNS = json.loads((GOLDEN / "extract_features.json").read_text())

# What the original itself differs by on TensorFlow 1.11 and 2.21, in the last
# of the six digits, with values up to 6.
FLOAT_NOISE = 4.5e-6


def run(output_file, *arguments, **changes):
    given = {
        "input_file": GOLDEN / "input.txt",
        "output_file": output_file,
        "vocab_file": TINY.parent / "vocab.txt",
        "bert_config_file": TINY.parent / "bert_config.json",
        "init_checkpoint": TINY,
        **changes,
    }
    values = absl_flags.FlagValues()
    extract_features.define_flags(values)
    arguments = [*(f"--{k}={v}" for k, v in given.items()), *arguments]
    command_line.parse(values, ["extract_features", *arguments])
    extract_features.main(values)


@pytest.fixture
def log(caplog):
    caplog.set_level(logging.INFO)
    return caplog


def golden_lines(name):
    with gzip.open(GOLDEN / f"{name}.jsonl.gz", "rt", newline="") as file:
        return [json.loads(line) for line in file]


def without_numbers(rows):
    """The rows with the count of numbers in place of the numbers."""
    text = json.dumps(rows)
    return json.loads(
        text,
        object_hook=lambda o: (
            {**o, "values": len(o["values"])} if "values" in o else o
        ),
    )


def token_values(line):
    """The numbers of a line, [tokens, layers, width]."""
    return np.array(
        [
            [layer["values"] for layer in feature["layers"]]
            for feature in line["features"]
        ]
    )


def tokens_of(line):
    return [feature["token"] for feature in line["features"]]


# --------------------------------------------------- the original's own results


@pytest.mark.parametrize("name", RUNS)
def test_extracts_what_the_original_did(name, tmp_path):
    path = tmp_path / "output.jsonl"

    run(path, *RUNS[name]["flags"])

    text = path.read_bytes().decode("ascii")
    got, want = list(map(json.loads, text.splitlines())), golden_lines(name)
    assert text == "".join(json.dumps(line) + "\n" for line in got)
    assert without_numbers(got) == without_numbers(want)
    assert [list(line) for line in got] == [["linex_index", "features"]] * 13
    for ours, original in zip(got, want):
        np.testing.assert_allclose(
            token_values(ours), token_values(original), rtol=0, atol=FLOAT_NOISE
        )
    assert [path.name for path in tmp_path.iterdir()] == ["output.jsonl"]


def flags_of_the_original():
    return json.loads((GOLDEN / "flags.json").read_text())


def test_has_the_13_flags_of_the_original_with_type_and_default():
    values = absl_flags.FlagValues()
    extract_features.define_flags(values)
    assert len(flags_of_the_original()) == 13
    for flag in flags_of_the_original():
        ours = values[flag["name"]]
        assert ours.flag_type() == flag["type"]
        assert ours.default == flag["default"]


def test_output_does_not_depend_on_the_batches(tmp_path, monkeypatch):
    # Three windows: of 6 lines, of 6, of 1.
    monkeypatch.setattr(grouping, "BATCHES_AHEAD", 2)
    run(
        tmp_path / "out",
        "--layers=-1,-2,-3",
        "--max_seq_length=24",
        "--batch_size=3",
    )

    rows = (tmp_path / "out").read_text().splitlines()
    want = golden_lines("layers_m1_m2_m3")
    assert [json.loads(line)["linex_index"] for line in rows] == [*range(13)]
    for line, original in zip(rows, want):
        np.testing.assert_allclose(
            token_values(json.loads(line)),
            token_values(original),
            rtol=0,
            atol=FLOAT_NOISE,
        )


@pytest.mark.slow
def test_batches_of_one_shape_are_full(tmp_path, monkeypatch):
    shapes = []

    def pad_batch(batch, *args):
        arrays = padded(batch, *args)
        shapes.append((len(batch), arrays["input_ids"].shape))
        return arrays

    padded = lines.pad_batch
    monkeypatch.setattr(lines, "pad_batch", pad_batch)
    # As on a TPU, or with several devices.
    monkeypatch.setattr(
        extract_features, "needs_fixed_shape", lambda *arguments: True
    )
    fixed, free = tmp_path / "fixed", tmp_path / "free"
    flags = ("--layers=-1", "--max_seq_length=64", "--batch_size=8")
    run(fixed, *flags)
    assert shapes == [(8, (8, 64)), (5, (8, 64))]

    monkeypatch.undo()
    run(free, *flags)
    for one, other in zip(
        fixed.read_text().splitlines(),
        free.read_text().splitlines(),
        strict=True,
    ):
        np.testing.assert_allclose(
            token_values(json.loads(one)),
            token_values(json.loads(other)),
            rtol=0,
            atol=FLOAT_NOISE,
        )


def test_truncated_pieces_are_counted_in_the_log(tmp_path, monkeypatch, log):
    monkeypatch.setattr(inference, "load_model", stop)
    (tmp_path / "in").write_text("a b c d e f\na\na b ||| c d e f\n")

    with pytest.raises(Stopped):
        run(
            tmp_path / "out",
            "--layers=0",
            input_file=tmp_path / "in",
            max_seq_length=7,
        )

    assert "3 lines, 17 word pieces." in log.text
    assert (
        "2 of 3 lines are longer than --max_seq_length=7: 3 word pieces are cut"
        in log.text
    )
    first = "unique_id: 0\ntokens: [CLS] a b c d e [SEP]\n"
    assert f"*** Example ***\n{first}" in log.text
    assert log.text.count("*** Example ***") == 1


class Stopped(Exception):
    pass


def stop(*arguments):
    raise Stopped


# --------------------------------------------------------- other files, pooling


def token_arrays(path):
    """The tokens and numbers of every line, from an .npz file."""
    with np.load(path) as arrays:
        values, tokens = arrays["values"], arrays["tokens"].tolist()
        borders = itertools.pairwise(arrays["offsets"])
        return [(tokens[a:b], values[a:b]) for a, b in borders]


def test_npz_holds_the_originals_numbers(tmp_path):
    path = tmp_path / "deeper" / "out.npz"

    run(path, *RUNS["layers_m1_m2_m3"]["flags"], "--output_format=npz")

    want = golden_lines("layers_m1_m2_m3")
    for (tokens, values), line in zip(token_arrays(path), want, strict=True):
        assert tokens == tokens_of(line)
        np.testing.assert_allclose(
            values, token_values(line), rtol=0, atol=FLOAT_NOISE
        )
    assert np.load(path)["layers"].tolist() == [-1, -2, -3]


@pytest.mark.parametrize(
    ("kind", "pooled"),
    [
        ("first", lambda values: values[0]),
        ("mean", lambda values: values.mean(axis=0)),
        ("max", lambda values: values.max(axis=0)),
    ],
)
def test_pooling_is_over_tokens_and_not_over_padding(kind, pooled, rng):
    values = rng.normal(size=(4, 3, 7, 5)).astype(np.float32)  # [B, L, S, D]
    values[:, :, :, 0] -= 10.0  # Below what padding might stand for.
    lengths = np.array([2, 7, 1, 4])
    mask = (np.arange(7) < lengths[:, None]).astype(np.int32)

    got = models.pool(values, mask, kind)

    want = [
        [pooled(layer[:length]) for layer in line]
        for line, length in zip(values, lengths)
    ]
    np.testing.assert_allclose(got, want, rtol=1e-6, atol=1e-6)


def test_mean_is_that_of_the_originals_vectors(tmp_path):
    run(
        tmp_path / "out",
        *RUNS["layers_m1_m2_m3"]["flags"],
        "--pooling=mean",
    )

    text = (tmp_path / "out").read_text()
    rows = [json.loads(line) for line in text.splitlines()]
    assert [line["linex_index"] for line in rows] == [*range(13)]
    for line, original in zip(rows, golden_lines("layers_m1_m2_m3")):
        assert [layer["index"] for layer in line["layers"]] == [-1, -2, -3]
        got = [layer["values"] for layer in line["layers"]]
        want = token_values(original).mean(axis=0)
        np.testing.assert_allclose(got, want, rtol=0, atol=FLOAT_NOISE)


def test_second_to_last_mean_takes_layer_minus_2(tmp_path):
    run(
        tmp_path / "out",
        "--max_seq_length=24",
        "--pooling=second_to_last_mean",
        "--output_format=npz",
    )

    want = [
        token_values(line)[:, 1:2].mean(axis=0)
        for line in golden_lines("layers_m1_m2_m3")
    ]
    with np.load(tmp_path / "out") as arrays:
        assert arrays["layers"].tolist() == [-2]
        np.testing.assert_allclose(
            arrays["values"], want, rtol=0, atol=FLOAT_NOISE
        )


@pytest.mark.slow
def test_concat_last_4_is_one_vector_of_the_last_four_layers(tmp_path):
    config = read_config(TINY.parent, num_hidden_layers=5)
    (tmp_path / "config.json").write_text(config.to_json_string())
    keras.utils.set_random_seed(1)
    pooling = lines.POOLINGS["none"]
    model = models.feature_extractor(config, (0,), pooling)
    weights = checkpoints.named_weights(model)
    checkpoints.write(tmp_path / "bert_model.ckpt", weights)
    (tmp_path / "in").write_text("a b c\nd e ||| f\n")
    given = {
        "bert_config_file": tmp_path / "config.json",
        "init_checkpoint": tmp_path / "bert_model.ckpt",
        "input_file": tmp_path / "in",
        "output_format": "npz",
    }

    run(tmp_path / "out.npz", "--pooling=concat_last_4", **given)

    width = config.hidden_size
    bert = NumpyBert(
        read_variables(tmp_path / "bert_model.ckpt"), config.num_attention_heads
    )
    vocab = FullTokenizer(TINY.parent / "vocab.txt").vocab
    segment_ids = [[0] * 5, [0] * 4 + [1] * 2]
    arrays = token_arrays(tmp_path / "out.npz")
    for (tokens, values), segments in zip(arrays, segment_ids, strict=True):
        layers = bert.layers([vocab[token] for token in tokens], segments)
        want = np.concatenate(layers[:0:-1], axis=1)
        assert want.shape == (len(tokens), 4 * width)
        np.testing.assert_allclose(values[:, 0], want, rtol=0, atol=FLOAT_NOISE)
    with np.load(tmp_path / "out.npz") as arrays:
        assert arrays["layers"].tolist() == [-1, -2, -3, -4]


def test_the_output_of_the_embeddings_is_a_layer(tmp_path):
    (tmp_path / "in").write_text("d e ||| f\n")
    run(
        tmp_path / "out.npz",
        "--layers=-1,embeddings",
        "--output_format=npz",
        input_file=tmp_path / "in",
    )

    config = read_config(TINY.parent)
    bert = NumpyBert(read_variables(TINY), config.num_attention_heads)
    vocab = FullTokenizer(TINY.parent / "vocab.txt").vocab
    [(tokens, values)] = token_arrays(tmp_path / "out.npz")
    given = [vocab[token] for token in tokens], [0, 0, 0, 0, 1, 1]
    want = np.stack([bert.layers(*given)[-1], bert.embeddings(*given)], axis=1)
    np.testing.assert_allclose(values, want, rtol=0, atol=FLOAT_NOISE)
    with np.load(tmp_path / "out.npz") as arrays:
        # Below the first of three layers, -3.
        assert arrays["layers"].tolist() == [-1, -4]


# ---------------------------------------------------------------------- windows


@pytest.fixture(scope="module")
def numpy_bert():
    heads = read_config(TINY.parent).num_attention_heads
    return NumpyBert(read_variables(TINY), heads)


WINDOWED = """a b c d e f g h i j
k
a b ||| c d e f g h
c d e f g h ||| a b
"""

# Of each line its windows, 9 tokens long and 3 apart, and the first and last of
# the tokens whose vectors are wanted. An f at the rim of two windows is the
# longer one's, as in SQuAD.
WINDOWS = [
    [
        ("[CLS] a b c d e f g [SEP]", 0, 6),
        ("[CLS] d e f g h i j [SEP]", 3, 9),
    ],
    [("[CLS] k [SEP]", 0, 3)],
    [
        ("[CLS] a b [SEP] c d e f [SEP]", 0, 8),
        ("[CLS] a b [SEP] f g h [SEP]", 5, 8),
    ],
    [
        ("[CLS] c d e f [SEP] a b [SEP]", 0, 5),
        ("[CLS] f g h [SEP] a b [SEP]", 2, 8),
    ],
]


def wanted_windows(bert):
    """Of each line: its tokens; vectors of them; vectors of each [CLS]."""
    vocab = FullTokenizer(TINY.parent / "vocab.txt").vocab
    for windows in WINDOWS:
        tokens, values, cls = [], [], []
        for text, first, stop in windows:
            words = text.split()
            border = words.index("[SEP]") + 1
            segment_ids = [0] * border + [1] * (len(words) - border)
            layers = bert.layers([vocab[w] for w in words], segment_ids)
            both = np.stack([layers[-1], layers[0]], axis=1)
            tokens += words[first:stop]
            values.append(both[first:stop])
            cls.append(both[0])
        yield tokens, np.concatenate(values), np.array(cls)


def test_tokens_of_long_lines_are_from_the_window_with_most_context(
    tmp_path, monkeypatch, numpy_bert, log
):
    # The windows of a line are in several batches, and not in order.
    monkeypatch.setattr(grouping, "BATCHES_AHEAD", 2)
    (tmp_path / "in").write_text(WINDOWED)

    run(
        tmp_path / "out.npz",
        "--layers=-1,0",
        "--max_seq_length=9",
        "--doc_stride=3",
        "--batch_size=2",
        "--output_format=npz",
        input_file=tmp_path / "in",
    )

    assert "4 lines, 37 word pieces." in log.text
    assert "They are read in 7 windows." in log.text
    assert "cut off" not in log.text
    got = token_arrays(tmp_path / "out.npz")
    assert [" ".join(tokens) for tokens, _ in got] == [
        "[CLS] a b c d e f g h i j [SEP]",
        "[CLS] k [SEP]",
        "[CLS] a b [SEP] c d e f g h [SEP]",
        "[CLS] c d e f g h [SEP] a b [SEP]",
    ]
    for ours, want in zip(got, wanted_windows(numpy_bert), strict=True):
        assert ours[0] == want[0]
        np.testing.assert_allclose(ours[1], want[1], rtol=0, atol=FLOAT_NOISE)


@pytest.mark.parametrize("pooling", ["cls", "mean", "max"])
def test_long_lines_are_pooled_over_all_their_windows(
    pooling, tmp_path, numpy_bert
):
    (tmp_path / "in").write_text(WINDOWED)

    run(
        tmp_path / "out.npz",
        "--layers=-1,0",
        "--max_seq_length=9",
        "--doc_stride=3",
        f"--pooling={pooling}",
        "--output_format=npz",
        input_file=tmp_path / "in",
    )

    with np.load(tmp_path / "out.npz") as arrays:
        got = arrays["values"]
    for ours, (_, values, cls) in zip(
        got, wanted_windows(numpy_bert), strict=True
    ):
        want = {
            "cls": cls.mean(axis=0),
            "mean": values.mean(axis=0),
            "max": values.max(axis=0),
        }
        np.testing.assert_allclose(
            ours, want[pooling], rtol=0, atol=FLOAT_NOISE
        )


# ------------------------------------------------------------------- bad input


def write_checkpoint(folder, without=None, **changed):
    values = read_variables(TINY)
    values = {k: v for k, v in values.items() if k != without}
    checkpoints.write(folder / "bert_model.ckpt", {**values, **changed})
    return folder / "bert_model.ckpt"


def test_a_missing_variable_is_an_error(tmp_path):
    name = "bert/encoder/layer_1/output/dense/kernel"
    checkpoint = write_checkpoint(tmp_path, without=name)

    with pytest.raises(InputError, match=f"lacks 1 needed variables: {name}"):
        run(tmp_path / "out", "--layers=0", init_checkpoint=checkpoint)

    assert not (tmp_path / "out").exists()


def test_the_pooler_is_not_needed(tmp_path, log):
    checkpoint = write_checkpoint(tmp_path, without="bert/pooler/dense/kernel")
    run(
        tmp_path / "out",
        *RUNS["one_hot"]["flags"],
        init_checkpoint=checkpoint,
    )
    line = json.loads((tmp_path / "out").read_text().splitlines()[0])
    want = golden_lines("one_hot")[0]
    np.testing.assert_allclose(
        token_values(line), token_values(want), rtol=0, atol=FLOAT_NOISE
    )


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["--layers=-1,3"], "3 layers.*There is no layer 3.*--layers=-1,3"),
        (["--layers=a"], "whole numbers or embeddings.*--layers=a"),
        (["--pooling=concat_last_4"], "no layer -4.*--pooling=concat_last_4"),
        (
            ["--pooling=second_to_last_mean", "--layers=-1"],
            "not for --pooling=second_to_last_mean.*--layers=-1",
        ),
        (["--max_seq_length=129"], "at most 128.*--max_seq_length=129"),
        (["--max_seq_length=2"], "at least 3.*--max_seq_length=2"),
        (["--batch_size=0"], "--batch_size.*above 0"),
        (["--doc_stride=0"], "at most 126.*--doc_stride=0"),
        (["--doc_stride=127"], "at most 126.*--doc_stride=127"),
        (["--float16"], "--output_format=npz or tfrecord"),
        (["--input_file=nowhere.txt"], "--input_file.*nowhere.txt"),
        (["--input_file=/dev/null"], "ordinary files.*/dev/null"),
        (["--output_file=/"], "--output_file.*name a file"),
        (["--output_file=gs://bucket/x"], "this machine.*gs://bucket/x"),
        (["--vocab_file=nowhere.txt"], "--vocab_file.*nowhere.txt"),
        (["--init_checkpoint=nowhere"], "No checkpoint at nowhere"),
        (["--use_tpu"], "--use_tpu.*no TPU"),
    ],
)
def test_an_error_names_the_flag_and_nothing_is_written(
    given, message, tmp_path
):
    if not given[0].startswith("--pooling"):
        given = ["--layers=-1", *given]  # Of two, the last one counts.
    with pytest.raises(InputError, match=message):
        run(tmp_path / "out", *given)
    assert os.listdir(tmp_path) == []


def test_a_vocabulary_of_another_size_is_rejected(tmp_path):
    (tmp_path / "vocab.txt").write_text("[PAD]\n[UNK]\n[CLS]\n[SEP]\n")
    with pytest.raises(InputError, match=r"vocab.txt.*1027.*4 lines"):
        run(
            tmp_path / "out",
            "--layers=-1",
            vocab_file=tmp_path / "vocab.txt",
        )


def test_a_bad_line_is_reported_before_the_model_is_loaded(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(inference, "load_model", None)
    (tmp_path / "in").write_bytes(b"good\n" * 99 + b"b\xffd\n")
    with pytest.raises(InputError, match=r"line 100.*UTF-8"):
        run(tmp_path / "out", "--layers=-1", input_file=tmp_path / "in")


def test_an_empty_text_is_rejected(tmp_path):
    (tmp_path / "in").write_text("")
    with pytest.raises(InputError, match="at least one line"):
        run(tmp_path / "out", "--layers=-1", input_file=tmp_path / "in")


def test_the_input_is_not_overwritten(tmp_path):
    (tmp_path / "text").write_text("a\n")
    with pytest.raises(InputError, match="another file"):
        run(tmp_path / "text", "--layers=-1", input_file=tmp_path / "text")
    assert (tmp_path / "text").read_text() == "a\n"


def test_a_text_that_changes_meanwhile_is_an_error(tmp_path, monkeypatch):
    (tmp_path / "in").write_text("a\nb\nc\n")
    load_model = inference.load_model

    def shorten(*arguments):
        (tmp_path / "in").write_text("a\nb\n")
        return load_model(*arguments)

    monkeypatch.setattr(inference, "load_model", shorten)
    with pytest.raises(
        InputError, match=r"had 3 lines .* 2 and 6: it must not"
    ):
        run(tmp_path / "out", "--layers=-1", input_file=tmp_path / "in")
    assert os.listdir(tmp_path) == ["in"]


def test_an_error_in_the_reading_thread_keeps_its_message(
    tmp_path, monkeypatch
):
    """It is raised in a thread of TensorFlow's."""
    (tmp_path / "in").write_text("a\n" * 70)
    load_model = inference.load_model

    def spoil(*arguments):
        (tmp_path / "in").write_bytes(b"a\n" * 69 + b"\xff\n")
        return load_model(*arguments)

    monkeypatch.setattr(inference, "load_model", spoil)
    with pytest.raises(InputError, match=r"line 70.*UTF-8"):
        run(
            tmp_path / "out",
            "--layers=-1",
            input_file=tmp_path / "in",
            batch_size=1,
        )
    assert os.listdir(tmp_path) == ["in"]
