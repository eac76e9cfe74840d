"""Files of multiple choice become examples; bad rows are named."""

import json
import logging

import pytest

from bert_tf.errors import InputError
from bert_tf.tasks.choices import data as choices_data
from bert_tf.tasks.choices.data import (
    ChoiceColumns,
    ChoiceExample,
    find_test_labels,
    label_names,
    labels_of,
    read_part,
    require_first_label,
    require_swag,
)

HEADER = (
    ",video-id,fold-ind,startphrase,sent1,sent2,gold-source,"
    "ending0,ending1,ending2,ending3,label\n"
)
ROW = (
    "0,v-0,1,A dog barks. It,A dog barks.,It,gold,runs.,sits.,eats.,flies.,2\n"
)
OWN = ChoiceColumns(choice_cols="a,b")


@pytest.fixture
def folder(tmp_path):
    def write(name, content):
        if isinstance(content, list):
            content = "".join(json.dumps(row) + "\n" for row in content)
        (tmp_path / name).write_bytes(content.encode())
        return str(tmp_path)

    return write


def message_of(data_dir, columns=None):
    with pytest.raises(InputError) as error:
        read_part(data_dir, "train", columns or ChoiceColumns())
    return str(error.value)


# ---------------------------------------------------------------------- SWAG


def test_a_row_of_swag_is_read_by_the_names_of_its_columns(folder):
    read = read_part(
        folder("train.csv", HEADER + ROW), "train", ChoiceColumns()
    )

    endings = ("runs.", "sits.", "eats.", "flies.")
    want = ChoiceExample("train-2", "A dog barks.", "It", endings, 2)
    assert read.examples == [want]
    assert read.labels == ("0", "1", "2", "3") and read.num_choices == 4
    assert want.second_texts()[3] == "It flies."


def test_the_beginning_of_the_sentence_may_be_part_of_the_context(folder):
    data_dir = folder("val.csv", HEADER + ROW)
    columns = ChoiceColumns(swag_inputs="startphrase")

    (example,) = read_part(data_dir, "dev", columns).examples

    assert (example.context, example.question) == ("A dog barks. It", "")
    assert example.second_texts()[0] == "runs."


def test_a_test_file_has_no_label(folder):
    bare = (HEADER + ROW).replace(",label", "").replace(",2\n", "\n")
    data_dir = folder("test.csv", bare)

    read = read_part(data_dir, "test", ChoiceColumns(), is_labelled=False)

    assert [example.label for example in read.examples] == [0]
    assert read.labels is None
    assert "label" in message_of(folder("train.csv", bare))


def test_letters_name_26_choices_and_no_more(folder):
    def row(count):
        return {"context": "c", "choices": ["x"] * count, "label": "B"}

    data_dir = folder("train.jsonl", [row(26)])
    assert read_part(data_dir, "train", ChoiceColumns()).labels[-1] == "Z"
    message = message_of(folder("train.jsonl", [row(27)]))
    for fact in ("train.jsonl, line 1", "27 choices", "26", "'B'"):
        assert fact in message, message
    # A file without labels, of a model whose first choice is A.
    bare = {**row(27), "label": None}
    data_dir = folder("test.jsonl", [bare])
    read = read_part(data_dir, "test", ChoiceColumns(), is_labelled=False)
    with pytest.raises(InputError, match=r"26.* 27"):
        labels_of([read], "A")
    assert labels_of([read], "0")[-1] == "26"


def test_rows_of_swag_that_are_bad_are_named_together(folder):
    rows = (
        ROW + ROW.replace(",2\n", ",4\n") + ROW.replace(",2\n", "\n") + ROW[2:]
    )
    message = message_of(folder("train.csv", HEADER + rows))

    for fact in (
        "line 3",
        "'4'",
        "0, 1, 2, 3",
        "line 4",
        "11 columns",
        "12 as in line 1",
    ):
        assert fact in message, message


def test_the_annotated_files_of_swag_are_named(folder):
    content = "video-id,startphrase,gold-ending,distractor-0,distractor-1\n"
    named = message_of(folder("train_full.csv", content))
    assert "train.csv" in named and "train_full.csv has another" in named

    renamed = message_of(folder("train.csv", content))
    assert "train.csv" in renamed and "gold-ending" in renamed
    assert "val_full.csv" in renamed


@pytest.mark.parametrize(
    ("columns", "names"),
    [
        (ChoiceColumns(label_col="label"), ("--label_col", "--choice_cols")),
        (ChoiceColumns(first_label="1"), ("--first_label=1", "SWAG")),
    ],
)
def test_flags_for_own_files_are_refused_for_swag(folder, columns, names):
    message = message_of(folder("train.csv", HEADER + ROW), columns)
    assert all(name in message for name in names), message


# ----------------------------------------------------------------- own files


def test_json_lines_have_a_list_of_choices(folder):
    rows = [
        {
            "context": "A.",
            "question": "Why?",
            "choices": ["x", "y"],
            "label": 1,
        },
        {"context": "B.", "choices": ["x", "z"], "label": "0", "more": None},
    ]
    read = read_part(folder("dev.jsonl", rows), "dev", ChoiceColumns())

    assert read.examples == [
        ChoiceExample("dev-1", "A.", "Why?", ("x", "y"), 1),
        ChoiceExample("dev-2", "B.", "", ("x", "z"), 0),
    ]


@pytest.mark.parametrize(
    ("name", "separator"), [("train.csv", ","), ("train.tsv", "\t")]
)
@pytest.mark.parametrize(
    ("columns", "question"),
    [
        (ChoiceColumns("c", "q", "x,y,z", "l", "1"), "Who?"),
        (ChoiceColumns("c", None, "x,y,z", "l", "1"), ""),
        (ChoiceColumns("0", "1", "2,3,4", "l", "1"), "Who?"),
    ],
)
def test_columns_are_given_by_name_or_place(
    folder, name, separator, columns, question
):
    lines = [("c", "q", "x", "y", "z", "l"), ("A", "Who?", "a", "b", "c", "3")]
    content = "".join(separator.join(line) + "\n" for line in lines)

    read = read_part(folder(name, content), "train", columns)

    assert read.examples == [
        ChoiceExample("train-2", "A", question, ("a", "b", "c"), 2)
    ]
    assert read.labels == ("1", "2", "3")


def test_files_without_a_header_have_columns_by_place(folder):
    columns = ChoiceColumns("0", None, "1,2", "3")
    read = read_part(folder("train.tsv", "A\tx\ty\t1\n"), "train", columns)
    assert read.examples == [ChoiceExample("train-1", "A", "", ("x", "y"), 1)]


def test_a_test_file_has_a_header_if_the_others_have_one(folder):
    columns = ChoiceColumns("0", None, "1,2")  # The label is named.
    folder("train.csv", "c,x,y,label\nA,a,b,1\nB,a,b,0\n")
    data_dir = folder("test.csv", "c,x,y,label\nC,a,b,0\nD,a,b,1\n")
    read = read_part(data_dir, "test", columns, is_labelled=False)
    assert [example.context for example in read.examples] == ["C", "D"]
    assert find_test_labels(data_dir, columns, ("0", "1")) == [0, 1]
    assert choices_data.test_table(data_dir, columns).rows[0][0] == "C"


def test_whether_there_is_a_header_must_be_plain(folder):
    columns = ChoiceColumns("0", None, "1,2")
    data_dir = folder("test.tsv", "C\ta\tb\nD\ta\tb\n")
    with pytest.raises(InputError, match=r"--label_col.*no 'label'"):
        read_part(data_dir, "test", columns, is_labelled=False)
    columns = ChoiceColumns("0", None, "1,2", "3")
    read = read_part(data_dir, "test", columns, is_labelled=False)
    assert len(read.examples) == 2


def test_a_noted_first_label_is_for_own_files_and_can_be_overruled(folder):
    noted = ChoiceColumns(choice_cols="a,b", noted_first_label="A")
    data_dir = folder("train.csv", "context,a,b,label\nA,x,y,0\n")
    message = r"'0'; expected one of A, B, since.*notes.*--first_label says"
    with pytest.raises(InputError, match=message):
        read_part(data_dir, "train", noted)
    given = ChoiceColumns(choice_cols="a,b", first_label="0")
    assert read_part(data_dir, "train", given).labels == ("0", "1")
    swag = ChoiceColumns(noted_first_label="A")
    read = read_part(folder("train.csv", HEADER + ROW), "train", swag)
    assert read.labels == ("0", "1", "2", "3")


def test_labels_may_be_letters(folder):
    rows = "context,a,b,label\nA,x,y,B\nA,x,y, A\n"
    read = read_part(folder("train.csv", rows), "train", OWN)
    assert [example.label for example in read.examples] == [1, 0]
    assert read.labels == ("A", "B")


def test_names_of_choices():
    assert label_names(3, "0") == ("0", "1", "2")
    assert label_names(2, "1") == ("1", "2")
    assert label_names(2, "A") == ("A", "B")


@pytest.mark.parametrize("bad", ["-1", "B", "", "1.5", "²"])
def test_a_first_label_is_a_number_or_a(bad):
    require_first_label("A")
    with pytest.raises(InputError, match=f"--first_label={bad}"):
        require_first_label(bad)


def test_rows_without_a_text_are_counted(folder, caplog):
    rows = "context,a,b,label\nA,x,y,0\n,x,y,0\nA,x,,1\n"
    with caplog.at_level(logging.WARNING):
        read_part(folder("train.csv", rows), "train", OWN)
    assert "2 rows" in caplog.text and "line 3" in caplog.text


def row(**changed):
    return {"context": "A", "choices": ["x", "y"], "label": 0, **changed}


@pytest.mark.parametrize(
    ("bad", "found", "expected"),
    [
        (row(label=2), "'2'", "0, 1"),
        (row(label=-1), "'-1'", "0, 1, as in line 1"),
        (row(label="B"), "'B'", "0, 1, as in line 1"),
        (row(label=None), "'null'", "0, 1, as in line 1"),
        (row(label=True), "'true'", "0, 1"),
        (row(label=1.0), "'1.0'", "0, 1"),
        (row(label=""), "''", "0, 1"),
        (row(choices=["x"]), "1 choice", "two or more"),
        (row(choices=["x", "y", "z"]), "3 choices", "2 as in line 1"),
        (row(choices="x,y"), "x,y", "a list of texts"),
        (row(choices=["x", 7]), "choice_cols[1]", "a string"),
        (row(choices=["x", None]), "choice_cols[1]", "a string"),
        (row(context=["A"]), "context_col", "a string"),
        (row(question={"a": 1}), "question_col", "a string"),
        (row(context="\ud800"), "context_col", "text"),
        ({"context": "A", "choices": ["x", "y"]}, "label_col", "label"),
        ({"choices": ["x", "y"], "label": 0}, "context_col", "context"),
        ({"context": "A", "label": 0}, "choice_cols", "choices"),
        ([1, 2], "[1, 2]", "a JSON object"),
    ],
)
def test_bad_rows_are_named(folder, bad, found, expected):
    message = message_of(folder("train.jsonl", [row(), bad]))
    line = message.splitlines()[-1]
    assert "train.jsonl, line 2" in line
    assert found in line.partition("; expected ")[0] or found in line
    assert expected in line.partition("; expected ")[2]


def test_labels_that_count_from_one_are_explained(folder):
    assert "--first_label=1" in message_of(
        folder("train.jsonl", [row(), row(label=2)])
    )


def test_letters_are_no_labels_where_a_first_number_is_given(folder):
    message = message_of(
        folder("train.jsonl", [row(label="A")]), ChoiceColumns(first_label="1")
    )
    assert "'A'" in message and "one of 1, 2" in message


@pytest.mark.parametrize(
    ("name", "content", "columns", "names"),
    [
        ("train.tsv", "a\n", ChoiceColumns(), ("--choice_cols", "train.tsv")),
        (
            "train.csv",
            "context,a,b,label\n",
            ChoiceColumns(),
            ("SWAG", "--choice_cols", "'context'"),
        ),
        ("train.csv", "context,a,b,label\n", OWN, ("train.csv", "none")),
        (
            "train.csv",
            "context,a,label\nA,x,0\n",
            OWN,
            ("choice_cols[1]", "'b'", "line 1"),
        ),
        (
            "train.csv",
            "context,a,b,label\nA,x,y,0\n",
            ChoiceColumns(choice_cols="a,a"),
            ("choice_cols[0]", "choice_cols[1]", "different"),
        ),
        (
            "train.csv",
            "context,a,b,label\nA,x,y,0\n",
            ChoiceColumns(choice_cols="a"),
            ("--choice_cols=a", "two"),
        ),
        (
            "train.csv",
            "context,a,b,label\nA,x,y,0\n",
            ChoiceColumns(choice_cols="a,b", question_col="q"),
            ("question_col", "'q'"),
        ),
    ],
)
def test_files_and_columns_that_do_not_fit_are_named(
    folder, name, content, columns, names
):
    message = message_of(folder(name, content), columns)
    assert all(one in message for one in names), message


def test_inputs_of_swag_are_for_files_of_swag(folder):
    data_dir = folder("val.csv", HEADER + ROW)
    folder("train.jsonl", [row()])
    columns = ChoiceColumns(swag_inputs="startphrase")
    own, swag = (read_part(data_dir, x, columns) for x in ("train", "dev"))

    require_swag([swag], "startphrase")
    with pytest.raises(InputError, match=r"swag_inputs.*train\.jsonl"):
        require_swag([swag, own], "startphrase")


def test_all_files_of_a_run_have_as_many_choices_named_alike(folder):
    folder("train.jsonl", [row()])
    folder("dev.jsonl", [row(choices=["x", "y", "z"])])
    data_dir = folder("test.jsonl", [row(label="A")])
    train, dev, test = (
        read_part(data_dir, part, ChoiceColumns())
        for part in ("train", "dev", "test")
    )

    assert labels_of([train, train]) == ("0", "1")
    assert labels_of([dev._replace(labels=None)], "1") == ("1", "2", "3")
    with pytest.raises(InputError, match=r"train\.jsonl has 2.*dev\.jsonl.*3"):
        labels_of([train, dev])
    with pytest.raises(InputError, match=r"train.*0, 1.*test\.jsonl.*A, B"):
        labels_of([train, test])


# ---------------------------------------------------- labels of the test file

NUMBERS = ("0", "1")


def rows_with(*labels):
    row = {"context": "a", "choices": ["b", "c"]}
    return [row if x is None else {**row, "label": x} for x in labels]


@pytest.mark.parametrize(
    ("names", "labels"),
    [(NUMBERS, [1, 0, 1]), (("A", "B"), ["B", " A", "B"]), (("1", "2"), "212")],
)
def test_labels_of_a_test_file_are_named_as_the_choices_are(
    folder, names, labels
):
    data_dir = folder("test.jsonl", rows_with(*labels))

    found = find_test_labels(data_dir, ChoiceColumns(), names)

    assert found == [1, 0, 1]


def test_labels_of_swag_s_layout_are_read_by_name(folder):
    other = ROW.replace(",2\n", ",0\n")
    data_dir = folder("test.csv", HEADER + ROW + other)

    assert find_test_labels(data_dir, ChoiceColumns(), tuple("0123")) == [2, 0]


@pytest.mark.parametrize(
    ("labels", "names"),
    [
        ([1, 1], "the same"),
        ([-1, -1], "line 1 has '-1'"),
        (["", ""], "line 1 has ''"),
        ([0, 2], "line 2 has '2'"),
        ([0, None], "not every row"),
    ],
)
def test_dummy_and_unknown_labels_are_ignored_with_one_line(
    folder, caplog, labels, names
):
    caplog.set_level(logging.INFO)
    data_dir = folder("test.jsonl", rows_with(*labels))

    assert find_test_labels(data_dir, ChoiceColumns(), NUMBERS) is None
    (message,) = caplog.messages
    assert "test.jsonl" in message and names in message


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("test.csv", HEADER.replace(",label", "") + ROW.replace(",2\n", "\n")),
        ("test.jsonl", rows_with(None, None)),
    ],
)
def test_a_test_file_without_labels_says_nothing(folder, caplog, name, content):
    caplog.set_level(logging.INFO)
    data_dir = folder(name, content)

    assert find_test_labels(data_dir, ChoiceColumns(), tuple("0123")) is None
    assert caplog.messages == []
