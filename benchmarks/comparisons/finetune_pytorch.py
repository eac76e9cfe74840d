r"""Fine-tunes BERT with PyTorch and transformers, to compare with.

    python benchmarks/comparisons/finetune_pytorch.py --task mrpc \
        --data-dir glue/MRPC --model minilm --max-seq-length 96 --epochs 3 \
        --seed 1 --out mrpc.json

Trains a Hugging Face folder on GLUE's files for CoLA, MRPC or SST-2 and writes
accuracy, F1, Matthews' correlation and training losses as JSON. Needs `torch`
and `transformers` but not bert_tf, so both sides can be trained with the same
settings on the same files.

The recipe is the original's as PyTorch users write it: AdamW with weight decay
0.01 except for biases and LayerNorm, gradients clipped to norm 1, linear
warm-up over the first tenth of the steps and linear decay to zero. Two things
therefore differ from the original: AdamW corrects the bias of its moments, and
the last, smaller batch of an epoch is a step of its own.
"""

import argparse
import json
import pathlib
import platform
import random
import time
from typing import NamedTuple

import torch
import transformers

BATCH_SIZE = 32
WARMUP_PROPORTION = 0.1
WEIGHT_DECAY = 0.01
ADAM_EPSILON = 1e-6
CLIP_NORM = 1.0
REPORT_EVERY = 20


class Columns(NamedTuple):
    """Where a task's TSV files keep the texts and the label."""

    texts: tuple[int, ...]
    label: int
    has_header: bool = True


class Evaluation(NamedTuple):
    """The scores of one pass over the development set."""

    loss: float
    accuracy: float
    f1: float
    matthews: float


TASKS = {
    "cola": Columns(texts=(3,), label=1, has_header=False),
    "mrpc": Columns(texts=(3, 4), label=0),
    "sst2": Columns(texts=(0,), label=1),
}


def read_examples(path, columns):
    """Read a GLUE file; quotes mean nothing in it.

    Returns:
        A list of (texts, label), where texts has one or two strings.

    Raises:
        ValueError: a row is too short or its label is neither 0 nor 1.
    """
    examples = []
    # Only "\n" ends a line: the texts may hold other line separators.
    with open(path, encoding="utf-8-sig", newline="\n") as lines:
        for number, line in enumerate(lines, start=1):
            if number == 1 and columns.has_header:
                continue
            fields = line.rstrip("\r\n").split("\t")
            if len(fields) <= max(*columns.texts, columns.label):
                raise ValueError(
                    f"{path}:{number}: needs text in {columns.texts} and a "
                    f"label in {columns.label}. Received: {fields}"
                )
            if fields[columns.label] not in ("0", "1"):
                raise ValueError(
                    f"{path}:{number}: the label must be 0 or 1. "
                    f"Received: {fields[columns.label]!r}"
                )
            texts = tuple(fields[column] for column in columns.texts)
            examples.append((texts, int(fields[columns.label])))
    return examples


def encode(tokenizer, examples, max_seq_length):
    """Tokenize, truncating the longer text of a pair first.

    Returns:
        A list of dictionaries with the ids of one example, not yet padded.
    """
    encoded = []
    for texts, label in examples:
        features = tokenizer(
            *texts,
            padding=False,
            truncation="longest_first",
            max_length=max_seq_length,
            return_token_type_ids=True,
        )
        encoded.append({**features, "labels": label})
    return encoded


def batches(collate, encoded, batch_size=BATCH_SIZE):
    """Yield batches in the given order, padded to their longest example."""
    for start in range(0, len(encoded), batch_size):
        yield collate(encoded[start : start + batch_size])


def adamw(model, learning_rate):
    """AdamW that leaves biases and LayerNorm without weight decay."""
    decayed, kept = [], []
    for name, parameter in model.named_parameters():
        exempt = "bias" in name or "LayerNorm" in name
        (kept if exempt else decayed).append(parameter)
    groups = [
        {"params": decayed, "weight_decay": WEIGHT_DECAY},
        {"params": kept, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=learning_rate, eps=ADAM_EPSILON)


def train(
    model,
    collate,
    encoded,
    epochs,
    learning_rate,
    seed,
    batch_size=BATCH_SIZE,
):
    """Train in place; `collate` makes a batch of a list of examples.

    Returns:
        The number of steps, and [step, loss] for every 20th step and the last.
    """
    num_steps = int(-(-len(encoded) // batch_size) * epochs)
    optimizer = adamw(model, learning_rate)
    schedule = transformers.get_linear_schedule_with_warmup(
        optimizer, int(num_steps * WARMUP_PROPORTION), num_steps
    )
    order = random.Random(seed)
    model.train()
    step, losses, start = 0, [], time.perf_counter()
    while step < num_steps:
        shuffled = order.sample(encoded, len(encoded))
        for batch in batches(collate, shuffled, batch_size):
            if step == num_steps:
                break
            loss = model(**batch).loss
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), CLIP_NORM)
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()
            step += 1
            if step % REPORT_EVERY == 0 or step == num_steps:
                losses.append([step, loss.item()])
                seconds = time.perf_counter() - start
                left = seconds / step * (num_steps - step)
                print(
                    f"step {step}/{num_steps}  loss {loss.item():.4f}  "
                    f"{seconds:.0f} s, {left:.0f} s left",
                    flush=True,
                )
    return num_steps, losses


@torch.no_grad()
def evaluate(model, collate, encoded):
    """Score every example once; F1 is that of class 1."""
    model.eval()
    logits = torch.cat(
        [model(**batch).logits for batch in batches(collate, encoded)]
    )
    labels = torch.tensor([example["labels"] for example in encoded])
    predicted = logits.argmax(-1)
    hits = int(((predicted == 1) & (labels == 1)).sum())
    positives = int((predicted == 1).sum() + (labels == 1).sum())
    is_told_apart = 1 < len(predicted.unique()) == len(labels.unique())
    correlation = torch.corrcoef(torch.stack([predicted, labels]).double())
    return Evaluation(
        loss=torch.nn.functional.cross_entropy(logits, labels).item(),
        accuracy=(predicted == labels).float().mean().item(),
        f1=2 * hits / positives if positives else 0.0,
        # Of two labels it is Pearson's.
        matthews=correlation[0, 1].item() if is_told_apart else 0.0,
    )


def optimizer_settings(learning_rate):
    """What `train` does, for the results."""
    return {
        "learning_rate": learning_rate,
        "warmup_proportion": WARMUP_PROPORTION,
        "weight_decay": WEIGHT_DECAY,
        "adam_epsilon": ADAM_EPSILON,
        "clip_norm": CLIP_NORM,
    }


def parse_arguments():
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--task", choices=sorted(TASKS), required=True)
    parser.add_argument(
        "--data-dir",
        type=pathlib.Path,
        required=True,
        help="Folder with the task's train.tsv and dev.tsv.",
    )
    parser.add_argument(
        "--model",
        required=True,
        help="Folder with config.json, weights and vocabulary.",
    )
    parser.add_argument("--max-seq-length", type=int, default=128)
    parser.add_argument("--epochs", type=float, default=3)
    parser.add_argument("--lr", type=float, default=5e-5)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--train-limit",
        type=int,
        help="Train on this many first rows only.",
    )
    parser.add_argument(
        "--out", type=pathlib.Path, required=True, help="JSON file to write."
    )
    return parser.parse_args()


def main():
    """Train, evaluate and write the results."""
    options = parse_arguments()
    torch.manual_seed(options.seed)
    tokenizer = transformers.AutoTokenizer.from_pretrained(options.model)
    encoded = {}
    for split in ("train", "dev"):
        path = options.data_dir / f"{split}.tsv"
        examples = read_examples(path, TASKS[options.task])
        if split == "train":
            examples = examples[: options.train_limit]
        encoded[split] = encode(tokenizer, examples, options.max_seq_length)
    model = transformers.BertForSequenceClassification.from_pretrained(
        options.model, num_labels=2, dtype=torch.float32
    )
    collate = transformers.DataCollatorWithPadding(tokenizer)

    num_steps, losses = train(
        model,
        collate,
        encoded["train"],
        options.epochs,
        options.lr,
        options.seed,
    )
    evaluation = evaluate(model, collate, encoded["dev"])

    results = {
        **evaluation._asdict(),
        "steps": num_steps,
        "train_examples": len(encoded["train"]),
        "dev_examples": len(encoded["dev"]),
        "settings": {
            "task": options.task,
            "max_seq_length": options.max_seq_length,
            "epochs": options.epochs,
            "seed": options.seed,
            "batch_size": BATCH_SIZE,
            **optimizer_settings(options.lr),
        },
        "versions": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "transformers": transformers.__version__,
        },
        "training_losses": losses,
    }
    options.out.write_text(json.dumps(results, indent=2) + "\n")
    print(
        f"accuracy {evaluation.accuracy:.4f}  F1 {evaluation.f1:.4f}  "
        f"loss {evaluation.loss:.4f}  -> {options.out}"
    )


if __name__ == "__main__":
    main()
