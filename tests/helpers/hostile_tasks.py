"""Hostile files of words and of choices; see `helpers.hostile`.

What is read is compared with the plainest reading of the same bytes, where
there is one.
"""

import csv
import io
import json

from helpers.hostile import odd_json
from helpers.hostile_texts import WORDS, changed, text

LABELS = ("O", "B-PER", "I-PER", "B-LOC")
ODD_LABELS = (*LABELS, "o", "B-", "I-\u200bPER")

# ----------------------------------------------------------------------- words


def ner_cases(rng, count, folder):
    """Sentences of labelled words, in columns or joined on one line."""
    names = ("train.txt", "train.tsv", "eng.train")
    for number in range(count):
        name = names[number % 3]
        labels = LABELS if rng.randrange(5) else ODD_LABELS
        sentences = [
            [(one_word(rng), rng.choice(labels)) for _ in range(1, 7)]
            for _ in range(rng.randrange(2, 9))
        ]
        is_joined = name.endswith(".tsv") and rng.randrange(3)
        content = (joined if is_joined else in_columns)(rng, sentences)
        content = changed(rng, content.encode())
        place = folder / str(number)
        place.mkdir()
        (place / name).write_bytes(content)
        yield str(place), plain_sentences(content, name.endswith(".tsv"))


def one_word(rng):
    return rng.choice([word for word in WORDS if word])


def in_columns(rng, sentences):
    space = rng.choice(" \t")
    parts = ["-DOCSTART- O\n\n"] * rng.randrange(2)
    for sentence in sentences:
        parts += [f"{word}{space}{label}\n" for word, label in sentence]
        parts.append("\n")
    return "".join(parts)


def joined(rng, sentences):
    lines = ["text_a\tlabel"]
    for sentence in sentences:
        lines.append("\t".join(map("\x02".join, zip(*sentence))))
    return "\n".join(lines) + "\n"


def plain_sentences(content, is_tsv):
    """Lists of (word, label); None where the plain way has no answer."""
    try:
        lines = content.decode("utf-8-sig").split("\n")
    except ValueError:
        return None
    lines = [line.rstrip("\r") for line in lines]
    if is_tsv and lines[0].split("\t")[0] == "text_a":
        rows = [line.split("\t") for line in lines[1:] if line]
        if any(len(row) != 2 for row in rows):
            return None
        return [
            list(zip(*(cell.split("\x02") for cell in row), strict=False))
            for row in rows
        ]
    found = [[]]
    for line in lines:
        cells = [cell for cell in line.replace("\t", " ").split(" ") if cell]
        if not line.strip() or cells[0] == "-DOCSTART-":
            found.append([])
        else:
            found[-1].append((cells[0], cells[-1]))
    return list(filter(None, found))


def read_ner(folder):
    """The same by the task's own reading."""
    from bert_tf.tasks.ner import data
    from bert_tf.tokenization import BasicTokenizer

    examples, _ = data.read_train(data.FileSettings(folder))
    tokenizer = BasicTokenizer(True)
    for example in examples:
        tokenizer.tokenize(" ".join(example.words))
    return [list(zip(one.words, one.labels)) for one in examples]


# --------------------------------------------------------------------- choices


def choices_cases(rng, count, folder):
    """Files of one's own as .jsonl, and SWAG's as .csv."""
    for number in range(count):
        kind = ("jsonl", "csv")[number % 2]
        content = (made_jsonl if kind == "jsonl" else made_swag)(rng)
        content = changed(rng, content.encode("utf-8", "surrogatepass"))
        place = folder / str(number)
        place.mkdir()
        (place / f"train.{kind}").write_bytes(content)
        yield str(place), plain_choices(kind, content)


def made_jsonl(rng):
    rows = [
        {
            "context": text(rng),
            "question": text(rng),
            "choices": [text(rng) for _ in range(3)],
            "label": rng.randrange(3),
        }
        for _ in range(rng.randrange(1, 6))
    ]
    if rng.randrange(2):
        rows[0] = odd_json(rng, rows[0])
    is_ascii = bool(rng.randrange(2))
    return "".join(json.dumps(x, ensure_ascii=is_ascii) + "\n" for x in rows)


SWAG = ("sent1", "sent2", *(f"ending{n}" for n in range(4)), "label")


def made_swag(rng):
    made = io.StringIO(newline="")
    rows = csv.writer(made)
    rows.writerow(SWAG)
    for _ in range(rng.randrange(1, 6)):
        rows.writerow([*(text(rng) for _ in range(6)), rng.randrange(4)])
    return made.getvalue()


def plain_choices(kind, content):
    """Rows as tuples; None where the plain way has no answer."""
    try:
        found = content.decode("utf-8-sig")
        if kind == "jsonl":
            rows = [json.loads(x) for x in found.split("\n") if x.strip()]
            return [
                (
                    row["context"],
                    row.get("question") or "",
                    tuple(row["choices"]),
                    int(row["label"]),
                )
                for row in rows
            ]
        if "\r" in found.replace("\r\n", ""):
            return None  # What lone carriage returns mean is open.
        table = csv.reader(io.StringIO(found, newline=""), strict=True)
        header, *rows = (row for row in table if row)
        places = [header.index(name) for name in SWAG]
        rows = [[row[place] for place in places] for row in rows]
        return [(a, b, tuple(c), int(label)) for a, b, *c, label in rows]
    except (ValueError, LookupError, TypeError, csv.Error, RecursionError):
        return None
    except AttributeError:  # A row that is no object.
        return None


def read_choices(folder):
    """The same by the task's own reading."""
    from bert_tf.tasks.choices import data

    found = data.read_part(folder, "train", data.ChoiceColumns())
    return [tuple(example[1:]) for example in found.examples]
