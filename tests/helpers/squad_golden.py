"""The original's questions, windows and answers, in `tests/golden/squad`."""

import functools
import gzip
import hashlib
import json
import lzma
import tarfile

import numpy as np

from bert_tf.tasks.squad import answers, data
from bert_tf.tasks.squad import windows as squad_windows
from bert_tf.tokenization import FullTokenizer
from helpers.paths import GOLDEN

DATA = GOLDEN
SQUAD = DATA / "squad"
TINY = DATA / "checkpoints" / "tiny"
RUNS = json.loads((SQUAD / "run_squad.json").read_text())


def read_gzip(name):
    return json.loads(gzip.decompress((SQUAD / name).read_bytes()))


@functools.cache
def archive(name):
    """{member: text} of an archive."""
    with tarfile.open(SQUAD / name) as file:
        return {
            member.name: file.extractfile(member).read().decode()
            for member in file
        }


@functools.cache
def tokenizer(vocab, do_lower_case):
    """The tokenizer with the vocabulary called tiny or uncased."""
    if vocab == "tiny":
        return FullTokenizer(TINY / "vocab.txt", do_lower_case)
    packed = DATA / "tokenization" / "vocab_uncased.txt.xz"
    unpacked = FullTokenizer(TINY / "vocab.txt", do_lower_case)
    lines = lzma.decompress(packed.read_bytes()).decode().split("\n")[:-1]
    vocab = {line: number for number, line in enumerate(lines)}
    unpacked.vocab = unpacked.wordpiece_tokenizer.vocab = vocab
    return unpacked


def read_examples(name):
    settings = RUNS["files"][name]
    return data.read_squad_examples(
        str(SQUAD / settings["input"]),
        settings["is_training"],
        settings["version_2_with_negative"],
    )


@functools.cache
def make_windows(name):
    """Our examples, and windows of each, for a file of features."""
    settings = RUNS["files"][name]
    maker = squad_windows.WindowMaker(
        tokenizer(settings["vocab"], settings["do_lower_case"]),
        **RUNS["settings"][settings["setting"]],
    )
    return list(maker.windows_by_example(read_examples(name)))


def read_logits(name, windows_by_example):
    """The golden logits of each example's windows."""
    with np.load(SQUAD / name) as file:
        rows = {
            unique_id: answers.Logits(start, end)
            for unique_id, start, end in zip(
                file["unique_ids"].tolist(),
                file["start_logits"],
                file["end_logits"],
            )
        }
    return [
        [rows[window.unique_id] for window in windows]
        for _, windows in windows_by_example
    ]


def squad_file(context, questions):
    """A file's content: questions are (id, answer, its start)."""
    qas = [
        {
            "id": name,
            "question": f"what is {name}?",
            "answers": [{"text": answer, "answer_start": start}],
        }
        for name, answer, start in questions
    ]
    return {"data": [{"paragraphs": [{"context": context, "qas": qas}]}]}


@functools.cache
def official_dev_examples(shared_folder):
    """The examples of SQuAD 1.1's dev set."""
    path = shared_folder / "data" / "squad" / "dev-v1.1.json"
    return data.read_squad_examples(str(path), False)


def digest(lines):
    total = hashlib.sha256()
    for line in lines:
        total.update(json.dumps(line).encode() + b"\n")
    return total.hexdigest()


def real_data_digest(shared_folder, name):
    path = shared_folder / "golden" / "real_data_digests"
    items = json.loads((path / "real_data_digests.json").read_text())["items"]
    return items[name]["canonical_sha256"], items[name]["records"]


# The checkpoint of the goldens has neither beside it.
READER_FILES = {
    "vocab_file": str(TINY / "vocab.txt"),
    "bert_config_file": str(TINY / "bert_config.json"),
}
# The windows of the goldens.
WINDOW_SETTINGS = {
    "max_seq_length": 128,
    "doc_stride": 48,
    "max_query_length": 24,
}


def load_reader(**more):
    from bert_tf.tasks.squad.reader import Reader

    checkpoint = SQUAD / "checkpoint" / "model.ckpt"
    return Reader(checkpoint, **READER_FILES, **WINDOW_SETTINGS, **more)


@functools.cache
def reader():
    return load_reader(max_answer_length=5)


@functools.cache
def contexts():
    """Texts of several windows, and of one."""
    articles = json.loads((SQUAD / "dev-v1.1.json").read_text())["data"]
    texts = {
        paragraph["context"]
        for article in articles
        for paragraph in article["paragraphs"]
    }
    return [*sorted(texts, key=len)[-5::2], "John Smith was born in 1895."]
