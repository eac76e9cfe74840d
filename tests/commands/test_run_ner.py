"""run_ner as its users see it: flags in, files out."""

import json
import random
import re
from types import SimpleNamespace

import pytest
import tensorflow as tf
from absl import flags as absl_flags
from helpers.commands import results_of, run_command
from helpers.golden import TINY
from helpers.output_files import unlisted

import bert_tf
from bert_tf import run_ner
from bert_tf.data import records
from bert_tf.data.tables import shuffled
from bert_tf.tasks.ner.metrics import EntityCounts
from bert_tf.tasks.ner.task import token_schema

pytestmark = pytest.mark.usefixtures("graphs_as_traced")

NAMES = ["John Smith", "Mary"]
OTHERS = [
    "the",
    "quiet",
    "museum",
    "measured",
    "a",
    "book",
    "was",
    "born",
    "in",
]
LENGTH = 24


def write_sentences(path, count, seed, width=2):
    """Random words; names of people among them. Returns number of words."""
    rng = random.Random(seed)
    lines = ["-DOCSTART- O", ""]
    for _ in range(count):
        for word in rng.choices(OTHERS, k=rng.randint(2, 30)):
            lines.append(f"{word} O")
            if rng.random() < 0.3:
                first, *rest = rng.choice(NAMES).split()
                lines.append(f"{first} B-PER")
                lines += [f"{name} I-PER" for name in rest]
        lines.append("")
    if width == 1:
        lines = [line.split(" ")[0] for line in lines if "DOC" not in line]
    path.write_text("\n".join(lines))
    return sum(map(bool, lines)) - (width == 2)


def sentences_of(path):
    text = path.read_text()
    assert text.endswith("\n\n")
    return [
        [line.split(" ") for line in sentence.split("\n")]
        for sentence in text[:-2].split("\n\n")
    ]


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """The folder of a run that trained, evaluated, predicted and exported."""
    folder = tmp_path_factory.mktemp("ner")
    write_sentences(folder / "train.txt", 60, 1)
    write_sentences(folder / "valid.txt", 9, 2)
    write_sentences(folder / "test.txt", 7, 3)
    run_command(
        "run_ner",
        **flags(folder),
        do_train=True,
        do_export=True,
        num_train_epochs=4,
    )
    return folder


def flags(folder):
    return {
        "data_dir": folder,
        "init_checkpoint": TINY,
        "vocab_file": TINY.parent / "vocab.txt",
        "bert_config_file": TINY.parent / "bert_config.json",
        "output_dir": folder / "output",
        "max_seq_length": LENGTH,
        "train_batch_size": 8,
        "learning_rate": 1e-3,
        "seed": 1,
        "do_eval": True,
        "do_predict": True,
    }


def test_sentences_to_train_on_are_shuffled(tmp_path):
    write_sentences(tmp_path / "train.txt", 9, 1)
    values = absl_flags.FlagValues()
    run_ner.define_flags(values)
    folders = [f"--{name}_dir={tmp_path}" for name in ("data", "output")]
    values(["run_ner", *folders, "--do_train"])
    settings = SimpleNamespace(do_train=True, evaluation=None)

    sets, labels = run_ner.read_files(values, settings)

    lines = [example.line for example in sets.train]
    assert len(lines) == 9 and lines == shuffled(sorted(lines))
    assert lines != sorted(lines)
    assert labels == ("B-PER", "I-PER", "O")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("file", "name", "results"),
    [
        ("valid", "eval", "eval_results.txt"),
        ("test", "test", "test_eval_results.txt"),
    ],
)
def test_results_and_report_are_those_of_the_predictions(
    done, file, name, results
):
    output = done / "output"
    words = (done / f"{file}.txt").read_text().splitlines()[2:]
    counts = EntityCounts()
    columns = []
    for sentence in sentences_of(output / f"{name}_predictions.txt"):
        columns += [f"{word} {gold}" for word, gold, _ in sentence]
        _, gold, predicted = zip(*sentence)
        counts.add(gold, predicted, "IOB2")

    # Every word is predicted, whatever the length of its sentence.
    assert columns == [line for line in words if line]
    assert (output / f"{name}_report.txt").read_text() == counts.report()
    found = results_of(output, results)
    for key, value in counts.results().items():
        assert found[key] == pytest.approx(value, rel=1e-6), key
    assert found["eval_f1"] > 0.9
    assert not (output / "test_results.tsv").exists()
    assert not unlisted(output)


@pytest.mark.slow
def test_records_hold_each_word_once(done):
    for name, file in (("train", "train"), ("eval", "valid")):
        path = done / "output" / f"{name}.tf_record"
        serialized = tf.data.TFRecordDataset(str(path))
        rows = list(serialized.as_numpy_iterator())
        features = records.parse_batch(rows, token_schema(LENGTH))
        lines = (done / f"{file}.txt").read_text().splitlines()[2:]
        words = sum(map(bool, lines))
        sentences = sum(
            bool(sentence.strip())
            for sentence in "\n".join(lines).split("\n\n")
        )
        assert int((features["label_ids"].numpy() >= 0).sum()) == words
        assert len(rows) > sentences  # Some are read in windows.


@pytest.mark.slow
def test_the_export_predicts_what_the_run_predicted(done):
    predict = bert_tf.Predictor(done / "output" / "export")
    sentences = sentences_of(done / "output" / "test_predictions.txt")

    for sentence in sentences:
        words, _, predicted = zip(*sentence)
        assert predict(" ".join(words)).labels == list(predicted)


@pytest.mark.slow
def test_tag_finds_the_entities_that_the_export_finds(done, tmp_path, capsys):
    predict = bert_tf.Predictor(done / "output")  # Exported to its cache.
    sentences = sentences_of(done / "output" / "test_predictions.txt")
    lines = [" ".join(word for word, *_ in rows) for rows in sentences]
    (tmp_path / "in").write_text("".join(f"{line}\n" for line in lines))
    run_command(
        "tag",
        checkpoint=done / "output",
        input_file=tmp_path / "in",
        output_file=tmp_path / "out",
    )

    found = (tmp_path / "out").read_text().splitlines()
    for got, line, rows in zip(
        map(json.loads, found), lines, sentences, strict=True
    ):
        assert got["text"] == line
        assert got["labels"] == [predicted for *_, predicted in rows]
        want = [one._asdict() for one in predict(line).entities]
        for one, other in zip(got["entities"], want, strict=True):
            chances = one.pop("probability"), other.pop("probability")
            assert chances[0] == pytest.approx(chances[1], abs=1e-5)
            assert one == other
            assert line[one["start"] : one["end"]] == one["text"]

    capsys.readouterr()
    text = "the museum measured  John Smith in"
    run_command("tag", checkpoint=done / "output", text=text)
    first, entity = capsys.readouterr().out.splitlines()
    assert first == text
    assert re.fullmatch(
        r"  +[01]\.\d{4}  PER  John Smith  \[characters 21 to 31\]", entity
    )
    chance = float(entity.split()[0])
    for limit, expected in ((chance - 1e-3, entity), (1, "  (no entity)")):
        run_command(
            "tag",
            checkpoint=done / "output",
            text=text,
            min_probability=limit,
        )
        assert capsys.readouterr().out.splitlines() == [first, expected]


@pytest.mark.slow
def test_a_trained_folder_predicts_words_without_labels(done, tmp_path):
    count = write_sentences(tmp_path / "test.txt", 7, 3, width=1)
    before = sentences_of(done / "output" / "test_predictions.txt")
    given = {**flags(done), "data_dir": tmp_path, "do_eval": False}

    given |= {"output_dir": tmp_path / "other"}
    run_command("run_ner", **given | {"init_checkpoint": done / "output"})

    after = sentences_of(tmp_path / "other" / "test_predictions.txt")
    assert after == [[[w, p] for w, _, p in words] for words in before]
    assert sum(map(len, after)) == count
    assert not (tmp_path / "other" / "test_eval_results.txt").exists()
