r"""Trains vectors of texts with sentence-transformers, to compare with.

    python benchmarks/comparisons/sentences_torch.py FOLDER PAIRS cosine 1

FOLDER is a model of sentence-transformers, PAIRS what
run_scripts/sentence_pairs.py wrote; then the objective and the seed. Prints the
Spearman correlation on the dev set before and after an epoch, and the seconds
of a step. The recipe is that of run_sentence_vectors with --bias_correction:
batches of 32, 2e-5, warm-up over a tenth of the steps, linear decay.
"""

import pathlib
import random
import sys
import time

import torch
from scipy.stats import spearmanr
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer import losses

BATCH, RATE = 32, 2e-5


def rows(path):
    """The cells of each row."""
    lines = path.read_text(encoding="utf-8").split("\n")[1:-1]
    return [line.split("\t") for line in lines]


def spearman(model, dev):
    """The correlation of cosines with scores."""
    first, second = (
        torch.tensor(model.encode([row[side] for row in dev]))
        for side in (0, 1)
    )
    found = torch.cosine_similarity(first, second)
    return spearmanr(found, [float(row[2]) for row in dev]).statistic


def loss_of(model, objective, train):
    """The loss, and a function of rows that returns the labels of a batch."""
    if objective == "in_batch":
        return losses.MultipleNegativesRankingLoss(model), lambda _: None
    if objective == "cosine":
        return losses.CosineSimilarityLoss(model), lambda batch: torch.tensor(
            [float(row[2]) / 5 for row in batch]
        )
    names = sorted({row[2] for row in train})
    width = model.get_sentence_embedding_dimension()
    loss = losses.SoftmaxLoss(model, width, len(names))
    return loss, lambda batch: torch.tensor(
        [names.index(row[2]) for row in batch]
    )


def main(folder, pairs, objective, seed):
    """Trains an epoch, and prints what came of it."""
    random.seed(seed)
    torch.manual_seed(seed)
    model = SentenceTransformer(folder, device="cpu")
    model.max_seq_length = 128
    train = rows(pairs / objective / "train.tsv")
    dev = rows(pairs / objective / "dev.tsv")
    loss, labels_of = loss_of(model, objective, train)
    steps = len(train) // BATCH
    warmup = steps // 10
    decayed: dict[bool, list] = {True: [], False: []}
    for name, parameter in loss.named_parameters():
        is_plain = "LayerNorm" in name or name.endswith("bias")
        decayed[not is_plain].append(parameter)
    optimizer = torch.optim.AdamW(
        [
            {"params": found, "weight_decay": 0.01 * decays}
            for decays, found in decayed.items()
        ],
        RATE,
        eps=1e-6,
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer,
        lambda n: n / warmup if n < warmup else (steps - n) / steps,
    )
    before = spearman(model, dev)
    random.shuffle(train)
    loss.train()
    began, cpu = time.perf_counter(), time.process_time()
    for start in range(0, steps * BATCH, BATCH):
        batch = train[start : start + BATCH]
        features = [
            model.preprocess([row[side] for row in batch]) for side in (0, 1)
        ]
        found = loss(features, labels_of(batch))
        found.backward()
        torch.nn.utils.clip_grad_norm_(loss.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
    seconds = (time.perf_counter() - began) / steps
    cpu = (time.process_time() - cpu) / steps
    model.eval()
    print(
        f"{objective} seed {seed}: before {before:.4f}, after "
        f"{spearman(model, dev):.4f}; {seconds:.3f} s a step, {cpu:.3f} s CPU"
    )


if __name__ == "__main__":
    main(sys.argv[1], pathlib.Path(sys.argv[2]), sys.argv[3], int(sys.argv[4]))
