"""What a folder notes of its training, in all commands that open it."""

import json
import shutil

import pytest
import tensorflow as tf
from helpers.commands import run_command
from helpers.golden import DATA, TINY, write_small_config

import bert_tf
from bert_tf import fill_mask
from bert_tf.errors import InputError
from bert_tf.tasks.pretraining.language_model import LanguageModel
from bert_tf.tasks.squad.reader import Reader

pytestmark = pytest.mark.usefixtures("without_graphs")

MRPC = DATA / "classification" / "mrpc" / "data"
CHECKPOINTS = {
    "classifier": DATA / "run_classifier" / "mrpc_fine_tuned" / "model.ckpt-30",
    "span": DATA / "squad" / "checkpoint" / "model.ckpt",
    "pretraining": TINY,
}
NOTED = {
    "classifier": {"max_seq_length": 24, "doc_stride": None},
    "span": {"max_seq_length": 60, "doc_stride": 17, "max_query_length": 9},
    "pretraining": {"max_seq_length": 24},
}


@pytest.fixture
def make(tmp_path):
    """Function that makes the folder of a trained head; returns its prefix."""

    def make(head, **noted):
        folder = tmp_path / head
        folder.mkdir()
        source = CHECKPOINTS[head]
        for path in source.parent.glob(source.name + ".*"):
            shutil.copy(path, folder)
        for name in ("vocab.txt", "bert_config.json"):
            shutil.copy(TINY.parent / name, folder)
        if head == "classifier":
            (folder / "labels.txt").write_text("0\n1\n")
        content = {"head": head, **NOTED[head], **noted}
        (folder / "bert_tf.json").write_text(json.dumps(content))
        return folder / source.name

    return make


def read(folder):
    return json.loads((folder / "bert_tf.json").read_text())


def lengths(path):
    """The number of input_ids in each record of a file."""
    return [
        len(
            tf.train.Example.FromString(record)
            .features.feature["input_ids"]
            .int64_list.value
        )
        for record in tf.data.TFRecordDataset(str(path)).as_numpy_iterator()
    ]


def uses(tmp_path, records_file):
    """Flags of each command but those for the model and the output."""
    (tmp_path / "text.txt").write_text("a text of a few words .\n")
    text = {"input_file": tmp_path / "text.txt"}
    classify = {"task_name": "MRPC", "data_dir": MRPC, "do_eval": True}
    squad = {
        "do_predict": True,
        "predict_file": DATA / "squad" / "dev-v1.1.json",
    }
    pretrain = {"input_file": records_file, "do_eval": True}
    asked = {"question": "Who ?", "context_file": tmp_path / "text.txt"}
    return {
        "run_classifier": ("classifier", "init_checkpoint", classify),
        "run_squad": ("span", "init_checkpoint", squad),
        "run_pretraining": ("pretraining", "init_checkpoint", pretrain),
        "extract_features": ("pretraining", "init_checkpoint", text),
        "fill_mask": ("pretraining", "checkpoint", text),
        "score": ("pretraining", "checkpoint", text),
        "answer": ("span", "checkpoint", asked),
        "export_saved_model": ("span", "checkpoint", {"head": "span"}),
    }


COMMANDS = {
    "run_classifier": "output_dir",
    "run_squad": "output_dir",
    "run_pretraining": "output_dir",
    "extract_features": "output_file",
    "fill_mask": "output_file",
    "score": "output_file",
    "answer": "output_file",
    "export_saved_model": "output_dir",
}


@pytest.mark.parametrize("command", COMMANDS)
def test_a_flag_that_contradicts_the_folder_ends_every_command(
    command, make, tmp_path, records_file
):
    head, checkpoint, given = uses(tmp_path, records_file)[command]
    given[checkpoint] = make(head, do_lower_case=True)
    given[COMMANDS[command]] = tmp_path / "out"

    wrong = {"max_seq_length": 77}
    if command != "run_pretraining":  # It evaluates records.
        wrong["do_lower_case"] = False
    for name, value in wrong.items():
        with pytest.raises(InputError) as error:
            run_command(command, **given, **{name: value})
        noted = {**NOTED[head], "do_lower_case": True}[name]
        for fact in (
            f"--{name}={str(value).lower()}",
            f"{name}={str(noted).lower()}",
            f"{tmp_path}/{head}/bert_tf.json",
            "--ignore_folder_settings",
        ):
            assert fact in str(error.value)
    out = tmp_path / "out"
    assert not out.is_file() and not list(out.glob("*"))


def test_readers_and_language_models_take_what_the_folder_notes(make):
    checkpoint = make("span", do_lower_case=False)
    reader = Reader(checkpoint)
    maker = reader._maker
    assert (maker.max_seq_length, maker.doc_stride) == (60, 17)
    assert maker.max_query_length == 9
    assert not reader.tokenizer.basic_tokenizer.do_lower_case
    other = Reader(checkpoint, max_seq_length=50, ignore_folder_settings=True)
    assert other._maker.max_seq_length == 50

    folder = make("pretraining", strip_accents=False).parent
    model = LanguageModel(folder)
    assert model.max_seq_length == 24
    basic = model.tokenizer.basic_tokenizer
    assert (basic.do_lower_case, basic.strip_accents) == (True, False)


@pytest.mark.slow
def test_vectors_are_of_as_many_tokens_as_in_training(make, tmp_path):
    given = {
        "init_checkpoint": make("pretraining"),
        "input_file": tmp_path / "in.txt",
        "output_file": tmp_path / "out.jsonl",
        "layers": "-1",
    }
    given["input_file"].write_text("the park " * 40 + "\n")

    def count(**more):
        run_command("extract_features", **given, **more)
        return len(json.loads(given["output_file"].read_text())["features"])

    assert count() == 24
    assert count(max_seq_length=24) == 24
    assert count(max_seq_length=40, ignore_folder_settings=True) == 40
    # Copied elsewhere, without the file: as in the original.
    (tmp_path / "pretraining" / "bert_tf.json").unlink()
    shutil.move(tmp_path / "pretraining", tmp_path / "elsewhere")
    given["init_checkpoint"] = tmp_path / "elsewhere"
    assert count() == 128


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A classifier trained for two steps, with a best checkpoint."""
    folder = tmp_path_factory.mktemp("trained")
    run_command(
        "run_classifier",
        task_name="MRPC",
        data_dir=MRPC,
        output_dir=folder / "run",
        vocab_file=TINY.parent / "vocab.txt",
        bert_config_file=write_small_config(folder),
        do_train=True,
        do_lower_case=False,
        max_seq_length=20,
        doc_stride=8,
        window_pooling="max",
        train_batch_size=60,
        num_train_epochs=0.5,
        eval_every_steps=1,
        keep_best="eval_accuracy",
        seed=1,
    )
    return folder / "run"


def copy(folder, tmp_path):
    return shutil.copytree(folder, tmp_path / "copy")


@pytest.mark.slow
def test_training_notes_how_it_was_done_also_beside_the_best(trained):
    assert read(trained) == {
        "head": "classifier",
        "do_lower_case": False,
        "strip_accents": None,
        "max_seq_length": 20,
        "doc_stride": 8,
        "window_pooling": "max",
        "label_type": "class",
        "text_pairs": True,
        "skip_padding": True,
    }
    assert read(trained / "best") == read(trained)


def in_folder(folder, **more):
    return {
        "task_name": "MRPC",
        "data_dir": MRPC,
        "output_dir": folder,
        **more,
    }


@pytest.mark.slow
def test_evaluation_in_the_folder_is_like_training(trained, tmp_path):
    folder = copy(trained, tmp_path)
    run_command("run_classifier", **in_folder(folder, do_eval=True))
    assert set(lengths(folder / "eval.tf_record")) == {20}
    windows = len(lengths(folder / "eval.tf_record"))
    assert windows > len((MRPC / "dev.tsv").read_text().splitlines())

    with pytest.raises(InputError, match="max_seq_length=40 must agree"):
        run_command(
            "run_classifier",
            **in_folder(folder, do_eval=True, max_seq_length=40),
        )
    run_command(
        "run_classifier",
        **in_folder(
            folder,
            do_eval=True,
            max_seq_length=40,
            ignore_folder_settings=True,
        ),
    )
    assert set(lengths(folder / "eval.tf_record")) == {40}
    # Evaluation does not note anything.
    assert read(folder) == read(trained)


@pytest.mark.slow
def test_resuming_goes_on_as_before_and_changes_need_a_word(trained, tmp_path):
    folder = copy(trained, tmp_path)
    more = {"do_train": True, "train_batch_size": 60, "num_train_epochs": 3}
    with pytest.raises(InputError, match="doc_stride=9 must agree"):
        run_command("run_classifier", **in_folder(folder, doc_stride=9, **more))
    run_command("run_classifier", **in_folder(folder, **more))
    assert read(folder) == read(trained)
    assert set(lengths(folder / "train.tf_record")) == {20}


@pytest.mark.slow
def test_a_new_training_takes_over_casing_only(trained, tmp_path):
    run_command(
        "run_classifier",
        **in_folder(
            tmp_path / "new",
            init_checkpoint=trained / "best",
            do_train=True,
            train_batch_size=60,
            num_train_epochs=1,
            max_seq_length=16,
        ),
    )
    noted = read(tmp_path / "new")
    assert (noted["do_lower_case"], noted["max_seq_length"]) == (False, 16)
    assert noted["doc_stride"] is None and noted["window_pooling"] == "mean"
    with pytest.raises(InputError, match="do_lower_case=true must agree"):
        run_command(
            "run_classifier",
            **in_folder(
                tmp_path / "other",
                init_checkpoint=trained,
                do_train=True,
                do_lower_case=True,
            ),
        )


@pytest.mark.slow
@pytest.mark.usefixtures("with_graphs")
def test_an_export_reads_texts_as_training_did(trained, tmp_path):
    folder = copy(trained, tmp_path)
    # The best checkpoint, as the export.
    best = {"keep_best": "eval_accuracy", "eval_every_steps": 1}
    given = in_folder(folder, do_predict=True, **best)
    run_command("run_classifier", **given)
    run_command(
        "export_saved_model",
        head="classifier",
        checkpoint=folder,
        output_dir=tmp_path / "model",
    )

    predict = bert_tf.Predictor(tmp_path / "model")
    of_training = {"label_type", "skip_padding"}
    settings = {k: v for k, v in read(trained).items() if k not in of_training}
    assert settings.items() <= predict.settings.items()
    rows = (MRPC / "test.tsv").read_text(encoding="utf-8-sig").splitlines()
    pairs = [tuple(row.split("\t")[3:5]) for row in rows[1:]]
    results = (folder / "test_results.tsv").read_text().splitlines()
    for got, line in zip(predict(pairs), results, strict=True):
        want = list(map(float, line.split("\t")))
        chances = list(got.probabilities.values())
        assert chances == pytest.approx(want, abs=1e-6)


@pytest.mark.slow
def test_each_of_several_runs_notes_it_and_is_held_to_it(trained, tmp_path):
    flags = in_folder(
        tmp_path / "runs",
        init_checkpoint=trained,
        do_train=True,
        do_eval=True,
        num_runs=2,
        train_batch_size=60,
        num_train_epochs=1,
    )
    run_command("run_classifier", **flags, max_seq_length=16)
    for name in ("run_1", "run_2"):
        assert read(tmp_path / "runs" / name)["max_seq_length"] == 16
    with pytest.raises(InputError, match="max_seq_length=24 must agree"):
        run_command("run_classifier", **flags, max_seq_length=24)
    run_command("run_classifier", **flags)
    path = tmp_path / "runs" / "run_2" / "eval.tf_record"
    assert set(lengths(path)) == {16}


def test_a_damaged_file_is_named_before_any_work(make, tmp_path):
    checkpoint = make("classifier")
    path = checkpoint.parent / "bert_tf.json"
    path.write_text('{\n"max_seq_length": "long"}')
    with pytest.raises(InputError, match=r"bert_tf\.json, line 2: .*remove it"):
        run_command(
            "run_classifier",
            **in_folder(
                tmp_path / "out", init_checkpoint=checkpoint, do_eval=True
            ),
        )
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_pretraining_notes_the_casing_that_it_is_told(tmp_path, records_file):
    flags = {
        "input_file": records_file,
        "output_dir": tmp_path / "out",
        "bert_config_file": write_small_config(tmp_path),
        "do_train": True,
        "num_train_steps": 1,
        "num_warmup_steps": 0,
        "train_batch_size": 2,
        "max_seq_length": 32,
        "max_predictions_per_seq": 5,
    }
    run_command("run_pretraining", **flags, do_lower_case=False)
    assert read(tmp_path / "out") == {
        "head": "pretraining",
        "do_lower_case": False,
        "max_seq_length": 32,
        "skip_padding": True,
    }


@pytest.mark.slow
def test_predictor_answers_from_a_folder_as_the_reader_does(make):
    context = "John Smith was born in 1895 in the old city. " * 4
    prefix = make("span", do_lower_case=True)
    got = bert_tf.Predictor(prefix.parent)("Who was born?", context)
    (want,) = Reader(prefix).answer("Who was born?", context)
    assert (got.text, got.start, got.end) == (want.text, want.start, want.end)
    assert got.score == pytest.approx(want.score, abs=1e-5)


@pytest.mark.exhaustive
def test_predictor_guesses_from_a_folder_as_fill_mask_does(make):
    prefix = make("pretraining", do_lower_case=True)
    text = "the [MASK] museum"
    (got,) = bert_tf.Predictor(prefix.parent)(text).masks
    (want,) = fill_mask.fill_mask(LanguageModel(prefix), text)
    assert [one.piece for one in got] == [one.piece for one in want]
    chances = [one.probability for one in want]
    assert [x.probability for x in got] == pytest.approx(chances, abs=1e-5)
