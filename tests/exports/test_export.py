"""SavedModels, held to the Python models and to the rooms that use them."""

import collections
import functools
import json
import os
import pickle
import subprocess
import sys
import textwrap

import numpy as np
import pytest
import tensorflow as tf
from helpers import exported
from helpers.exported import (
    LABELS,
    SPANS,
    THRESHOLD,
    call,
    folder,
    loaded,
    source,
)
from helpers.golden import DATA, TINY, read_config, read_variables

from bert_tf import (
    answer,
    checkpoints,
    fill_mask,
    models,
    score,
)
from bert_tf.checkpoints import inference
from bert_tf.data import grouping, packing
from bert_tf.errors import InputError
from bert_tf.exports import (
    export as serving,
)
from bert_tf.exports import (
    folder as saved_models,
)
from bert_tf.exports import (
    warmup,
)
from bert_tf.tasks.pretraining.language_model import LanguageModel
from bert_tf.tasks.squad import reader as squad_reader
from bert_tf.tasks.vectors import lines, served
from bert_tf.tokenization import FullTokenizer

# Vectors reach 5, and rows of another length are added up in another order.
VECTOR_NOISE = 5e-6

HEADS = ("classifier", "span", "pretraining", "features")

TEXTS = [
    "Who wrote the book?",
    "",
    "the quiet museum measured John Smith . " * 30,
    "Très bien — 東京 Ὀδυσσεύς! \u200b\u0000 naïve",
    " \t\n",
    "e\u0301" * 50,
    "unaffable " * 21,
]
PAIRS = [
    ("the museum", "John Smith was born in 1895."),
    ("a", ""),
    ("", "b c"),
    ("the book " * 40, "short"),
    ("short", "the book " * 40),
    ("the quiet museum " * 20, "measured John Smith " * 20),
    ("\u200b", "x"),
]


@functools.cache
def tokenizer():
    return FullTokenizer(exported.BESIDE["vocab_file"])


@functools.cache
def python_model(name):
    """A forward pass in Python, with the same weights."""
    config = read_config(TINY.parent)
    every = lines.POOLINGS["none"]
    build = {
        "classifier": lambda: models.classifier(config, len(LABELS)),
        "span": lambda: models.span(config),
        "pretraining": lambda: models.pretraining(config),
        "features": lambda: models.encoder(config, exported.LAYERS, every),
        "tokens": lambda: models.encoder(config, exported.TOKEN_LAYERS, every),
    }[name]
    model, _ = inference.load_model(
        build, config, exported.CHECKPOINTS[name], ("bert/pooler/",)
    )
    return inference.compile_forward(model)


def rows_of(pairs, max_seq_length):
    """What the Python rooms make of texts, each padded to itself."""
    for text_a, text_b in pairs:
        packed = packing.truncate_and_pack(
            tokenizer().tokenize(text_a),
            tokenizer().tokenize(text_b),
            max_seq_length,
        )
        ids = tokenizer().convert_tokens_to_ids(packed.tokens)
        row = (ids, packed.segment_ids)
        yield inference.encoder_inputs([row], len(ids))


def softmax(logits):
    powers = np.exp(logits - logits.max(-1, keepdims=True), dtype=np.float64)
    return powers / powers.sum(-1, keepdims=True)


def assert_close(got, want, atol=1e-6):
    np.testing.assert_allclose(got, want, rtol=0, atol=atol)


# ------------------------------------------------- rows that come as numbers


def random_rows(rng, name):
    lengths = [9, 23, 1, 14]
    rows = {key: np.zeros((4, 23), np.int32) for key in models.ENCODER_INPUTS}
    for row, length in enumerate(lengths):
        rows["input_ids"][row, :length] = rng.integers(0, 1027, length)
        rows["input_mask"][row, :length] = 1
        rows["segment_ids"][row, length // 2 : length] = 1
    if name == "pretraining":
        rows["masked_lm_positions"] = rng.integers(0, 23, (4, 3), np.int32)
    return rows


def as_example(row):
    built = tf.train.Example()
    for name, values in row.items():
        built.features.feature[name].int64_list.value.extend(values.tolist())
    return built.SerializeToString()


def as_examples(rows):
    return [as_example(dict(zip(rows, row))) for row in zip(*rows.values())]


def wanted_of_rows(name, rows):
    """What the Python model makes of them, by the names of the outputs."""
    want = dict(python_model(name)(rows))
    if name == "classifier":
        want["probabilities"] = softmax(want["logits"])
    if name == "pretraining":
        chances = softmax(want["next_sentence_logits"])
        want["next_sentence_probabilities"] = chances
    if name == "features":
        values, lengths = want.pop("values"), rows["input_mask"].sum(1)
        want["embedding"] = [
            one[:length].mean(0).ravel() for one, length in zip(values, lengths)
        ]
    return want


@pytest.mark.parametrize("name", HEADS)
def test_numbers_and_examples_give_what_the_python_model_gives(name, rng):
    rows = random_rows(rng, name)
    want = wanted_of_rows(name, rows)

    default = call(name, "serving_default", **rows)
    from_examples = call(name, "serve_examples", examples=as_examples(rows))

    assert default.keys() == from_examples.keys() == want.keys()
    for key in want:
        assert_close(default[key], want[key])
        assert_close(from_examples[key], want[key])


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"input_ids": [[5, 1027]]}, "input_ids must be from 0 to 1026"),
        ({"input_ids": [[-1, 5]]}, "input_ids must be from 0 to 1026"),
        ({"input_mask": [[1]]}, "input_mask must have the shape of input_ids"),
        (
            {key: [[0] * 129] for key in models.ENCODER_INPUTS},
            "The model has 128 positions",
        ),
    ],
)
def test_numbers_that_do_not_fit_are_refused(changed, message):
    rows = {key: [[0, 1]] for key in models.ENCODER_INPUTS}
    with pytest.raises(tf.errors.InvalidArgumentError, match=message):
        call("classifier", "serving_default", **{**rows, **changed})


@pytest.mark.parametrize(
    ("positions", "message"),
    [
        ([[2]], "masked_lm_positions must be below the length"),
        ([[0], [1]], "masked_lm_positions for each row"),
    ],
)
def test_positions_that_do_not_fit_are_refused(positions, message):
    rows = {key: [[0, 1]] for key in models.ENCODER_INPUTS}
    with pytest.raises(tf.errors.InvalidArgumentError, match=message):
        call(
            "pretraining",
            "serving_default",
            **rows,
            masked_lm_positions=positions,
        )


# ------------------------------------------------------------------ classifier


def test_a_classifier_gives_texts_what_python_gives_them():
    got = call("classifier", "serve_text", text_a=TEXTS)
    pairs = [(text, "") for text in TEXTS]
    assert_classified(got, pairs)


def test_a_classifier_gives_pairs_what_python_gives_them():
    first, second = zip(*PAIRS)
    got = call("classifier", "serve_text_pair", text_a=first, text_b=second)
    assert_classified(got, PAIRS)


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


def windows_of(text_a, text_b):
    return packing.pack_windows(
        tokenizer().tokenize(text_a),
        tokenizer().tokenize(text_b),
        24,
        exported.STRIDE,
    )


def window_inputs(window):
    ids = tokenizer().convert_tokens_to_ids(window.tokens)
    return inference.encoder_inputs([(ids, window.segment_ids)], len(ids))


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


def test_no_texts_give_no_answers():
    nothing = tf.constant([], tf.string)
    for name, inputs in (
        ("classifier", ("text_a",)),
        ("span", ("question", "context")),
        ("pretraining", ("text",)),
        ("features", ("text_a",)),
    ):
        got = call(name, "serve_text", **dict.fromkeys(inputs, nothing))
        assert {len(values) for values in got.values()} == {0}


def test_text_that_is_not_utf8_is_refused():
    with pytest.raises(tf.errors.InvalidArgumentError, match="must be UTF-8"):
        call("classifier", "serve_text", text_a=["fine", b"caf\xe9"])


def test_a_pair_needs_both_texts():
    with pytest.raises(
        tf.errors.InvalidArgumentError, match="as many of text_b as of text_a"
    ):
        call("classifier", "serve_text_pair", text_a=["a", "b"], text_b=["c"])


# ----------------------------------------------------------------------- spans


@functools.cache
def contexts():
    """Texts of one window and of many."""
    articles = json.loads((DATA / "squad" / "dev-v1.1.json").read_text())
    texts = [
        paragraph["context"]
        for article in articles["data"]
        for paragraph in article["paragraphs"]
    ]
    return [
        *sorted(set(texts), key=len)[::2],
        "\r\n\n Kraków\u00a0(“Cracow”) é\u0301 한국어\t東京 ",
        "the quiet museum " * 90,
    ]


@functools.cache
def reader(name):
    more = {}
    if name == "span_v2":
        more = {
            "version_2_with_negative": True,
            "null_score_diff_threshold": THRESHOLD,
        }
    return squad_reader.Reader(
        exported.CHECKPOINTS[name], **exported.BESIDE, **SPANS, **more
    )


@pytest.mark.parametrize("name", ["span", "span_v2"])
def test_answers_are_those_of_the_reader(name):
    questions = ["Who was born?", "Où est Kraków ? " * 9, "the museum measured"]
    asked = [(q, context) for context in contexts() for q in questions]
    readings = reader(name).read_all(
        answer.Query(question, [context]) for question, context in asked
    )

    question, context = zip(*asked)
    got = call(name, "serve_text", question=question, context=context)

    unanswered = 0
    for row, want in enumerate(readings):
        best = want.answers[0]
        assert got["answer"][row].decode() == best.text
        assert_close(got["score"][row], best.score, 1e-5)
        unanswered += best.start is None
        start, end = got["start"][row], got["end"][row]
        if best.start is None:
            assert (start, end, got["start_byte"][row]) == (-1, -1, -1)
        else:
            assert (start, end) == (best.start, best.end)
            raw = context[row].encode()
            places = slice(got["start_byte"][row], got["end_byte"][row])
            assert raw[places] == got["answer"][row]
        if name == "span_v2":
            null = got["null_probability"][row]
            assert_close(null, want.null_probability, 1e-5)
    assert len(asked) > 40
    assert 0 < unanswered < len(asked) or name == "span"
    assert ("null_probability" in got) == (name == "span_v2")


@pytest.mark.parametrize("name", ["span", "span_v2"])
def test_where_nothing_is_asked_or_there_is_nothing_to_read(name):
    got = call(
        name,
        "serve_text",
        question=["", "Who?", "Who?", "\u200b"],
        context=["John Smith", "", "John Smith", "John Smith"],
    )
    want = reader(name).answer("Who?", "John Smith")[0]
    assert got["answer"][2].decode() == want.text
    for row in (0, 1, 3):
        found = {key: values[row] for key, values in got.items()}
        assert found.pop("answer") == b""
        assert found.pop("score") == found.pop("null_probability", 0) == 0
        assert set(found.values()) == {-1}


# ----------------------------------------------------------------- pretraining


@functools.cache
def language_model():
    return LanguageModel(exported.CHECKPOINTS["pretraining"], max_seq_length=24)


def test_guesses_are_those_of_fill_mask():
    texts = [
        "the [MASK] museum measured [MASK] .",
        "[MASK]",
        "play[MASK][MASK]Très[MASK]ΟΔΟΣ[MASK]",
        "a b c " * 20 + "[MASK]" + " d e f" * 20 + " [MASK] [MASK] g h",
        "[mask] [MASK ] [MASK]]",
    ]
    got = call("pretraining", "serve_text", text=[*texts, "no mask", ""])

    most = 0
    for row, text in enumerate(texts):
        masks = fill_mask.fill_mask(language_model(), text, exported.TOP_K)
        most = max(most, len(masks))
        for number, candidates in enumerate(masks):
            pieces = got["tokens"][row, number]
            assert [x.decode() for x in pieces] == [c.piece for c in candidates]
            scores = got["token_scores"][row, number]
            # Other rows in the batch, another order of the sums.
            assert_close(scores, [c.probability for c in candidates], 5e-6)
        assert not any(got["tokens"][row, len(masks) :].ravel())
        assert not got["token_scores"][row, len(masks) :].any()
    assert got["tokens"].shape == (len(texts) + 2, most, exported.TOP_K)
    assert not any(got["tokens"][-2:].ravel())
    assert not got["next_sentence_probability"].any()


def test_a_pair_is_told_whether_it_follows_as_score_tells():
    pairs = [pair for pair in PAIRS if all(map(tokenizer().tokenize, pair))]
    want = list(score.score_pairs(language_model(), pairs))
    first, second = zip(*pairs, ("a", ""), ("", "b"))

    got = call("pretraining", "serve_text_pair", text=first, text_b=second)

    chances = [one.next_sentence_probability for one in want]
    assert_close(got["next_sentence_probability"], [*chances, 0, 0])
    cut = [one.num_cut for one in want]
    assert got["num_cut"].tolist() == [*cut, 0, 0]


def test_masks_of_a_pair_are_guessed_where_they_stand():
    got = call(
        "pretraining",
        "serve_text_pair",
        text=["the [MASK] museum", "[MASK]"],
        text_b=["[MASK] Smith", ""],
    )
    tokens = "[CLS] the [MASK] museum [SEP] [MASK] smith [SEP]"
    ids = tokenizer().convert_tokens_to_ids(tokens.split())
    inputs = inference.encoder_inputs([(ids, [0] * 5 + [1] * 3)], 8)
    logits = python_model("pretraining")(
        {**inputs, "masked_lm_positions": [[2, 5]]}
    )["masked_lm_logits"][0]
    chances = np.sort(softmax(logits), -1)[:, ::-1]
    assert_close(got["token_scores"][0], chances[:, : exported.TOP_K])
    best = tokenizer().convert_ids_to_tokens(logits.argmax(-1).tolist())
    assert [x.decode() for x in got["tokens"][0, :, 0]] == best
    (alone,) = fill_mask.fill_mask(language_model(), "[MASK]", 1)
    assert got["tokens"][1, 0, 0].decode() == alone[0].piece


# -------------------------------------------------------------------- features


def test_embeddings_are_those_of_python():
    first, second = zip(*PAIRS)
    got = call("features", "serve_text_pair", text_a=first, text_b=second)
    for row, inputs in enumerate(rows_of(PAIRS, 40)):
        (values,) = python_model("features")(inputs)["values"]
        want = values.mean(0).ravel()
        assert_close(got["embedding"][row], want, VECTOR_NOISE)


def test_vectors_of_tokens_come_with_their_tokens():
    got = call("tokens", "serve_text", text_a=TEXTS)
    for row, inputs in enumerate(rows_of([(x, "") for x in TEXTS], 24)):
        (values,) = python_model("tokens")(inputs)["values"]
        (ids,) = inputs["input_ids"].tolist()
        used = len(ids)
        values = values.reshape(used, -1)
        assert_close(got["embedding"][row, :used], values, VECTOR_NOISE)
        tokens = [token.decode() for token in got["tokens"][row]]
        assert tokens[:used] == tokenizer().convert_ids_to_tokens(ids)
        assert not any(tokens[used:])


@pytest.mark.parametrize(
    ("name", "over_tokens"), [("features", "mean"), ("tokens", None)]
)
def test_features_read_long_texts_in_windows(name, over_tokens):
    first, second = zip(*PAIRS)
    got = call(
        f"{name}_windows", "serve_text_pair", text_a=first, text_b=second
    )
    parts, cut = [], []
    for line, pair in enumerate(PAIRS):
        windows, num_cut = windows_of(*pair)
        cut.append(num_cut)
        for window in windows:
            out = python_model("tokens" if name == "tokens" else "features")(
                window_inputs(window)
            )
            vectors = lines.Vectors(
                line,
                window.tokens[window.owned],
                out["values"][0, window.owned],
            )
            parts.append(lines.pool_window(vectors, over_tokens))
    want = lines.join_windows(parts, over_tokens)
    for row, vectors in enumerate(want):
        embedding = got["embedding"][row]
        if over_tokens is None:
            used = len(vectors.tokens)
            tokens = [token.decode() for token in got["tokens"][row]]
            assert tokens[:used] == vectors.tokens
            assert not any(tokens[used:]) and not embedding[used:].any()
            embedding = embedding[:used]
        values = vectors.values.reshape(embedding.shape)
        assert_close(embedding, values, VECTOR_NOISE)
    assert got["num_cut"].tolist() == cut


# ------------------------------------------------------------------- the folder


def test_the_folder_has_what_belongs_to_the_model():
    path = folder("classifier") / "1"
    assets = path / "assets"
    assert sorted(os.listdir(path)) == [
        "assets",
        "assets.extra",
        "fingerprint.pb",
        "saved_model.pb",
        "variables",
    ]
    assert (assets / "labels.txt").read_text() == "".join(
        f"{label}\n" for label in LABELS
    )
    vocab = (TINY.parent / "vocab.txt").read_bytes()
    assert (assets / "vocab.txt").read_bytes() == vocab
    config = json.loads((assets / "bert_config.json").read_text())
    assert config == json.loads((TINY.parent / "bert_config.json").read_text())


@pytest.mark.parametrize("name", exported.CHECKPOINTS)
def test_settings_say_how_the_model_was_exported(name):
    path = folder(name) / "1" / "assets" / "bert_tf.json"
    settings = json.loads(path.read_text())
    kept = (settings.pop("bert_tf_version"), settings.pop("unicode_version"))
    assert all(kept)
    span = {**SPANS, "version_2_with_negative": name == "span_v2"}
    span["null_score_diff_threshold"] = THRESHOLD if name == "span_v2" else None
    has_windows = name.endswith("_windows")
    stride = {"doc_stride": exported.STRIDE if has_windows else None}
    of_head = {
        "classifier": {"window_pooling": "mean" if has_windows else None}
        | stride,
        "span": span,
        "pretraining": {
            "num_predictions": exported.TOP_K,
            "next_sentence": True,
        },
        "features": {"pooling": "mean", "layers": list(exported.LAYERS)}
        | stride,
        "tokens": {"pooling": "none", "layers": list(exported.TOKEN_LAYERS)}
        | stride,
    }
    kind = name.split("_")[0]
    assert settings == {
        "format": 1,
        "head": "features" if kind == "tokens" else kind,
        "labels": list(LABELS) if kind == "classifier" else None,
        "do_lower_case": True,
        "max_seq_length": exported.LENGTHS.get(name, 128),
        "quantize": None,
        **of_head[kind],
    }


@pytest.mark.parametrize("name", HEADS)
def test_weights_are_saved_once_and_only_those_that_are_used(name):
    path = folder(name) / "1" / "variables"
    got = read_variables(path / "variables")
    saved = {
        key.split("/", 1)[1].replace(".S", "/").split("/.ATTRIBUTES")[0]: value
        for key, value in got.items()
        if key.startswith("weights/")
    }
    want = read_variables(checkpoints.find(exported.CHECKPOINTS[name]))
    unused = {"global_step"}
    if name == "features":
        unused |= {name for name in want if name.startswith("cls/")}
    assert saved.keys() == want.keys() - unused
    for key, value in saved.items():
        np.testing.assert_array_equal(value, want[key])
    size = sum(value.nbytes for value in saved.values())
    (data,) = path.glob("*.data*")
    a_kernel = 64 * 256 * 4  # Besides there are only names and places.
    assert data.stat().st_size < size + a_kernel
    for signature in loaded(name).signatures.values():
        assert max(sizes_of_constants(signature)) < a_kernel


def sizes_of_constants(signature):
    graph = signature.graph.as_graph_def()
    functions = [function.node_def for function in graph.library.function]
    for nodes in (graph.node, *functions):
        for node in nodes:
            if node.op == "Const":
                yield node.attr["value"].tensor.ByteSize()


def test_versions_are_numbered_and_other_names_left_alone(tmp_path):
    for name in ("7", "007x", "12.incomplete", "notes"):
        (tmp_path / name).mkdir()
    (tmp_path / "unfinished").mkdir()
    (tmp_path / "7" / "x").touch()

    path = saved_models.give_number(str(tmp_path / "unfinished"), str(tmp_path))

    assert path == str(tmp_path / "8")
    assert sorted(os.listdir(tmp_path)) == [
        "007x",
        "12.incomplete",
        "7",
        "8",
        "notes",
    ]


def test_a_number_that_is_taken_meanwhile_is_not_overwritten(
    tmp_path, monkeypatch
):
    (tmp_path / "unfinished").mkdir()
    rename = os.rename

    def too_late(old, new):
        if new.endswith("1"):
            os.mkdir(new)
            open(os.path.join(new, "x"), "w").close()
        rename(old, new)

    monkeypatch.setattr(os, "rename", too_late)
    path = saved_models.give_number(str(tmp_path / "unfinished"), str(tmp_path))
    assert path == str(tmp_path / "2")
    assert os.listdir(tmp_path / "1") == ["x"]


def test_an_export_that_fails_leaves_nothing(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(warmup, "write", full)
    with pytest.raises(InputError, match="No space left"):
        served.export_features(source("features"), str(tmp_path))
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("name", exported.CHECKPOINTS)
def test_every_signature_is_warmed_up_with_a_request_it_answers(name):
    path = folder(name) / "1" / "assets.extra" / "tf_serving_warmup_requests"
    signatures = loaded(name).signatures
    seen = []
    for record in tf.data.TFRecordDataset(str(path)):
        log = warmup.prediction_log().FromString(record.numpy())
        request = log.predict_log.request
        inputs = {
            key: tf.io.parse_tensor(
                value,
                signatures[request.model_spec.signature_name]
                .structured_input_signature[1][key]
                .dtype,
            )
            for key, value in request.inputs.items()
        }
        signature = request.model_spec.signature_name
        found = signatures[signature](**inputs)
        assert all(len(value) == 1 for value in found.values())
        seen.append(signature)
    assert sorted(seen) == sorted(signatures)


# Which has TensorFlow; run_scripts/test_serving_alone.sh makes one that has
# nothing else.
TENSORFLOW_PYTHON = os.environ.get("BERT_TF_TENSORFLOW_PYTHON", sys.executable)

IN_A_NEW_PROCESS = """
    import pickle, sys
    import tensorflow as tf

    def keras_modules():
        return {x for x in sys.modules if x.split(".")[0].endswith("keras")}

    sys.modules["bert_tf"] = None  # It cannot be imported any more.
    before = keras_modules()
    found = []
    loaded = {}
    for path, signature, inputs in pickle.load(sys.stdin.buffer):
        if path not in loaded:
            loaded[path] = tf.saved_model.load(path)
        inputs = {key: tf.constant(value) for key, value in inputs.items()}
        outputs = loaded[path].signatures[signature](**inputs)
        found.append({key: value.numpy() for key, value in outputs.items()})
    assert keras_modules() == before
    assert not [x for x in sys.modules if x.startswith("bert_tf.")]
    assert "tensorflow_text" not in sys.modules
    pickle.dump(found, sys.stdout.buffer)
"""

ASKED = {
    ("classifier", "serve_text"): [{"text_a": text} for text in TEXTS],
    ("classifier", "serve_text_pair"): [
        {"text_a": text_a, "text_b": text_b} for text_a, text_b in PAIRS
    ],
    ("span", "serve_text"): [
        {"question": question, "context": context}
        for question in ("Who?", "Où est Kraków ?")
        for context in ("John Smith was born.", "the museum (“東京”) " * 9)
    ],
    ("pretraining", "serve_text"): [
        {"text": text}
        for text in ("the [MASK] museum", "[MASK]", "a [MASK] b [MASK] the")
    ],
    ("pretraining", "serve_text_pair"): [
        {"text": text, "text_b": text_b}
        for text, text_b in PAIRS
        if min(len(tokenizer().tokenize(one)) for one in (text, text_b))
    ],
    ("features", "serve_text"): [{"text_a": text} for text in TEXTS],
    ("features", "serve_text_pair"): [
        {"text_a": text_a, "text_b": text_b} for text_a, text_b in PAIRS
    ],
}


def padded(row, max_seq_length):
    """As long as the graph makes it, so that sums are added up alike."""
    length = row["input_ids"].shape[1]
    step = grouping.LENGTH_STEP
    missing = min(-length % step, max_seq_length - length)
    return {
        name: np.pad(values, ((0, 0), (0, missing)))
        for name, values in row.items()
    }


def wanted_of_texts(name, inputs):
    """What Python says of one text or pair, by the names of the outputs."""
    first, second = [*inputs.values(), ""][:2]
    if name == "span":
        best = reader(name).answer(first, second)[0]
        return {
            "answer": best.text.encode(),
            "score": best.score,
            "start": best.start,
            "end": best.end,
        }
    if name == "pretraining" and second:
        (pair,) = score.score_pairs(language_model(), [(first, second)])
        return {"next_sentence_probability": pair.next_sentence_probability}
    if name == "pretraining":
        return wanted_guesses(["[CLS]", *first.split(), "[SEP]"])
    (row,) = rows_of([(first, second)], 40)
    outputs = python_model(name)(padded(row, 40))
    if name == "classifier":
        (logits,) = outputs["logits"]
        label = LABELS[logits.argmax()].encode()
        return {"probabilities": softmax(logits), "label": label}
    used = row["input_ids"].shape[1]
    return {"embedding": outputs["values"][0, :used].mean(0).ravel()}


def wanted_guesses(tokens):
    ids = tokenizer().convert_tokens_to_ids(tokens)
    row = inference.encoder_inputs([(ids, [0] * len(ids))], len(ids))
    places = [place for place, token in enumerate(tokens) if token == "[MASK]"]
    logits = python_model("pretraining")(
        {**padded(row, 24), "masked_lm_positions": [places]}
    )["masked_lm_logits"][0]
    best = np.argsort(-logits)[:, : exported.TOP_K]
    pieces = [tokenizer().convert_ids_to_tokens(row.tolist()) for row in best]
    return {
        "tokens": np.vectorize(str.encode)(pieces),
        "token_scores": np.take_along_axis(softmax(logits), best, 1),
    }


def difference(got, want):
    """The largest between two arrays; for others infinity, or 0 if equal."""
    got, want = np.asarray(got), np.asarray(want)
    assert got.shape == want.shape
    if got.dtype.kind != "f":
        return 0.0 if (got == want).all() else np.inf
    return float(np.abs(got - want).max(initial=0.0))


def test_a_process_that_has_only_tensorflow_gives_what_python_gives(rng):
    asked, want = [], []
    for name in HEADS:
        rows = random_rows(rng, name)
        examples = {"examples": as_examples(rows)}
        asked += [(name, "serving_default", rows)]
        asked += [(name, "serve_examples", examples)]
        want += [wanted_of_rows(name, rows)] * 2
    for (name, signature), every in ASKED.items():
        for inputs in every:
            batch = {key: [value] for key, value in inputs.items()}
            asked.append((name, signature, batch))
            found = wanted_of_texts(name, inputs)
            want.append({key: [value] for key, value in found.items()})
    request = [
        (str(folder(name) / "1"), signature, inputs)
        for name, signature, inputs in asked
    ]
    done = subprocess.run(
        [TENSORFLOW_PYTHON, "-I", "-c", textwrap.dedent(IN_A_NEW_PROCESS)],
        input=pickle.dumps(request),
        capture_output=True,
        cwd="/",
    )
    assert done.returncode == 0, done.stderr.decode()

    from_python = collections.defaultdict(float)
    from_here = collections.defaultdict(float)
    for (name, signature, inputs), got, wanted in zip(
        asked, pickle.loads(done.stdout), want, strict=True
    ):
        here = call(name, signature, **inputs)
        assert got.keys() == here.keys() >= wanted.keys()
        for key in got:
            of = name, signature
            away = difference(got[key], here[key])
            from_here[of] = max(from_here[of], away)
            if key in wanted:
                away = difference(got[key], wanted[key])
                from_python[of] = max(from_python[of], away)
    print("\n\n| head | signature | from Python's model | from here |")
    print("|---|---|---|---|")
    for of, away in from_python.items():
        print("| {} | {} | {:.1e} | {:.1e} |".format(*of, away, from_here[of]))
    assert max(from_python.values()) <= 1e-6
    assert max(from_here.values()) <= 1e-6


# --------------------------------------------------------------------- mistakes


@pytest.mark.parametrize(
    ("export", "name", "options", "message"),
    [
        ("classifier", "features", {"labels": LABELS}, "no head to classify"),
        (
            "classifier",
            "classifier",
            {"labels": ["a", "b"]},
            "as many labels as .* has classes, 3. Received: 2, a, b",
        ),
        ("classifier", "classifier", {}, r"no labels\.txt.*--labels_file"),
        ("span", "features", {"max_query_length": 9}, "no head to answer"),
        ("span", "span", {"max_answer_length": 0}, "must be above 0"),
        ("span", "span", {"rows_at_once": 0}, "must be above 0"),
        ("span", "span", {"doc_stride": 0}, "must be above 0"),
        ("span", "span", {"max_query_length": 125}, "must be greater than"),
        (
            "span",
            "span",
            {"null_score_diff_threshold": 1.0},
            "only with version_2_with_negative",
        ),
        ("pretraining", "classifier", {}, "cls/predictions/"),
        ("pretraining", "pretraining", {"top_k": 0}, "at least 1"),
        ("pretraining", "pretraining", {"top_k": 1028}, "at most 1027"),
        ("features", "features", {"layers": (3,)}, "There is no layer 3"),
        (
            "features",
            "features",
            {"layers": (1,), "pooling": "concat_last_4"},
            "not for the pooling concat_last_4",
        ),
    ],
)
def test_what_cannot_be_exported_is_named(
    export, name, options, message, tmp_path
):
    function = getattr(serving, f"export_{export}")
    with pytest.raises(InputError, match=message):
        function(source(name), str(tmp_path), **options)
    assert os.listdir(tmp_path) == []


def test_a_bucket_is_no_place_to_export_to():
    with pytest.raises(InputError, match=r"folder on this machine.*gs://x"):
        serving.check_output("gs://x", "export_dir")
