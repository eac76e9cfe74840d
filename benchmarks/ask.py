"""Asks ten questions about one long article, and times the answers.

Comes in: a checkpoint as run_squad wrote it, and a SQuAD file that has the
article and the right answers. Goes out: how long it takes until the first
question can be asked, how long each answer takes, and the answers beside the
right ones:

    python benchmarks/ask.py --checkpoint /tmp/squad_base \
        --squad dev-v1.1.json --article Warsaw

All paragraphs of the article are one text of thousands of words, and each
question is asked about the whole of it, by itself, as a person would. (In SQuAD
a question is about one paragraph, which is much easier.) The first answer takes
longer, for the model is then compiled. `Warsaw` is among the articles that
`split_squad.py` leaves to test with.
"""

import argparse
import json
import pathlib
import statistics
import time

from bert_tf.errors import InputError
from bert_tf.tasks.squad import metrics


def read_article(path, title):
    """An article's text, and its questions with their right answers.

    Raises:
        InputError: the file has no such article.
    """
    data = json.loads(path.read_text("utf-8"))["data"]
    articles = {article["title"]: article["paragraphs"] for article in data}
    if title not in articles:
        raise InputError(
            f"{path} has no article {title!r}. It has: "
            f"{', '.join(sorted(articles))}"
        )
    questions = [
        (question["question"], [one["text"] for one in question["answers"]])
        for paragraph in articles[title]
        for question in paragraph["qas"]
    ]
    text = "\n\n".join(paragraph["context"] for paragraph in articles[title])
    return text, questions


def choose(questions, number):
    """So many questions, spread over all of them."""
    number = min(number, len(questions))
    return [questions[i * len(questions) // number] for i in range(number)]


def ask(reader, text, questions):
    """Asks, and prints each answer; returns the seconds that each took."""
    seconds, right = [], []
    for question, answers in questions:
        start = time.perf_counter()
        (found,) = reader.answer(question, text)
        seconds.append(time.perf_counter() - start)
        right.append(max(metrics.exact_match(found.text, a) for a in answers))
        print(f"\n{question}")
        print(
            f"  {'right' if right[-1] else 'WRONG'}  {found.text!r}  "
            f"score {found.score:.3f}  {seconds[-1]:.2f} s"
        )
        print(f"  SQuAD  {' / '.join(dict.fromkeys(map(repr, answers)))}")
    print(f"\n{int(sum(right))} of {len(right)} are right (exact match).")
    return seconds


def main():
    """Load, ask and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--checkpoint", required=True)
    parser.add_argument("--squad", type=pathlib.Path, required=True)
    parser.add_argument("--article", default="Warsaw")
    parser.add_argument("--questions", type=int, default=10)
    parser.add_argument("--max_seq_length", type=int)
    parser.add_argument("--cased", action="store_true", help="Keep case.")
    options = parser.parse_args()
    try:
        text, questions = read_article(options.squad, options.article)
        began = time.perf_counter()
        # Here, so that TensorFlow's own start is part of the time.
        from bert_tf.tasks.squad.reader import Reader

        imported = time.perf_counter()
        reader = Reader(
            options.checkpoint,
            do_lower_case=not options.cased,
            max_seq_length=options.max_seq_length,
        )
        loaded = time.perf_counter()
        seconds = ask(reader, text, choose(questions, options.questions))
    except InputError as error:
        parser.exit(1, f"{parser.prog}: error: {error}\n")
    print(
        f"{options.article}: {len(text.split())} words\n"
        f"start: {imported - began:.1f} s imports, {loaded - imported:.1f} s "
        "checkpoint\n"
        f"answers: the first {seconds[0]:.2f} s, the others "
        f"{statistics.median(seconds[1:] or seconds):.2f} s (median)"
    )


if __name__ == "__main__":
    main()
