"""Holds an exported model to the Python model of the same checkpoint.

The Python model computes rows with Keras, in float32, and its texts become rows
and results in plain Python: nothing but the checkpoint is shared with the
export.
"""

import os
from typing import Any

import tensorflow as tf

from bert_tf import models
from bert_tf.checkpoints import finding, inference
from bert_tf.checkpoints.names import CONFIG
from bert_tf.checkpoints.reader import open_reader
from bert_tf.data.grouping import LENGTH_STEP
from bert_tf.exports import folder
from bert_tf.exports.settings import LITERT, MODEL_FILES
from bert_tf.modeling import BertConfig
from bert_tf.tasks import comparison, predictor
from bert_tf.tasks.vectors import lines

REPORT = os.path.join(folder.EXTRA, "bert_tf_check.txt")
MEGABYTE = 1_000_000


class KerasSession:
    """A Keras model as what `Inference` runs.

    Args:
        model: has named outputs.
    """

    length_step = LENGTH_STEP

    def __init__(self, model):
        self.outputs = tuple(model.output)
        self._forward = inference.compile_forward(model)

    def run(self, inputs, outputs):
        found = self._forward(inputs)
        return {name: found[name] for name in outputs}


class LiteSession:
    """A LiteRT file as what `Inference` runs, in TensorFlow's interpreter.

    Args:
        path: of the file.
    """

    length_step = LENGTH_STEP

    def __init__(self, path):
        # The runner does not keep its interpreter alive.
        self._interpreter = tf.lite.Interpreter(path)
        self._run = self._interpreter.get_signature_runner()
        self.outputs = tuple(self._run.get_output_details())

    def run(self, inputs, outputs):
        # Of multiple choice, each choice is a row of its own.
        rows = {n: x.reshape(-1, x.shape[-1]) for n, x in inputs.items()}
        found = self._run(**rows)
        return {name: found[name] for name in outputs}


class SessionPredictor(predictor.Predictor):
    """`Predictor` with the settings of an export, around another session.

    Args:
        version: the folder of the export.
        session: computes the outputs of its head.
        settings: those of one of several heads; None for those of the export.
    """

    def __init__(self, version, session, settings=None):
        self._session, self._given = session, settings
        super().__init__(version)

    def _read_settings(self):
        return self._given or super()._read_settings()

    def _load(self):
        return self.without_tensorflow(
            predictor.make_inference(
                self.path, self.settings, self._session, self.batch_size
            )
        )


def open_export(version):
    """The predictor of an export of any format."""
    if folder.format_of(version) != LITERT:
        return predictor.Predictor(version)
    file = os.path.join(version, MODEL_FILES[LITERT])
    return SessionPredictor(version, LiteSession(file))


def build_model(version, settings, checkpoint):
    """The Keras model of a checkpoint, with the head of an export.

    Args:
        version: the folder of the export.
        settings: the content of its assets/bert_tf.json.
        checkpoint: whatever `checkpoints.find` takes, or a `CheckpointReader`.
    """
    path = os.path.join(version, "assets", CONFIG)
    config = BertConfig.from_json_file(path)
    reader = open_reader(checkpoint)

    def features():
        pooling = lines.POOLINGS[settings["pooling"]]
        return models.encoder(config, settings["layers"], pooling)

    def count():
        return reader.shapes["output_weights"][0]

    build = {
        "classifier": lambda: models.classifier(config, count()),
        "span": lambda: models.span(config),
        "pretraining": lambda: models.pretraining(config),
        "features": features,
        "tokens": lambda: models.token_classifier(config, count()),
        "choices": lambda: models.multiple_choice(config),
    }[settings["head"]]
    model, _ = inference.load_model(
        build, config, reader, inference.ANY_NAME, skip_padding=True
    )
    return model


def check(version, checkpoint, path):
    """Compares an export with its checkpoint; writes a report into its folder.

    Args:
        version: the folder of the export, MODEL/1.
        checkpoint: whatever `checkpoints.find` takes.
        path: a file of texts, as `comparison.read_texts` takes it.

    Returns:
        The path of the report, and its text.

    Raises:
        InputError: the file is not what the head takes, or the report cannot be
            written.
    """
    exported = open_export(version)
    texts = comparison.read_texts(path, exported.head)
    got = comparison.run(exported, texts)
    reader = open_reader(checkpoint)
    want = _run_python(version, exported.settings, reader, texts)
    return _report(exported, path, got, want, reader.nbytes(reader.names))


def check_several(version, heads, path):
    """Compares an export of several heads with the checkpoint of each.

    Args:
        version, path: as for `check`.
        heads: whatever `checkpoints.find` takes, by the names of heads.

    Returns, Raises: as `check`.
    """
    exported = open_export(version)
    texts = comparison.read_texts(path, comparison.head_of(exported.settings))
    got = comparison.run(exported, texts)
    settings, seconds, size = folder.heads_of(exported.settings), 0.0, 0
    found: list[Any] = [{} for _ in texts]
    for name, checkpoint in heads.items():
        reader = open_reader(finding.of_results(checkpoint))
        of_head = _run_python(version, settings[name], reader, texts)
        for results, one in zip(found, of_head.results, strict=True):
            results[name] = one
        seconds += of_head.seconds
        size += reader.nbytes(reader.names)
    want = comparison.Timed(found, seconds)
    return _report(exported, path, got, want, size)


def _run_python(version, settings, reader, texts):
    """What the Python model of a checkpoint makes of texts: `Timed`."""
    session = KerasSession(build_model(version, settings, reader))
    return comparison.run(SessionPredictor(version, session, settings), texts)


def _report(exported, path, got, want, nbytes):
    """Writes a report; returns its path and its text.

    Args:
        exported: the predictor of the export.
        path: of the texts.
        got, want: `Timed` of the export, and of Python models.
        nbytes: of their checkpoints.
    """
    version = exported.path
    kind = folder.format_of(version) or ""
    quantize = exported.settings["quantize"]
    text = comparison.report(
        path,
        kind + f", {quantize}" * bool(quantize),
        comparison.compare(got.results, want.results),
        [
            ("this export", got, folder.nbytes(version) / MEGABYTE),
            (
                "Python model",
                want,
                nbytes / MEGABYTE,
            ),
        ],
    )
    report = os.path.join(version, REPORT)
    comparison.write(report, text)
    return report, text
