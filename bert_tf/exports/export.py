"""Writes a version of an exported model: whole, numbered, with its assets.

A version is a SavedModel, with requests that warm it up in a server, or an ONNX
file or one of OpenVINO; beside it are vocabulary, config and settings.
docs/serving.md describes the files.
"""

import contextlib
import json
import logging as python_logging
import os
import shutil

import tensorflow as tf
from absl import logging

import bert_tf
from bert_tf import checkpoints, layers
from bert_tf.checkpoints import folders, inference, names
from bert_tf.errors import InputError
from bert_tf.exports import (
    folder,
    inspection,
    quantization,
    settings,
    warmup,
)
from bert_tf.exports.interface import INSPECT
from bert_tf.exports.settings import LITERT, MODEL_FILES, ONNX, SAVED_MODEL
from bert_tf.exports.signature import TextRules
from bert_tf.support import files


def open_source(source, default_length=None):
    """Finds the files of a `Source` and checks that they fit each other.

    Args:
        source: a `Source`.
        default_length: `max_seq_length` if the source has none.

    Returns:
        A `folders.ModelFolder`, and `TextRules`.

    Raises:
        InputError: a file is missing or does not fit, or a setting is wrong.
    """
    settings.check(source)
    opened = folders.find(
        source.checkpoint, source.vocab_file, source.bert_config_file
    )
    tokenizer = opened.load_tokenizer(
        source.do_lower_case,
        source.strip_accents,
        source.ignore_folder_settings,
    )
    length = inference.find_length(
        opened.config, source.max_seq_length, default_length
    )
    return opened, TextRules(opened.config, tokenizer, length)


def shapes_of(opened):
    """Shapes of a checkpoint's tensors by name."""
    return opened.reader.shapes


def has_scope(opened, scope):
    """Whether a checkpoint has tensors below a scope."""
    return any(name.startswith(scope) for name in shapes_of(opened))


def count_outputs(opened, purpose, command):
    """The number of outputs of a checkpoint's head.

    Args:
        opened: a `folders.ModelFolder`.
        purpose: of the head, in words.
        command: that trains such a head.

    Raises:
        InputError: the checkpoint has no such head.
    """
    shape = shapes_of(opened).get("output_weights")
    if shape is None:
        raise InputError(
            f"{opened.path} has no head {purpose}: it lacks output_weights. "
            f"Fine-tune it with bert_tf.{command} first, and give the "
            "checkpoint that this writes."
        )
    return shape[0]


def find_labels(opened, labels, num_outputs, least=2, alternative=""):
    """The names of the classes of a checkpoint, in the order of their ids.

    Args:
        opened: a `folders.ModelFolder`.
        labels: the names, or None for those in labels.txt beside it.
        num_outputs: what `count_outputs` returns.
        least: the smallest number of labels.
        alternative: what the head takes instead of `--labels_file`, for the
            message that there is no labels.txt.

    Raises:
        InputError: there is no labels.txt, or another number of labels.
    """
    if labels is None:
        path = os.path.join(os.path.dirname(opened.path), names.LABELS_FILE)
        if not os.path.exists(path):
            raise InputError(
                f"Beside the checkpoint {opened.path} there is no "
                f"{names.LABELS_FILE}, which names the labels: give its path, "
                f"`--labels_file`{alternative}."
            )
        labels = folders.read_labels(path, least)
    if num_outputs != len(labels):
        raise InputError(
            f"There must be as many labels as {opened.path} has classes, "
            f"{num_outputs}. Received: {len(labels)}, {', '.join(labels[:20])}"
        )
    return labels


def load(source, opened, build, may_lack, skips_padding=True):
    """The model with its weights, quantized where the source asks for it.

    Args:
        source: a `Source`.
        opened: its `folders.ModelFolder`.
        build, may_lack: as `inference.load_model` takes them.
        skips_padding: whether to skip it where the source does not say.
    """
    # Other formats are quantized by what runs them.
    mode = source.quantize if source.format == SAVED_MODEL else None
    with layers.precision(quantization.precision(mode)):
        model, _ = inference.load_model(
            build,
            opened.config,
            opened.reader,
            may_lack,
            skip_padding=(
                # Other formats compute all rows.
                skips_padding and source.format == SAVED_MODEL
                if source.skip_padding is None
                else source.skip_padding
            ),
        )
    if mode is not None:
        quantization.quantize(model, mode)
    return model


def save(served, source, opened, output_dir):
    """Writes the next version of a model.

    Args:
        served: a `Served`.
        source: its `Source`.
        opened: its `folders.ModelFolder`.
        output_dir: the folder MODEL.

    Returns:
        The path of the version.

    Raises:
        InputError: it cannot be written; nothing is left of it then.
    """
    folder.check_output(output_dir)
    # A folder with a number is whole: it is written under another name.
    try:
        with files.unfinished_folder(
            os.path.join(output_dir, "version")
        ) as name:
            write = _write if source.format == SAVED_MODEL else _write_plain
            write(served, source, opened, name)
            path = folder.give_number(name, output_dir)
    except (OSError, tf.errors.OpError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(
            f"No version can be written to {output_dir}: {reason}"
        ) from error
    logging.info("Wrote %s.", path)
    return path


def _write(served, source, opened, path):
    functions, samples = served.signatures(), served.samples()
    if source.inspect:
        functions[INSPECT], samples[INSPECT] = inspection.inspect(served)
    with files.temporary_folder("assets") as beside:
        assets = _write_assets(served, source, opened, beside)
        served.assets = [tf.saved_model.Asset(asset) for asset in assets]
        with _without_notes():
            tf.saved_model.save(served, path, functions)
    extra = os.path.join(path, folder.EXTRA)
    os.mkdir(extra)
    warmup.write(
        os.path.join(extra, warmup.FILE_NAME),
        [(name, samples[name]) for name in functions],
    )
    folder.write_checksums(path)


def _write_plain(served, source, opened, path):
    assets = os.path.join(path, "assets")
    os.mkdir(assets)
    _write_assets(served, source, opened, assets)
    if source.format == LITERT:
        file = os.path.join(path, MODEL_FILES[LITERT])
        served.plain.model.export(file, format="litert", verbose=False)
    else:
        _write_onnx(served, source, opened, path)
    os.mkdir(os.path.join(path, folder.EXTRA))
    folder.write_checksums(path)


def _write_onnx(served, source, opened, path):
    # Imported here: the package is an extra.
    from bert_tf.exports import onnx_files, onnx_heads

    weights = names.named_weights(served.plain.model)
    model = onnx_heads.build(
        served.head,
        opened.config,
        {
            name: weight.numpy()
            for name, weight in weights.items()
            if name in opened.reader
        },
        served.graph_settings(),
    )
    if source.format == ONNX:
        onnx_files.save(model, path, source.quantize)
    else:
        onnx_files.save_openvino(model, path)


# What a folder notes for those who look at the model, such as the page.
_NOTED = ("text_pairs",)


def _write_assets(served, source, opened, beside):
    """Writes the assets to a folder; returns their paths."""
    rules, noted = served.rules, opened.noted.settings.said()
    about = {
        "format": folder.FORMAT,
        "bert_tf_version": bert_tf.__version__,
        "head": served.head,
        "labels": None,
        **rules.casing._asdict(),
        "max_seq_length": rules.max_seq_length,
        "quantize": source.quantize,
        "unicode_version": served.tokenizer.unicode_version,
        "rows_at_once": served.plain.rows_at_once,
        **served.settings(),
        **{name: noted[name] for name in _NOTED if name in noted},
    }
    texts = {
        names.CONFIG: opened.config.to_json_string(),
        folder.SETTINGS_FILE: json.dumps(about, indent=2) + "\n",
        **served.files(),
    }
    paths = [os.path.join(beside, names.VOCAB)]
    shutil.copyfile(opened.vocab_file, paths[0])
    for name, text in texts.items():
        paths.append(os.path.join(beside, name))
        files.write_text(paths[-1], text)
    return paths


@contextlib.contextmanager
def _without_notes():
    """TensorFlow logs only warnings in this block."""
    # While it looks through a module, it silences absl's logger itself, and
    # then sets it to a level that may not have been its own.
    logger = logging.get_absl_logger()
    level = logger.level
    both = logger, python_logging.getLogger("tensorflow")
    for one in both:
        one.addFilter(_is_warning)
    try:
        yield
    finally:
        for one in both:
            one.removeFilter(_is_warning)
        logger.setLevel(level)


def _is_warning(record):
    return record.levelno >= python_logging.WARNING


def checkpoint_of_run(output_dir, keeps_best, start):
    """The checkpoint of a run that is exported.

    Args:
        output_dir: the folder of the run.
        keeps_best: whether the run keeps its best checkpoint. If there is one,
            it is exported, as it is used for the run's other results.
        start: prefix of the checkpoint that the run started from, for a run
            that has not written any; or None.

    Raises:
        InputError: there is none.
    """
    prefix = None
    if keeps_best:
        best = os.path.join(output_dir, names.BEST_FOLDER)
        prefix = checkpoints.latest(best)
    prefix = prefix or checkpoints.latest(output_dir) or start
    if prefix is None:
        raise InputError(
            "`--do_export` needs a checkpoint: give --init_checkpoint, or "
            f"--do_train. {output_dir} has none."
        )
    return prefix
