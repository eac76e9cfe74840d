r"""Fine-tunes BERT on SQuAD 1.1 with PyTorch and transformers, to compare with.

    PYTHONPATH=. python benchmarks/comparisons/squad_pytorch.py \
        --model minilm --train train.json --test test.json \
        --max-seq-length 256 --doc-stride 128 --batch-size 16 --epochs 2 \
        --lr 1e-4 --seed 1 --out squad_1

Trains a Hugging Face folder and writes predictions.json and results.json.
Windows and answers are made as PyTorch users make them, by transformers' fast
tokenizer and its offsets. Needs `torch` and `transformers`; of bert_tf only the
metrics are used, which are plain Python, so both sides are scored alike.

The recipe is that of `finetune_pytorch.py`. It differs from run_squad in these
points: AdamW corrects the bias of its moments; steps are counted by windows,
not by questions; batches are padded to their longest window; answers come from
any window that contains them, by characters, where run_squad takes them from
the window with most context, by whole words.
"""

import argparse
import collections
import json
import pathlib
import platform
from typing import NamedTuple

import finetune_pytorch
import torch
import transformers

from bert_tf.tasks.squad import data as squad
from bert_tf.tasks.squad import metrics

N_BEST = 20
MAX_ANSWER_LENGTH = 30
CONTEXT = 1  # The second text of the pair.


class Question(NamedTuple):
    """A question, its text, and the answer to train on: its first one."""

    id: str
    question: str
    context: str
    answer: str
    answer_start: int


class Window(NamedTuple):
    """One input of the model, and where its pieces are in the text.

    Attributes:
        inputs: ids of the window, not padded.
        offsets: for each piece the characters of the context it stands for,
            None for what is not of the context.
    """

    inputs: dict
    offsets: list


def read_questions(path, limit=None):
    """The questions of a SQuAD file, the first `limit` of them."""
    data = json.loads(path.read_text("utf-8"))["data"]
    questions = [
        Question(
            question["id"],
            question["question"].strip(),
            paragraph["context"],
            question["answers"][0]["text"],
            question["answers"][0]["answer_start"],
        )
        for article in data
        for paragraph in article["paragraphs"]
        for question in paragraph["qas"]
    ]
    return questions[:limit]


class Windows:
    """Cuts texts into overlapping windows.

    Args:
        tokenizer: a fast tokenizer.
        max_seq_length, doc_stride, max_query_length: as run_squad has them;
            the stride is how far apart windows start. (The tokenizer's own
            `stride` is how much they overlap.)
    """

    def __init__(self, tokenizer, max_seq_length, doc_stride, max_query_length):
        self.tokenizer = tokenizer
        self.max_seq_length = max_seq_length
        self.doc_stride = doc_stride
        self.max_query_length = max_query_length

    def of(self, question):
        """The windows of one question."""
        text, length = self._cut(question.question)
        special = self.tokenizer.num_special_tokens_to_add(pair=True)
        room = self.max_seq_length - length - special
        encoding = self.tokenizer(
            text,
            question.context,
            truncation="only_second",
            max_length=self.max_seq_length,
            stride=max(room - self.doc_stride, 0),
            return_overflowing_tokens=True,
            return_offsets_mapping=True,
            return_token_type_ids=True,
        )
        names = ("input_ids", "token_type_ids", "attention_mask")
        windows = []
        for i, offsets in enumerate(encoding["offset_mapping"]):
            parts = encoding.sequence_ids(i)
            windows.append(
                Window(
                    {name: encoding[name][i] for name in names},
                    [
                        tuple(offset) if part == CONTEXT else None
                        for offset, part in zip(offsets, parts)
                    ],
                )
            )
        return windows

    def _cut(self, question):
        """The question's first pieces, as text, and how many they are."""
        encoding = self.tokenizer(
            question, add_special_tokens=False, return_offsets_mapping=True
        )
        offsets = encoding["offset_mapping"]
        if len(offsets) <= self.max_query_length:
            return question, len(offsets)
        end = offsets[self.max_query_length - 1][1]
        return question[:end], self.max_query_length


def labels(window, question):
    """The pieces that the answer starts and ends with; [CLS] if it lacks it."""
    first = question.answer_start
    last = first + len(question.answer)
    inside = [i for i, offset in enumerate(window.offsets) if offset]
    cls = {"start_positions": 0, "end_positions": 0}
    if not inside:
        return cls
    if window.offsets[inside[0]][0] > first:
        return cls
    if window.offsets[inside[-1]][1] < last:
        return cls
    start = max(i for i in inside if window.offsets[i][0] <= first)
    end = min(i for i in inside if window.offsets[i][1] >= last)
    return {"start_positions": start, "end_positions": end}


def best_answer(question, windows, logits):
    """The text of the span with the highest sum of logits, over all windows.

    Args:
        question: a `Question`.
        windows: its `Window`s.
        logits: for each of them start and end logits, lists of floats as long
            as the window or longer.
    """
    best = (float("-inf"), "")
    for window, (starts, ends) in zip(windows, logits):
        for start in top(starts):
            for end in top(ends):
                if not start <= end < start + MAX_ANSWER_LENGTH:
                    continue
                if end >= len(window.offsets):
                    continue
                first, last = window.offsets[start], window.offsets[end]
                if first is None or last is None:
                    continue
                text = question.context[first[0] : last[1]]
                best = max(best, (starts[start] + ends[end], text))
    return best[1]


def top(scores):
    """The places of the highest scores, the highest first."""
    ordered = sorted(range(len(scores)), key=scores.__getitem__, reverse=True)
    return ordered[:N_BEST]


@torch.no_grad()
def predict(model, collate, questions, windows, batch_size):
    """The answer of each question, by its id."""
    model.eval()
    inputs = [window.inputs for group in windows for window in group]
    logits = collections.deque()
    for batch in finetune_pytorch.batches(collate, inputs, batch_size):
        output = model(**batch)
        logits.extend(
            zip(output.start_logits.tolist(), output.end_logits.tolist())
        )
    return {
        question.id: best_answer(
            question, group, [logits.popleft() for _ in group]
        )
        for question, group in zip(questions, windows)
    }


def parse_arguments():
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    paths = {"type": pathlib.Path, "required": True}
    parser.add_argument(
        "--model",
        required=True,
        help="Folder with config.json, weights and tokenizer.json.",
    )
    parser.add_argument("--train", **paths, help="SQuAD file to train on.")
    parser.add_argument("--test", **paths, help="SQuAD file to predict.")
    parser.add_argument("--max-seq-length", type=int, default=384)
    parser.add_argument("--doc-stride", type=int, default=128)
    parser.add_argument("--max-query-length", type=int, default=64)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--epochs", type=float, default=3)
    parser.add_argument("--lr", type=float, default=5e-5)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--limit",
        type=int,
        help="Use this many first questions of each file only.",
    )
    parser.add_argument("--out", **paths, help="Folder to write.")
    return parser.parse_args()


def main():
    """Train, predict, evaluate and write the results."""
    options = parse_arguments()
    torch.manual_seed(options.seed)
    tokenizer = transformers.AutoTokenizer.from_pretrained(options.model)
    if not tokenizer.is_fast:
        raise SystemExit(f"{options.model} has no fast tokenizer.")
    maker = Windows(
        tokenizer,
        options.max_seq_length,
        options.doc_stride,
        options.max_query_length,
    )
    train_questions = read_questions(options.train, options.limit)
    examples = [
        {**window.inputs, **labels(window, question)}
        for question in train_questions
        for window in maker.of(question)
    ]
    test_questions = read_questions(options.test, options.limit)
    windows = [maker.of(question) for question in test_questions]
    num_windows = sum(map(len, windows))
    print(
        f"to train: {len(train_questions)} questions, {len(examples)} windows; "
        f"to test: {len(test_questions)} questions, {num_windows} windows"
    )
    model = transformers.BertForQuestionAnswering.from_pretrained(
        options.model, dtype=torch.float32
    )
    collate = transformers.DataCollatorWithPadding(tokenizer)
    num_steps, losses = finetune_pytorch.train(
        model,
        collate,
        examples,
        options.epochs,
        options.lr,
        options.seed,
        options.batch_size,
    )
    predictions = predict(
        model, collate, test_questions, windows, options.batch_size
    )
    options.out.mkdir(parents=True, exist_ok=True)
    text = json.dumps(predictions, indent=2, ensure_ascii=False)
    path = options.out / "predictions.json"
    path.write_text(text + "\n", "utf-8")
    answers = {
        example.qas_id: example.answers
        for example in squad.read_squad_examples(str(options.test), False)
        if example.qas_id in predictions
    }
    scores = metrics.evaluate_v1(answers, predictions)
    results = {
        **scores,
        "steps": num_steps,
        "train_questions": len(train_questions),
        "train_windows": len(examples),
        "test_questions": len(test_questions),
        "test_windows": num_windows,
        "settings": {
            "max_seq_length": options.max_seq_length,
            "doc_stride": options.doc_stride,
            "max_query_length": options.max_query_length,
            "epochs": options.epochs,
            "batch_size": options.batch_size,
            "seed": options.seed,
            **finetune_pytorch.optimizer_settings(options.lr),
        },
        "versions": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "transformers": transformers.__version__,
        },
        "training_losses": losses,
    }
    results_path = options.out / "results.json"
    results_path.write_text(json.dumps(results, indent=2) + "\n")
    print(
        f"exact match {scores['exact_match']:.2f}  F1 {scores['f1']:.2f}  "
        f"-> {options.out}"
    )


if __name__ == "__main__":
    main()
