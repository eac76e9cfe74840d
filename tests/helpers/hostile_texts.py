"""Hostile tables and SQuAD files; see `helpers.hostile`.

What is read is compared with the plainest reading of the same bytes, where
there is one.
"""

import csv
import io
import json

from helpers.hostile import damaged, odd_json

WORDS = (
    "the",
    "a",
    "Café",
    "",
    "日本",
    '"',
    '""',
    "'",
    ",",
    "\u2028",
    "\u200b",
    "\x85",
    "x" * 3000,
    "{",
    "-1",
    "\\ud83d",
    "\ufeff",
)
ODD_BYTES = (
    b"\r",
    b"\n",
    b"\r\n",
    b"\0",
    b"\t",
    b'"',
    b"\xff",
    b"\xed\xa0\x80",
    b"\xef\xbb\xbf",
    b"[" * 3000,
    b"9" * 5000,
    b"\\ud83d",
    b"\x1a",
)
LABELS = ("good", "bad", "1", "1.0", "Good")


def text(rng):
    return " ".join(rng.choice(WORDS) for _ in range(rng.randrange(1, 6)))


def changed(rng, content):
    """Damaged, or with odd bytes somewhere, or as it was."""
    way = rng.randrange(4)
    if way == 0:
        return damaged(rng, content)
    if way < 3:
        place = rng.randrange(len(content) + 1)
        return content[:place] + rng.choice(ODD_BYTES) + content[place:]
    return content


# --------------------------------------------------------------------- tables


def tables_cases(rng, count, folder):
    """Labelled texts in each of the three formats."""
    for number in range(count):
        kind = ("tsv", "csv", "jsonl")[number % 3]
        rows = [
            (text(rng), rng.choice(LABELS)) for _ in range(rng.randrange(2, 9))
        ]
        content = changed(rng, written(kind, rows))
        place = folder / str(number)
        place.mkdir()
        (place / f"train.{kind}").write_bytes(content)
        yield str(place), plainly_read(kind, content)


def written(kind, rows):
    if kind == "jsonl":
        lines = (json.dumps({"text": a, "label": b}) for a, b in rows)
        return ("\n".join(lines) + "\n").encode()
    rows = [("text", "label"), *rows]
    if kind == "tsv":
        return "".join(f"{a}\t{b}\n" for a, b in rows).encode()
    made = io.StringIO(newline="")
    csv.writer(made).writerows(rows)
    return made.getvalue().encode()


def plainly_read(kind, content):
    """Pairs of text and label; None where the plain way has no answer."""
    try:
        found = content.decode("utf-8-sig")
        if kind == "csv" and "\r" in found.replace("\r\n", ""):
            return None  # What lone carriage returns mean is open.
        rows = list(PLAINLY[kind](found))
    except (ValueError, LookupError, TypeError, csv.Error, RecursionError):
        return None
    return [(a.replace("\r\n", "\n"), b.strip()) for a, b in rows]


def _plain_tsv(found):
    lines = [line.rstrip("\r") for line in found.split("\n")]
    while lines and not lines[-1]:
        lines.pop()
    return _columns([line.split("\t") for line in lines])


def _plain_csv(found):
    rows = list(csv.reader(io.StringIO(found, newline=""), strict=True))
    return _columns([row for row in rows if row])


def _columns(rows):
    places = [rows[0].index(name) for name in ("text", "label")]
    return [[row[place] for place in places] for row in rows[1:]]


def _plain_jsonl(found):
    for line in found.split("\n"):
        if line.strip():
            row = json.loads(line)
            label = row["label"]
            is_text = isinstance(label, str)
            yield row["text"], label if is_text else json.dumps(label)


PLAINLY = {"tsv": _plain_tsv, "csv": _plain_csv, "jsonl": _plain_jsonl}


def read_tables(folder):
    """The same by the task's own reading."""
    from bert_tf.tasks.classification import datasets
    from bert_tf.tokenization import BasicTokenizer

    dataset = datasets.find_dataset("tsv").learn_labels(folder)
    examples = dataset.get_train_examples(folder)
    tokenizer = BasicTokenizer(True)
    for example in examples:
        tokenizer.tokenize(example.text_a)
    return [
        (example.text_a.replace("\r\n", "\n"), example.label)
        for example in examples
    ]


# ---------------------------------------------------------------------- SQuAD


def squad_cases(rng, count, folder):
    """Files of questions, of both versions."""
    for number in range(count):
        content = made_questions(rng)
        if number % 2:
            content = odd_json(rng, content)
        raw = json.dumps(content, ensure_ascii=bool(rng.randrange(2)))
        raw = changed(rng, raw.encode("utf-8", "surrogatepass"))
        path = folder / f"{number}.json"
        path.write_bytes(raw)
        yield str(path), plain_questions(raw)


def made_questions(rng):
    def question(number, context):
        start = rng.randrange(len(context))
        answer = {"answer_start": start, "text": context[start : start + 4]}
        return {
            "id": f"q{number}",
            "question": text(rng),
            "answers": [answer] * rng.randrange(3),
            "is_impossible": bool(rng.randrange(2)),
        }

    paragraphs = []
    for number in range(rng.randrange(1, 4)):
        context = f"The old tower {text(rng)} of the city."
        qas = [question(10 * number + n, context) for n in range(2)]
        paragraphs.append({"context": context, "qas": qas})
    return {
        "version": "1.1",
        "data": [{"title": "t", "paragraphs": paragraphs}],
    }


def plain_questions(raw):
    try:
        content = json.loads(raw.decode("utf-8-sig"))
        return [
            (str(question["id"]), question["question"], paragraph["context"])
            for article in content["data"]
            for paragraph in article["paragraphs"]
            for question in paragraph["qas"]
        ]
    except (ValueError, LookupError, TypeError, RecursionError):
        return None


def read_squad(path):
    """The same by the task's own reading, and windows of all questions."""
    from bert_tf.errors import InputError
    from bert_tf.tasks.squad import data

    for negative in (False, True):
        try:
            data.read_squad_examples(path, True, negative, exact_answers=True)
        except InputError as error:
            assert path in str(error)
    found = data.read_squad_examples(path, False)
    for example in found:
        assert all(example.doc_tokens)
    return [(one.qas_id, one.question_text, one.context) for one in found]
