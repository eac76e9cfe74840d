import os
import subprocess
import sys

import pytest

CODE = """
import sys
from bert_tf.cli.output import printing
with printing():
    print(TEXT)
    sys.exit(EXIT)
"""


def run(text, exit_code=0, **more):
    code = CODE.replace("TEXT", text).replace("EXIT", str(exit_code))
    return subprocess.run(
        [sys.executable, "-c", code], stderr=subprocess.PIPE, **more
    )


@pytest.mark.parametrize("encoding", ["latin-1", "ascii", "cp1252"])
def test_what_an_encoding_lacks_is_escaped(encoding):
    ended = run(
        r"'a \u4e2d'",
        stdout=subprocess.PIPE,
        env={"PYTHONIOENCODING": encoding},
    )
    assert ended.returncode == 0
    assert ended.stdout == b"a \\u4e2d\n"


def test_half_a_surrogate_pair_is_escaped():
    ended = run(r"'\ud83d'", stdout=subprocess.PIPE)
    assert ended.stdout == b"\\ud83d\n"


@pytest.mark.parametrize("exit_code", [0, 1])
def test_a_full_disk_is_one_message(exit_code):
    with open("/dev/full", "w") as full:
        ended = run("'x'", exit_code, stdout=full)
    assert ended.returncode == 1
    assert ended.stderr.count(b"\n") == 1
    assert b"Cannot print to stdout: No space left" in ended.stderr


def test_a_reader_that_closes_is_no_message():
    code = CODE.replace("TEXT", "'x' * 10**6").replace("EXIT", "0")
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    process.stdout.close()
    assert process.stderr.read() == b""
    assert process.wait() == 141


def test_a_closed_stdout_is_none_to_print_to():
    text = "'x', file=sys.stdout, end=str(sys.stdout.write('y'))"
    ended = run(text, preexec_fn=lambda: os.close(1))
    assert ended.returncode == 0 and ended.stderr == b""


def test_no_file_takes_the_place_of_a_closed_stream(tmp_path):
    path = tmp_path / "weights"
    text = f"open({str(path)!r}, 'w').fileno(), file=sys.__stderr__"

    def close():
        os.close(0)
        os.close(1)

    ended = run(text, preexec_fn=close)
    assert int(ended.stderr) > 2
