"""Splits a SQuAD file in two by article, to train on one and test on the other.

Comes in: a file of SQuAD 1.1 in which questions may have several answers, such
as dev-v1.1.json. Goes out: two files of the same format, and how much is in
each. No article is in both, so that no text that is asked about was trained on:

    python benchmarks/split_squad.py --input dev-v1.1.json \
        --train train.json --test test.json --train_articles 38

The articles to train on are drawn from the sorted titles with a fixed seed;
both files keep the order of the input. A question to train on keeps its first
answer only (run_squad takes exactly one, and PyTorch's side reads the first);
those to test with keep all.
"""

import argparse
import json
import pathlib
import random

SEED = 20181031


def split(articles, num_train):
    """Articles to train on and articles to test with.

    Args:
        articles: SQuAD's, each with a title of its own.
        num_train: how many to train on.

    Raises:
        ValueError: nothing would be left for one of both, or two articles have
            one title.
    """
    titles = sorted({article["title"] for article in articles})
    if len(titles) < len(articles):
        raise ValueError("Each article must have a title of its own.")
    if not 0 < num_train < len(articles):
        raise ValueError(
            f"--train_articles must be from 1 to {len(articles) - 1}. "
            f"Received: --train_articles={num_train}"
        )
    chosen = set(random.Random(SEED).sample(titles, num_train))
    train = [article for article in articles if article["title"] in chosen]
    test = [article for article in articles if article["title"] not in chosen]
    return train, test


def with_first_answers(articles):
    """The same articles; each question has its first answer only."""
    return [
        {
            **article,
            "paragraphs": [
                {
                    **paragraph,
                    "qas": [
                        {**question, "answers": question["answers"][:1]}
                        for question in paragraph["qas"]
                    ],
                }
                for paragraph in article["paragraphs"]
            ],
        }
        for article in articles
    ]


def describe(articles):
    """How many articles, paragraphs and questions there are."""
    paragraphs = [p for article in articles for p in article["paragraphs"]]
    questions = sum(len(paragraph["qas"]) for paragraph in paragraphs)
    return (
        f"{len(articles)} articles, {len(paragraphs)} paragraphs, "
        f"{questions} questions"
    )


def main():
    """Write both files."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    for name, help_text in (
        ("--input", "SQuAD file to split."),
        ("--train", "File to write: the articles to train on."),
        ("--test", "File to write: the others."),
    ):
        parser.add_argument(
            name, type=pathlib.Path, required=True, help=help_text
        )
    parser.add_argument("--train_articles", type=int, required=True)
    options = parser.parse_args()
    content = json.loads(options.input.read_text("utf-8"))
    try:
        train, test = split(content["data"], options.train_articles)
    except ValueError as error:
        parser.error(str(error))
    for path, articles in (
        (options.train, with_first_answers(train)),
        (options.test, test),
    ):
        text = json.dumps({**content, "data": articles}, ensure_ascii=False)
        path.write_text(text, "utf-8")
        print(f"{path}: {describe(articles)}")


if __name__ == "__main__":
    main()
