r"""Compares a checkpoint with its conversion, as transformers computes it.

Comes in: a checkpoint in the original's format, and the Hugging Face folder
that it was converted to or from. Goes out: the largest difference of every
hidden state and logit. The two sides run in environments of their own and meet
in .npz files:

    python benchmarks/compare_with_transformers.py bert_tf CHECKPOINT \
        --head pretraining --out ours.npz
    python benchmarks/compare_with_transformers.py transformers FOLDER \
        --out theirs.npz
    python benchmarks/compare_with_transformers.py compare ours.npz theirs.npz

The inputs are random ids with padding and two segments, the same on both sides,
or those of another .npz (`--inputs`), as `hidden_states_pytorch.py` writes it.

Counted are real tokens. Padding is printed beside: nobody reads its states, and
rounding grows there (against float64, 1e-4 in PyTorch and here alike).

Arrays: input_ids, attention_mask, token_type_ids [B, S]; hidden_states
[L + 1, B, S, D], the embeddings' output first; pooled_output [B, D]; and the
logits of the head, those of the masked-LM head for every position.
"""

import argparse
import json
import pathlib
import sys

import numpy as np

INPUTS = ("input_ids", "attention_mask", "token_type_ids")


def random_inputs(vocab_size, length, batch_size=8):
    """Ids, mask and segments [B, S]; the rows are of different lengths."""
    rng = np.random.default_rng(0)
    shape = (batch_size, length)
    lengths = np.linspace(3, length, batch_size).astype(int)[:, None]
    inside = np.arange(length) < lengths
    second = np.arange(length) >= lengths // 2
    return {
        "input_ids": np.where(inside, rng.integers(1, vocab_size, shape), 0),
        "attention_mask": inside.astype(np.int64),
        "token_type_ids": (inside & second).astype(np.int64),
    }


def read_inputs(path, config):
    """The inputs of an .npz, or random ones for a config's sizes."""
    if path is None:
        length = min(config["max_position_embeddings"], 48)
        return random_inputs(config["vocab_size"], length)
    with np.load(path) as arrays:
        return {name: arrays[name] for name in INPUTS}


def run_bert_tf(checkpoint, head, inputs_file):
    """What bert_tf computes from a checkpoint."""
    from bert_tf import checkpoints, models
    from bert_tf.layers import weights_to_come
    from bert_tf.modeling import BertConfig, BertModel

    prefix = checkpoints.find(checkpoint)
    config_file = pathlib.Path(prefix).parent / "bert_config.json"
    config = BertConfig.from_json_file(config_file)
    inputs = read_inputs(inputs_file, config.to_dict())
    ids, mask, segments = (inputs[name].astype(np.int32) for name in INPUTS)

    with weights_to_come():
        bert = BertModel(config)
    checkpoints.load(checkpoints.named_weights(bert), prefix)
    encoded = bert(ids, mask, segments)
    states = [encoded["embedding_output"], *encoded["all_encoder_layers"]]
    outputs = {
        "hidden_states": np.stack(states),
        "pooled_output": np.array(encoded["pooled_output"]),
    }
    if head == "none":
        return inputs | outputs

    features = {"input_ids": ids, "input_mask": mask, "segment_ids": segments}
    with weights_to_come():
        if head == "pretraining":
            model = models.pretraining(config)
            positions = np.broadcast_to(np.arange(ids.shape[1]), ids.shape)
            features["masked_lm_positions"] = positions.astype(np.int32)
        elif head == "span":
            model = models.span(config)
        else:
            kinds = {
                "classifier": models.classifier,
                "token": models.token_classifier,
            }
            shapes = checkpoints.CheckpointReader(prefix).shapes
            model = kinds[head](config, shapes["output_bias"][0])
    weights = checkpoints.named_weights(model)
    checkpoints.load(weights, prefix, expect=weights)
    logits = {key: np.array(value) for key, value in model(features).items()}
    return inputs | outputs | logits


def run_transformers(folder, inputs_file):
    """What transformers computes, with the class that config.json names."""
    import torch
    import transformers

    config = json.loads((pathlib.Path(folder) / "config.json").read_text())
    model, report = getattr(
        transformers, config["architectures"][0]
    ).from_pretrained(folder, output_loading_info=True)
    print({key: value for key, value in report.items() if value})
    model.eval()
    bert = getattr(model, "bert", model)
    if bert.pooler is None:
        encoder = transformers.BertModel.from_pretrained(folder)
    else:
        encoder = bert
    inputs = read_inputs(inputs_file, config)
    tensors = {name: torch.from_numpy(inputs[name]) for name in INPUTS}
    with torch.no_grad():
        encoded = encoder.eval()(**tensors, output_hidden_states=True)
        head = model(**tensors) if model is not bert else {}
    ours = {
        "prediction_logits": "masked_lm_logits",
        "seq_relationship_logits": "next_sentence_logits",
    }
    return {
        **inputs,
        "hidden_states": torch.stack(encoded.hidden_states).numpy(),
        "pooled_output": encoded.pooler_output.numpy(),
        **{ours.get(key, key): value.numpy() for key, value in head.items()},
    }


def compare(ours_file, theirs_file, tolerance):
    """Prints the largest differences, of real tokens and of padding.

    Returns:
        Whether those of real tokens are within the tolerance.
    """
    with np.load(ours_file) as ours, np.load(theirs_file) as theirs:
        for name in INPUTS:
            np.testing.assert_array_equal(ours[name], theirs[name])
        names = [name for name in ours if name not in INPUTS]
        absent = [name for name in names if name not in theirs]
        if absent:
            raise SystemExit(f"{theirs_file} lacks {', '.join(absent)}")
        real = ours["attention_mask"] == 1
        worst = 0.0
        for name in names:
            got, want = ours[name], theirs[name]
            difference, beside = np.abs(got - want), ""
            axis = 1 if name == "hidden_states" else 0
            if got.shape[axis : axis + 2] == real.shape:
                difference = np.moveaxis(difference, 0, 2 * axis)
                beside = f", at padding {difference[~real].max():.1e}"
                difference = difference[real]
            worst = max(worst, difference.max())
            print(
                f"{name:21} {list(got.shape)!s:20} values to "
                f"{np.abs(want).max():6.3f}: {difference.max():.1e}{beside}"
            )
    print(f"largest of all {worst:.1e}, allowed {tolerance:.0e}")
    return worst <= tolerance


def main():
    """Runs one side, or compares both."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    commands = parser.add_subparsers(dest="command", required=True)
    ours = commands.add_parser("bert_tf")
    ours.add_argument("checkpoint")
    ours.add_argument(
        "--head",
        choices=["none", "pretraining", "classifier", "span", "token"],
        default="none",
    )
    theirs = commands.add_parser("transformers")
    theirs.add_argument("folder")
    for command in (ours, theirs):
        command.add_argument("--inputs", help=".npz; default: random ids")
        command.add_argument("--out", required=True)
    both = commands.add_parser("compare")
    both.add_argument("ours")
    both.add_argument("theirs")
    both.add_argument("--tolerance", type=float, default=1e-5)
    options = parser.parse_args()
    if options.command == "bert_tf":
        arrays = run_bert_tf(options.checkpoint, options.head, options.inputs)
        np.savez_compressed(options.out, **arrays)
    elif options.command == "transformers":
        arrays = run_transformers(options.folder, options.inputs)
        np.savez_compressed(options.out, **arrays)
    else:
        same = compare(options.ours, options.theirs, options.tolerance)
        sys.exit(0 if same else 1)


if __name__ == "__main__":
    main()
