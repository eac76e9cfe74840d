"""Numbers and several labels in users' own files."""

import json
import logging

import pytest

from bert_tf.errors import InputError
from bert_tf.tasks.classification.datasets import find_dataset
from bert_tf.tasks.classification.targets import ManyLabels, Number, OneLabel
from bert_tf.tasks.classification.weights import weigh


@pytest.fixture
def folder(tmp_path):
    """A folder to be filled: folder(train="...", dev="...")."""

    def fill(ending=".tsv", **parts):
        for part, content in parts.items():
            path = tmp_path / (part + ending)
            path.write_text(content, encoding="utf-8")
        return str(tmp_path)

    return fill


def number(**more):
    return find_dataset("tsv", "number", label_col="score", **more)


def multi(label_cols=None, separator=None, **columns):
    return find_dataset("tsv", "multi", label_cols, separator, **columns)


def labels_of(dataset, data_dir):
    learned = dataset.learn_labels(data_dir)
    rows = learned.get_train_examples(data_dir)
    return learned.labels, [one.label for one in rows]


# --------------------------------------------------------------------- numbers


def test_numbers_are_read_as_they_are(folder):
    data_dir = folder(
        train="text\tscore\na\t3.8\nb\t -1e-3 \nc\t5\nd\t.5\n",
        test="text\na\n",
    )
    labels, values = labels_of(number(), data_dir)
    assert labels is None
    assert values == [3.8, -0.001, 5.0, 0.5]
    (example,) = number().get_test_examples(data_dir)
    assert example.label == 0.0


def test_json_numbers_are_numbers(folder):
    rows = '{"text": "a", "score": 2}\n{"text": "b", "score": "0.25"}\n'
    data_dir = folder(".jsonl", train=rows)
    assert labels_of(number(), data_dir)[1] == [2.0, 0.25]


@pytest.mark.parametrize(
    ("cell", "fact"),
    [
        ("", "an empty cell"),
        ("nan", "'nan'"),
        ("inf", "'inf'"),
        ("-Infinity", "'-Infinity'"),
        ("3,5", "'3,5'"),
        ("1 000", "'1 000'"),
        ("good", "'good'"),
        ("0x10", "'0x10'"),
        ("1e39", "3.4e38"),
        ("1_0", "'1_0'"),
    ],
)
def test_what_is_no_decimal_number_is_named(folder, cell, fact):
    data_dir = folder(train=f"text\tscore\na\t1.5\nb\t{cell}\n")
    with pytest.raises(InputError) as caught:
        number().learn_labels(data_dir)
    for wanted in ("train.tsv, line 3: found label_col", fact, "number"):
        assert wanted in str(caught.value)


@pytest.mark.parametrize("value", ["NaN", "true", "null", "[1]", "1e999"])
def test_what_is_no_number_in_json_is_named(folder, value):
    rows = '{"text": "a", "score": 1}\n' + f'{{"text": "b", "score": {value}}}'
    with pytest.raises(InputError, match=r"train\.jsonl, line 2: found label_"):
        number().learn_labels(folder(".jsonl", train=rows))


@pytest.mark.parametrize(
    ("values", "warning"),
    [
        ((1, 2, 3, 4), None),
        ((100, 900, 500), "deviation 326.599"),
        ((0.001, 0.002, 0.003), "deviation 0.00081"),
        ((1000.5, 1001, 1002), "mean 1001.17"),
        ((2, 2, 2), "All training labels are 2"),
    ],
)
def test_the_spread_of_numbers_is_told(folder, caplog, values, warning):
    caplog.set_level(logging.INFO)
    rows = "".join(f"a\t{value}\n" for value in values)
    number().learn_labels(folder(train="text\tscore\n" + rows))
    assert "Training labels: mean" in caplog.text
    warned = [one for one in caplog.records if one.levelname == "WARNING"]
    assert len(warned) == (warning is not None)
    assert (warning or "") in caplog.text


# -------------------------------------------------------------- several labels

NAMES = "text\tlabel\na\tred, blue\nb\t\nc\tblue\n"
COLUMNS = "id,comment,red,blue\n1,a,1,1\n2,b,0,0\n3,c,0,1\n"
LISTS = "text\tlabel\na\t[1, 1]\nb\t[0,0]\nc\t[0, 1]\n"
ROWS = [("red", "blue"), (), ("blue",)]


def test_names_in_a_cell_have_the_order_of_their_code_points(folder):
    labels, rows = labels_of(multi(), folder(train=NAMES))
    assert labels == ("blue", "red")
    assert rows == ROWS


def test_names_may_be_joined_by_another_separator(folder):
    text = NAMES.replace(", ", " || ")
    labels, rows = labels_of(multi(separator="||"), folder(train=text))
    assert labels == ("blue", "red")
    assert rows == ROWS


def test_each_label_may_have_a_column(folder):
    dataset = multi(["red", "blue"], text_a_col="comment")
    data_dir = folder(".csv", train=COLUMNS, test="id,comment\n1,a\n")
    assert labels_of(dataset, data_dir) == (("red", "blue"), ROWS)
    (example,) = dataset.get_test_examples(data_dir)
    assert (example.text_a, example.label) == ("a", ())


def test_a_cell_may_have_a_list_of_0_and_1(folder):
    dataset = multi(["red", "blue"], label_col="label")
    got = labels_of(dataset, folder(train=LISTS))
    assert got == (("red", "blue"), ROWS)


def test_label_cols_give_names_in_a_cell_their_order(folder):
    dataset = multi(["red", "green", "blue"], label_col="label")
    labels, rows = labels_of(dataset, folder(train=NAMES))
    assert labels == ("red", "green", "blue")
    assert rows == ROWS


@pytest.mark.parametrize(
    ("values", "label_cols"),
    [
        ((["red", "blue"], [], ["blue"]), None),
        (("red,blue", None, "blue"), None),
        (([1, 1], [0, 0], [0, 1]), ["red", "blue"]),
        (([True, True], [False, False], [False, True]), ["red", "blue"]),
    ],
)
def test_json_may_have_lists(folder, values, label_cols):
    rows = [{"text": "a", "label": value} for value in values]
    data_dir = folder(".jsonl", train="\n".join(map(json.dumps, rows)))
    columns = {"label_col": "label"} if label_cols else {}
    got = labels_of(multi(label_cols, **columns), data_dir)[1]
    assert got == ROWS


def test_numbers_in_a_json_list_are_names_unless_label_cols_has_them(folder):
    values = [0, 1], [], [1, 0], [1]
    rows = [{"text": "a", "label": value} for value in values]
    lines = "\n".join(map(json.dumps, rows))
    data_dir = folder(".jsonl", train=lines, dev=lines)
    dataset = multi().learn_labels(data_dir)
    assert dataset.labels == ("0", "1")
    want = [("0", "1"), (), ("1", "0"), ("1",)]
    for examples in (
        dataset.get_train_examples(data_dir),
        dataset.get_dev_examples(data_dir),
    ):
        assert [one.label for one in examples] == want


def test_known_labels_may_be_given_by_a_list_of_0_and_1(folder):
    data_dir = folder(dev=LISTS)
    dataset = multi(label_col="label").with_labels(("red", "blue"))
    found = dataset.get_dev_examples(data_dir)
    assert [one.label for one in found] == ROWS


def test_json_keys_may_be_labels(folder):
    rows = [{"text": "a", "red": 1, "blue": True}, {"text": "b", "red": "0"}]
    rows[1]["blue"] = 0
    data_dir = folder(".jsonl", train="\n".join(map(json.dumps, rows)))
    assert labels_of(multi(["red", "blue"]), data_dir)[1] == ROWS[:2]


@pytest.mark.parametrize(
    ("text", "options", "facts"),
    [
        (NAMES + "d\tred,red\n", {}, ("line 5", "'red' twice")),
        (NAMES + "d\tred,,blue\n", {}, ("line 5", "an empty label")),
        (
            NAMES + "d\tgreen\n",
            {"label_cols": ["red", "blue"], "label_col": "label"},
            ("line 5", "'green'", "--label_cols"),
        ),
        (LISTS, {}, ("line 2", "[1, 1]", "--label_cols")),
        (
            LISTS + "d\t[1, 0, 1]\n",
            {"label_cols": ["red", "blue"], "label_col": "label"},
            ("line 5", "3 values", "'red', 'blue'"),
        ),
        (
            LISTS + "d\t[1, 2]\n",
            {"label_cols": ["red", "blue"], "label_col": "label"},
            ("line 5", "'[1'"),
        ),
        (
            "text\tred\tblue\na\t1\t2\n",
            {"label_cols": ["red", "blue"]},
            ("line 2", "label_cols, blue: '2'", "0 or 1"),
        ),
        (
            "text\tred\tblue\na\t1\t\n",
            {"label_cols": ["red", "blue"]},
            ("line 2", "label_cols, blue: an empty cell", "0 or 1"),
        ),
        (
            "text\tred\tblue\na\tyes\t0\n",
            {"label_cols": ["red", "blue"]},
            ("line 2", "label_cols, red: 'yes'", "0 or 1"),
        ),
        (
            "text\tred\na\t1\n",
            {"label_cols": ["red", "blue"]},
            ("label_cols[1]", "'blue'", "'red'"),
        ),
        ("text\tlabel\na\t\nb\t\n", {}, ("must have labels", "2 rows")),
    ],
)
def test_bad_sets_of_labels_are_named(folder, text, options, facts):
    with pytest.raises(InputError) as caught:
        find_dataset("tsv", "multi", **options).learn_labels(folder(train=text))
    assert "train.tsv" in str(caught.value)
    for fact in facts:
        assert fact in str(caught.value)


def test_a_name_with_the_separator_is_refused(folder):
    row = json.dumps({"text": "a", "label": ["red,blue"]})
    with pytest.raises(InputError, match=r"'red,blue'.*--label_separator"):
        multi().learn_labels(folder(".jsonl", train=row))


def test_a_label_only_in_dev_is_named(folder):
    data_dir = folder(train=NAMES, dev="text\tlabel\na\tred,green\n")
    with pytest.raises(InputError, match=r"dev\.tsv, line 2.*'green'.*'red'"):
        multi().learn_labels(data_dir).get_dev_examples(data_dir)


def test_a_label_without_a_row_is_told(folder, caplog):
    dataset = multi(["red", "green", "blue"], label_col="label")
    dataset.learn_labels(folder(train=NAMES))
    assert "No row of the training file has the label 'green'" in caplog.text


@pytest.mark.parametrize(
    ("name", "options", "facts"),
    [
        ("tsv", {"label_cols": ["a"]}, ("label_cols", "label_type=multi")),
        (
            "tsv",
            {"label_type": "number", "label_separator": ";"},
            ("label_separator", "label_type=multi"),
        ),
        (
            "tsv",
            {"label_type": "multi", "label_separator": ""},
            ("label_separator",),
        ),
        (
            "tsv",
            {"label_type": "multi", "label_cols": ["a", "b", "a"]},
            ("label_cols", "a,b,a"),
        ),
        (
            "tsv",
            {
                "label_type": "multi",
                "label_cols": ["a;b", "c"],
                "label_separator": ";",
            },
            ("label_cols", "label_separator", "'a;b'"),
        ),
        (
            "tsv",
            {"label_type": "multi", "label_cols": ["text", "b"]},
            ("text_a_col", "label_cols[0]", "different"),
        ),
        ("mrpc", {"label_type": "class"}, ("label_type", "tsv")),
    ],
)
def test_options_that_do_not_fit_are_named(name, options, facts):
    with pytest.raises(InputError) as caught:
        find_dataset(name, **options)
    for fact in facts:
        assert fact in str(caught.value)


# --------------------------------------------------------------------- weights


def test_balanced_weights_make_labels_count_the_same():
    found = ["a"] * 6 + ["b"] * 2
    got = weigh(OneLabel(("a", "b")), "balanced", found)
    # Rows / (labels x rows of the label), as scikit-learn has it.
    assert got.weights == (8 / (2 * 6), 8 / (2 * 2))


def test_balanced_weights_of_several_labels_are_negatives_over_positives():
    found = [("a",), ("a", "b"), ("a",), ()]
    got = weigh(ManyLabels(("a", "b")), "balanced", found)
    assert got.weights == (1 / 3, 3 / 1)


@pytest.mark.parametrize(
    ("text", "want"),
    [
        ("a=1,b=4.5", (1.0, 4.5)),
        (" b = 4.5 , a=1", (1.0, 4.5)),
        ("1,4.5", (1.0, 4.5)),
    ],
)
def test_weights_may_be_given(text, want):
    assert weigh(OneLabel(("a", "b")), text, []).weights == want


@pytest.mark.parametrize(
    ("text", "facts"),
    [
        ("1", ("2 labels", "'a', 'b'", "Received 1")),
        ("1,2,3", ("2 labels", "Received 3")),
        ("a=1", ("none for 'b'",)),
        ("a=1,c=2", ("'c'", "no label", "'a', 'b'")),
        ("a=1,a=2", ("'a', twice",)),
        ("a=1,b=0", ("above 0", "'b=0'")),
        ("a=1,b=nan", ("above 0", "'b=nan'")),
        ("1,inf", ("above 0", "'inf'")),
        ("balance", ("balanced", "Received 1")),
    ],
)
def test_bad_weights_are_named(text, facts):
    with pytest.raises(InputError) as caught:
        weigh(OneLabel(("a", "b")), text, [])
    for fact in ("--class_weights", *facts):
        assert fact in str(caught.value).replace("`", "")


def test_balanced_weights_need_rows_of_every_label():
    with pytest.raises(InputError, match=r"balanced.*none of 'b'"):
        weigh(OneLabel(("a", "b")), "balanced", ["a", "a"])
    with pytest.raises(InputError, match=r"balanced.*none of 'b'"):
        weigh(ManyLabels(("a", "b")), "balanced", [("a",)])


def test_numbers_have_no_weights():
    with pytest.raises(InputError, match="class_weights"):
        weigh(Number(), "balanced", [1.0])
