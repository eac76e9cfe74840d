import gzip
import pathlib
import re

import pytest

from bert_tf.data.text_files import (
    Range,
    find_files,
    plan_shards,
    read_lines,
    whole_files,
)
from bert_tf.errors import InputError


@pytest.fixture
def write(tmp_path):
    def write(name, content):
        path = tmp_path / name
        pack = gzip.compress if name.endswith(".gz") else bytes
        path.write_bytes(pack(content))
        return str(path)

    return write


def unpacked(path):
    content = pathlib.Path(path).read_bytes()
    return gzip.decompress(content) if path.endswith(".gz") else content


def text_of(ranges):
    return b"".join(unpacked(path)[start:end] for path, start, end in ranges)


@pytest.mark.parametrize(
    ("content", "lines"),
    [
        (b"a\nb\n", ["a", "b"]),
        (b"a\r\nb\rc\r\r\nd", ["a", "bc", "d"]),
        (b"a\x0cb\x1cc\xc2\x85d\xe2\x80\xa8e\n", ["a\x0cb\x1cc\x85d\u2028e"]),
        (b"\n\r\n \n", ["", "", " "]),
        (b"a\n\r\r", ["a"]),
        (b"", []),
        (b"\xef\xbb\xbfa\n\x00\n", ["\ufeffa", "\x00"]),
    ],
)
@pytest.mark.parametrize("name", ["x.txt", "x.txt.gz"])
def test_lines_are_those_of_tensorflows_reader(write, name, content, lines):
    assert list(read_lines(whole_files([write(name, content)]))) == lines


@pytest.mark.parametrize("name", ["x.txt", "x.txt.gz"])
def test_all_bytes_read_are_reported(write, name):
    path = write(name, b"one line of text\n" * 2500)
    reported = []
    lines = list(read_lines([Range(path, 17, 17 * 2400)], reported.append))
    assert len(lines) == 2399
    assert len(reported) == 3
    assert sum(reported) == 17 * 2399


DOCUMENTS = [b"a a\nb b\n\n", b"c\n \n\n", b"d d d\ne\n\xc2\xa0\r\n", b"f\n\n"]


@pytest.mark.parametrize("count", range(1, 12))
@pytest.mark.parametrize("names", [["x", "y", "z"], ["x.gz", "y", "z.gz"]])
def test_shards_hold_all_text_once_and_begin_with_a_document(
    write, names, count
):
    whole = b"".join(DOCUMENTS * 3)
    # The second file begins inside a document, the third one with blanks.
    parts = [whole[:33], whole[33:40], b"", whole[40:]]
    files = [write(name, part) for name, part in zip(names, parts[:2])]
    files += [write("empty", b""), write(names[2], parts[3])]

    shards = plan_shards(whole_files(files), count)

    texts = [text_of(ranges) for ranges in shards]
    assert b"".join(texts) == whole
    assert 1 <= len(shards) <= count
    borders = [0]
    for document in DOCUMENTS * 3:
        borders.append(borders[-1] + len(document))
    begin = 0
    for number, text in enumerate(texts):
        assert begin in borders
        if number:
            # The next border, or that after it if the wanted place lies in
            # the blank line before a border.
            wanted = [len(whole) * n // count for n in range(1, count)]
            after = [[b for b in borders if b > w] for w in wanted]
            assert any(begin in near[:2] for near in after)
        begin += len(text)


def test_text_without_blank_lines_is_one_shard(write):
    files = whole_files([write("x", b"a\n" * 50), write("y", b"b\n" * 50)])
    assert plan_shards(files, 4) == [files]


def test_files_of_a_pattern_are_sorted_and_patterns_keep_their_order(tmp_path):
    for name in ("b2.txt", "b10.txt", "a.txt", "odd[1].txt"):
        (tmp_path / name).touch()
    got = find_files(
        f"{tmp_path}/b*.txt,{tmp_path}/a.txt,{tmp_path}/odd[1].txt"
    )
    names = [pathlib.Path(path).name for path in got]
    assert names == ["b10.txt", "b2.txt", "a.txt", "odd[1].txt"]


@pytest.mark.parametrize(
    ("patterns", "names"),
    [
        ("a,b.txt", ["a,b.txt"]),
        ("a,b.txt,c", ["a,b.txt", "c"]),
        ("c,a,b.txt", ["c", "a,b.txt"]),
        ("c,d,e", ["c", "d", "e"]),  # Not "c,d", which is there too.
        ("c,d", ["c", "d"]),
        ("x,y,*", ["x,y,1", "x,y,2"]),
        ("c, d", ["c", " d"]),
    ],
)
def test_a_comma_may_be_part_of_a_name(tmp_path, monkeypatch, patterns, names):
    monkeypatch.chdir(tmp_path)
    for name in ("a,b.txt", "c", "d", "e", "c,d", "x,y,2", "x,y,1", " d"):
        (tmp_path / name).touch()
    assert find_files(patterns) == names


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("{}/no*.txt", "`--input_file`.*Nothing matches .*no"),
        ("{}", "is a folder. For all files in it"),
        ("gs://bucket/x.txt", "on this machine.*gs://bucket"),
        ("", "Nothing matches ''"),
        ("{0},{0}/no.txt", "/no.txt' .commas separate files.$"),
    ],
)
def test_input_that_names_no_files_is_refused(tmp_path, pattern, message):
    with pytest.raises(InputError, match=message):
        find_files(pattern.format(tmp_path))


@pytest.mark.parametrize("name", ["x.txt", "x.txt.gz"])
@pytest.mark.parametrize("start", [0, 5])
def test_text_that_is_not_utf8_is_named_by_line(write, name, start):
    path = write(name, b"\xc3\xa4b\r\nfine\nca\rf\xe9\nd\n")
    with pytest.raises(InputError, match=r"x\.txt.*, line 3: .* 0xe9 .*iconv"):
        list(read_lines([Range(path, start, 99)]))


def test_a_damaged_gz_file_is_named(write, tmp_path):
    whole = pathlib.Path(write("x.gz", bytes(range(128)) * 999)).read_bytes()
    for name, content in (
        ("cut.gz", whole[:-30]),
        ("plain.gz", b"just text\n"),
        ("bad.gz", whole[:40] + b"\xff" * 40 + whole[80:]),
    ):
        path = tmp_path / name
        path.write_bytes(content)
        with pytest.raises(InputError, match=f"Cannot read .*{name}"):
            whole_files([str(path)])
        with pytest.raises(InputError, match=f"Cannot read .*{name}"):
            list(read_lines([Range(str(path), 0, 1 << 40)]))


@pytest.mark.parametrize("name", ["x.txt", "x.txt.gz"])
@pytest.mark.parametrize(
    ("content", "named"),
    [
        ("grün\n".encode("utf-16"), "is UTF-16: "),
        ("a text\n".encode("utf-16-le"), "UTF-16 without a byte-order mark"),
        (
            gzip.compress(b"a text\n", mtime=0),
            "gzip: decompress it or.*name it .gz",
        ),
        (b"one\rtwo\r", r"bare carriage returns .*tr '.r' '.n'.*tr -d '.r'"),
    ],
)
def test_text_of_another_kind_is_refused(write, name, content, named):
    path = write(name, content)
    with pytest.raises(InputError, match=re.escape(path) + ".*" + named):
        list(read_lines(whole_files([path])))


def test_a_carriage_return_between_words_is_told_once(write, caplog):
    path = write("x", b"a\r\nb\rc\r\nd \re\nf\r\rg\n")
    for _ in range(2):
        lines = list(read_lines(whole_files([path])))
    assert lines == ["a", "bc", "d e", "fg"]
    [message] = [record.getMessage() for record in caplog.records]
    assert message.startswith(f"2 lines in {path} have")
    assert "first in line 2" in message
