"""Writes models of transformers' TensorFlow classes, with their outputs.

    python write_transformers.py FOLDER

An archive for each head, as `save_pretrained` of version 4 wrote it
(tf_model.h5), and in it `outputs.npz`. Made with transformers 4.46.3,
tensorflow-cpu 2.15.1 and tf-keras 2.15.1.
"""

import pathlib
import sys

import numpy as np
import samples
import transformers

LABELS = {0: "red", 1: "green", 2: "blue"}
NAMED = {"id2label": LABELS, "label2id": {v: k for k, v in LABELS.items()}}
MODELS = {
    "pretraining": (transformers.TFBertForPreTraining, {}),
    "masked_lm": (transformers.TFBertForMaskedLM, {"hidden_act": "gelu_new"}),
    "classifier": (transformers.TFBertForSequenceClassification, NAMED),
    "token": (transformers.TFBertForTokenClassification, {"num_labels": 4}),
    "span": (transformers.TFBertForQuestionAnswering, {}),
    "choices": (transformers.TFBertForMultipleChoice, {}),
}


def write(folder, model_class, settings, seed):
    """Writes one model with large random weights, and its outputs."""
    config = transformers.BertConfig(**{**samples.CONFIG, **settings})
    model = model_class(config)
    rows = samples.inputs(seed)
    names = ("input_ids", "attention_mask", "token_type_ids")
    if "MultipleChoice" in model_class.__name__:
        rows = [x[None] for x in rows]
    features = dict(zip(names, rows))
    model(features)  # Builds it.
    samples.randomize(model.weights, seed)
    if folder.name.endswith("masked_lm"):
        model.save_pretrained(folder, max_shard_size="8KB")
    else:
        model.save_pretrained(folder)
    samples.write_vocab(folder / "vocab.txt")
    outputs = dict(model(features, output_hidden_states=True).items())
    states = outputs.pop("hidden_states")
    rows = [x.reshape(-1, 12) for x in rows]
    samples.save(
        folder / "outputs.npz",
        *rows,
        hidden_states=np.stack([np.reshape(x, (3, 12, 16)) for x in states]),
        **outputs,
    )


def main():
    """Writes all of them."""
    folder = pathlib.Path(sys.argv[1])
    for seed, (name, (model_class, settings)) in enumerate(MODELS.items()):
        target = folder / f"transformers_{name}"
        write(target, model_class, settings, seed)
        samples.pack(target)


if __name__ == "__main__":
    main()
