import gzip
import random
import re

import pytest

from bert_tf.data.tables import (
    Problems,
    find_file,
    read_columns,
    read_csv,
    read_jsonl,
    read_lines,
    read_tsv,
    shuffled,
)
from bert_tf.errors import InputError, quote

BYTE_ORDER_MARK = b"\xef\xbb\xbf"


@pytest.fixture
def write(tmp_path):
    def write(content, name="train.tsv"):
        path = tmp_path / name
        path.write_bytes(
            content if isinstance(content, bytes) else content.encode()
        )
        return str(path)

    return write


def read(reader, path, *args):
    """All rows, and the message about the bad ones if there are any."""
    problems = Problems(path)
    rows = list(reader(path, *args, problems))
    try:
        problems.raise_if_any()
    except InputError as error:
        return rows, str(error)
    return rows, ""


def test_lines_are_those_of_tensorflow_s_reader(write):
    gfile = pytest.importorskip("tensorflow").io.gfile
    draw = random.Random(5)
    pieces = [
        *["a", "ö", "\t", '"', "\r", "\n", "\r\n", "\x0b", "\x0c", "\x1c"],
        *["\x85", "\u2028", "\u2029", "\ufeff", "北"],
    ]
    for _ in range(50):
        path = write("x\n" + "".join(draw.choices(pieces, k=60)))
        with gfile.GFile(path, "r") as file:
            want = [line.removesuffix("\n") for line in file]

        assert [text for _, text in read(read_lines, path)[0]] == want


def test_a_byte_order_mark_is_no_part_of_the_first_line(write):
    path = write(BYTE_ORDER_MARK + "höhe\n".encode())
    assert read(read_lines, path) == ([(1, "höhe")], "")


def test_quotes_are_ordinary_characters_in_a_tsv_file(write):
    path = write('"a\tb"\n""\t\'c\n')
    rows, _ = read(read_tsv, path)
    assert rows == [(1, ['"a', 'b"']), (2, ['""', "'c"])]


def test_a_csv_file_is_quoted_as_in_rfc_4180(write):
    path = write(
        'a,"b, c"\r\n"say ""hi""","two\r\nlines"\r\nlast,"tab\there"\r\n',
        "train.csv",
    )
    rows, problems = read(read_csv, path)
    assert rows == [
        (1, ["a", "b, c"]),
        (2, ['say "hi"', "two\nlines"]),
        (4, ["last", "tab\there"]),
    ]
    assert not problems


@pytest.mark.parametrize(
    ("content", "line", "found"),
    [
        (b"a\tb\n\nc\td\n", 2, "a blank line"),
        (b"a\tb\n\r\nc\td\n", 2, "a blank line"),
        (b"a\tb\n\xf6h\tb\n", 2, "the byte 0xf6 at column 1"),
        (b"a\tb\nah\xc3\tb\n", 2, "the byte 0xc3 at column 3, after 'ah'"),
        (b"a\tb\nc\x00\td\n", 2, "a NUL byte at column 2"),
    ],
)
def test_a_bad_line_is_named_and_the_others_keep_their_numbers(
    write, content, line, found
):
    path = write(content + b"last\trow\n")
    rows, message = read(read_tsv, path)
    assert f"{path}, line {line}: found {found}" in message
    assert rows[-1] == (content.count(b"\n") + 1, ["last", "row"])


@pytest.mark.parametrize(
    ("content", "line", "found"),
    [
        ('a,b\n"c"d,e\nf,g\n', 2, "quoting that cannot be read"),
        ('a,b\nc,d\n"e,f\ng,h\n', 3, "quoting that cannot be read"),
        ("a,b\n\nc,d\n", 2, "a blank line"),
    ],
)
def test_a_bad_csv_row_is_named_by_its_first_line(write, content, line, found):
    path = write(content, "train.csv")
    _, message = read(read_csv, path)
    assert f"line {line}: found {found}" in message


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("{'text': 1}", r'found "{\'text\': 1}" \(Expecting property name'),
        ('["a"]', r"found '\[\"a\"\]'; expected a JSON object"),
        ("", "found a blank line; expected a JSON object"),
        ('{"a": ' + "9" * 5000 + "}", "found .*digits"),
        ("[" * 100_000, "found .*expected a JSON object"),
    ],
)
def test_a_line_that_is_no_json_object_is_named(write, text, found):
    path = write(f'{{"a": 1}}\n{text}\n{{"a": 2}}\n', "train.jsonl")
    rows, message = read(read_jsonl, path)
    assert rows == [(1, {"a": 1}), (3, {"a": 2})]
    assert re.search(f"line 2: {found}", message)


def test_at_most_ten_bad_rows_are_shown_and_all_are_counted(write):
    path = write("a\n" + "\n" * 25 + "b\n")
    _, message = read(read_tsv, path)
    assert "has 25 bad rows, the first 10 of them:" in message
    assert message.count("found a blank line") == 10
    assert "line 11: found" in message
    assert "line 12: found" not in message


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        ("text\tlabel\n".encode("utf-16"), "UTF-8 text.*is UTF-16"),
        ("text\tlabel\n".encode("utf-32"), "UTF-8 text.*is UTF-32"),
        (b"text\tlabel\rgood\t1\r", "only bare carriage returns"),
    ],
)
def test_a_file_that_is_no_utf8_table_is_refused(write, content, message):
    with pytest.raises(InputError, match=f"train.tsv.*{message}"):
        read(read_lines, write(content))


def test_single_line_that_ends_with_a_carriage_return_is_a_line(write):
    assert read(read_lines, write(b"a\tb\r"))[0] == [(1, "a\tb")]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("train.tsv", "id\ttext\tlabel\n1\tfine\tgood\n2\tdull\tbad\n"),
        ("train.csv", 'id,text,label\n1,"fine",good\n2,dull,bad\n'),
        (
            "train.jsonl",
            '{"id": 1, "text": "fine", "label": "good"}\n'
            '{"id": 2, "text": "dull", "label": "bad"}\n',
        ),
    ],
)
def test_columns_are_found_by_name_in_every_format(write, name, content):
    path = write(content, name)
    wanted = {"text_a_col": "text", "label_col": "label"}
    rows, problems = read(read_columns, path, wanted, True)
    assert [values for _, values in rows] == [
        {"text_a_col": "fine", "label_col": "good"},
        {"text_a_col": "dull", "label_col": "bad"},
    ]
    assert not problems


def test_columns_are_found_by_index_from_zero(write):
    path = write("good\tfine\nbad\tdull\n")
    rows, _ = read(read_columns, path, {"text": 1, "label": 0}, False)
    assert rows == [
        (1, {"text": "fine", "label": "good"}),
        (2, {"text": "dull", "label": "bad"}),
    ]


@pytest.mark.parametrize(
    ("content", "name", "columns", "message"),
    [
        (
            "Text\tlabel\na\tb\n",
            "train.tsv",
            {"text_a_col": "text"},
            r"`text_a_col` must be one of the columns that line 1 of "
            r".*train.tsv names: 'Text', 'label'. Received: "
            r"text_a_col='text' \(did you mean 'Text'\?\)",
        ),
        (
            "text;label\na;b\n",
            "train.csv",
            {"text_a_col": "text"},
            "names: 'text;label'.*separated by commas",
        ),
        (
            "text\ttext\na\tb\n",
            "train.tsv",
            {"text_a_col": "text"},
            "Received: text_a_col='text', which is there twice",
        ),
        (
            "a\tb\n",
            "train.tsv",
            {"label_col": 2},
            "`label_col` must be a column of .*2 columns, counted from 0. "
            "Received: label_col=2",
        ),
    ],
)
def test_a_column_that_is_not_there_is_refused(
    write, content, name, columns, message
):
    with pytest.raises(InputError, match=message):
        read(read_columns, write(content, name), columns, True)


def test_a_name_without_a_header_is_refused(write):
    with pytest.raises(InputError, match="place counted from 0 where"):
        read(read_columns, write("a\tb\n"), {"label_col": "b"}, False)


@pytest.mark.parametrize(
    ("name", "row", "problem"),
    [
        ("train.tsv", "one", "1 column; expected 2 as in line 1"),
        ("train.tsv", "a\tb\tc", "3 columns; expected 2 .*cannot hold a tab"),
        ("train.csv", "a,b,c", "3 columns; expected 2 .*stand in quotes"),
        ("train.jsonl", '{"text": 1}', "the keys 'text'; .*key 'label'"),
    ],
)
def test_a_row_with_other_columns_is_named(write, name, row, problem):
    header = {
        "train.tsv": "text\tlabel",
        "train.csv": "text,label",
        "train.jsonl": '{"text": "a", "label": 1}',
    }[name]
    path = write(f"{header}\n{row}\n", name)
    wanted = {"text_a_col": "text", "label_col": "label"}
    _, message = read(read_columns, path, wanted, True)
    assert re.search(f"line 2: found {problem}", message)


def test_a_missing_file_is_named_beside_those_that_are_there(write, tmp_path):
    write("a", "dev.tsv")
    write("a", "trian.tsv")
    with pytest.raises(
        InputError,
        match=r"must hold train.tsv or train.csv.*has: dev.tsv, trian.tsv",
    ):
        find_file(str(tmp_path), ["train.tsv", "train.csv"])


@pytest.mark.parametrize(
    ("folder", "message"),
    [
        ("/no/such/folder", "folder that exists.*'/no/such/folder'"),
        ("gs://bucket/glue", "on this machine.*'gs://bucket/glue'"),
    ],
)
def test_a_folder_that_is_not_there_is_refused(folder, message):
    with pytest.raises(InputError, match=f"`data_dir` must be .*{message}"):
        find_file(folder, ["train.tsv"])


def test_two_files_for_the_same_part_are_refused(write, tmp_path):
    write("a", "train.tsv")
    write("a", "train.csv")
    with pytest.raises(InputError, match=r"has train.tsv and train.csv"):
        find_file(str(tmp_path), ["train.tsv", "train.csv"])


def test_long_text_is_shortened():
    assert quote("x" * 100) == "'" + "x" * 57 + "...'"


@pytest.mark.parametrize("name", ["train.csv", "train.tsv", "train.jsonl"])
def test_blank_lines_after_the_last_row_are_passed_over(write, name):
    content = {"csv": "text\na\n", "tsv": "text\na\n"}.get(
        name.partition(".")[2], '{"text": "a"}\n'
    )
    for blanks in ("\n", "\r\n\n\r\n"):
        path = write(content + blanks, name)
        rows, message = read(read_columns, path, {"text_a_col": "text"}, True)
        assert [values for _, values in rows] == [{"text_a_col": "a"}]
        assert not message
    _, message = read(
        read_columns,
        write(content + "\n\n" + content, name),
        {"text_a_col": "text"},
        True,
    )
    lines = (2, 3) if name.endswith("l") else (3, 4)
    for line in lines:
        assert f"line {line}: found a blank line" in message


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("train.csv", 'text\n"first\rline"\n'),
        ("train.csv", "text\nfirst\rline\n"),
        ("train.csv", 'text\r\n"first\rline"\r\r\n'),
        ("train.tsv", "text\nfirst\rline\r\n"),
        ("train.jsonl", '{"text": "first\\rline"}\r\n'),
    ],
)
def test_a_carriage_return_in_a_cell_parts_words(write, name, content):
    rows, message = read(
        read_columns, write(content, name), {"text_a_col": "text"}, True
    )
    assert [values for _, values in rows] == [{"text_a_col": "first\rline"}]
    assert not message


@pytest.mark.parametrize(
    "content", ['[\n  {"text": "a"},\n  {"text": "b"}\n]\n', '\n{\n"text": 1}']
)
def test_json_over_several_lines_is_one_error(write, content):
    path = write(content, "train.jsonl")
    with pytest.raises(InputError, match=r"line [12]: .*on each line.*jq"):
        read(read_jsonl, path)


@pytest.mark.parametrize(
    ("content", "named"),
    [
        ("text\na\n".encode("utf-16"), "is UTF-16: .*iconv -f UTF-16"),
        ("text\na\n".encode("utf-16-be"), "UTF-16 without a byte-order"),
        ("text\na\n".encode("utf-32"), "is UTF-32"),
        (
            gzip.compress(b"text\na\n", mtime=0),
            "compressed with gzip: decompress",
        ),
        (b"PK\x03\x04abc", "compressed with zip"),
    ],
)
@pytest.mark.parametrize("reader", [read_lines, read_tsv, read_csv, read_jsonl])
def test_another_encoding_is_one_error(write, reader, content, named):
    path = write(content)
    with pytest.raises(InputError, match=re.escape(path) + ".*" + named):
        read(reader, path)


def test_examples_are_shuffled_as_the_originals_questions_are():
    # What Python's `random.Random(12345).shuffle` makes of them.
    assert shuffled(iter(range(8))) == [3, 1, 7, 4, 2, 0, 5, 6]
