"""What an export writes: files, settings, weights, warm-up requests."""

import collections
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
    TOKEN_LABELS,
    call,
    folder,
    loaded,
    source,
)
from helpers.golden import TINY, read_variables
from helpers.reference import (
    HEADS,
    PAIRS,
    TEXTS,
    as_examples,
    language_model,
    python_model,
    python_tags,
    random_rows,
    reader,
    rows_of,
    softmax,
    tokenizer,
    wanted_of_rows,
)

from bert_tf import checkpoints, models, score
from bert_tf.checkpoints import inference
from bert_tf.data import grouping
from bert_tf.errors import InputError
from bert_tf.exports import warmup
from bert_tf.tasks.choices.data import ChoiceExample
from bert_tf.tasks.choices.rows import choice_values, pack_choices
from bert_tf.tasks.vectors import served

WARMED_UP = (*exported.QUICK, "pretraining")


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


@pytest.mark.parametrize("name", exported.parameters(exported.CHECKPOINTS))
def test_settings_say_how_the_model_was_exported(name):
    path = folder(name) / "1" / "assets" / "bert_tf.json"
    settings = json.loads(path.read_text())
    kept = (settings.pop("bert_tf_version"), settings.pop("unicode_version"))
    assert all(kept)
    span = {**SPANS, "version_2_with_negative": name == "span_v2"}
    span["null_score_diff_threshold"] = THRESHOLD if name == "span_v2" else None
    has_windows = name.endswith(("_windows", "_unit"))
    stride = {"doc_stride": exported.STRIDE if has_windows else None}
    of_head = {
        "classifier": {
            "window_pooling": "mean" if has_windows else None,
            "label_type": "class",
            "thresholds": None,
        }
        | stride,
        "multi": {
            "window_pooling": None,
            "label_type": "multi",
            "thresholds": [0.5] * len(LABELS),
            **stride,
        },
        "span": span,
        "choices": {},
        "pretraining": {
            "num_predictions": exported.TOP_K,
            "next_sentence": True,
        },
        "features": {
            "pooling": "mean",
            "layers": list(exported.LAYERS),
            "normalize": name == "features_unit",
            **stride,
        },
        "tokens": {
            "pooling": "none",
            "layers": list(exported.TOKEN_LAYERS),
            "normalize": False,
            **stride,
        },
        # Half of the pieces of a window.
        "ner": {"scheme": "IOB2", "doc_stride": 11},
    }
    kind = name.split("_")[0]
    heads = {"tokens": "features", "ner": "tokens", "multi": "classifier"}
    labels = {key: list(LABELS) for key in ("classifier", "multi")}
    labels["ner"] = list(TOKEN_LABELS)
    assert settings == {
        "format": 1,
        "head": heads.get(kind, kind),
        "labels": labels.get(kind),
        "do_lower_case": True,
        "strip_accents": None,
        "max_seq_length": exported.LENGTHS.get(name, 128),
        "quantize": None,
        "rows_at_once": exported.EXPORT.get(name, (None, {}))[1].get(
            "rows_at_once", 32
        ),
        **of_head[kind],
    }


@pytest.mark.parametrize("name", exported.parameters(HEADS))
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


@pytest.mark.slow
def test_an_export_that_fails_leaves_nothing(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(warmup, "write", full)
    with pytest.raises(InputError, match="No space left"):
        served.export_features(source("features"), str(tmp_path))
    assert os.listdir(tmp_path) == []


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [
        pytest.param(
            name,
            # The server's tests ask each head, too.
            marks=() if name in WARMED_UP else pytest.mark.exhaustive,
        )
        for name in exported.CHECKPOINTS
    ],
)
def test_every_signature_has_a_valid_warm_up_request(name):
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
    ("choices", "serve_text"): [
        {"context": text, "choices": [text_a, text_b, "so " * 30]}
        for text in TEXTS
        for text_a, text_b in PAIRS[:3]
    ],
    ("choices", "serve_text_pair"): [
        {"context": text, "question": text_a, "choices": [text_b, "", "a b"]}
        for text in TEXTS[:3]
        for text_a, text_b in PAIRS
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
    ("ner", "serve_text"): [{"text": text} for text in TEXTS],
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
    if name == "choices":
        return wanted_choices(**inputs)
    first, second = [*inputs.values(), ""][:2]
    if name == "span":
        best = reader(name).answer(first, second)[0]
        return {
            "answer": best.text.encode(),
            "score": best.score,
            "start": best.start,
            "end": best.end,
        }
    if name == "ner":
        tags = python_tags(first)
        return {
            "labels": [label.encode() for label in tags.labels],
            "probabilities": tags.probabilities,
            "entity_starts": [entity.start for entity in tags.entities],
            "entity_ends": [entity.end for entity in tags.entities],
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


def wanted_choices(context, choices, question=""):
    example = ChoiceExample("", context, question, tuple(choices))
    packed, num_cut = pack_choices(example, 24, tokenizer())
    values = choice_values(packed, 0, 24, tokenizer())
    rows = {
        key: np.array(values[key], np.int32).reshape(1, len(choices), 24)
        for key in models.ENCODER_INPUTS
    }
    (logits,) = python_model("choices")(rows)["logits"]
    return {
        "probabilities": softmax(logits),
        "choice": np.int32(logits.argmax()),
        "num_cut": np.int32(num_cut),
    }


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


@pytest.mark.slow
@pytest.mark.parametrize(
    "names",
    [
        ("classifier", "span", "features"),
        # Signatures of other heads, as Python's models or these give them, are
        # tested in one process by `test_signature` and each task's tests.
        pytest.param((*HEADS, "ner"), marks=pytest.mark.exhaustive),
    ],
    ids=len,
)
def test_a_process_that_has_only_tensorflow_gives_what_python_gives(names, rng):
    asked, want = [], []
    for name in [name for name in HEADS if name in names]:
        rows = random_rows(rng, name)
        examples = {"examples": as_examples(rows)}
        asked += [(name, "serving_default", rows)]
        asked += [(name, "serve_examples", examples)]
        want += [wanted_of_rows(name, rows)] * 2
    for (name, signature), every in ASKED.items():
        for inputs in every if name in names else ():
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
