"""Datasets of classification: the original's, and users' own files."""

import dataclasses
import gzip
import json
import logging
import subprocess
import sys

import pytest
from helpers.paths import ROOT

from bert_tf.errors import InputError
from bert_tf.tasks.classification.data import (
    InputExample,
    OwnDataset,
)
from bert_tf.tasks.classification.datasets import find_dataset, is_own
from bert_tf.tasks.labels import infer_labels


@pytest.fixture
def original(data):
    """The original's examples, and small files with the layout of each task."""
    return data / "classification"


@pytest.fixture
def folder(tmp_path):
    """A folder to be filled: folder(train="...", dev="...")."""

    def fill(ending=".tsv", **parts):
        for part, content in parts.items():
            path = tmp_path / "data" / (part + ending)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content, encoding="utf-8")
        return str(tmp_path / "data")

    return fill


# ------------------------------------------------------ the original's tasks


@pytest.mark.parametrize(
    ("name", "part"),
    [
        (name, part)
        for name in ("cola", "mnli", "mrpc", "xnli")
        for part in ("train", "dev", "test")
        if (name, part) != ("xnli", "test")
    ],
)
def test_examples_are_those_of_the_original(original, name, part):
    with gzip.open(original / "examples.json.gz") as file:
        wanted = json.load(file)[name]
    task = find_dataset(name)

    read = getattr(task, f"get_{part}_examples")
    got = read(str(original / name / "data"))

    assert [dataclasses.asdict(example) for example in got] == wanted[part]
    assert list(task.get_labels()) == wanted["labels"]


def test_xnli_has_no_test_set(original):
    with pytest.raises(InputError, match=r"xnli has no test set.*do_predict"):
        find_dataset("xnli").get_test_examples(str(original / "xnli" / "data"))


def test_task_names_may_be_in_capitals():
    assert find_dataset("MrPc") is find_dataset("mrpc")


def test_unknown_task_lists_the_known_ones():
    with pytest.raises(
        InputError, match=r"cola.*mnli.*mrpc.*tsv.*xnli.*Received.*'SNLI'"
    ):
        find_dataset("SNLI")


def test_columns_for_a_task_of_the_original_are_refused():
    assert find_dataset("mrpc", label_col=None, header="auto").labels
    with pytest.raises(InputError, match=r"text_a_col.*'tsv' only"):
        find_dataset("mrpc", text_a_col="text")


HEADER = "Quality\t#1 ID\t#2 ID\t#1 String\t#2 String\n"


@pytest.mark.parametrize(
    ("rows", "problem"),
    [
        (
            "1\t2\t3\ta\tb\n\n1\t2\t3\ta\tb\n",
            "line 3: found a blank line; expected a row",
        ),
        ("1\t2\t3\ta\n", "line 2: found 4 columns; expected at least 5"),
        ("2\t2\t3\ta\tb\n", "line 2: found the label '2'; expected one of 0"),
        ("", "must hold examples. It has none after its header"),
    ],
)
def test_a_bad_row_of_mrpc_is_named(folder, rows, problem):
    with pytest.raises(InputError, match=rf"dev.tsv.*(.*\n)*.*{problem}"):
        find_dataset("mrpc").get_dev_examples(folder(dev=HEADER + rows))


def test_all_bad_rows_are_named_at_once(folder):
    rows = "9\t2\t3\ta\tb\n1\t2\t3\ta\tb\nshort\n"
    with pytest.raises(InputError) as caught:
        find_dataset("mrpc").get_train_examples(folder(train=HEADER + rows))
    assert "has 2 bad rows" in str(caught.value)
    assert "line 2: found the label '9'" in str(caught.value)
    assert "line 4: found 1 column;" in str(caught.value)


def test_mnli_needs_a_label_beside_its_texts(folder):
    header = "\t".join(f"column{number}" for number in range(11)) + "\n"
    row = "\t".join("0123456789") + "\n"
    with pytest.raises(InputError, match=r"10 columns; expected at least 11"):
        find_dataset("mnli").get_train_examples(folder(train=header + row))


def test_xnli_without_a_chinese_row_is_refused(original, folder):
    path = original / "xnli" / "data" / "xnli.dev.tsv"
    lines = path.read_text(encoding="utf-8").split("\n")
    others = [line for line in lines if not line.startswith("zh\t")]
    data_dir = folder(**{"xnli.dev": "\n".join(others)})
    with pytest.raises(InputError, match=r"examples in the language zh"):
        find_dataset("xnli").get_dev_examples(data_dir)


def test_a_header_in_cola_is_named_as_one(folder):
    data_dir = folder(dev="source\tlabel\tmark\tsentence\nx\t1\t\tGood.\n")
    with pytest.raises(
        InputError, match=r"line 1: found the label 'label'.*has no header"
    ):
        find_dataset("cola").get_dev_examples(data_dir)


def test_an_example_left_out_as_header_is_logged(folder, caplog):
    rows = "1\t2\t3\ta\tb\n0\t2\t3\tc\td\n"
    examples = find_dataset("mrpc").get_dev_examples(folder(dev=rows))
    assert [example.text_a for example in examples] == ["c"]
    assert "Line 1 of" in caplog.text
    assert "looks like an example" in caplog.text


# ------------------------------------------------------------ users' own data

TABLES = {
    ".tsv": 'text\tlabel\nit is 5" wide\tgood\nnot, at all\tbad\n',
    ".csv": 'text,label\n"it is 5"" wide",good\n"not, at all",bad\n',
    ".jsonl": '{"text": "it is 5\\" wide", "label": "good"}\n'
    '{"text": "not, at all", "label": "bad"}\n',
}


@pytest.mark.parametrize("ending", TABLES)
def test_every_format_gives_the_same_examples(folder, ending):
    data_dir = folder(ending, train=TABLES[ending], test=TABLES[ending])
    task = find_dataset("tsv").learn_labels(data_dir)
    train = task.get_train_examples(data_dir)
    test = task.get_test_examples(data_dir)

    assert task.labels == ("bad", "good")
    assert [(one.text_a, one.text_b, one.label) for one in train] == [
        ('it is 5" wide', None, "good"),
        ("not, at all", None, "bad"),
    ]
    assert [(one.text_a, one.label) for one in test] == [
        ('it is 5" wide', "bad"),
        ("not, at all", "bad"),
    ]


def test_columns_may_be_named(folder):
    data_dir = folder(train="who\tq\ta\tsame\n1\tx\ty\tyes\n2\tz\tw\tno\n")
    task = find_dataset("tsv", text_a_col="q", text_b_col="a", label_col="same")
    task = task.learn_labels(data_dir)
    assert task.get_train_examples(data_dir) == [
        InputExample("train-2", "x", "y", "yes"),
        InputExample("train-3", "z", "w", "no"),
    ]


@pytest.mark.parametrize("columns", [(1, 0), ("1", "0")])
def test_columns_may_be_counted_in_a_file_without_a_header(folder, columns):
    data_dir = folder(train="no\ta\nyes\tb\nno\tc\n")
    task = find_dataset("tsv", text_a_col=columns[0], label_col=columns[1])
    task = dataclasses.replace(task, header="no").learn_labels(data_dir)
    texts = [one.text_a for one in task.get_train_examples(data_dir)]
    assert texts == ["a", "b", "c"]


def test_columns_may_be_counted_beside_a_header(folder):
    data_dir = folder(train="label\ttext\nno\ta\nyes\tb\n")
    task = find_dataset("tsv", text_a_col=1, label_col=0, header="yes")
    assert task.learn_labels(data_dir).labels == ("no", "yes")


def test_a_first_row_that_may_be_a_header_must_be_declared(folder):
    data_dir = folder(train="label\ttext\nno\ta\nyes\tb\nno\tc\n")
    task = find_dataset("tsv", text_a_col=1, label_col=0)
    with pytest.raises(InputError, match=r"`header` must be yes or no.*label"):
        task.learn_labels(data_dir)


def test_white_space_around_labels_does_not_count(folder):
    data_dir = folder(train="text\tlabel\na\t yes\nb\tyes \nc\tno\n")
    assert find_dataset("tsv").learn_labels(data_dir).labels == ("no", "yes")


@pytest.mark.parametrize(
    ("found", "labels"),
    [
        (["b", "a", "B", "a"], ("B", "a", "b")),
        (["10", "9", "2", "10"], ("2", "9", "10")),
        (["1.5", "-1", "0"], ("-1", "0", "1.5")),
        (["10", "9", "x"], ("10", "9", "x")),
        (["1", "1.0", "01"], ("01", "1", "1.0")),
    ],
)
def test_labels_are_sorted_and_numbers_by_value(found, labels):
    assert infer_labels(found) == labels


def test_json_labels_may_be_numbers_or_truth_values(folder):
    rows = [{"text": "a", "label": label} for label in (10, 9, True)]
    data_dir = folder(".jsonl", train="\n".join(map(json.dumps, rows)))
    task = find_dataset("tsv").learn_labels(data_dir)
    assert task.labels == ("10", "9", "true")


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        ({"text": 5, "label": 1}, "text_a_col: '5'; expected a string"),
        ({"text": None, "label": 1}, "text_a_col: 'null'; expected a string"),
        ({"text": "a", "label": None}, "label_col: 'null'; expected a string"),
        ({"text": "a", "label": ["x"]}, "label_col: .* expected a string"),
        ({"text": "a", "label": " "}, "an empty label; expected a label"),
        ({"text": "a", "label": "b\nc"}, "expected a label of one line"),
        ({"text": "\ud800", "label": "b"}, "half of a surrogate pair"),
    ],
)
def test_a_json_value_of_another_kind_is_named(folder, row, problem):
    good = {"text": "a", "label": "b"}
    rows = json.dumps(good) + "\n" + json.dumps(row)
    with pytest.raises(InputError, match=f"line 2: found .*{problem}"):
        find_dataset("tsv").learn_labels(folder(".jsonl", train=rows))


def test_a_json_null_means_no_second_text(folder):
    rows = '{"text": "a", "b": null, "label": 0}\n'
    rows += '{"text": "a", "b": "c", "label": 1}\n'
    data_dir = folder(".jsonl", train=rows)
    task = find_dataset("tsv", text_b_col="b").learn_labels(data_dir)
    texts = [one.text_b for one in task.get_train_examples(data_dir)]
    assert texts == [None, "c"]


def test_a_label_that_training_did_not_have_is_named(folder):
    data_dir = folder(
        train="text\tlabel\na\tgood\nb\tbad\n",
        dev="text\tlabel\na\tgood\nb\tso-so\n",
    )
    with pytest.raises(
        InputError,
        match=r"dev.tsv, line 3: found the label 'so-so'; expected one of "
        "the training file's: 'bad', 'good'",
    ):
        find_dataset("tsv").learn_labels(data_dir).get_dev_examples(data_dir)


def test_a_header_where_none_was_announced_is_named(folder):
    data_dir = folder(
        train="a\tgood\nb\tbad\nc\tgood\n", dev="text\tlabel\na\tgood\n"
    )
    task = find_dataset("tsv", text_a_col=0, label_col=1).learn_labels(data_dir)
    with pytest.raises(InputError, match=r"'label'.*say header=yes"):
        task.get_dev_examples(data_dir)


def test_test_data_needs_no_labels(folder):
    data_dir = folder(test="id\ttext\n1\tfine\n")
    task = find_dataset("tsv").with_labels(["x", "y"])
    assert task.get_test_examples(data_dir) == [
        InputExample("test-2", "fine", None, "x")
    ]


def test_one_label_is_too_few(folder):
    with pytest.raises(InputError, match=r"two different labels.*'good', in 2"):
        find_dataset("tsv").learn_labels(
            folder(train="text\tlabel\na\tgood\nb\tgood\n")
        )


def test_labels_that_hardly_repeat_are_logged(folder, caplog):
    rows = "".join(f"text\tlabel {number}\n" for number in range(30))
    find_dataset("tsv").learn_labels(folder(train="text\tlabel\n" + rows))
    assert "30 different labels in 30 rows" in caplog.text


def test_empty_texts_are_logged(folder, caplog):
    data_dir = folder(train="text\tlabel\na\tb\n\tc\n \td\n")
    find_dataset("tsv").learn_labels(data_dir)
    assert "2 rows without a text in text_a_col, the first in line 3" in (
        caplog.text
    )
    assert caplog.records[0].levelno == logging.WARNING


def test_the_same_column_twice_is_refused():
    with pytest.raises(InputError, match=r"text_a_col.*label_col.*different"):
        find_dataset("tsv", text_a_col="x", label_col="x")


def test_header_is_yes_no_or_auto():
    with pytest.raises(InputError, match=r"auto, no or yes.*'true'"):
        OwnDataset(header="true")


@pytest.mark.parametrize("name", ["tsv", "csv", "JSONL"])
def test_own_files_of_any_kind_go_with_each_of_their_names(name, folder):
    made = folder(".csv", train='text,label\n"a, b",x\nc,y\n')
    folder(".jsonl", dev='{"text": "d", "label": "y"}\n')
    task = find_dataset(name).learn_labels(made)

    assert is_own(name) and not is_own("mrpc")
    assert [one.text_a for one in task.get_train_examples(made)] == [
        "a, b",
        "c",
    ]
    assert [one.text_a for one in task.get_dev_examples(made)] == ["d"]


def test_labels_must_be_learned_before_examples_are_read(folder):
    with pytest.raises(ValueError, match="learn_labels"):
        find_dataset("tsv").get_dev_examples(folder(dev="text\tlabel\na\tb\n"))


# ---------------------------------------------------------------- sample data

SAMPLES = ROOT / "run_scripts" / "sample_data"


def test_the_sample_reviews_are_what_their_script_makes(tmp_path):
    script = SAMPLES / "make_reviews.py"
    subprocess.run([sys.executable, str(script), str(tmp_path)], check=True)
    for part in ("train", "dev", "test"):
        made = (tmp_path / f"{part}.tsv").read_bytes()
        assert made == (SAMPLES / "reviews" / f"{part}.tsv").read_bytes()


def test_the_sample_reviews_never_repeat_and_are_balanced():
    folder = str(SAMPLES / "reviews")
    task = find_dataset("tsv").learn_labels(folder)
    train = task.get_train_examples(folder)
    dev = task.get_dev_examples(folder)
    test = task.get_test_examples(folder)
    labels = [example.label for example in train]

    assert (len(train), len(dev), len(test)) == (400, 100, 20)
    assert len({example.text_a for example in train + dev + test}) == 520
    assert task.labels == ("negative", "positive")
    assert labels.count("negative") == 200


def test_the_sample_pairs_have_the_layout_of_mrpc():
    folder = str(SAMPLES / "mrpc")
    task = find_dataset("mrpc")
    train = task.get_train_examples(folder)
    dev = task.get_dev_examples(folder)
    assert (len(train), len(dev)) == (60, 20)
    assert len(task.get_test_examples(folder)) == 10
    assert {example.label for example in dev} == {"0", "1"}
    shared = {one.text_a for one in train} & {one.text_a for one in dev}
    assert not shared


LOOKALIKES = [
    ("caf\xe9", "cafe\u0301"),
    ("good", "go\u200bod"),
    ("1", "1.0"),
    ("1", "+1"),
    ("0", "-0.0"),
    ("Good", "good"),
    ("not good", "not\xa0good"),
    ("a  b", "a b"),
    ("good", "good\ufeff"),
]


@pytest.mark.parametrize(("one", "other"), LOOKALIKES)
def test_labels_that_look_the_same_are_told(tmp_path, caplog, one, other):
    rows = [one, "third", other, one]
    text = "text\tlabel\n" + "".join(f"a\t{label}\n" for label in rows)
    (tmp_path / "train.tsv").write_text(text, encoding="utf-8")
    task = find_dataset("tsv").learn_labels(str(tmp_path))

    assert set(task.get_labels()) == {one, "third", other}
    [message] = [record.getMessage() for record in caplog.records]
    assert f"{one!a} (line 2), {other!a} (line 4)" in message

    dev = f"text\tlabel\na\t{other}\n"
    (tmp_path / "dev.tsv").write_text(dev, encoding="utf-8")
    with pytest.raises(InputError) as caught:
        task.with_labels([one, "third"]).get_dev_examples(str(tmp_path))
    assert f"{one!a} differs only in how it is written" in str(caught.value)


@pytest.mark.parametrize(
    ("labels", "are_scores"),
    [
        (("0", "1", "2"), False),
        (("1.0", "2.0"), False),
        (("1.5", "2.0", "4.25"), True),
        (("1.5", "many"), False),
        (("-1", "1"), False),
        (("good", "goods"), False),
        (tuple(map(str, range(21))), True),
        (tuple(map(str, range(21))) * 2, False),
        (tuple(map(str, range(20))), False),
    ],
)
def test_labels_that_look_like_scores_are_refused(tmp_path, labels, are_scores):
    text = "text\tlabel\n" + "".join(f"a\t{label}\n" for label in labels)
    (tmp_path / "train.tsv").write_text(text, encoding="utf-8")
    if are_scores:
        with pytest.raises(InputError) as caught:
            find_dataset("tsv").learn_labels(str(tmp_path))
        for fact in ("train.tsv", labels[0], "--label_type=number"):
            assert fact in str(caught.value)
    given = "class" if are_scores else None
    found = find_dataset("tsv", given).learn_labels(str(tmp_path))
    assert found.get_labels() == tuple(dict.fromkeys(labels))
