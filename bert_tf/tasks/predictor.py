"""`bert_tf.Predictor`: asks exported models, with TensorFlow or without.

Those of training folders are exported first.
"""

import importlib
import json
import os
from collections.abc import Mapping
from typing import Any

from bert_tf.checkpoints.names import CONFIG, VOCAB
from bert_tf.errors import InputError
from bert_tf.exports import folder, predictor, sessions
from bert_tf.exports.interface import Session
from bert_tf.exports.settings import SAVED_MODEL
from bert_tf.tasks import trained
from bert_tf.tasks.inference import Inference, numbers_of
from bert_tf.tokenization import FullTokenizer, require_special_tokens

HEADS = {
    "classifier": "classification.inference:ClassifierInference",
    "span": "squad.inference:SpanInference",
    "pretraining": "pretraining.inference:PretrainingInference",
    "features": "vectors.inference:FeaturesInference",
    "tokens": "ner.inference:TokensInference",
    "choices": "choices.inference:ChoicesInference",
    "several": "several_inference:SeveralInference",
}
"""The class of each head, below `bert_tf.tasks`; only one is imported."""

SIZES = (
    "vocab_size",
    "type_vocab_size",
    "max_position_embeddings",
    "hidden_size",
)
"""What is needed of a config."""


class Predictor(predictor.Predictor):
    """A model of any format, or of a training folder.

    As `exports.predictor.Predictor`; a folder that training wrote is exported
    first, see `trained.export_of`.
    """

    def __init__(self, path: str | os.PathLike[str], batch_size: int = 32):
        super().__init__(trained.export_of(path), batch_size)

    def _load(self):
        if folder.format_of(self.path) == SAVED_MODEL:
            return super()._load()
        return self.without_tensorflow(
            open_inference(self.path, self.settings, self.batch_size)
        )

    def without_tensorflow(self, model: Inference) -> predictor.Loaded:
        """A model that sorts rows itself, by their number of tokens."""
        self._sorts = True
        functions = {n: f.call for n, f in model.functions.items()}
        return predictor.Loaded(functions, model.run)


def open_inference(
    path: str,
    settings: Mapping[str, Any] | None = None,
    rows_at_once: int | None = None,
) -> Inference:
    """A version that runs without TensorFlow.

    Args:
        path: its folder, MODEL/1.
        settings: the content of assets/bert_tf.json, if it is read already.
        rows_at_once: rows that are computed together; None for what the export
            says.

    Raises:
        InputError: it cannot be loaded.
    """
    settings = settings or folder.read_settings(path)
    session = sessions.open_session(path)
    made = make_inference(path, settings, session, rows_at_once)
    needed = [
        name
        for name in numbers_of(made.row_outputs())
        if name not in session.outputs
    ]
    if needed:
        raise InputError(
            f"The model in {path} must have the outputs of the head "
            f"{settings['head']}. It lacks {', '.join(needed)}, and has "
            f"{', '.join(session.outputs)}: it is that of another export."
        )
    return made


def make_inference(
    path: str,
    settings: Mapping[str, Any],
    session: Session,
    rows_at_once: int | None = None,
) -> Inference:
    """The signatures of a version around a session.

    Args:
        path, settings, rows_at_once: as for `open_inference`.
        session: has the outputs of the head's model.

    Raises:
        InputError: an asset is missing or damaged.
    """
    if settings["head"] not in HEADS:
        raise InputError(
            f"{path} must have one of the heads {', '.join(HEADS)}. Received: "
            f"{settings['head']!r}"
        )
    assets = os.path.join(path, "assets")
    config = _read_config(os.path.join(assets, CONFIG))
    tokenizer = FullTokenizer(
        os.path.join(assets, VOCAB),
        settings.get("do_lower_case", True),
        settings.get("strip_accents"),
    )
    _check_tokens(tokenizer, config)
    if rows_at_once is not None:
        settings = {**settings, "rows_at_once": rows_at_once}
    module, _, name = HEADS[settings["head"]].partition(":")
    made = getattr(importlib.import_module(f"bert_tf.tasks.{module}"), name)
    try:
        return made(session, settings, config, tokenizer)
    except (KeyError, TypeError) as error:
        raise InputError(
            f"The files in {assets} must be what bert_tf.export_saved_model "
            f"writes. They are not: {error!r}"
        ) from error


def _read_config(path: str) -> dict[str, Any]:
    try:
        with open(path, encoding="utf-8") as file:
            config = json.load(file)
        for size in SIZES:
            if type(config[size]) is not int or config[size] < 1:
                raise ValueError(f"its {size} is {config[size]!r}")
    except OSError as error:
        raise InputError(
            f"{path} cannot be read: {error.strerror}. Copy or export the "
            "model again."
        ) from error
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise InputError(
            f"{path} must be what bert_tf.export_saved_model writes. It is "
            f"not: {error!r}"
        ) from error
    return config


def _check_tokens(tokenizer: FullTokenizer, config: dict[str, Any]) -> None:
    """Raises `InputError` for a vocabulary that is not the model's."""
    lines = max(tokenizer.vocab.values(), default=-1) + 1
    if lines != config["vocab_size"]:
        raise InputError(
            f"{tokenizer.vocab_file} must have as many lines as the model has "
            f"tokens, {config['vocab_size']}. It has {lines}: copy or export "
            "the model again."
        )
    require_special_tokens(tokenizer, str(tokenizer.vocab_file))
