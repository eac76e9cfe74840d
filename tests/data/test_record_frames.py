import io

import pytest
from helpers.index_table import record

from bert_tf.data.record_frames import find_fault, find_fault_in

TWO = record(b"first") + record(b"")


@pytest.fixture
def fault(tmp_path):
    def find(content, most=None):
        (tmp_path / "x").write_bytes(content)
        found = find_fault(str(tmp_path / "x"), most)
        opened = io.BytesIO(content)  # As one in a bucket.
        assert find_fault_in(opened, len(content), most) == found
        return found

    return find


@pytest.mark.parametrize("content", [b"", record(b""), TWO, TWO * 50])
def test_whole_files_are_in_order(fault, content):
    assert fault(content) == ""
    assert fault(content, most=1) == ""


def test_each_place_at_which_a_file_may_be_cut_is_found(fault):
    ends = {0, len(record(b"first")), len(TWO)}
    for cut in range(len(TWO)):
        assert bool(fault(TWO[:cut])) == (cut not in ends)


@pytest.mark.parametrize(
    "length", [6, 2**31, 2**40, 2**62, 2**63, 2**64 - 16, 2**64 - 1]
)
@pytest.mark.parametrize("before", [0, 2])
def test_a_length_that_no_file_has_is_named(fault, length, before):
    found = fault(TWO * (before // 2) + record(b"x", length))
    assert f"after record {before}" in found
    assert f"{length:,} bytes long, the file has 1 left" in found


def test_what_is_no_record_file_is_called_so(fault):
    assert "is it a TFRecord file" in fault(b"this is text, not records")


def test_a_file_with_another_length_names_the_record_with_it(fault):
    content = bytearray(TWO * 3)
    content[len(TWO)] = 4
    assert "after record 2: " in fault(bytes(content))
