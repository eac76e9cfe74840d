import os

import pytest
import tensorflow as tf

from bert_tf.errors import InputError
from bert_tf.support import locks
from bert_tf.tasks import run
from bert_tf.training import devices
from bert_tf.training.settings import ModelFiles, RunSettings, TrainingSettings


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
