"""Writes keras-hub presets of BERT, with their outputs.

    python write_keras_hub.py FOLDER

Made with keras-hub 0.32.0, keras 3.15.1, tensorflow and tensorflow-text 2.21.
"""

import os
import pathlib
import sys

os.environ["KERAS_BACKEND"] = "tensorflow"

import keras
import keras_hub
import numpy as np
import samples

C = samples.CONFIG


def backbone():
    """A small BertBackbone."""
    return keras_hub.models.BertBackbone(
        vocabulary_size=C["vocab_size"],
        num_layers=C["num_hidden_layers"],
        num_heads=C["num_attention_heads"],
        hidden_dim=C["hidden_size"],
        intermediate_dim=C["intermediate_size"],
        max_sequence_length=C["max_position_embeddings"],
        num_segments=C["type_vocab_size"],
    )


def outputs_of(encoder, ids, mask, types):
    """Hidden states of all layers, and the pooled output."""
    layers = [encoder.get_layer("embeddings_layer_norm").output]
    layers += [layer.output for layer in encoder.transformer_layers]
    probe = keras.Model(encoder.inputs, [*layers, encoder.output])
    features = {"token_ids": ids, "padding_mask": mask, "segment_ids": types}
    *states, final = probe(features)
    return {
        "hidden_states": np.stack(states),
        "pooled_output": final["pooled_output"],
    }


def write(folder, kind, seed):
    """Writes one preset with large random weights, and its outputs."""
    tokenizer = keras_hub.models.BertTokenizer(
        vocabulary=samples.TOKENS, lowercase=True
    )
    encoder = backbone()
    ids, mask, types = samples.inputs(seed)
    features = {"token_ids": ids, "padding_mask": mask, "segment_ids": types}
    model, outputs = encoder, {}
    if kind == "classifier":
        preprocessor = keras_hub.models.BertTextClassifierPreprocessor(
            tokenizer, sequence_length=10
        )
        model = keras_hub.models.BertTextClassifier(
            encoder, num_classes=3, preprocessor=preprocessor
        )
    elif kind == "masked_lm":
        preprocessor = keras_hub.models.BertMaskedLMPreprocessor(
            tokenizer, sequence_length=12
        )
        model = keras_hub.models.BertMaskedLM(
            encoder, preprocessor=preprocessor
        )
        positions = np.tile(np.arange(12, dtype=np.int32), (3, 1))
        features["mask_positions"] = positions
    samples.randomize(model.weights, seed)
    if kind != "encoder":
        outputs["logits"] = model(features)
    model.save_to_preset(str(folder))
    if kind == "encoder":
        tokenizer.save_to_preset(str(folder))
    samples.save(
        folder / "outputs.npz",
        ids,
        mask,
        types,
        **outputs_of(encoder, ids, mask, types),
        **outputs,
    )


def main():
    """Writes all of them."""
    folder = pathlib.Path(sys.argv[1])
    for seed, kind in enumerate(("encoder", "classifier", "masked_lm")):
        target = folder / f"keras_hub_{kind}"
        write(target, kind, seed)
        samples.pack(target)


if __name__ == "__main__":
    main()
