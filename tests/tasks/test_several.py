"""Several heads on one encoder in one export."""

import json
import os
import shutil

import numpy as np
import pytest
import tensorflow as tf
from helpers import exported
from helpers.exported import LABELS, TOKEN_LABELS, write_head
from tensorflow.core.protobuf import saved_model_pb2

import bert_tf
from bert_tf import checkpoints
from bert_tf.checkpoints.reader import CheckpointReader
from bert_tf.errors import InputError
from bert_tf.exports.results import Label, Labels, Tags, Value
from bert_tf.exports.settings import Source, check_names
from bert_tf.tasks import check, several_heads
from bert_tf.tasks.classification.labeller import Labeller
from bert_tf.tasks.classification.served import export_classifier
from bert_tf.tasks.ner.served import export_tokens
from bert_tf.tasks.ner.tagger import Tagger
from bert_tf.tasks.several_inference import SeveralInference
from bert_tf.tasks.several_served import export_several

TEXTS = [
    "John Smith wrote the book .",
    "",
    "the quiet museum measured John Smith . " * 9,
    # Words without pieces, which are [UNK] where words are labelled.
    "a \u200d John\u200d \x00 b",
    "\u200d",
    "À Kraków, 東京 " * 9,
    " \t\n",
]


def alone(texts):
    """What each head answers as a Python model of its own folder."""
    folders = exported.several_folders()
    found = {"people": Tagger(folders["people"]).tag(texts)}
    for name in ("mood", "score", "topics"):
        labeller = Labeller(folders[name])
        found[name] = labeller.classify((text, "") for text in texts)
    return {name: list(results) for name, results in found.items()}


def assert_same(got, want):
    """Two results of a head, whose numbers may be rounded otherwise."""
    assert type(got) is type(want)
    for one, other in zip(got, want, strict=True):
        if isinstance(one, float | dict):
            assert one == pytest.approx(other, abs=5e-6)
        elif isinstance(one, list):
            assert len(one) == len(other)
            for a, b in zip(one, other, strict=True):
                if isinstance(a, tuple):
                    assert_same(a, b)
                else:
                    assert a == pytest.approx(b, abs=5e-6) or a == b
        else:
            assert one == other


def assert_all_answer(predict):
    """Compares all heads with models of each, and what one is asked alone."""
    want = alone(TEXTS)
    kinds = {"people": Tags, "mood": Label, "score": Value, "topics": Labels}
    for number, got in enumerate(predict(TEXTS)):
        assert list(got) == list(kinds)
        for name, kind in kinds.items():
            assert isinstance(got[name], kind)
            assert_same(got[name], want[name][number])
    ask = predict.signatures["mood/serve_text"]
    chances = np.asarray(ask(text_a=TEXTS)["probabilities"])
    of_mood = [list(one.probabilities.values()) for one in want["mood"]]
    np.testing.assert_allclose(chances, of_mood, atol=5e-6)


@pytest.mark.slow
def test_each_head_answers_as_it_does_alone():
    assert_all_answer(bert_tf.Predictor(exported.folder("several")))


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["onnx", "openvino"])
def test_without_tensorflow_each_head_answers_as_it_does_alone(kind):
    pytest.importorskip("onnx")
    pytest.importorskip({"onnx": "onnxruntime"}.get(kind, kind))
    path = exported.folder("several", format=kind)
    assert_all_answer(bert_tf.Predictor(path))


@pytest.mark.slow
def test_settings_and_labels_are_those_of_each_head():
    assets = exported.folder("several") / "1" / "assets"
    settings = json.loads((assets / "bert_tf.json").read_text())
    assert settings["head"] == "several"
    assert settings["labels"] is None and settings["max_seq_length"] == 24
    of_heads = {
        name: (own["head"], own["labels"], own.get("label_type"))
        for name, own in settings["heads"].items()
    }
    assert of_heads == {
        "people": ("tokens", list(TOKEN_LABELS), None),
        "mood": ("classifier", list(LABELS), "class"),
        "score": ("classifier", None, "number"),
        "topics": ("classifier", list(LABELS[::-1]), "multi"),
    }
    labels = (assets / "topics.labels.txt").read_text()
    assert labels == "".join(f"{label}\n" for label in LABELS[::-1])
    assert not (assets / "score.labels.txt").exists()


# ------------------------------------------------------------------- one pass


def count_passes(path, signature):
    """How often a signature calls a function that computes attention."""
    file = saved_model_pb2.SavedModel.FromString(
        (path / "1" / "saved_model.pb").read_bytes()
    )
    graph = file.meta_graphs[0].graph_def
    functions = {
        one.signature.name: one.node_def for one in graph.library.function
    }

    def count(nodes):
        found = 0
        for node in nodes:
            for value in node.attr.values():
                for called in (value.func, *value.list.func):
                    if called.name in functions:
                        inner = functions[called.name]
                        is_pass = any(x.op == "BatchMatMulV2" for x in inner)
                        found += is_pass or count(inner)
        return found

    # A signature's outputs come from one call of its function.
    definition = file.meta_graphs[0].signature_def[signature]
    names = {one.name.split(":")[0] for one in definition.outputs.values()}
    return count([node for node in graph.node if node.name in names])


@pytest.mark.slow
def test_all_heads_take_one_pass_through_the_encoder():
    path = exported.folder("several")
    for signature in ("serving_default", "serve_text", "people/serve_words"):
        assert count_passes(path, signature) == 1


class CountingSession:
    """Logits of zeros, and the rows that were computed."""

    length_step = 1
    outputs = ("people/logits", "mood/logits")

    def __init__(self):
        self.rows = []

    def run(self, inputs, outputs):
        ids, mask = inputs["input_ids"], inputs["input_mask"]
        self.rows += [row[on == 1].tolist() for row, on in zip(ids, mask)]
        shapes = {
            "people/logits": (*ids.shape, 3),
            "mood/logits": (len(ids), 3),
        }
        return {name: np.zeros(shapes[name], np.float32) for name in outputs}


def test_without_tensorflow_a_row_is_computed_once_for_all_heads():
    session, settings = (
        CountingSession(),
        {
            "max_seq_length": 24,
            "heads": {
                "people": {"head": "tokens", "labels": list(TOKEN_LABELS)},
                "mood": {"head": "classifier", "labels": list(LABELS)},
            },
        },
    )
    tokenizer = Tagger(
        exported.several_folders()["people"]
    )._inference.tokenizer
    model = SeveralInference(
        session, settings, {"type_vocab_size": 2}, tokenizer
    )
    got = model.run("serve_text", {"text_a": [b"John Smith", b"a b"]})
    assert len(session.rows) == 2
    assert got["mood/label"].tolist() == [b"good"] * 2
    session.rows.clear()
    # [CLS] [UNK] [SEP] for words, [CLS] [SEP] for texts.
    model.run("serve_text", {"text_a": ["\u200d".encode()]})
    assert sorted(map(len, session.rows)) == [2, 3]


# ------------------------------------------------ beside exports of each alone


@pytest.fixture(scope="module")
def apart(tmp_path_factory):
    """A SavedModel of each head alone, by name."""
    root, found = tmp_path_factory.mktemp("apart"), {}
    for name, folder in exported.several_folders().items():
        export = export_tokens if name == "people" else export_classifier
        source = Source(folder, max_seq_length=24)
        path = export(source, str(root / name))
        found[name] = tf.saved_model.load(path).signatures
    return found


def arrays(signature, inputs):
    tensors = {key: tf.constant(value) for key, value in inputs.items()}
    return {key: x.numpy() for key, x in signature(**tensors).items()}


@pytest.mark.exhaustive
def test_signatures_give_what_exports_of_each_head_give(apart, rng):
    several = exported.loaded("several").signatures
    rows = {
        "input_ids": rng.integers(0, 377, (3, 11), np.int32),
        "input_mask": np.ones((3, 11), np.int32),
        "segment_ids": rng.integers(0, 2, (3, 11), np.int32),
    }
    words = {"words": [["John", "Smith", ""], ["a", "\u200d", "b"]]}
    pairs = {"text_a": TEXTS, "text_b": TEXTS[::-1]}
    asked = {"serving_default": rows, "serve_text": {"text_a": TEXTS}}
    for signature, inputs in asked.items():
        together = arrays(several[signature], inputs)
        for name, signatures in apart.items():
            given = {"text" if name == "people" else "text_a": TEXTS}
            if signature == "serving_default":
                given = rows
            want = arrays(signatures[signature], given)
            compare(together, want, f"{name}/")
            if signature == "serve_text":
                own = arrays(several[f"{name}/serve_text"], given)
                compare(own, want)
    for name in ("mood", "score", "topics"):
        want = arrays(apart[name]["serve_text_pair"], pairs)
        compare(arrays(several[f"{name}/serve_text_pair"], pairs), want)
    want = arrays(apart["people"]["serve_words"], words)
    compare(arrays(several["people/serve_words"], words), want)
    compare(arrays(several["serve_words"], words), want, "people/")
    assert "serve_text_pair" not in several  # Words are those of one text.


def compare(got, want, prefix=""):
    found = {key for key in got if key.startswith(prefix)}
    assert found == {prefix + key for key in want}
    for key, wanted in want.items():
        if wanted.dtype == object:
            assert got[prefix + key].tolist() == wanted.tolist(), key
        else:
            np.testing.assert_allclose(
                got[prefix + key], wanted, rtol=1e-6, atol=1e-6, err_msg=key
            )


@pytest.fixture(scope="module")
def reviews(tmp_path_factory):
    """Two classifiers with windows, for texts and pairs; their folders."""
    root = tmp_path_factory.mktemp("reviews")
    given = {"doc_stride": 9, "window_pooling": "max"}
    return {
        name: write_head(
            root / name, "classifier", "class", LABELS, seed, False, **given
        )
        for seed, name in enumerate(("one", "other"))
    }


@pytest.mark.parametrize(
    "kind",
    [
        pytest.param("saved_model", marks=pytest.mark.exhaustive),
        pytest.param("onnx", marks=pytest.mark.slow),
    ],
)
def test_classifiers_read_pairs_and_windows_together(kind, reviews, tmp_path):
    if kind == "onnx":
        pytest.importorskip("onnxruntime")
    source = Source("", format=kind)
    path = export_several(source, str(tmp_path / "model"), reviews)
    pairs = [(text, other) for text, other in zip(TEXTS, TEXTS[::-1])]
    got = list(bert_tf.Predictor(path)(pairs))
    for name, folder in reviews.items():
        want = Labeller(folder).classify(pairs)
        for one, other in zip(got, want, strict=True):
            assert_same(one[name], other)


@pytest.mark.exhaustive
@pytest.mark.parametrize("kind", ["saved_model", "onnx"])
def test_int8_rounds_poolers_of_heads_too(kind, tmp_path):
    if kind == "onnx":
        pytest.importorskip("onnxruntime")
    folders = exported.several_folders()
    source = Source("", format=kind, quantize="int8")
    path = export_several(source, str(tmp_path / "all"), folders)
    score = Source(folders["score"], None, None, None, 24, "int8", format=kind)
    own = bert_tf.Predictor(export_classifier(score, str(tmp_path / "score")))
    predict = bert_tf.Predictor(path)
    # onnxruntime has one scale for all rows of a batch.
    for text in TEXTS[:1]:
        assert predict(text)["score"].value == pytest.approx(
            own(text).value, abs=1e-5
        )


@pytest.mark.slow
def test_a_check_compares_each_head_with_its_checkpoint(tmp_path):
    pytest.importorskip("onnxruntime")
    model = exported.folder("several", format="onnx")
    path = shutil.copytree(model / "1", tmp_path / "1")
    texts = tmp_path / "texts.txt"
    texts.write_text("John Smith wrote it .\n\nthe quiet museum\n")
    folders = exported.several_folders()
    _, text = check.check_several(str(path), folders, str(texts))
    assert "texts: 2 of " in text and "different labels: 0\n" in text
    (line,) = [x for x in text.splitlines() if x.startswith("largest diff")]
    assert float(line.split()[2]) < 1e-5


# ------------------------------------------------------------------ bad inputs


def open_two(tmp_path, change=None, source=None, **noted):
    """Opens a head and another one that was changed."""
    first = exported.several_folders()["mood"]
    other = tmp_path / "other"
    write_head(other, "classifier", "class", LABELS, 9, **noted)
    if change:
        change(other)
    return several_heads.open_heads(
        source or Source(""), {"first": first, "other": str(other)}
    )


def change_weight(name):
    def change(folder):
        reader = CheckpointReader(str(folder))
        values = {key: reader.tensor(key) for key in reader.names}
        values[name] = np.nextafter(values[name], np.float32(9))
        checkpoints.save(str(folder), 0, values)

    return change


KERNEL = "bert/encoder/layer_1/attention/self/value/kernel"


def test_an_encoder_that_was_trained_further_is_refused(tmp_path):
    with pytest.raises(InputError) as error:
        open_two(tmp_path, change_weight(KERNEL))
    message = str(error.value)
    folder = exported.several_folders()["mood"]
    assert f"`{KERNEL}` of {tmp_path}" in message and folder in message
    assert f"--init_checkpoint={folder} --freeze=embeddings,0-" in message
    assert "--lora_rank" not in message


def test_adapters_of_one_head_alone_are_named(tmp_path):
    noted = {"lora_rank": 4, "lora_targets": "query,value"}
    with pytest.raises(InputError, match="other was trained with --lora_rank"):
        open_two(tmp_path, change_weight(KERNEL), **noted)


def test_a_pooler_may_differ(tmp_path):
    open_two(tmp_path, change_weight("bert/pooler/dense/kernel"))


def replace(name, old, new):
    def change(folder):
        path = folder / name
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new, 1))

    return change


@pytest.mark.parametrize(
    ("change", "noted", "message"),
    [
        (replace("vocab.txt", "the\n", "eht\n"), {}, r"vocab\.txt.*in line"),
        (
            replace("bert_config.json", '"gelu"', '"relu"'),
            {},
            r"bert_config\.json.*differ in 'hidden_act'",
        ),
        (
            None,
            {"max_seq_length": 20},
            "first has max_seq_length=24, and other has max_seq_length=20",
        ),
        (
            None,
            {"doc_stride": 9},
            "first has doc_stride=none, and other has doc_stride=9",
        ),
        (
            None,
            {"do_lower_case": False},
            "do_lower_case=true, and other has do_lower_case=false",
        ),
        (
            replace("bert_tf.json", '"classifier"', '"span"'),
            {},
            "--heads=other=.*It has head=span",
        ),
        (lambda x: os.remove(x / "bert_tf.json"), {}, "It does not say"),
        (lambda x: os.remove(x / "labels.txt"), {}, r"no labels\.txt"),
        (shutil.rmtree, {}, "--heads=other="),
    ],
)
def test_heads_that_do_not_fit_are_refused(change, noted, message, tmp_path):
    # A cased model of this vocabulary is no mistake of its own.
    source = Source("", ignore_folder_settings="do_lower_case" in noted)
    with pytest.raises(InputError, match=message):
        open_two(tmp_path, change, source, **noted)


def test_windows_of_texts_and_words_are_refused(tmp_path):
    folders = exported.several_folders()
    heads = {name: folders[name] for name in ("mood", "people")}
    with pytest.raises(InputError, match=r"mood reads .*=9.* and people"):
        several_heads.open_heads(
            Source("", ignore_folder_settings=True), heads, doc_stride=9
        )


@pytest.mark.parametrize("name", ["", "a/b", "2nd", "x" * 65, "été"])
def test_names_that_no_signature_can_have_are_refused(name):
    with pytest.raises(InputError, match="The name of a head must be"):
        check_names([name])


def test_a_different_length_can_be_asked_for(tmp_path):
    source = Source("", max_seq_length=20, ignore_folder_settings=True)
    found = open_two(tmp_path, source=source)
    assert found.max_seq_length == 20
