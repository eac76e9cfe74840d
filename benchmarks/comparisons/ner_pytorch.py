r"""Fine-tunes BERT on CoNLL-2003 with PyTorch, to compare with.

    python benchmarks/comparisons/ner_pytorch.py --data-dir conll2003 \
        --model minilm --max-seq-length 128 --epochs 3 --seed 1 --out ner.json

Reads `train.txt` and `dev.txt` (the word first, an IOB2 label last on each
line), trains as `finetune_pytorch.py` does, and writes precision, recall and F1
of whole entities as JSON. The label of a word is at its first piece; what of a
sentence does not fit is not seen, and its entities count as missed.
"""

import argparse
import json
import pathlib

import finetune_pytorch
import torch
import transformers

IGNORED = -100


def read_sentences(path):
    """Lists of words and of labels, for each sentence."""
    sentences, words, labels = [], [], []
    for line in [*path.read_text(encoding="utf-8").split("\n"), ""]:
        columns = line.split()
        if columns and columns[0] != "-DOCSTART-":
            words.append(columns[0])
            labels.append(columns[-1])
        elif words:
            sentences.append((words, labels))
            words, labels = [], []
    return sentences


def encode(tokenizer, sentences, ids, max_seq_length):
    """Dictionaries with the ids of one sentence, not yet padded."""
    encoded = []
    for words, labels in sentences:
        features = tokenizer(
            words,
            is_split_into_words=True,
            truncation=True,
            max_length=max_seq_length,
            return_token_type_ids=True,
        )
        places = features.word_ids()
        first = [
            place is not None and place != before
            for place, before in zip(places, [None, *places])
        ]
        targets = [
            ids[labels[place]] if is_first else IGNORED
            for place, is_first in zip(places, first)
        ]
        encoded.append({**features, "labels": targets})
    return encoded


def entities(labels):
    """The set of (type, first, end) in a sentence of IOB2 labels.

    An I that continues nothing begins an entity, as conlleval counts.
    """
    found, begun = set(), None
    for place, label in enumerate([*labels, "O"]):
        prefix, _, kind = label.partition("-")
        if begun and (prefix != "I" or kind != begun[0]):
            found.add((*begun, place))
            begun = None
        if prefix != "O" and not begun:
            begun = (kind, place)
    return found


@torch.no_grad()
def evaluate(model, collate, encoded, sentences, names):
    """Precision, recall and F1 of the entities of all sentences."""
    model.eval()
    right = guessed = wanted = 0
    size = finetune_pytorch.BATCH_SIZE
    for start in range(0, len(encoded), size):
        batch = collate(encoded[start : start + size])
        best = model(**batch).logits.argmax(-1)
        for row, targets, (words, labels) in zip(
            best, batch["labels"], sentences[start : start + size]
        ):
            of_words = row[targets != IGNORED].tolist()
            predicted = [names[index] for index in of_words]
            predicted += ["O"] * (len(words) - len(predicted))
            ours, theirs = entities(predicted), entities(labels)
            right += len(ours & theirs)
            guessed += len(ours)
            wanted += len(theirs)
    precision, recall = right / max(guessed, 1), right / wanted
    return {
        "precision": precision,
        "recall": recall,
        "f1": 2 * right / (guessed + wanted),
    }


def main():
    """Train, evaluate and write the results."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data-dir", type=pathlib.Path, required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--max-seq-length", type=int, default=128)
    parser.add_argument("--epochs", type=float, default=3)
    parser.add_argument("--lr", type=float, default=5e-5)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=pathlib.Path, required=True)
    options = parser.parse_args()
    torch.manual_seed(options.seed)
    tokenizer = transformers.AutoTokenizer.from_pretrained(options.model)
    sentences = {
        split: read_sentences(options.data_dir / f"{split}.txt")
        for split in ("train", "dev")
    }
    names = sorted({name for _, row in sentences["train"] for name in row})
    ids = {name: index for index, name in enumerate(names)}
    encoded = {
        split: encode(tokenizer, rows, ids, options.max_seq_length)
        for split, rows in sentences.items()
    }
    model = transformers.BertForTokenClassification.from_pretrained(
        options.model, num_labels=len(names), dtype=torch.float32
    )
    collate = transformers.DataCollatorForTokenClassification(tokenizer)
    steps, losses = finetune_pytorch.train(
        model,
        collate,
        encoded["train"],
        options.epochs,
        options.lr,
        options.seed,
    )
    results = {
        **evaluate(model, collate, encoded["dev"], sentences["dev"], names),
        "steps": steps,
        "words": sum(len(words) for words, _ in sentences["dev"]),
        "seed": options.seed,
        "settings": finetune_pytorch.optimizer_settings(options.lr),
        "training_losses": losses,
    }
    options.out.write_text(json.dumps(results, indent=2) + "\n")
    print(f"entity F1 {results['f1']:.4f}  -> {options.out}")


if __name__ == "__main__":
    main()
