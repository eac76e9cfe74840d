"""Compares converted folders with what other programs computed."""

import numpy as np

from bert_tf import checkpoints, models
from bert_tf.layers import weights_to_come
from bert_tf.modeling import BertConfig, BertModel
from helpers.numpy_bert import softmax

# Ours, and what transformers calls them.
_LOGITS = {
    "masked_lm_logits": "prediction_logits",
    "next_sentence_logits": "seq_relationship_logits",
}
_WITHOUT_POOLER = ("masked_lm", "span", "token")


def _build(head, config, num_labels):
    if head in ("pretraining", "masked_lm"):
        return models.pretraining(config)
    if head == "span":
        return models.span(config)
    if head == "choices":
        return models.multiple_choice(config)
    kinds = {
        "classifier": models.classifier,
        "token": models.token_classifier,
    }
    return kinds[head](config, num_labels)


def _load(model, folder, want, head):
    """Loads all weights but those that the program does not have either."""
    lacked = ("cls/seq_relationship/",) if head == "masked_lm" else ()
    if head in _WITHOUT_POOLER and "pooled_output" not in want:
        lacked += ("bert/pooler/",)
    weights = checkpoints.named_weights(model)
    weights = {k: v for k, v in weights.items() if not k.startswith(lacked)}
    checkpoints.load(weights, folder, expect=weights)


def assert_computes(folder, want, head, atol=1e-5):
    """Hidden states and logits of a converted folder are those of `want`.

    Args:
        folder: the converted one.
        want: ids, mask and types of [3, 12] tokens and what their program
            made of them, by transformers' names.
        head: a key of `hugging_face.HEADS`.
        atol: of the head's logits.
    """
    config = BertConfig.from_json_file(folder / "bert_config.json")
    with weights_to_come():
        bert = BertModel(config)
    _load(bert, folder, want, head)
    ids, mask, types = (
        want[name].astype(np.int32)
        for name in ("input_ids", "attention_mask", "token_type_ids")
    )
    rows = [x.reshape(3, 12) for x in (ids, mask, types)]
    encoded = bert(*rows)
    states = [encoded["embedding_output"], *encoded["all_encoder_layers"]]
    real = rows[1] == 1
    np.testing.assert_allclose(
        np.stack(states)[:, real], want["hidden_states"][:, real], atol=1e-5
    )
    if "pooled_output" in want:
        np.testing.assert_allclose(
            encoded["pooled_output"], want["pooled_output"], atol=1e-5
        )
    if head != "none":
        _assert_head_computes(folder, want, head, atol)


def _assert_head_computes(folder, want, head, atol):
    config = BertConfig.from_json_file(folder / "bert_config.json")
    num_labels = want["logits"].shape[-1] if "logits" in want else None
    with weights_to_come():
        model = _build(head, config, num_labels)
    _load(model, folder, want, head)
    ids, mask, types = (
        want[name].astype(np.int32)
        for name in ("input_ids", "attention_mask", "token_type_ids")
    )
    if head == "choices":  # One example of three.
        ids, mask, types = (x.reshape(1, 3, 12) for x in (ids, mask, types))
    features = {"input_ids": ids, "input_mask": mask, "segment_ids": types}
    if head in ("pretraining", "masked_lm"):
        positions = np.broadcast_to(np.arange(12, dtype=np.int32), ids.shape)
        features["masked_lm_positions"] = positions
    for name, value in model(features).items():
        if head == "masked_lm" and name == "next_sentence_logits":
            continue
        theirs = "logits" if head == "masked_lm" else _LOGITS.get(name, name)
        if theirs not in want:
            theirs = theirs.replace("logits", "probabilities")
            value = softmax(np.array(value))
        expected, value = want[theirs], np.array(value)
        if value.shape[:2] == mask.shape:
            value, expected = value[mask == 1], expected[mask == 1]
        np.testing.assert_allclose(value, expected, atol=atol, err_msg=name)
