"""run_squad as its users see it: flags in, files and messages out."""

import functools
import gzip
import itertools
import json
import logging
import random
import re
import shutil

import numpy as np
import pytest
import tensorflow as tf
from absl import flags as absl_flags
from helpers import prepared
from helpers.golden import write_small_config
from helpers.output_files import unlisted
from helpers.squad_golden import DATA, SQUAD, TINY, archive

from bert_tf import (
    models,
    run_squad,
    tokenization,
)
from bert_tf.cli import command_line, training_flags
from bert_tf.data import records
from bert_tf.errors import InputError
from bert_tf.modeling import BertConfig
from bert_tf.tasks.run import Run
from bert_tf.tasks.squad import (
    answers as squad_answers,
)
from bert_tf.tasks.squad import (
    data,
    metrics,
    task,
)
from bert_tf.tasks.squad import windows as squad_windows
from bert_tf.tasks.squad.reader import Reader
from bert_tf.tasks.squad.threshold import THRESHOLD_FILE, threshold_to_predict
from bert_tf.training import prediction, start
from bert_tf.training.start import build_model, find_starting_point

RUNS = json.loads((SQUAD / "end_to_end" / "end_to_end.json").read_text())
CHECKPOINT = SQUAD / "checkpoint" / "model.ckpt"


def parse(*arguments):
    values = absl_flags.FlagValues()
    run_squad.define_flags(values)
    command_line.parse(values, ["run_squad", *arguments])
    return values


def run(*arguments):
    run_squad.main(parse(*arguments))


def common_flags(output_dir, **more):
    given = {
        "vocab_file": TINY / "vocab.txt",
        "bert_config_file": TINY / "bert_config.json",
        "max_seq_length": 128,
        "doc_stride": 48,
        "max_query_length": 24,
        "output_dir": output_dir,
        **more,
    }
    return [f"--{name}={value}" for name, value in given.items()]


def predict_flags(output_dir, version, **more):
    return common_flags(
        output_dir,
        do_predict=True,
        predict_file=SQUAD / f"dev-v{version}.json",
        init_checkpoint=CHECKPOINT,
        **more,
    )


@pytest.fixture
def log(caplog):
    caplog.set_level(logging.INFO)
    return caplog


def read_features(path, compression=""):
    rows = []
    dataset = tf.data.TFRecordDataset(str(path), compression_type=compression)
    for record in dataset.as_numpy_iterator():
        entries = tf.train.Example.FromString(record).features.feature
        rows.append({k: list(v.int64_list.value) for k, v in entries.items()})
    return rows


def files_below(folder):
    """Relative paths of all files; of event files only how they begin."""
    return {
        re.sub(r"tfevents\..*", "tfevents", str(path.relative_to(folder)))
        for path in folder.rglob("*")
        if path.is_file()
    }


def read_json(folder, name):
    return json.loads((folder / f"{name}.json").read_text())


def read_results(folder):
    lines = (folder / "eval_results.txt").read_text().splitlines()
    return dict(line.split(" = ") for line in lines)


@pytest.fixture(scope="module")
def small_bert(tmp_path_factory):
    return write_small_config(tmp_path_factory.mktemp("bert"))


# --------------------------------------------------- the original's own results


@pytest.fixture(scope="module")
def predicted(tmp_path_factory):
    """Function of a run's name that does it, once, and returns its folder."""

    @functools.cache
    def predict(name, *more):
        folder = tmp_path_factory.mktemp(name)
        flags = RUNS["runs"][name]["flags"]
        run(*predict_flags(folder, name[1:4]), *flags, *more)
        return folder

    return predict


@pytest.mark.parametrize(
    "name",
    [
        "v1.1",
        pytest.param("v1.1_small_nbest_cased", marks=pytest.mark.slow),
        "v2.0",
    ],
)
def test_predicts_like_the_original(name, predicted):
    folder = predicted(name)
    assert_same_records(folder, "eval", f"{name}_eval")
    texts = archive("end_to_end/predictions.tar.xz")
    for kind in ("predictions", "nbest_predictions", "null_odds"):
        if f"{name}_{kind}.json" in texts:
            golden = json.loads(texts[f"{name}_{kind}.json"])
            assert_same(read_json(folder, kind), golden)
    wanted = {*RUNS["runs"][name]["output_dir_files"]}
    wanted |= {"eval_results.txt", "eval/events.out.tfevents"}
    if name == "v2.0":
        wanted.add("precision_recall.svg")
    assert files_below(folder) == wanted
    assert not unlisted(folder)


def assert_same_records(folder, name, golden):
    ours = read_features(folder / f"{name}.tf_record")
    path = SQUAD / "end_to_end" / f"{golden}.tf_record.gz"
    assert ours == read_features(path, "GZIP")


def assert_same(got, golden):
    """Texts and their order as they are, numbers up to a model's noise."""
    assert list(got) == list(golden)
    for qas_id, value in golden.items():
        if isinstance(value, list):
            assert [list(one) for one in got[qas_id]] == [
                list(one) for one in value
            ]
            rows = [one.values() for one in got[qas_id]]
            wanted = [one.values() for one in value]
        else:
            rows, wanted = [[got[qas_id]]], [[value]]
        for ours, original in zip(rows, wanted, strict=True):
            for one, other in zip(ours, original, strict=True):
                if isinstance(other, float):
                    other = pytest.approx(other, abs=1e-4)
                assert one == other


# Where the original crashes, and so wrote no predictions.
CRASHES = ("v2.0_default_nbest", "--null_score_diff_threshold=auto")


def test_predicts_version_2_where_the_original_crashes(predicted):
    folder = predicted(*CRASHES)
    assert RUNS["runs"][CRASHES[0]]["exit_code"] == 1
    assert_same_records(folder, "eval", "v2.0_default_nbest_eval")
    predictions = read_json(folder, "predictions")
    nbest = read_json(folder, "nbest_predictions")
    odds = read_json(folder, "null_odds")
    without_span = [key for key, some in nbest.items() if len(some) == 1]
    assert without_span and len(nbest) == 117
    for qas_id in without_span:
        assert nbest[qas_id][0]["text"] == predictions[qas_id] == ""
        assert odds[qas_id] == 1000000.0


@pytest.mark.slow
def test_without_padding_only_tokens_of_the_window_are_answers(
    predicted, tmp_path
):
    """As if the padding's logits of the padded batches were cut off."""
    flags = RUNS["runs"]["v1.1"]["flags"]
    given = [*predict_flags(tmp_path, "1.1"), *flags]
    run(*given, "--skip_padding")

    values = parse(*given)
    config = BertConfig.from_json_file(values.bert_config_file)
    model = build_model(
        lambda: models.span(config),
        config,
        find_starting_point("", values.init_checkpoint),
    )
    schema = task.squad_evaluation_schema(128)
    file = str(predicted("v1.1") / "eval.tf_record")
    batches = records.evaluation_batches([file], schema, 8)
    rows = iter(
        [
            squad_answers.Logits(start[:count], end[:count])
            for batch, out in prediction.predict(model, batches)
            for start, end, count in zip(
                out["start_logits"],
                out["end_logits"],
                batch["input_mask"].sum(axis=1),
            )
        ]
    )
    tokenizer = tokenization.FullTokenizer(values.vocab_file)
    maker = squad_windows.WindowMaker(tokenizer, 128, 48, 24, False, None)
    examples = data.read_squad_examples(values.predict_file, False)
    settings = squad_answers.AnswerSettings(
        values.n_best_size, values.max_answer_length
    )
    want = {}
    for example, windows in maker.windows_by_example(examples):
        logits = list(itertools.islice(rows, len(windows)))
        one = squad_answers.predict(
            example, windows, logits, settings, tokenizer.basic_tokenizer
        )
        want[one.qas_id] = squad_answers.nbest_to_json(one.nbest)
    assert_same(read_json(tmp_path, "nbest_predictions"), want)


@pytest.mark.parametrize(
    "version", [pytest.param("1.1", marks=pytest.mark.slow), "2.0"]
)
def test_writes_the_same_training_records_as_the_original(
    version, small_bert, tmp_path, log
):
    settings = RUNS["runs"][f"train-v{version}"]
    run(
        *common_flags(
            tmp_path,
            bert_config_file=small_bert,
            do_train=True,
            train_file=SQUAD / f"train-v{version}.json",
            train_batch_size=settings["train_batch_size"],
            num_train_epochs=settings["num_train_epochs"],
            version_2_with_negative=settings["version_2_with_negative"],
        )
    )
    assert_same_records(tmp_path, "train", f"train-v{version}")
    for line in settings["log_lines"]:
        assert line in log.text
    original = {
        re.sub(r"tfevents\..*", "tfevents", file)
        for file in settings["output_dir_files"]
        if file != "graph.pbtxt" and not file.endswith(".meta")
    }
    # Not the original's: what the checkpoint is used with.
    beside = {"bert_config.json", "bert_tf.json", "vocab.txt", "training.svg"}
    assert files_below(tmp_path) == original | beside
    assert not unlisted(tmp_path)


# ---------------------------------------------------------------------- metrics


def test_evaluates_predictions_of_version_1(predicted):
    results = read_results(predicted("v1.1"))
    assert list(results) == ["exact_match", "f1", "global_step"]
    right = count_right("1.1", read_json(predicted("v1.1"), "predictions"))
    assert float(results["exact_match"]) == pytest.approx(100 * right / 127)
    assert right / 127 < float(results["f1"]) / 100 < 1
    assert results["global_step"] == "0"


def count_right(version, predictions):
    """Predictions that are one of the answers, but for what does not count."""
    articles = json.loads((SQUAD / f"dev-v{version}.json").read_text())["data"]
    return sum(
        plain(predictions[question["id"]])
        in {plain(answer["text"]) for answer in question["answers"] or [NONE]}
        for article in articles
        for paragraph in article["paragraphs"]
        for question in paragraph["qas"]
    )


NONE = {"text": ""}


def plain(text):
    text = re.sub(r"[!-/:-@\[-`{-~]", "", text.lower())
    return re.sub(r"\b(a|an|the)\b|\s", "", text)


def test_evaluates_predictions_of_version_2_and_draws_them(predicted):
    folder = predicted("v2.0")
    results = read_results(folder)
    right = count_right("2.0", read_json(folder, "predictions"))
    assert float(results["exact"]) == pytest.approx(100 * right / 117, 1e-5)
    assert (results["total"], results["global_step"]) == ("117", "0")
    assert list(results)[:6] == [
        f"{kind}_{name}"
        for kind in ("HasAns", "NoAns")
        for name in ("exact", "f1", "total")
    ]
    for name in ("best_f1", "best_exact_thresh", "pr_f1_ap", "pr_oracle_ap"):
        assert np.isfinite(float(results[name]))
    assert list(results)[-1] == "null_score_diff_threshold"
    assert results["null_score_diff_threshold"] == "-0.5"
    assert "<svg" in (folder / "precision_recall.svg").read_text()


@pytest.mark.slow
def test_several_runs_are_summarized_in_runs_tsv(tmp_path):
    given = {"version_2_with_negative": True, "num_runs": 2}
    given["null_score_diff_threshold"] = "auto"

    run(*predict_flags(tmp_path, "2.0", **given))

    lines = (tmp_path / "runs.tsv").read_text().splitlines()
    summary = {name: numbers for name, *numbers in map(str.split, lines)}
    for number in (1, 2):
        folder = tmp_path / f"run_{number}"
        results = read_results(folder)
        assert float(summary["best_f1"][1 + number]) == pytest.approx(
            float(results["best_f1"]), rel=1e-6
        )
        assert (folder / THRESHOLD_FILE).exists()
    # Without training both are the checkpoint's.
    assert float(summary["best_f1"][1]) == 0


def test_auto_chooses_and_keeps_the_threshold_of_the_best_f1(
    predicted, tmp_path, log
):
    folder = predicted(*CRASHES)
    threshold = float((folder / THRESHOLD_FILE).read_text())
    nbest = read_json(folder, "nbest_predictions")
    odds = read_json(folder, "null_odds")
    texts = {
        qas_id: next((one["text"] for one in some if one["text"]), "")
        for qas_id, some in nbest.items()
    }
    examples = data.read_squad_examples(str(SQUAD / "dev-v2.0.json"), False)
    answers = {example.qas_id: example.answers for example in examples}

    def predictions_at(limit):
        return {
            qas_id: "" if odds[qas_id] > limit else text
            for qas_id, text in texts.items()
        }

    def f1_at(limit):
        return metrics.evaluate_v2(answers, predictions_at(limit))["f1"]

    assert read_json(folder, "predictions") == predictions_at(threshold)
    assert f1_at(threshold) == pytest.approx(
        float(read_results(folder)["f1"]), 1e-5
    )
    assert f1_at(threshold) >= max(map(f1_at, [-1e9, 0, *odds.values()]))

    # Questions without answers are then predicted with what was chosen.
    shutil.copy(folder / THRESHOLD_FILE, tmp_path)
    unanswered = [data.SquadExample("q", "?", "text")]
    assert threshold == threshold_to_predict(
        "auto", unanswered, [str(tmp_path)], "test.json"
    )
    assert THRESHOLD_FILE in log.text


@pytest.mark.slow
def test_the_threshold_of_the_best_checkpoint_lies_beside_it(
    predicted, tmp_path
):
    (tmp_path / "best").mkdir()
    for path in CHECKPOINT.parent.glob(f"{CHECKPOINT.name}.*"):
        name = path.name.replace(CHECKPOINT.name, "model.ckpt-1")
        shutil.copy(path, tmp_path / "best" / name)
    name, *more = CRASHES

    run(
        *predict_flags(tmp_path, "2.0", eval_every_steps=1, keep_best="f1"),
        *RUNS["runs"][name]["flags"],
        *more,
    )

    # The best weights here are those that the other prediction began with.
    want = (predicted(*CRASHES) / THRESHOLD_FILE).read_text()
    assert (tmp_path / "best" / THRESHOLD_FILE).read_text() == want
    assert not (tmp_path / THRESHOLD_FILE).exists()


def test_auto_without_answers_asks_for_an_earlier_prediction(tmp_path):
    flags = parse(
        *common_flags(tmp_path, init_checkpoint=tmp_path / "x" / "model.ckpt")
    )
    folders = start.model_folders(training_flags.run_settings(flags))
    unanswered = [data.SquadExample("q", "?", "text")]

    def find():
        return threshold_to_predict("auto", unanswered, folders, "test.json")

    with pytest.raises(InputError, match=r"test.json has none. First predict"):
        find()
    (tmp_path / "x").mkdir()
    file = tmp_path / "x" / THRESHOLD_FILE
    file.write_text("-1.25\n")
    assert find() == -1.25
    file.write_text("high")
    with pytest.raises(InputError, match=r"must hold a number.*'high'"):
        find()


@pytest.mark.parametrize(
    ("answers", "version_2", "lacking"),
    [
        ([None, ("x",)], False, "1 of 2 questions have no key 'answers'"),
        ([(), ()], False, "no question has an answer; --version_2.*"),
        ([(), ()], True, None),
        ([(), ("x",)], False, "1 of 2 .*--version_2_with_negative=true"),
        ([(), ("x",)], True, None),
        ([("y",), ("x",)], False, None),
    ],
)
def test_a_file_without_answers_is_not_evaluated(answers, version_2, lacking):
    examples = [data.SquadExample("q", "?", "x", answers=a) for a in answers]
    got = metrics.why_no_metrics(examples, version_2)
    assert re.fullmatch(lacking, got) if lacking else got is None


# --------------------------------------------------------------------- training


def write_squad(path, rows):
    """A file of (id, context, answer); each question is "who?"."""
    paragraphs = []
    for qas_id, context, answer in rows:
        answers = [{"text": answer, "answer_start": context.index(answer)}]
        question = {"id": qas_id, "question": "who?", "answers": answers}
        paragraphs.append({"context": context, "qas": [question]})
    path.write_text(json.dumps({"data": [{"paragraphs": paragraphs}]}))
    return path


@pytest.mark.slow
def test_learns_to_find_answers_and_resumes(small_bert, tmp_path, log):
    draw = random.Random(1)
    words = ["the", "leader", "was", "in", "new", "york", "city", "but"]

    def rows(name, count):
        for number in range(count):
            some = draw.choices(words, k=6)
            answer = draw.choice(["Smith", "John"])
            some.insert(draw.randrange(6), answer)
            yield f"{name}{number}", " ".join(some), answer

    flags = common_flags(
        tmp_path / "out",
        bert_config_file=small_bert,
        max_seq_length=24,
        max_query_length=4,
        train_file=write_squad(tmp_path / "train.json", rows("t", 64)),
        do_train=True,
        train_batch_size=16,
        learning_rate=0.02,
        seed=1,
    )
    run(*flags, "--num_train_epochs=10")
    assert "Num steps = 40" in log.text
    dev = write_squad(tmp_path / "dev.json", rows("d", 20))

    # Going on to 60 steps, and predicting, in one run.
    run(
        *flags,
        "--num_train_epochs=15",
        "--do_predict",
        f"--predict_file={dev}",
    )

    assert "model.ckpt-40 (step 40)" in log.text
    results = read_results(tmp_path / "out")
    assert results["global_step"] == "60"
    assert float(results["exact_match"]) >= 90

    # The folder is all that is needed to ask.
    reader = Reader(tmp_path / "out", max_seq_length=24, max_query_length=4)
    (article,) = json.loads(dev.read_text())["data"]
    texts = read_json(tmp_path / "out", "predictions")
    for paragraph in article["paragraphs"][:3]:
        question = paragraph["qas"][0]
        (found,) = reader.answer(question["question"], paragraph["context"])
        assert found.text == texts[question["id"]]

    # The same questions without answers: predicted alike, not evaluated.
    predictions = (tmp_path / "out" / "predictions.json").read_text()
    (tmp_path / "out" / "eval_results.txt").unlink()
    content = json.loads(dev.read_text())
    for paragraph in content["data"][0]["paragraphs"]:
        del paragraph["qas"][0]["answers"]
    dev.write_text(json.dumps(content))
    log.clear()
    run(*flags, "--do_train=false", "--do_predict", f"--predict_file={dev}")
    assert (tmp_path / "out" / "predictions.json").read_text() == predictions
    assert not (tmp_path / "out" / "eval_results.txt").exists()
    assert "20 of 20 questions have no key 'answers'" in log.text


@pytest.mark.slow
def test_exact_answers_are_all_in_their_context(small_bert, tmp_path):
    rows = [
        ("a", "the  cafe\u0301s\xa0in\u3000York", "cafe\u0301s\xa0in"),
        ("b", "(\uc11c\uc6b8\uc740) and New  York.", "\uc11c\uc6b8"),
    ]
    file = write_squad(tmp_path / "squad.json", rows)
    run(
        *common_flags(
            tmp_path / "out",
            bert_config_file=small_bert,
            do_train=True,
            train_file=file,
            train_batch_size=1,
            num_train_epochs=1,
            do_predict=True,
            predict_file=file,
            exact_answers=True,
            on_bad_answer="stop",
            seed=1,
        )
    )
    assert len(read_features(tmp_path / "out" / "train.tf_record")) == 2
    nbest = read_json(tmp_path / "out", "nbest_predictions")
    for qas_id, context, _ in rows:
        texts = [entry["text"] for entry in nbest[qas_id]]
        assert len(texts) > 5
        assert all(text in context for text in texts)


def test_a_context_without_words_is_answered_too(small_bert, tmp_path):
    rows = [("a", "\u200b", "\u200b"), ("b", "New York", "York")]
    file = write_squad(tmp_path / "dev.json", rows)
    given = common_flags(
        tmp_path / "out",
        bert_config_file=small_bert,
        do_predict=True,
        predict_file=file,
    )
    run(*given, "--version_2_with_negative", "--seed=1")
    assert read_json(tmp_path / "out", "predictions")["a"] == ""
    assert read_json(tmp_path / "out", "null_odds")["a"] == 1000000.0


def test_for_a_tpu_the_last_batch_is_padded(tmp_path):
    flags = parse(*common_flags(tmp_path, use_tpu=True))
    config = BertConfig.from_json_file(flags.bert_config_file)
    tokenizer = tokenization.FullTokenizer(flags.vocab_file)
    task = run_squad.make_task(flags, tokenizer, 0.0)
    settings = training_flags.run_settings(flags)
    work = Run(task, None, settings, config.vocab_size, None)
    examples = [data.SquadExample("q", "who?", "new york")] * 3
    path, counts = work._write("eval", examples, batch_size=8)
    rows = read_features(path)
    assert (counts, len(rows)) == ([1, 1, 1], 8)
    assert all(sum(map(sum, row.values())) == 0 for row in rows[3:])


# ------------------------------------------------------------------------ flags

FLAGS = json.loads((SQUAD / "flags.json").read_text())


@pytest.mark.parametrize("flag", FLAGS, ids=lambda flag: flag["name"])
def test_has_every_flag_of_the_original_with_its_type_and_default(flag):
    values = absl_flags.FlagValues()
    run_squad.define_flags(values)
    ours = values[flag["name"]]
    assert ours.flag_type() == flag["type"]
    assert ours.default == flag["default"]
    assert type(ours.default) is type(flag["default"])


@pytest.mark.parametrize(
    ("given", "value"), [("auto", "auto"), ("-1.5", -1.5), ("inf", np.inf)]
)
def test_the_threshold_is_a_number_or_auto(given, value):
    flags = parse(*common_flags("x"), f"--null_score_diff_threshold={given}")
    assert flags.null_score_diff_threshold == value
    with pytest.raises(absl_flags.Error, match="null_score_diff_threshold"):
        parse(*common_flags("x"), "--null_score_diff_threshold=best")


# --------------------------------------------------------------------- mistakes

CASES = {
    case["case"]: case
    for case in json.loads((SQUAD / "cli_errors.json").read_text())
}
# What a message of ours must tell, for each of the original's messages.
FACTS = {
    "no_action": r"do_train.*do_predict.*must be True",
    "train_without_file": r"`do_train`.*`train_file` must be specified",
    "predict_without_file": r"`do_predict`.*`predict_file` must be specified",
    "too_long": r"129.*up to sequence length 128",
    "query_too_long": r"\(64\) must be greater than max_query_length \(61\)",
    "train_several_answers": r"exactly 1 answer.*'dev1-00004' has 2",
    "train_v1_file_as_v2": r"'tra1-00001'.*'is_impossible'.*negative=false",
}


def flags_of(case, folder):
    """Its flags, with the files that they speak of at their places here."""
    places = {"GOLDEN/run_squad": SQUAD, "GOLDEN/tiny": TINY, "TMP": folder}
    arguments = []
    for flag in CASES[case]["flags"]:
        for name, path in places.items():
            flag = re.sub(rf"={name}(?=/|$)", f"={path}", flag)
        assert "GOLDEN" not in flag
        arguments.append(flag)
    return arguments


def test_every_error_case_of_the_golden_set_is_tested():
    assert FACTS.keys() == CASES.keys()


@pytest.mark.parametrize("case", CASES)
def test_an_error_is_reported_before_anything_is_written(case, tmp_path):
    with pytest.raises(InputError, match=FACTS[case]):
        run(*flags_of(case, tmp_path))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"train_batch_size": 0}, "train_batch_size.*above 0"),
        ({"predict_batch_size": -1}, "predict_batch_size.*-1"),
        ({"n_best_size": 0}, "n_best_size.*above 0"),
        ({"max_answer_length": 0}, "max_answer_length.*above 0"),
        ({"doc_stride": 0}, "doc_stride.*above 0"),
        ({"max_query_length": 0}, "max_query_length.*above 0"),
        ({"learning_rate": "nan"}, "learning_rate.*nan"),
        ({"num_train_epochs": 0.001}, "121 examples"),
        ({"warmup_proportion": 2}, "warmup_proportion.*at most 1"),
        ({"seed": -1}, "seed.*-1"),
        ({"null_score_diff_threshold": "nan"}, "number or auto.*nan"),
        ({"null_score_diff_threshold": "auto"}, "version_2_with_negative"),
        ({"train_file": "/nowhere.json"}, "--train_file.*/nowhere.json"),
        ({"predict_file": SQUAD}, "--predict_file.*is a folder"),
        ({"predict_file": TINY / "vocab.txt"}, "line 1, column 2.*JSON"),
        ({"vocab_file": "/nowhere"}, "vocab_file.*/nowhere"),
        ({"bert_config_file": "/nowhere"}, "bert_config_file.*/nowhere"),
        (
            {"vocab_file": DATA / "checkpoints/toy/vocab.txt"},
            "1027.*lines",
        ),
        (
            {"init_checkpoint": DATA / "checkpoints/micro/bert_model.ckpt"},
            "hidden_size=64.*32",
        ),
        ({"on_bad_answer": "stop"}, "4 bad answers.*tra1-00020"),
    ],
    ids=lambda value: str(value) if isinstance(value, dict) else "",
)
def test_an_invalid_flag_or_file_is_reported_before_work_starts(
    changes, message, tmp_path
):
    given = predict_flags(tmp_path, "1.1", do_train=True)
    given.append(f"--train_file={SQUAD / 'train-v1.1.json'}")
    given += [f"--{name}={value}" for name, value in changes.items()]
    with pytest.raises(InputError, match=f"(?s){message}"):
        run(*given)
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_a_process_exits_with_1_and_one_message(tmp_path):
    def end(*arguments):
        return prepared.run(
            ["-m", "bert_tf.run_squad", *arguments],
            capture_output=True,
            text=True,
        )

    mistake = end(*flags_of("train_v1_file_as_v2", tmp_path))
    assert mistake.returncode == 1
    assert re.search(FACTS["train_v1_file_as_v2"], mistake.stderr)
    assert "Traceback" not in mistake.stderr
    shown = end("--help").stdout.replace("[no]", "")
    for flag in FLAGS:
        assert f"--{flag['name']}" in shown


# ------------------------------------------------------------- large real data


@pytest.mark.shared
def test_the_long_nbest_list_of_version_2_is_the_originals(
    predicted, shared_folder
):
    folder = shared_folder / "golden" / "run_squad" / "end_to_end"
    path = folder / "v2.0_nbest_predictions.json.gz"
    golden = json.loads(gzip.decompress(path.read_bytes()))
    ours = read_json(predicted("v2.0"), "nbest_predictions")
    assert list(ours) == list(golden)
    for qas_id, entries in golden.items():
        # Hundreds of entries: neighbours may lie closer than float noise.
        texts = {one["text"]: one for one in ours[qas_id]}
        close = [
            one["text"] in texts
            and abs(one["start_logit"] - texts[one["text"]]["start_logit"])
            < 1e-4
            for one in entries
        ]
        assert len(ours[qas_id]) == len(entries)
        assert sum(close) >= len(close) - 2
