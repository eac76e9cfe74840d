"""Writes checkpoints and TF-Hub exports of tf-models, with their outputs.

    python write_tf_models.py FOLDER

Made with tf-models-official 2.15.0, tensorflow-cpu and tensorflow-text 2.15.
"""

import pathlib
import shutil
import sys

import numpy as np
import samples
import tensorflow as tf
from official.core import exp_factory, train_utils
from official.legacy.bert import bert_models, configs, export_tfhub
from official.modeling import tf_utils
from official.nlp.configs import pretraining_experiments  # noqa: F401
from official.nlp.modeling import models, networks
from official.nlp.tasks import masked_lm
from official.nlp.tools import export_tfhub_lib

CONFIG = configs.BertConfig.from_dict(samples.CONFIG)
POSITIONS = np.tile(np.arange(12, dtype=np.int32), (3, 1))


def inputs(seed):
    """Features by tf-models' names, and the arrays."""
    rows = samples.inputs(seed)
    names = ("input_word_ids", "input_mask", "input_type_ids")
    return dict(zip(names, rows)), rows


def states_of(encoder, rows):
    """Hidden states of all layers, and the pooled output."""
    if isinstance(encoder, networks.BertEncoderV2):
        names = ("input_word_ids", "input_mask", "input_type_ids")
        outputs = encoder(dict(zip(names, rows)))
        layers, pooled = outputs["encoder_outputs"], outputs["pooled_output"]
        embedded = encoder._get_embeddings(
            rows[0], rows[2], encoder._embedding_layer(rows[0]), None, None
        )
        first = encoder._embedding_norm_layer(embedded)
    else:
        names = ["embeddings/layer_norm"]
        names += [f"transformer/layer_{i}" for i in range(2)]
        names += ["pooler_transform"]
        found = [encoder.get_layer(name).output for name in names]
        first, *layers, pooled = tf.keras.Model(encoder.inputs, found)(rows)
    return {
        "hidden_states": np.stack([first, *layers]),
        "pooled_output": pooled,
    }


def write_released(folder, seed):
    """An encoder as the released checkpoints have it, and TF-Hub's exports."""
    encoder = bert_models.get_transformer_encoder(CONFIG)
    samples.randomize(encoder.weights, seed)
    released = folder / "tf_models_released"
    checkpoint = tf.train.Checkpoint(model=encoder)
    path = checkpoint.save(str(released / "bert_model.ckpt"))
    samples.write_config(released / "bert_config.json")
    samples.write_vocab(released / "vocab.txt")
    (released / "checkpoint").unlink()
    _, rows = inputs(seed)
    outputs = states_of(encoder, rows)
    samples.save(released / "outputs.npz", *rows, **outputs)
    hub = folder / "tf_hub_2"
    export_tfhub.export_bert_tfhub(
        CONFIG, path, str(hub), str(released / "vocab.txt"), True
    )
    samples.save(hub / "outputs.npz", *rows, **outputs)
    samples.pack(hub)
    samples.pack(released)


def write_pretraining(folder, seed):
    """The functional model with both heads, as it is trained."""
    model, encoder, pretrainer = bert_models.pretrain_model(
        CONFIG, 12, 12, return_core_pretrainer_model=True
    )
    samples.randomize(model.weights, seed)
    target = folder / "tf_models_pretraining"
    tf.train.Checkpoint(model=model).save(str(target / "ckpt"))
    samples.write_config(target / "bert_config.json")
    samples.write_vocab(target / "vocab.txt")
    _, rows = inputs(seed)
    logits = pretrainer([*rows, POSITIONS])
    samples.save(
        target / "outputs.npz",
        *rows,
        **states_of(encoder, rows),
        prediction_logits=logits["masked_lm"],
        seq_relationship_logits=logits["classification"],
    )
    samples.pack(target)


def write_heads(folder, seed):
    """A classifier, and the head for spans."""
    heads = {
        "classifier": bert_models.classifier_model(CONFIG, 3),
        "span": bert_models.squad_model(CONFIG, 12),
    }
    for name, (model, encoder) in heads.items():
        target = folder / f"tf_models_{name}"
        samples.randomize(model.weights, seed)
        tf.train.Checkpoint(model=model).save(str(target / "ckpt"))
        samples.write_config(target / "bert_config.json")
        samples.write_vocab(target / "vocab.txt")
        features, rows = inputs(seed)
        outputs = model(features)
        if name == "span":
            outputs = dict(zip(("start_logits", "end_logits"), outputs))
        else:
            outputs = {"logits": outputs}
        # The last layer of the classifier's has only the first token.
        whole = bert_models.get_transformer_encoder(CONFIG)
        whole.set_weights(encoder.get_weights())
        states = states_of(whole, rows)
        samples.save(target / "outputs.npz", *rows, **states, **outputs)
        samples.pack(target)


def write_training(folder, seed, kind):
    """A folder of `official.nlp.train`, with optimizer and params.yaml."""
    experiment = exp_factory.get_exp_config("bert/pretraining")
    encoder = {
        "vocab_size": 15,
        "hidden_size": 16,
        "num_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 24,
        "max_position_embeddings": 12,
        "type_vocab_size": 2,
        "dropout_rate": 0.2,
    }
    head = {"inner_dim": 16, "num_classes": 2, "name": "next_sentence"}
    task = {
        "model": {
            "encoder": {"type": kind, kind: encoder},
            "cls_heads": [head],
        }
    }
    experiment.override({"task": task}, is_strict=False)
    model = masked_lm.MaskedLMTask(experiment.task).build_model()
    features, rows = inputs(seed)
    model({**features, "masked_lm_positions": POSITIONS})  # Builds it.
    samples.randomize(model.weights, seed)
    logits = model({**features, "masked_lm_positions": POSITIONS})
    optimizer = tf.keras.optimizers.Adam()
    optimizer.build(model.trainable_variables)
    target = folder / f"tf_models_training_{kind}"
    train_utils.serialize_config(experiment, str(target))
    tf.train.Checkpoint(
        model=model,
        optimizer=optimizer,
        global_step=tf.Variable(7, dtype=tf.int64),
        **model.checkpoint_items,
    ).save(str(target / "ckpt"))
    outputs = states_of(model.encoder_network, rows)
    # The next sentence has a pooler of its own.
    head = model.classification_heads[0]
    outputs["pooled_output"] = head.dense(outputs["hidden_states"][-1][:, 0])
    samples.write_vocab(target / "vocab.txt")
    samples.save(
        target / "outputs.npz",
        *rows,
        **outputs,
        prediction_logits=logits["mlm_logits"],
        seq_relationship_logits=logits["next_sentence"],
    )
    samples.pack(target)


def write_hub(folder, seed):
    """A TF-Hub export with masked-LM head, as of version 3 and later."""
    encoder = export_tfhub_lib.get_bert_encoder(CONFIG)
    pretrainer = models.BertPretrainerV2(
        encoder, mlm_activation=tf_utils.get_activation("gelu")
    )
    features, rows = inputs(seed)
    features["masked_lm_positions"] = POSITIONS
    pretrainer(features)
    samples.randomize(pretrainer.weights, seed)
    work = folder / "work"
    path = tf.train.Checkpoint(**pretrainer.checkpoint_items).save(
        str(work / "ckpt")
    )
    vocab = work / "vocab.txt"
    samples.write_vocab(vocab)
    target = folder / "tf_hub_4"
    export_tfhub_lib.export_model(
        str(target),
        bert_config=CONFIG,
        model_checkpoint_path=path,
        with_mlm=True,
        vocab_file=str(vocab),
        do_lower_case=False,
    )
    shutil.rmtree(work)
    samples.save(
        target / "outputs.npz",
        *rows,
        **states_of(encoder, rows),
        logits=pretrainer(features)["mlm_logits"],
    )
    samples.pack(target)


def main():
    """Writes all of them."""
    folder = pathlib.Path(sys.argv[1])
    write_released(folder, 1)
    write_pretraining(folder, 2)
    write_training(folder, 3, "bert")
    write_training(folder, 4, "bert_v2")
    write_hub(folder, 5)
    write_heads(folder, 6)


if __name__ == "__main__":
    main()
