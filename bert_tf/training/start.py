"""Where a training run starts: checkpoint, weights, optimizer, seeds."""

import contextlib
import math
import os
from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf
from absl import logging

from bert_tf import checkpoints, layers, models, tokenization
from bert_tf.checkpoints import casing, finding, folders, inference, lora
from bert_tf.checkpoints.folder_settings import NOTHING_SAID, FolderSettings
from bert_tf.checkpoints.names import BEST_FOLDER, LABELS_FILE
from bert_tf.errors import InputError, some_of
from bert_tf.modeling import BertConfig
from bert_tf.support import parts
from bert_tf.support.files import require_file
from bert_tf.training import devices
from bert_tf.training.settings import BuildSettings

DEFAULT_BUILD = BuildSettings()

# Far apart: no replica of a layer gets the seed of another layer.
_SEED_STEP, _LARGEST_SEED = 982_451_653, 2**31 - 1


class OpenedModel(NamedTuple):
    """Config and vocabulary of a run.

    Attributes:
        config: the model's `BertConfig`.
        config_file: the file it was read from.
        vocab_file: None where the run needs no vocabulary and none was found.
        tokenizer: None where the run reads no text.
        casing: what is known of it, for the folder of a training.
    """

    config: BertConfig
    config_file: str
    vocab_file: str | None
    tokenizer: tokenization.FullTokenizer | None
    casing: FolderSettings = NOTHING_SAID


def open_model(
    files,
    output_dir=None,
    build=DEFAULT_BUILD,
    reads_text=True,
    needs_vocab=False,
):
    """Finds, reads and checks the config and the vocabulary of a run.

    Args:
        files: `ModelFiles`. A file that it does not name is looked for in
            `output_dir`, if there is a checkpoint to resume, then beside the
            initial checkpoint.
        output_dir: folder of the run; None for none.
        build: `BuildSettings`, checked against the config.
        reads_text: whether the run tokenizes text.
        needs_vocab: whether a run that does not needs a vocabulary. If not, one
            that is found, and fits, is only copied beside new checkpoints.

    Raises:
        InputError: a file is missing, cannot be read, or does not fit the
            others, or the casing is not the model's; names the flag.
    """
    noted = finding.find_noted(files.checkpoint, output_dir)
    asked = files.do_lower_case, files.strip_accents
    ignore = files.ignore_folder_settings
    for flag in ("vocab_file", "bert_config_file"):
        if (path := getattr(files, flag)) is not None:
            require_file(flag, path)
    needs_vocab = reads_text or needs_vocab
    vocab_file, config_file = folders.find_files(
        files.checkpoint,
        files.vocab_file,
        files.bert_config_file,
        output_dir,
        needs_vocab=needs_vocab,
    )
    config = BertConfig.from_json_file(config_file)
    _check_parts(build, config)
    if vocab_file:
        try:
            checkpoints.check_vocab(config.vocab_size, vocab_file, config_file)
        except InputError:
            if needs_vocab or files.vocab_file:
                raise
            vocab_file = None  # It happened to be there.
    tokenizer = None
    if reads_text:
        tokenizer = casing.load_tokenizer(
            vocab_file, files.checkpoint, noted, *asked, ignore
        )
        known = casing.casing_of(tokenizer)._asdict()
    else:
        pairs = zip(casing.Casing._fields, asked)
        given = {name: value for name, value in pairs if value is not None}
        known = noted.resolve(None, casing.Casing._fields, given, ignore)
    return OpenedModel(
        config, config_file, vocab_file, tokenizer, FolderSettings(**known)
    )


def _check_parts(build, config):
    """Checks the flags that name parts of the model."""
    num_layers = config.num_hidden_layers
    frozen: set[str | int] = set()
    if build.freeze is not None:
        with _naming("freeze"):
            frozen = parts.parse_parts(build.freeze, num_layers)
    if build.lora_rank is None:
        return
    with _naming("lora_rank"):
        models.require_rank(build.lora_rank, config)
    if frozen.issuperset(range(num_layers)):
        raise InputError(
            "`--lora_rank` needs a layer that --freeze leaves. Received: "
            f"--lora_rank={build.lora_rank} --freeze={build.freeze}"
        )


@contextlib.contextmanager
def _naming(flag):
    """Names the flag in errors about it."""
    try:
        yield
    except InputError as error:
        raise InputError(f"`--{flag}`: {error}") from error


def require_positions(config, max_seq_length, advice=""):
    """Raises `InputError` if inputs are longer than the position table.

    Args:
        config: the model's `BertConfig`.
        max_seq_length: tokens of an input.
        advice: a sentence that names other ways than a lower length.
    """
    if max_seq_length > config.max_position_embeddings:
        raise InputError(
            f"Cannot use sequence length {max_seq_length} because the "
            "BERT model was only trained up to sequence length "
            f"{config.max_position_embeddings}: lower --max_seq_length."
            + (f" {advice}" if advice else "")
        )


class StartingPoint(NamedTuple):
    """The checkpoint and the step that a run starts from.

    Attributes:
        reader: an open `CheckpointReader`, or None for random weights.
        resumed: whether it is a checkpoint of the run's own folder. Of an
            initial checkpoint only the weights are used.
        step: the step to continue from; 0 unless resumed.
    """

    reader: checkpoints.CheckpointReader | None
    resumed: bool
    step: int

    @property
    def prefix(self):
        """The checkpoint's prefix, or None."""
        return self.reader and self.reader.path


def find_starting_point(output_dir, init_checkpoint=None):
    """The newest whole checkpoint of `output_dir`, else `init_checkpoint`.

    As in the original's Estimator, a folder with a checkpoint is resumed and
    the initial checkpoint then has no effect. Logs which checkpoint is used.
    """
    reader = checkpoints.open_latest(output_dir)
    if reader is not None:
        step = checkpoints.global_step(reader) or 0
        logging.info("Resuming from %s (step %d).", reader.path, step)
        if init_checkpoint:
            logging.info(
                "--init_checkpoint=%s is without effect: the output folder "
                "has a checkpoint of its own.",
                init_checkpoint,
            )
        return StartingPoint(reader, resumed=True, step=step)
    if init_checkpoint:
        reader = checkpoints.CheckpointReader(init_checkpoint)
        reader.check_data()
        return StartingPoint(reader, resumed=False, step=0)
    return StartingPoint(None, resumed=False, step=0)


def build_model(
    build,
    config,
    start,
    strategy=None,
    config_file=None,
    settings=DEFAULT_BUILD,
    trains=True,
):
    """A model with the weights of its starting point.

    Variables missing from the checkpoint keep their random initial values and
    are logged; in a resumed run they are an error.

    Args:
        build: function without arguments that returns a `keras.Model`.
        config: the model's `BertConfig`.
        start: a `StartingPoint`.
        strategy: a `tf.distribute.Strategy`, or None for the default one.
        config_file: the file of the config, for error messages.
        settings: `BuildSettings`.
        trains: whether the run trains; else variables that stay random are
            warned of.
    """
    strategy = strategy or tf.distribute.get_strategy()
    with layers.precision(settings.precision):
        model = _load(build, config, start, strategy, config_file, trains)
    if settings.recompute:
        models.recompute(model)
    if settings.skip_padding:
        models.skip_padding(model)
    if settings.freeze is not None:
        models.freeze(model, settings.freeze)
        logging.info(
            "Frozen: %s. %d of %d variables are trained.",
            settings.freeze,
            len(model.trainable_variables),
            len(model.weights),
        )
    if settings.lora_rank is not None:
        _add_lora(model, start, strategy, settings)
    return model


def _add_lora(model, start, strategy, settings):
    if start.reader is None:
        raise InputError(
            "`--lora_rank` needs --init_checkpoint: the encoder is not trained "
            "and would stay random. Received: "
            f"--lora_rank={settings.lora_rank}"
        )
    with strategy.scope():
        models.add_lora(
            model, settings.lora_rank, targets=settings.lora_targets
        )
    if start.resumed:
        lora.restore(model, start.reader)
    logging.info(
        "LoRA of rank %d at %s: %s of %s weights are trained.",
        settings.lora_rank,
        settings.lora_targets,
        f"{sum(math.prod(v.shape) for v in model.trainable_variables):,}",
        f"{model.count_params():,}",
    )


def _load(build, config, start, strategy, config_file, trains):
    if start.reader is None:
        logging.warning(
            "No checkpoint is given: all weights are random%s.",
            "" if trains else ", and results mean nothing",
        )
        with strategy.scope():
            return build()
    checkpoints.check_config(config, start.reader, config_file)
    model, missing = inference.load_model(
        build, config, start.reader, inference.ANY_NAME, strategy
    )
    if start.resumed and missing:
        raise InputError(
            f"{start.prefix} cannot be continued with this model: it lacks "
            f"{', '.join(missing)}. Use another --output_dir, or give the "
            "checkpoint as --init_checkpoint."
        )
    if missing and not trains:
        logging.warning(
            "%s lacks %s: random values take their place, and results mean "
            "nothing. Train first (--do_train), or give a trained model as "
            "--init_checkpoint.",
            start.prefix,
            some_of(missing, 4),
        )
    return model


def restore_optimizer(optimizer, start):
    """Assigns a checkpoint's step and slots to an optimizer."""
    optimizer.iterations.assign(start.step)
    slots = optimizer.slots()
    lacking = len(slots) - restore(slots, start)
    if lacking:
        logging.warning(
            "%s has no optimizer state for %d of %d slots: they start at 0.",
            start.prefix,
            lacking,
            len(slots),
        )


def restore(variables, start):
    """Loads the variables that the checkpoint has; returns their number.

    Args:
        variables: by name.
        start: a `StartingPoint` with a reader.
    """
    saved = {name: v for name, v in variables.items() if name in start.reader}
    if saved:
        checkpoints.load(saved, start.reader)
    return len(saved)


def set_dropout_step(model, draws, strategy):
    """Sets the state of dropout to that after `draws` draws of each layer.

    A resumed run then drops the same units as an uninterrupted one.
    """

    # The state of a dropout layer is [seed, number of draws]; it draws once for
    # each micro-batch. Each replica has a seed of its own.
    def assign(variable, seed):
        replica = tf.distribute.get_replica_context().replica_id_in_sync_group
        own = (seed + _SEED_STEP * tf.cast(replica, tf.int64)) % _LARGEST_SEED
        state = tf.stack([own, tf.constant(draws, tf.int64)])
        variable.assign(tf.cast(state, variable.dtype))

    @tf.function(autograph=False)
    def assign_all():
        for variable, seed in seeds:
            strategy.run(assign, args=(variable, tf.constant(seed, tf.int64)))

    seeds = [
        (variable.value, int(np.array(variable)[0]))
        for variable in model.non_trainable_variables
        if variable.name == "seed_generator_state"
    ]
    assign_all()


def require_agreement(model, start, strategy):
    """Raises `InputError` unless all workers start from the same weights."""
    count = devices.num_workers(strategy)
    if count == 1:
        return
    weights = checkpoints.named_weights(model).values()
    total = sum(float(np.abs(np.array(weight)).sum()) for weight in weights)
    ours = np.array([start.step, total])
    chiefs = devices.as_chief_says(strategy, ours)
    agrees = bool((ours == chiefs).all())
    if devices.sum_over_workers(strategy, [agrees])[0] < count:
        raise InputError(
            f"The {count} workers must start from the same weights. This one "
            f"starts at step {start.step}, the chief at step {chiefs[0]:.0f}. "
            "--output_dir and --init_checkpoint must be the same files for all "
            "workers: on a file system that they share."
        )


def set_seed(seed, strategy=None):
    """Seeds all random generators; draws and logs a seed if None is given.

    Args:
        seed: int, or None.
        strategy: with several workers, which all get the seed of the chief.

    Returns:
        The seed.
    """
    if seed is None:
        seed = int.from_bytes(os.urandom(3), "big")
        seed = int(devices.as_chief_says(strategy, [seed])[0])
        logging.info("Random seed %d; --seed=%d repeats this run.", seed, seed)
    keras.utils.set_random_seed(seed)
    return seed


def model_folders(settings):
    """Folders that may have a file of the run's model, the first one first.

    The best checkpoint's if the run keeps one, that of the run, and that of the
    initial checkpoint.

    Args:
        settings: `RunSettings`.
    """
    found = own_folders(settings)
    if settings.files.checkpoint:
        found.append(finding.folder_of(settings.files.checkpoint))
    return found


def own_folders(settings):
    """Those of `model_folders` that the run writes to."""
    found = [settings.output_dir]
    if settings.best_metric is not None:
        found.insert(0, os.path.join(settings.output_dir, BEST_FOLDER))
    return found


def labels_file(settings):
    """The labels.txt of the run's model.

    Args:
        settings: `RunSettings`.

    Returns:
        The first path of a file that exists; if there is none, the path that it
        would have in the folder of the run.
    """
    for folder in model_folders(settings):
        path = os.path.join(folder, LABELS_FILE)
        if os.path.exists(path):
            return path
    return os.path.join(settings.output_dir, LABELS_FILE)


def read_labels(settings):
    """The labels of a trained model, in the order of their ids.

    Args:
        settings: `RunSettings`.

    Raises:
        InputError: there is none, or it is damaged.
    """
    return folders.read_labels(labels_file(settings))
