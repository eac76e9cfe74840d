import dataclasses
import os

import pytest
import tensorflow as tf

from bert_tf.errors import InputError
from bert_tf.support import locks
from bert_tf.tasks import run
from bert_tf.tasks.task import Evaluation, remove_test_results
from bert_tf.training import devices
from bert_tf.training.settings import (
    EvaluationSettings,
    ModelFiles,
    RunSettings,
    TrainingSettings,
)


def settings_of(folder, do_train=True):
    training = TrainingSettings(str(folder), 1, 1e-3, 0, 8)
    return RunSettings(str(folder), ModelFiles(), training, do_train)


@pytest.fixture
def strategy():
    return tf.distribute.get_strategy()


def test_a_training_is_refused_before_its_folder_is_touched(tmp_path, strategy):
    with locks.alone(str(tmp_path)):
        with pytest.raises(InputError, match=f"process {os.getpid()}"):
            # Nothing of it is looked at.
            run.finetune(None, None, None, settings_of(tmp_path), strategy)
        assert os.listdir(tmp_path) == [locks.FILE_NAME]


def test_who_does_not_train_is_not_kept_out(tmp_path, strategy):
    with (
        locks.alone(str(tmp_path)),
        run.alone(settings_of(tmp_path, do_train=False), strategy),
    ):
        pass


def test_workers_but_the_chief_never_look(tmp_path, strategy, monkeypatch):
    monkeypatch.setattr(devices, "is_chief", lambda strategy: False)
    with (
        locks.alone(str(tmp_path)),
        run.alone(settings_of(tmp_path), strategy),
    ):
        pass


def test_repeated_runs_lock_the_folder_around_theirs(tmp_path, strategy):
    def run_once(one):
        with run.alone(one, strategy):
            assert os.path.dirname(one.output_dir) == str(tmp_path)
            for folder in (one.output_dir, str(tmp_path)):
                with pytest.raises(InputError, match="at work"):
                    run.finetune(
                        None, None, None, settings_of(folder), strategy
                    )
        return {"loss": 1.0}

    run.run_several(run_once, settings_of(tmp_path), 2, strategy)

    found = {name for _, _, names in os.walk(tmp_path) for name in names}
    assert found == {run.RUNS_FILE}


class Chooses:
    """A task whose predictions choose something for their checkpoint."""

    groups_by_length = False

    def write(self, examples, rows, folder, split):
        return Evaluation({"f1": 1.0}, model_files={"limit.txt": "0.5"})


@pytest.mark.parametrize(
    ("has_best", "keeps_best", "place"),
    [
        (True, True, "best/limit.txt"),
        # A best checkpoint that the run does not use.
        (True, False, "limit.txt"),
        (False, True, "limit.txt"),
    ],
)
def test_what_predictions_choose_lies_beside_the_weights_that_made_them(
    tmp_path, strategy, has_best, keeps_best, place
):
    if has_best:
        (tmp_path / "best").mkdir()
    settings = settings_of(tmp_path, do_train=False)
    if keeps_best:
        evaluation = EvaluationSettings(1, "f1")
        settings = dataclasses.replace(settings, evaluation=evaluation)

    run.Run(Chooses(), None, settings, 9, strategy).predict("eval", [], 3)

    (found,) = tmp_path.rglob("limit.txt")
    assert str(found.relative_to(tmp_path)) == place
    assert found.read_text() == "0.5"


def test_results_of_an_earlier_test_file_go_and_other_files_stay(tmp_path):
    gone = ["test_eval_results.txt", "test_report.svg", "test_words.txt"]
    kept = ["test_results.tsv", "test_mm_report.txt", "eval_report.txt"]
    for name in [*gone, *kept]:
        (tmp_path / name).touch()
    remove_test_results(str(tmp_path), "predict")
    assert sorted(os.listdir(tmp_path)) == sorted(kept)
