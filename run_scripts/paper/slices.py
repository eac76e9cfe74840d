"""The first rows of data files, for tables in miniature.

A row is a line of a .tsv file, a record of a .csv file, a question of SQuAD, or
a sentence of a file of labelled words.
"""

import csv
import io
import itertools
import json
import pathlib

from bert_tf.support import files


def copy_first(source, target, count):
    """Writes the first rows of a file.

    Args:
        source, target: paths.
        count: int, the number of rows; a header does not count.
    """
    source = pathlib.Path(source)
    first = {
        ".json": first_questions,
        ".csv": first_records,
        ".tsv": first_lines,
    }.get(source.suffix, first_sentences)
    with open(source, encoding="utf-8", newline="") as file:
        text = first(file, count)
    files.write_text(str(target), text)


def first_lines(file, count):
    """Text of the first line and as many as `count` lines after it.

    Files without a header so give a row more.
    """
    return "".join(itertools.islice(file, count + 1))


def first_records(file, count):
    """Text of the header and the first records, which may have line ends."""
    text = io.StringIO(newline="")
    rows = itertools.islice(csv.reader(file), count + 1)
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()


def first_sentences(file, count):
    """Text of the first sentences, and of the document lines among them."""
    lines, sentences, is_inside = [], 0, False
    for line in file:
        is_word = bool(line.strip()) and not line.startswith("-DOCSTART-")
        if is_word and not is_inside:
            sentences += 1
            if sentences > count:
                break
        is_inside = is_word
        lines.append(line)
    return "".join(lines)


def first_questions(file, count):
    """Text of a SQuAD file with its first questions, and their paragraphs."""
    content = json.load(file)
    articles = []
    for article in content["data"]:
        paragraphs = []
        for paragraph in article["paragraphs"]:
            questions = paragraph["qas"][:count]
            count -= len(questions)
            if questions:
                paragraphs.append({**paragraph, "qas": questions})
        if paragraphs:
            articles.append({**article, "paragraphs": paragraphs})
    return json.dumps({**content, "data": articles})
