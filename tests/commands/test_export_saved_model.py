"""The command, and --do_export of the scripts: flags in, SavedModels out."""

import importlib
import inspect
import json
import logging
import os
import shutil

import numpy as np
import pytest
import tensorflow as tf
from absl import flags as absl_flags
from helpers import exported
from helpers.exported import BESIDE, CHECKPOINTS
from helpers.golden import DATA, TINY

import bert_tf
from bert_tf import (
    export_saved_model,
    extract_features,
    run_classifier,
    run_pretraining,
    run_squad,
)
from bert_tf.cli import command_line
from bert_tf.errors import InputError
from bert_tf.exports.settings import ROWS_AT_ONCE, Source
from bert_tf.tasks import several_served
from bert_tf.tasks.classification import datasets
from bert_tf.tasks.squad.threshold import THRESHOLD_FILE
from bert_tf.tasks.vectors.served import export_features

pytestmark = pytest.mark.usefixtures("graphs_as_traced")

MRPC = DATA / "run_classifier" / "mrpc_fine_tuned"


def parse(script, *arguments, **given):
    given = [f"--{name}={value}" for name, value in given.items()]
    values = absl_flags.FlagValues()
    script.define_flags(values)
    command_line.parse(values, [script.__name__, *given, *arguments])
    return values


def run(script, *arguments, **given):
    script.main(parse(script, *arguments, **given))


def export(head, output_dir, *arguments, checkpoint=None, **given):
    checkpoint = checkpoint or CHECKPOINTS[head]
    run(
        export_saved_model,
        *arguments,
        **{**BESIDE, "checkpoint": checkpoint, "output_dir": output_dir},
        head=head,
        **given,
    )


# A run has decided on the casing.
AS_USED = {"ignore_folder_settings": True}


@pytest.fixture
def asked(monkeypatch):
    """The arguments of each head's export function, which does nothing."""
    calls = {}

    def instead_of(function, head):
        signature = inspect.signature(function)

        def called(*args, **options):
            bound = signature.bind(*args, **options)
            bound.apply_defaults()
            calls[head] = bound.args
            return "MODEL/1"

        return called

    for head, (module, *_) in export_saved_model.HEADS.items():
        module = importlib.import_module(module)
        function = getattr(module, f"export_{head}")
        monkeypatch.setattr(
            module, f"export_{head}", instead_of(function, head)
        )
    return calls


# ------------------------------------------------------------------ the command


@pytest.mark.exhaustive
def test_the_command_exports_what_python_exports(tmp_path, capsys):
    (tmp_path / "labels.txt").write_text("\n".join(exported.LABELS))
    export(
        "classifier",
        tmp_path / "model",
        labels_file=tmp_path / "labels.txt",
        max_seq_length=40,
    )

    path = str(tmp_path / "model" / "1")
    assert capsys.readouterr().out == f"{path}\n"
    texts = ["the quiet museum", "John Smith"]
    signature = tf.saved_model.load(path).signatures["serve_text"]
    got = signature(text_a=tf.constant(texts))
    want = exported.call("classifier", "serve_text", text_a=texts)
    assert (got["probabilities"].numpy() == want["probabilities"]).all()
    assert (got["labels"].numpy() == want["labels"]).all()


def test_every_flag_of_a_head_reaches_it(asked, tmp_path, capsys):
    common = {"max_seq_length": 99, "do_lower_case": False, "batch_size": 3}
    common["quantize"] = "int8"
    source = Source(
        "x",
        BESIDE["vocab_file"],
        BESIDE["bert_config_file"],
        False,
        99,
        quantize="int8",
    )
    of_heads = {
        "classifier": (
            {"task_name": "MNLI", "doc_stride": 7, "window_pooling": "max"},
            (None, 7, "max", 3, datasets.MNLI.target),
        ),
        "span": (
            {
                "doc_stride": 7,
                "max_query_length": 8,
                "max_answer_length": 9,
                "version_2_with_negative": True,
                "null_score_diff_threshold": "auto",
            },
            (7, 8, 9, True, "auto", 3),
        ),
        "pretraining": ({"top_k": 9, "next_sentence": False}, (9, False, 3)),
        "features": (
            {
                "pooling": "max",
                "layers": "0,-2",
                "doc_stride": 7,
                "normalize": True,
            },
            ("max", (0, -2), 7, 3, True),
        ),
    }
    for head, (flags, want) in of_heads.items():
        names = {*flags, "batch_size"}
        assert names | {"labels_file"} >= {
            *export_saved_model.HEADS[head].flags
        }
        export(head, tmp_path, checkpoint="x", **common, **flags)
        assert asked[head] == (source, str(tmp_path), *want)


def test_defaults_are_those_of_the_functions(asked, tmp_path):
    for head in export_saved_model.HEADS:
        export(head, tmp_path, checkpoint="x")
    at_once = ROWS_AT_ONCE
    assert asked["classifier"][2:] == (None, None, "mean", at_once, None)
    assert asked["span"][2:] == (None, 64, 30, False, 0.0, at_once)
    assert asked["pretraining"][2:] == (5, None, at_once)
    assert asked["features"][2:] == ("mean", None, None, at_once, False)


@pytest.mark.parametrize(
    ("head", "given", "message"),
    [
        ("span", {"pooling": "max"}, "--pooling.*is for --head=features"),
        (
            "pretraining",
            {"doc_stride": 3},
            "is for --head=classifier or span or features",
        ),
        ("features", {"top_k": 3}, "--top_k.*is for --head=pretraining"),
        ("classifier", {"window_pooling": "max"}, "needs --doc_stride"),
        ("classifier", {"normalize": True}, "--normalize.*is for --head=feat"),
        ("features", {"layers": "x"}, "`--layers` must be whole numbers"),
        ("span", {"batch_size": 0}, "`--batch_size` must be above 0"),
        ("span", {"vocab_file": "no.txt"}, r"--vocab_file.*no\.txt"),
        ("features", {"output_dir": "gs://x"}, "--output_dir.*gs://x"),
        (
            "classifier",
            {"task_name": "mrpc", "labels_file": "x"},
            "not both",
        ),
        ("classifier", {"task_name": "tsv"}, "fixed labels"),
        ("classifier", {"task_name": "sst"}, "must be one of"),
        ("classifier", {"labels_file": "no.txt"}, r"Cannot read no\.txt"),
        ("classifier", {"heads": "a=x"}, "leave out --checkpoint"),
    ],
)
def test_errors_in_flags_are_raised_before_any_work(
    head, given, message, asked, tmp_path
):
    given = {**BESIDE, "checkpoint": "x", "output_dir": tmp_path, **given}
    with pytest.raises(InputError, match=message):
        run(export_saved_model, head=head, **given)
    assert not asked


def test_the_best_checkpoint_is_exported_if_it_was_kept(asked, tmp_path):
    for name in ("model.ckpt-9", "best/model.ckpt-5"):
        (tmp_path / "best").mkdir(exist_ok=True)
        for ending in (".index", ".data-00000-of-00001"):
            shutil.copyfile(f"{TINY}{ending}", tmp_path / f"{name}{ending}")
    given = {**BESIDE, "output_dir": tmp_path / "out", "head": "tokens"}
    for checkpoint, want in (
        (tmp_path, tmp_path / "best"),
        (tmp_path / "model.ckpt-9", tmp_path / "model.ckpt-9"),
    ):
        run(export_saved_model, checkpoint=checkpoint, **given)
        assert asked["tokens"][0].checkpoint == str(want)


def test_the_head_is_that_of_the_training(asked, tmp_path):
    for ending in (".index", ".data-00000-of-00001"):
        shutil.copyfile(f"{TINY}{ending}", tmp_path / f"model.ckpt{ending}")
    (tmp_path / "bert_tf.json").write_text('{"head": "tokens"}')
    given = {**BESIDE, "output_dir": tmp_path / "out"}
    given["checkpoint"] = tmp_path / "model.ckpt"
    for head in ("classifier", "choices"):
        message = f"head={head} .*It has head=tokens.*bert_tf.tag"
        with pytest.raises(InputError, match=message):
            run(export_saved_model, head=head, **given)
    run(export_saved_model, head="features", **given)
    assert asked.keys() == {"features"}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "`--checkpoint` must be given, or --heads=NAME=FOLDER"),
        ({"checkpoint": "x"}, "`--head` must be given, or --heads"),
        ({"heads": "a=x", "head": "tokens"}, "leave out --head.*--head=tokens"),
        ({"heads": "a"}, "must be NAME=FOLDER.*'a' in --heads=a"),
        ({"heads": "a=x,b="}, "must be NAME=FOLDER.*'b='"),
        ({"heads": "a=x,a=y"}, "a stands for x and for y"),
        ({"heads": "a.b=x"}, "The name of a head.*'a.b'"),
        ({"heads": "a=x", "labels_file": "y"}, "--labels_file.*--heads"),
        ({"heads": "a=x", "top_k": 3}, "is for --head=pretraining.*--heads"),
        ({"heads": "a=x", "batch_size": 0}, "`--batch_size` must be above 0"),
        ({"heads": "a=no/such"}, "--heads=a=no/such.*no/such"),
    ],
)
def test_errors_in_heads_are_raised_before_any_work(given, message, tmp_path):
    folder = tmp_path / "model"
    with pytest.raises(InputError, match=message):
        run(export_saved_model, **{"output_dir": folder, **given})
    assert not folder.exists() or not os.listdir(folder)


def test_flags_of_several_heads_reach_them(monkeypatch, tmp_path, capsys):
    calls = []

    def called(*arguments):
        calls.append(arguments)
        return "MODEL/1"

    monkeypatch.setattr(several_served, "export_several", called)
    run(
        export_saved_model,
        heads="mood=x, topic=y/z",
        output_dir=tmp_path,
        max_seq_length=99,
        doc_stride=7,
        batch_size=3,
        quantize="int8",
    )
    source = Source(None, max_seq_length=99, quantize="int8")
    heads = {"mood": "x", "topic": "y/z"}
    assert calls == [(source, str(tmp_path), heads, 7, None, 3)]
    assert capsys.readouterr().out == "MODEL/1\n"


# ------------------------------------------------------------------ --do_export


def common_flags(output_dir, **more):
    return {**BESIDE, "output_dir": output_dir, "max_seq_length": 40, **more}


def mrpc_flags(output_dir, **more):
    data = DATA / "classification" / "mrpc" / "data"
    return common_flags(output_dir, task_name="MRPC", data_dir=data, **more)


# `test_folder_settings` exports one with windows.
@pytest.mark.exhaustive
def test_run_classifier_exports_what_it_has_trained(tmp_path):
    run(
        run_classifier,
        **mrpc_flags(
            tmp_path,
            init_checkpoint=TINY,
            do_train=True,
            do_predict=True,
            do_export=True,
            num_train_epochs=0.3,
            train_batch_size=8,
        ),
    )

    results = (tmp_path / "test_results.tsv").read_text().splitlines()
    rows = (
        (DATA / "classification" / "mrpc" / "data" / "test.tsv")
        .read_text(encoding="utf-8-sig")
        .splitlines()
    )
    pairs = [tuple(row.split("\t")[3:5]) for row in rows[1:]]
    predict = bert_tf.Predictor(tmp_path / "export")
    assert predict.labels == ["0", "1"]
    for got, line in zip(predict(pairs), results, strict=True):
        want = list(map(float, line.split("\t")))
        chances = list(got.probabilities.values())
        assert chances == pytest.approx(want, abs=1e-6)


def test_run_classifier_exports_how_it_was_used(asked, tmp_path):
    run(
        run_classifier,
        **mrpc_flags(
            tmp_path / "out",
            init_checkpoint=MRPC,
            do_export=True,
            export_dir=tmp_path / "model",
            do_lower_case=False,
            doc_stride=9,
            window_pooling="max",
        ),
    )
    source, *rest = asked["classifier"]
    assert source == Source(
        str(MRPC / "model.ckpt-30"), *BESIDE.values(), False, 40, **AS_USED
    )
    *rest, _, target = rest
    assert rest == [str(tmp_path / "model"), None, 9, "max"]
    assert target == datasets.MRPC.target


def squad_flags(output_dir, **more):
    return common_flags(
        output_dir,
        **{
            "init_checkpoint": CHECKPOINTS["span"],
            "do_export": True,
            "doc_stride": 9,
            "max_query_length": 8,
            "max_answer_length": 7,
            **more,
        },
    )


def test_run_squad_exports_how_it_was_used(asked, tmp_path):
    run(run_squad, **squad_flags(tmp_path))
    source = Source(CHECKPOINTS["span"], *BESIDE.values(), True, 40, **AS_USED)
    want = (source, str(tmp_path / "export"), 9, 8, 7, False, 0.0)
    assert asked["span"][:-1] == want


def test_run_squad_exports_the_threshold_that_it_kept(asked, tmp_path):
    given = squad_flags(
        tmp_path / "out",
        version_2_with_negative=True,
        null_score_diff_threshold="auto",
    )
    with pytest.raises(InputError, match="for --do_export, a prediction"):
        run(run_squad, **given)
    assert not asked

    (tmp_path / "out").mkdir()
    (tmp_path / "out" / THRESHOLD_FILE).write_text("-2.5\n")
    run(run_squad, **given)
    assert asked["span"][-3:-1] == (True, -2.5)


def test_run_squad_exports_the_threshold_that_it_has_just_chosen(
    asked, tmp_path
):
    given = squad_flags(
        tmp_path,
        version_2_with_negative=True,
        null_score_diff_threshold="auto",
        do_predict=True,
        predict_file=DATA / "squad" / "dev-v2.0.json",
        max_seq_length=128,
        doc_stride=48,
        max_query_length=24,
    )
    run(run_squad, **given)
    kept = float((tmp_path / THRESHOLD_FILE).read_text())
    assert asked["span"][-3:-1] == (True, kept)


def pretraining_flags(records_file, output_dir, **more):
    return {
        "input_file": records_file,
        "output_dir": output_dir,
        "bert_config_file": BESIDE["bert_config_file"],
        "max_seq_length": 32,
        "max_predictions_per_seq": 5,
        "do_export": True,
        **more,
    }


@pytest.mark.parametrize("next_sentence", [True, False])
def test_run_pretraining_exports_how_it_was_used(
    next_sentence, asked, tmp_path, records_file
):
    given = pretraining_flags(
        records_file,
        tmp_path,
        init_checkpoint=TINY,
        vocab_file=BESIDE["vocab_file"],
        do_lower_case=False,
        next_sentence=next_sentence,
    )
    run(run_pretraining, **given)
    source = Source(str(TINY), *BESIDE.values(), False, 32, **AS_USED)
    asked_for = None if next_sentence else False
    assert asked["pretraining"] == (
        source,
        str(tmp_path / "export"),
        5,
        asked_for,
        ROWS_AT_ONCE,
    )


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({}, "`--vocab_file` must be given"),
        ({"vocab_file": "no.txt"}, r"--vocab_file.*no\.txt"),
        (
            {"do_export": False, "do_eval": True, "do_lower_case": True},
            "`--do_lower_case` has a meaning only with --do_export",
        ),
        ({"vocab_file": BESIDE["vocab_file"]}, "needs a checkpoint"),
    ],
)
def test_run_pretraining_says_what_an_export_needs(
    more, message, tmp_path, records_file
):
    with pytest.raises(InputError, match=message):
        run(
            run_pretraining,
            **pretraining_flags(records_file, tmp_path, **more),
        )


@pytest.mark.parametrize(
    ("flags", "want"),
    [
        ({}, ("none", (-1, -2, -3), None, False)),
        (
            {"pooling": "max", "doc_stride": 5, "normalize": True},
            ("max", (-1, -2, -3), 5, True),
        ),
        (
            {"pooling": "second_to_last_mean"},
            ("second_to_last_mean", None, None, False),
        ),
    ],
)
def test_extract_features_exports_how_it_was_used(flags, want, asked, tmp_path):
    (tmp_path / "in").write_text("a b ||| c\n")
    if "second" not in flags.get("pooling", ""):
        flags = {**flags, "layers": "-1,-2,-3"}
    run(
        extract_features,
        **BESIDE,
        input_file=tmp_path / "in",
        output_file=tmp_path / "out" / "x.jsonl",
        init_checkpoint=TINY,
        max_seq_length=24,
        do_export=True,
        **flags,
    )
    source = Source(str(TINY), *BESIDE.values(), True, 24, **AS_USED)
    path = str(tmp_path / "out" / "export")
    *want, normalize = want
    assert asked["features"] == (source, path, *want, ROWS_AT_ONCE, normalize)
    line = json.loads((tmp_path / "out" / "x.jsonl").read_text())
    assert line["linex_index"] == 0
    if normalize:
        vectors = np.array([layer["values"] for layer in line["layers"]])
        np.testing.assert_allclose((vectors**2).sum(axis=1), 1, atol=1e-4)


def test_an_export_folder_is_for_exports_only(tmp_path):
    with pytest.raises(InputError, match="only with --do_export"):
        run(
            run_classifier,
            **mrpc_flags(
                tmp_path, init_checkpoint=MRPC, do_eval=True, export_dir="x"
            ),
        )


def test_there_must_be_something_to_export(tmp_path):
    with pytest.raises(InputError, match="needs a checkpoint"):
        run(run_classifier, **mrpc_flags(tmp_path, do_export=True))


@pytest.mark.exhaustive
def test_a_second_export_is_a_second_version_and_leaves_the_log_as_it_was(
    tmp_path,
):
    # While it saves, TensorFlow gives absl's logger a level of its own.
    logger = logging.getLogger("absl")
    logger.setLevel(logging.ERROR)
    shutil.copytree(exported.folder("features") / "1", tmp_path / "1")
    path = export_features(
        exported.source("features"), str(tmp_path), layers=exported.LAYERS
    )
    assert logger.level == logging.ERROR
    assert path == str(tmp_path / "2")
    first, second = (
        (tmp_path / number / "assets" / "bert_tf.json").read_text()
        for number in "12"
    )
    assert first == second


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (
            {"format": "onnx", "quantize": "bfloat16"},
            ["--quantize=bfloat16", "--format=onnx"],
        ),
        (
            {"format": "onnx", "skip_padding": True},
            ["--skip_padding=true", "--format=onnx"],
        ),
        ({"check": "no/such/file"}, ["--check", "no/such/file"]),
    ],
)
def test_what_cannot_be_exported_is_refused_before_anything_is_read(
    asked, tmp_path, given, words
):
    with pytest.raises(InputError) as error:
        export("classifier", tmp_path / "model", **given)
    for word in words:
        assert word in str(error.value)
    assert not asked
    assert not (tmp_path / "model" / "1").exists()


@pytest.mark.slow
def test_the_command_writes_onnx_and_a_report(tmp_path, capsys):
    pytest.importorskip("onnxruntime")
    (tmp_path / "texts.txt").write_text("the quiet museum\n")
    output = tmp_path / "model"
    given = {"format": "onnx", "check": tmp_path / "texts.txt"}
    export("features", output, max_seq_length=40, **given)
    assert capsys.readouterr().out == f"{output / '1'}\n"
    assert (output / "1" / "model.onnx").is_file()
    report = output / "1" / "assets.extra" / "bert_tf_check.txt"
    assert "format: onnx\n" in report.read_text()
    got = bert_tf.Predictor(output)("the quiet museum").embedding
    width = got.shape[-1]
    want = exported.call("features", "serve_text", text_a=["the quiet museum"])
    # The other export has one more layer.
    np.testing.assert_allclose(got, want["embedding"][0][:width], atol=1e-5)
