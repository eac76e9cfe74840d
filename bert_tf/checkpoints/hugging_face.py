"""How transformers names the tensors and files of a BERT model.

Kernels are transposed there; nothing else differs but the names.
"""

import json
from typing import NamedTuple

import numpy as np

from bert_tf.checkpoints.names import (
    CLASSIFIER,
    MASKED_LM,
    MASKED_LM_BIAS,
    NEXT_SENTENCE,
    POOLER,
    SQUAD,
    checkpoint_shapes,
)
from bert_tf.errors import InputError

HF_CONFIG = "config.json"
HF_WEIGHTS = "model.safetensors"
HF_TOKENIZER_CONFIG = "tokenizer_config.json"

# Their "gelu" is the exact form, ours (as the original's) the tanh form.
ACTIVATION_FROM_HF = {
    "gelu": "gelu_exact",
    "gelu_python": "gelu_exact",
    "gelu_new": "gelu",
    "gelu_pytorch_tanh": "gelu",
    "gelu_fast": "gelu",
    "gelu_accurate": "gelu",
    "gelu_python_tanh": "gelu",
    "relu": "relu",
    "tanh": "tanh",
    "linear": "linear",
}

_MASKED_LM_HEAD = (
    f"{MASKED_LM}transform/dense/kernel",
    f"{MASKED_LM}transform/dense/bias",
    f"{MASKED_LM}transform/LayerNorm/gamma",
    f"{MASKED_LM}transform/LayerNorm/beta",
    MASKED_LM_BIAS,
)
_NEXT_SENTENCE_HEAD = (
    f"{NEXT_SENTENCE}output_weights",
    f"{NEXT_SENTENCE}output_bias",
)
SPAN_HEAD = (f"{SQUAD}output_weights", f"{SQUAD}output_bias")
_POOLER_DENSE = (f"{POOLER}dense/kernel", f"{POOLER}dense/bias")


class Head(NamedTuple):
    """What `--head` means: their class, our variables, what it needs."""

    architecture: str
    variables: tuple[str, ...]
    needs_pooler: bool

    @property
    def has_labels(self):
        """Whether the number of outputs is that of the labels."""
        return self.variables == CLASSIFIER and self != HEADS["choices"]


HEADS = {
    "none": Head("BertModel", (), False),
    "pretraining": Head(
        "BertForPreTraining", _MASKED_LM_HEAD + _NEXT_SENTENCE_HEAD, True
    ),
    "masked_lm": Head("BertForMaskedLM", _MASKED_LM_HEAD, False),
    "next_sentence": Head(
        "BertForNextSentencePrediction", _NEXT_SENTENCE_HEAD, True
    ),
    "classifier": Head("BertForSequenceClassification", CLASSIFIER, True),
    "span": Head("BertForQuestionAnswering", SPAN_HEAD, False),
    "token": Head("BertForTokenClassification", CLASSIFIER, False),
    "choices": Head("BertForMultipleChoice", CLASSIFIER, True),
}


# -------------------------------------------------------------------- tensors


class HFTensor(NamedTuple):
    """Where transformers keeps one of our variables."""

    name: str
    transposed: bool


def hf_tensors(config):
    """Our name -> `HFTensor`, for the encoder and all heads."""
    names = [*checkpoint_shapes(config.to_dict()), *SPAN_HEAD, *CLASSIFIER]
    return {name: _hf_tensor(name) for name in names}


# Their names of layers and of the last part.
_HF_SCOPES = {"": "classifier", "cls/squad": "qa_outputs"}
_HF_PARTS = {
    "kernel": "weight",
    "gamma": "weight",
    "beta": "bias",
    "output_weights": "weight",
    "output_bias": "bias",
}


def _hf_tensor(name):
    scope, _, part = name.rpartition("/")
    if part.endswith("_embeddings"):
        scope, part = name, "weight"
    scope = _HF_SCOPES.get(scope, scope).replace("/layer_", "/layer/")
    theirs = f"{scope}/{_HF_PARTS.get(part, part)}".replace("/", ".")
    # Output layers of few classes are [classes, D] on both sides.
    return HFTensor(theirs, transposed=part == "kernel")


# ---------------------------------------------------------------------- heads


def find_head(head, names, where, architectures=None):
    """Resolves "auto" by the variables there are; checks another choice.

    Args:
        head: a key of `HEADS`, or "auto".
        names: our names of the variables.
        where: what to call the model in an error.
        architectures: of their config, which tell heads for tokens and for
            choices from heads for sentences.
    """
    if head != "auto":
        if head not in HEADS:
            raise InputError(
                f"`head` must be auto or one of {sorted(HEADS)}. "
                f"Received: head={head!r}"
            )
        return head
    there = {
        kind
        for kind in ("masked_lm", "next_sentence", "classifier", "span")
        if any(name in names for name in HEADS[kind].variables)
    }
    if there == {"masked_lm", "next_sentence"}:
        return "pretraining"
    if len(there) > 1:
        raise InputError(
            f"{where} has several heads: {', '.join(sorted(there))}. Say with "
            "--head which of them is meant."
        )
    if there == {"classifier"}:
        for kind in ("token", "choices"):
            if HEADS[kind].architecture in (architectures or ()):
                return kind
        return "classifier"
    return there.pop() if there else "none"


def choose_variables(names, head, config, where, allow_unused):
    """The variables of a head's model, and those that are left out.

    Raises:
        InputError: one is missing, or unknown without `allow_unused`.
    """
    known = set(hf_tensors(config))
    encoder = {name for name in known if name.startswith("bert/")}
    optional = set() if HEADS[head].needs_pooler else set(_POOLER_DENSE)
    wanted = encoder | set(HEADS[head].variables)
    absent = sorted(wanted - optional - set(names))
    if absent:
        raise InputError(
            f"{where} lacks {len(absent)} variables of a BERT with the head "
            f"{head!r}: {', '.join(absent[:6])}"
            + (", ..." if len(absent) > 6 else "")
        )
    unknown = sorted(set(names) - known)
    if unknown and not allow_unused:
        raise InputError(
            f"{where} has variables that BERT does not have: "
            f"{', '.join(unknown)}. With --allow_unused they are left out."
        )
    chosen = sorted(wanted & set(names))
    return chosen, sorted(set(names) - wanted)


def require_finite(values, where):
    """Raises `InputError` for a tensor with NaN or an infinite number.

    Args:
        values: arrays by our names.
        where: what to call the model in the error.
    """
    for name, value in values.items():
        bad = value.size - np.count_nonzero(np.isfinite(value))
        if bad:
            raise InputError(
                f"{where} must have finite numbers. `{name}` has {bad} of "
                f"{value.size} that are NaN or infinite: training diverged, or "
                "numbers were too large for the dtype. Take another checkpoint."
            )


# --------------------------------------------------------------------- reports


def report_left_out(names):
    """Lines about variables that were left out."""
    return [f"Left out {len(names)}: {', '.join(names)}."] if names else []


def report_no_pooler(names, reader):
    """Lines about a missing pooler."""
    if set(_POOLER_DENSE) <= set(names):
        return []
    return [
        "There is no pooler (this kind of model is saved without one): where a "
        f"task needs it, {reader} will draw it at random."
    ]


# ----------------------------------------------------------------------- files


def read_vocab(path):
    """The tokens of a vocab.txt."""
    try:
        with open(path, encoding="utf-8", newline="\n") as file:
            return [line.rstrip("\r\n") for line in file]
    except OSError as error:
        raise InputError(
            f"The vocabulary {path} cannot be read: {error.strerror}."
        ) from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path} must be UTF-8 text: {error}") from error


def read_json(path):
    """The object in a JSON file."""
    try:
        with open(path, encoding="utf-8") as file:
            value = json.load(file)
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is not valid JSON: {error}") from error
    if not isinstance(value, dict):
        raise InputError(f"{path} must hold a JSON object.")
    return value


def import_safetensors():
    """The package safetensors.

    Raises:
        InputError: it is not installed; says how to install it.
    """
    try:
        import safetensors
        import safetensors.numpy
    except ImportError as error:
        raise InputError(
            "Converting from and to Hugging Face needs the package "
            "safetensors: pip install 'bert-tf[convert]'"
        ) from error
    return safetensors
