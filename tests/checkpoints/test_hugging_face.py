import json
import shutil

import pytest
from helpers.golden import CHECKPOINTS
from helpers.hugging_face import (
    HUGGING_FACE,
    assert_same,
    edit_json,
    edit_tensors,
    stored,
    tensors_of,
)

from bert_tf import checkpoints
from bert_tf.checkpoints import casing, folder_settings
from bert_tf.checkpoints.from_hugging_face import from_hf
from bert_tf.checkpoints.names import DATA
from bert_tf.checkpoints.stripping import strip
from bert_tf.checkpoints.to_hugging_face import to_hf
from bert_tf.errors import InputError


@pytest.mark.parametrize(
    "head", ["pretraining", "classifier", "span", "token", "choices"]
)
def test_from_hugging_face_and_back_gives_the_same_tensors(head, tmp_path):
    from_hf(HUGGING_FACE / head, tmp_path / "tf")
    # The folder notes which head it is.
    to_hf(tmp_path / "tf", tmp_path / "back")

    assert_same(tensors_of(tmp_path / "back"), tensors_of(HUGGING_FACE / head))
    back = json.loads((tmp_path / "back" / "config.json").read_text())
    want = json.loads((HUGGING_FACE / head / "config.json").read_text())
    act = {"gelu_pytorch_tanh": "gelu_new"}.get(
        want["hidden_act"], want["hidden_act"]
    )
    assert back.pop("hidden_act") == act
    for key in set(back) & set(want) - {"hidden_act"}:
        assert back[key] == want[key], key
    assert {"architectures", "model_type", "layer_norm_eps"} < set(back)
    assert ("id2label" in back) == (head in ("classifier", "token"))


@pytest.mark.parametrize("folder", ["tiny", "toy"])
def test_to_hugging_face_and_back_gives_the_same_bytes(folder, tmp_path):
    source = CHECKPOINTS / folder
    strip(source, str(tmp_path / "bare" / "bert_model.ckpt"))
    to_hf(tmp_path / "bare", tmp_path / "hf")
    from_hf(tmp_path / "hf", tmp_path / "back")

    for name in ("index", DATA[1:]):
        want = (tmp_path / "bare" / f"bert_model.ckpt.{name}").read_bytes()
        got = (tmp_path / "back" / f"bert_model.ckpt.{name}").read_bytes()
        assert got == want
    for name in ("bert_config.json", "vocab.txt"):
        want = (source / name).read_text()
        got = (tmp_path / "back" / name).read_text()
        if name.endswith("json"):
            got, want = json.loads(got), json.loads(want)
        else:
            got, want = got.splitlines(), want.splitlines()
        assert got == want


@pytest.mark.parametrize("head", ["masked_lm", "next_sentence", "none"])
def test_other_heads_survive_there_and_back(head, tiny, tmp_path):
    to_hf(tiny, tmp_path / "hf", head=head)
    tensors = tensors_of(tmp_path / "hf")
    from_hf(tmp_path / "hf", tmp_path / "back")

    start = {
        "masked_lm": "cls/predictions/",
        "next_sentence": "cls/seq_relationship/",
        "none": "bert/",
    }[head]
    want = {
        name: value
        for name, value in stored(tiny).items()
        if name.startswith(("bert/", start))
    }
    assert_same(stored(tmp_path / "back"), want)
    assert "bert.pooler.dense.bias" in tensors or head == "none"
    assert ("pooler.dense.bias" in tensors) == (head == "none")


def test_labels_travel_in_both_directions(tmp_path):
    from_hf(HUGGING_FACE / "classifier", tmp_path / "tf")
    labels = tmp_path / "tf" / "labels.txt"
    assert labels.read_text() == "red\ngreen\nblue\n"
    labels.write_text("x\ny\nz\n")
    to_hf(tmp_path / "tf", tmp_path / "hf")
    config = json.loads((tmp_path / "hf" / "config.json").read_text())
    assert config["id2label"] == {"0": "x", "1": "y", "2": "z"}
    assert config["label2id"] == {"x": 0, "y": 1, "z": 2}
    labels.write_text("x\ny\n")
    with pytest.raises(InputError, match=r"labels\.txt must name the 3.*has 2"):
        to_hf(tmp_path / "tf", tmp_path / "hf", overwrite=True)


@pytest.mark.parametrize(
    ("problem", "outputs"),
    [
        ("single_label_classification", 3),
        ("multi_label_classification", 3),
        ("multi_label_classification", 1),
        ("regression", 1),
    ],
)
def test_the_problem_travels_there_and_back(problem, outputs, hf, tmp_path):
    folder = hf("classifier")
    labels = ["red", "green", "blue"][:outputs]
    if problem == "regression":
        labels = ["LABEL_0"]
    names = {str(number): label for number, label in enumerate(labels)}
    edit_json(folder / "config.json", problem_type=problem, id2label=names)

    def keep(tensors):
        for name in ("classifier.weight", "classifier.bias"):
            tensors[name] = tensors[name][:outputs]

    edit_tensors(folder, keep)
    from_hf(folder, tmp_path / "tf")
    if problem.startswith("multi"):
        (tmp_path / "tf" / "thresholds.tsv").write_text("red\t0.25\n")
    report = to_hf(tmp_path / "tf", tmp_path / "back")

    config = json.loads((tmp_path / "back" / "config.json").read_text())
    assert config["problem_type"] == problem
    assert config["id2label"] == names
    assert ("thresholds.tsv" in report) == problem.startswith("multi")
    assert_same(tensors_of(tmp_path / "back"), tensors_of(folder))


def test_what_a_head_cannot_be_is_refused(hf, tmp_path):
    from_hf(hf("classifier"), tmp_path / "tf")
    with pytest.raises(InputError, match=r"one output.*has 3.*a classifier"):
        to_hf(tmp_path / "tf", tmp_path / "back", head="choices")
    edit_json(tmp_path / "tf" / "bert_tf.json", label_type="number")
    with pytest.raises(InputError, match=r"label_type.*one output.*has 3"):
        to_hf(tmp_path / "tf", tmp_path / "back")
    edit_json(tmp_path / "tf" / "bert_tf.json", label_type="rank")
    with pytest.raises(InputError, match=r"label_type.*class, number.*'rank'"):
        to_hf(tmp_path / "tf", tmp_path / "back")


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("gelu", "gelu_exact"),
        ("gelu_new", "gelu"),
        ("gelu_pytorch_tanh", "gelu"),
        ("relu", "relu"),
        ("tanh", "tanh"),
        ("linear", "linear"),
    ],
)
def test_activation_is_translated(theirs, ours, hf, tmp_path):
    folder = hf("span")
    edit_json(folder / "config.json", hidden_act=theirs)
    from_hf(folder, tmp_path / "tf")
    config = json.loads((tmp_path / "tf" / "bert_config.json").read_text())
    assert config["hidden_act"] == ours
    to_hf(tmp_path / "tf", tmp_path / "back")
    back = json.loads((tmp_path / "back" / "config.json").read_text())
    assert back["hidden_act"] == theirs.replace("gelu_pytorch_tanh", "gelu_new")


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("gelu_python", "gelu_exact"),
        ("gelu_fast", "gelu"),
        ("gelu_accurate", "gelu"),
        ("gelu_python_tanh", "gelu"),
    ],
)
def test_other_names_of_gelu_are_understood(theirs, ours, hf, tmp_path):
    folder = hf("span")
    edit_json(folder / "config.json", hidden_act=theirs)
    assert f"hidden_act: {ours}." in from_hf(folder, tmp_path / "tf")


def test_numbers_that_are_not_finite_are_not_written(tiny, tmp_path):
    values = stored(tiny)
    values["bert/pooler/dense/bias"][3] = float("nan")
    checkpoints.write(tiny / "bert_model.ckpt", values)
    with pytest.raises(InputError, match=r"`bert/pooler/dense/bias` has 1 of"):
        to_hf(tiny, tmp_path / "hf")
    assert not (tmp_path / "hf").exists()


def test_activation_can_be_overridden(hf, tmp_path):
    from_hf(hf("pretraining"), tmp_path / "tf", hidden_act="gelu")
    to_hf(tmp_path / "tf", tmp_path / "back", hidden_act="gelu")
    for path, act in (("tf/bert_config", "gelu"), ("back/config", "gelu")):
        config = json.loads((tmp_path / f"{path}.json").read_text())
        assert config["hidden_act"] == act
    with pytest.raises(InputError, match=r"gelu_exact.*Received.*'swish'"):
        from_hf(hf("span"), tmp_path / "no", hidden_act="swish")
    with pytest.raises(InputError, match=r"gelu_new.*Received.*'gelu_exact'"):
        to_hf(tmp_path / "tf", tmp_path / "no", hidden_act="gelu_exact")


@pytest.mark.parametrize(
    ("vocab", "lowers"),
    [
        (["a", "the", "[CLS]"], True),
        (["a", "B"], True),
        (["Anna", "Bob", "Carl", "Dora"], False),
    ],
)
def test_casing_is_told_from_the_vocabulary(vocab, lowers, tmp_path):
    from_hf(HUGGING_FACE / "span", tmp_path / "tf")
    (tmp_path / "tf" / "bert_tf.json").unlink()
    vocab_file = tmp_path / "tf" / "vocab.txt"
    more = [f"x{number}" for number in range(15 - len(vocab))]
    vocab_file.write_text("\n".join(vocab + more))
    to_hf(tmp_path / "tf", tmp_path / "hf")
    given = {"do_lower_case": not lowers, "ignore_folder_settings": True}
    to_hf(tmp_path / "tf", tmp_path / "other", **given)
    # The same rule in both directions.
    path = tmp_path / "hf" / "tokenizer_config.json"
    told = path.read_text()
    path.unlink()
    from_hf(tmp_path / "hf", tmp_path / "judged")
    assert folder_settings.read(tmp_path / "judged").do_lower_case is lowers
    path.write_text(told)
    for folder, want in (("hf", lowers), ("other", not lowers)):
        path = tmp_path / folder / "tokenizer_config.json"
        assert json.loads(path.read_text())["do_lower_case"] is want
    report = from_hf(tmp_path / "other", tmp_path / "again")
    assert f"--do_lower_case={str(not lowers).lower()}" in report


def test_what_a_killed_conversion_left_is_no_obstacle(tiny, tmp_path):
    """The weights come last: without them, nothing was finished."""
    to_hf(tiny, tmp_path / "hf")
    from_hf(tmp_path / "hf", tmp_path / "tf")
    strip(tmp_path / "tf", str(tmp_path / "bare" / "x.ckpt"))
    for folder, weights, again in (
        ("hf", "model.safetensors", lambda: to_hf(tiny, tmp_path / "hf")),
        (
            "tf",
            "bert_model.ckpt.index",
            lambda: from_hf(tmp_path / "hf", tmp_path / "tf"),
        ),
        (
            "bare",
            "x.ckpt.index",
            lambda: strip(tmp_path / "tf", str(tmp_path / "bare" / "x.ckpt")),
        ),
    ):
        want = {p.name: p.read_bytes() for p in (tmp_path / folder).iterdir()}
        (tmp_path / folder / weights).unlink()
        again()
        got = {p.name: p.read_bytes() for p in (tmp_path / folder).iterdir()}
        assert got == want


def tokens_of(folder, text):
    """The pieces of a text by what a folder notes."""
    noted = folder_settings.noted_in(folder)
    path = str(folder / "vocab.txt")
    return casing.load_tokenizer(path, None, noted).tokenize(text)


def test_accents_and_length_travel_there_and_back(tmp_path):
    hf = tmp_path / "hf"
    shutil.copytree(HUGGING_FACE / "span", hf)
    put = {"do_lower_case": True, "strip_accents": False, "model_max_length": 9}
    (hf / "tokenizer_config.json").write_text(json.dumps(put))

    report = from_hf(hf, tmp_path / "tf")
    assert "--strip_accents=false" in report
    noted = json.loads((tmp_path / "tf" / "bert_tf.json").read_text())
    assert noted == {
        "head": "span",
        "do_lower_case": True,
        "strip_accents": False,
        "max_seq_length": 9,
    }
    assert tokens_of(tmp_path / "tf", "Á A") == ["[UNK]", "a"]
    to_hf(tmp_path / "tf", tmp_path / "back")
    path = tmp_path / "back" / "tokenizer_config.json"
    got = json.loads(path.read_text())
    assert {key: got[key] for key in put} == put
    strip(tmp_path / "tf", str(tmp_path / "bare" / "bert_model.ckpt"))
    copy = tmp_path / "bare" / "bert_tf.json"
    assert json.loads(copy.read_text()) == noted


@pytest.mark.parametrize("strips", [None, True, False])
def test_sentences_are_lower_cased_before_a_cased_tokenizer(strips, tmp_path):
    hf = tmp_path / "hf"
    shutil.copytree(HUGGING_FACE / "span", hf)
    put = {"do_lower_case": False, "strip_accents": strips}
    put["model_max_length"] = 9
    (hf / "tokenizer_config.json").write_text(json.dumps(put))
    sentences = {"do_lower_case": True, "max_seq_length": 10_000}
    (hf / "sentence_bert_config.json").write_text(json.dumps(sentences))

    report = from_hf(hf, tmp_path / "tf")
    assert report.count("--max_seq_length") == 1
    assert report.count("--do_lower_case") == 1
    noted = folder_settings.read(tmp_path / "tf")
    # Their tokenizer gets lower-cased text, and keeps accents by default.
    assert (noted.do_lower_case, noted.strip_accents) == (True, strips is True)
    config = json.loads((tmp_path / "tf" / "bert_config.json").read_text())
    assert noted.max_seq_length == config["max_position_embeddings"]


def test_the_output_may_lie_below_the_folder(hf):
    folder = hf("classifier")
    from_hf(folder, folder / "tf")
    want = {p.name: p.read_bytes() for p in (folder / "tf").iterdir()}
    from_hf(folder, folder / "tf", overwrite=True)
    # As a killed conversion leaves it.
    (folder / "tf" / "bert_model.ckpt.index").unlink()
    from_hf(folder, folder / "tf")
    got = {p.name: p.read_bytes() for p in (folder / "tf").iterdir()}
    assert got == want


def test_existing_output_is_kept(tiny, tmp_path):
    to_hf(tiny, tmp_path / "hf")
    with pytest.raises(InputError, match=r"Already there: .*--overwrite"):
        to_hf(tiny, tmp_path / "hf")
    from_hf(tmp_path / "hf", tmp_path / "tf")
    with pytest.raises(InputError, match=r"Already there: .*--overwrite"):
        from_hf(tmp_path / "hf", tmp_path / "tf")
    with pytest.raises(InputError, match=r"Already there: .*--overwrite"):
        strip(tiny, str(tmp_path / "tf" / "bert_model.ckpt"))
    with pytest.raises(InputError, match=r"Already there: .*--overwrite"):
        strip(tiny, str(tmp_path / "tf"))
