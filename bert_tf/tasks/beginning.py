"""How a run begins: alone in its folder, seeded, with its model and weights."""

import contextlib
import os
from typing import NamedTuple

import keras

from bert_tf import checkpoints, models
from bert_tf.checkpoints import folder_settings, folders, lora
from bert_tf.checkpoints.names import BEST_FOLDER
from bert_tf.errors import InputError
from bert_tf.exports.export import checkpoint_of_run
from bert_tf.support import files, locks
from bert_tf.support.parts import parse_targets
from bert_tf.training import devices, start
from bert_tf.training.evaluation import load_best
from bert_tf.training.start import StartingPoint


class Begun(NamedTuple):
    """A run after its start: the model has the weights to start from."""

    model: keras.Model
    start: StartingPoint
    seed: int


@contextlib.contextmanager
def alone(settings, strategy):
    """Keeps other trainings out of a run's folder, if the run trains.

    Of several workers only the chief does so, since only it writes there.

    Raises:
        InputError: another training is at work there.
    """
    if not settings.do_train or not devices.is_chief(strategy):
        yield
        return
    files.make_folder("output_dir", settings.output_dir)
    with locks.alone(settings.output_dir):
        # What a killed run left, also if this one has nothing to save.
        folder, keep = settings.output_dir, settings.training.keep_checkpoints
        checkpoints.tidy(folder, keep)
        if settings.best_metric is not None:
            checkpoints.tidy(os.path.join(folder, BEST_FOLDER), keep=1)
        yield


def begin(build, opened, settings, strategy, exports, write_model_files=None):
    """Seeds a run, finds its starting point, and builds its model.

    Args:
        build: function without arguments that returns a `keras.Model`.
        opened: `training.start.OpenedModel`.
        settings: `RunSettings`.
        strategy: a `tf.distribute.Strategy`.
        exports: whether the run exports its checkpoint.
        write_model_files: function of the folder that writes what belongs to
            the model, beside config and vocabulary.

    Returns:
        `Begun`. If the run trains or was resumed, the config and the vocabulary
        are now in its folder.

    Raises:
        InputError: a checkpoint is damaged or does not fit, or there is none
            to export.
    """
    seed = start.set_seed(settings.seed, strategy)
    devices.log_devices(strategy)
    point = start.find_starting_point(
        settings.output_dir, settings.files.checkpoint
    )
    if settings.do_train and point.resumed:
        lora.require_same(
            point.reader,
            settings.build.lora_rank,
            parse_targets(settings.build.lora_targets),
        )
    if exports and not settings.do_train:
        checkpoint_to_export(settings, point)
    model = start.build_model(
        build,
        opened.config,
        point,
        strategy,
        opened.config_file,
        settings.build,
        settings.do_train,
    )
    if settings.do_train or point.resumed:
        noted = note_of(opened, settings, point.resumed)
        # First, since it raises if other labels are there.
        if write_model_files is not None:
            write_model_files(settings.output_dir)
        folders.complete(
            settings.output_dir, opened.config_file, opened.vocab_file
        )
        if settings.do_train:
            folder_settings.write(settings.output_dir, noted)
    return Begun(model, point, seed)


def note_of(opened, settings, resumed):
    """The `FolderSettings` that a training notes beside its checkpoints.

    Args:
        opened: `training.start.OpenedModel`.
        settings: `RunSettings`.
        resumed: whether the training goes on in a folder, and must then be what
            its file notes.

    Raises:
        InputError: it is not, and the settings do not ignore that.
    """
    said = {**settings.folder.said(), **opened.casing.said()}
    goes_on = settings.do_train and resumed
    if goes_on and not settings.files.ignore_folder_settings:
        noted = folder_settings.noted_in(settings.output_dir)
        wrong = noted.differences(said)
        if "head" in wrong:
            raise InputError(
                f"{noted.path} has head={noted.settings.head}: this folder is "
                f"another task's. Take another --output_dir. Received: "
                f"--output_dir={settings.output_dir}, to train "
                f"head={wrong['head']}"
            )
        if wrong:
            raise folder_settings.contradiction(
                noted.path, wrong, noted.settings.said()
            )
    return folder_settings.FolderSettings(**said)


def use_best(model, settings, step):
    """Loads the best weights of a run, if the run keeps them.

    LoRA's adapters are merged first: what follows uses the kernels that others
    read in the checkpoint.

    Returns:
        The step of the model's weights.
    """
    models.merge_lora(model)
    if settings.best_metric is None:
        return step
    best = load_best(model, settings.output_dir)
    return step if best is None else best


def checkpoint_to_export(settings, point):
    """The checkpoint that a run has written, else the one it started from."""
    return checkpoint_of_run(
        settings.output_dir, settings.best_metric is not None, point.prefix
    )
