"""Writes small Hugging Face models and what transformers computes with them.

    python write_hugging_face.py hugging_face

Writes a folder for each head, as `save_pretrained` does, and in it
`outputs.npz`: inputs, hidden states and logits. All weights are random with a
fixed seed. Needs `torch` and `transformers`, but not bert_tf.
"""

import argparse
import pathlib

import numpy as np
import torch
import transformers

TOKENS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
TOKENS += ["the", "a", "cat", "dog", "##s", "##ed", "jump", "over", ".", ","]
SIZES = {
    "vocab_size": len(TOKENS),
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "max_position_embeddings": 12,
}
MODELS = {
    "pretraining": (transformers.BertForPreTraining, {"hidden_act": "gelu"}),
    "classifier": (
        transformers.BertForSequenceClassification,
        {
            "hidden_act": "gelu_new",
            "id2label": {0: "red", 1: "green", 2: "blue"},
            "label2id": {"red": 0, "green": 1, "blue": 2},
        },
    ),
    "span": (transformers.BertForQuestionAnswering, {"hidden_act": "relu"}),
    "token": (
        transformers.BertForTokenClassification,
        {"hidden_act": "gelu_pytorch_tanh", "num_labels": 4},
    ),
    "choices": (transformers.BertForMultipleChoice, {"hidden_act": "gelu"}),
}


def write(folder, model_class, settings, seed):
    """Writes one model with large random weights, and its outputs."""
    model = model_class(transformers.BertConfig(**SIZES, **settings)).eval()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            parameter.add_(0.3 * noise)
        lengths = torch.tensor([[12], [7], [2]])
        mask = (torch.arange(12) < lengths).long()
        shape = (3, 12)
        ids = torch.randint(1, len(TOKENS), shape, generator=generator) * mask
        types = torch.randint(0, 2, shape, generator=generator) * mask
        if model_class is transformers.BertForMultipleChoice:
            # One example of three choices; the encoder sees rows.
            ids, mask, types = ids[None], mask[None], types[None]
        outputs = model(
            input_ids=ids,
            attention_mask=mask,
            token_type_ids=types,
            output_hidden_states=True,
        )
    model.save_pretrained(folder)
    text = "".join(f"{token}\n" for token in TOKENS)
    (folder / "vocab.txt").write_text(text, encoding="utf-8")
    outputs = dict(outputs.items())
    hidden_states = outputs.pop("hidden_states")
    np.savez_compressed(
        folder / "outputs.npz",
        input_ids=ids.numpy(),
        attention_mask=mask.numpy(),
        token_type_ids=types.numpy(),
        hidden_states=torch.stack(hidden_states).numpy(),
        **{name: value.numpy() for name, value in outputs.items()},
    )


def main():
    """Writes all of them."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=pathlib.Path)
    folder = parser.parse_args().folder
    for seed, (name, (model_class, settings)) in enumerate(MODELS.items()):
        write(folder / name, model_class, settings, seed)


if __name__ == "__main__":
    main()
