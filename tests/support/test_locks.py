import contextlib
import errno
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time

import pytest

from bert_tf.errors import InputError
from bert_tf.support import liveness, locks

HOLDER = """
import sys, time
from bert_tf.support import locks
with locks.alone(sys.argv[1], 0.05):
    print("held", flush=True)
    sys.stdin.read()
"""


@contextlib.contextmanager
def holder(folder, code=HOLDER):
    """Another process that holds the lock of a folder."""
    command = [sys.executable, "-c", code, str(folder)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout.readline() == "held\n"
            yield process
        finally:
            process.kill()


def leave(folder, **changed):
    """Writes the file of a training that has not removed it."""
    process = liveness.this_process()
    values = {
        "host": process.host,
        "boot": process.boot,
        "space": process.space,
        "process": process.number,
        "started": process.started,
        "since": "2020-01-02 03:04:05+00:00",
        "token": "theirs",
        "heartbeat": "0",
    }
    path = folder / locks.FILE_NAME
    path.write_text(json.dumps(values | changed))
    return path


def refused(folder, pattern="--output_dir"):
    """The message with which a second training ends."""
    with (
        pytest.raises(InputError, match=pattern) as caught,
        locks.alone(str(folder), interval=1000),
    ):
        pass
    return str(caught.value)


def number_of_nobody():
    with subprocess.Popen(["true"]) as process:
        pass
    return process.pid


@pytest.fixture
def no_locks(monkeypatch):
    """A file system without locks."""

    def refuse(*_):
        raise OSError(errno.ENOTSUP, "not supported")

    monkeypatch.setattr(liveness.fcntl, "flock", refuse)


def test_the_file_is_there_during_the_block_and_names_the_process(tmp_path):
    with locks.alone(str(tmp_path)):
        assert os.listdir(tmp_path) == [locks.FILE_NAME]
        kept = json.loads((tmp_path / locks.FILE_NAME).read_text())
        assert kept["process"] == os.getpid()
        assert kept["host"] == socket.gethostname()
    assert os.listdir(tmp_path) == []


def test_the_heartbeat_changes(tmp_path):
    with locks.alone(str(tmp_path), 0.01):
        first = (tmp_path / locks.FILE_NAME).read_text()
        end = time.monotonic() + 30
        while (tmp_path / locks.FILE_NAME).read_text() == first:
            assert time.monotonic() < end
    assert os.listdir(tmp_path) == []


def test_a_second_process_is_told_who_is_at_work(tmp_path):
    with holder(tmp_path) as other:
        before = json.loads((tmp_path / locks.FILE_NAME).read_text())
        message = refused(tmp_path)
        for fact in (
            str(tmp_path),
            f"process {other.pid}",
            socket.gethostname(),
            before["since"],
        ):
            assert fact in message
        assert other.poll() is None
        after = json.loads((tmp_path / locks.FILE_NAME).read_text())
        assert after["token"] == before["token"]


def test_a_killed_process_holds_nothing(tmp_path):
    with holder(tmp_path) as other:
        other.send_signal(signal.SIGKILL)
        other.wait()
        assert os.listdir(tmp_path) == [locks.FILE_NAME]
        with locks.alone(str(tmp_path)):
            kept = json.loads((tmp_path / locks.FILE_NAME).read_text())
            assert kept["process"] == os.getpid()
    assert os.listdir(tmp_path) == []


def test_a_killed_process_whose_fork_lives_on_holds_nothing(tmp_path):
    code = HOLDER.replace(
        "    print", "    import os\n    os.fork() or time.sleep(60)\n    print"
    )
    with holder(tmp_path, code) as other:
        other.send_signal(signal.SIGKILL)
        other.wait()
        with locks.alone(str(tmp_path)):
            pass
    assert os.listdir(tmp_path) == []


def test_one_process_may_train_twice_in_turn_but_not_at_once(tmp_path):
    folder = str(tmp_path)
    for _ in range(2):
        with locks.alone(folder):
            refused(f"{folder}/.", "this one")
            with locks.alone(os.path.dirname(folder)):
                pass
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("end", [ZeroDivisionError, SystemExit])
def test_nothing_is_left_after_an_error(tmp_path, end):
    with pytest.raises(end), locks.alone(str(tmp_path)):
        raise end
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    "changed",
    [
        {},  # This process, which has no lock: its number came back.
        {"started": "1"},
        {"boot": "before"},
        {"space": "pid:[1]", "host": "another-container"},
    ],
)
def test_what_ended_here_is_taken_over_at_once(tmp_path, changed):
    leave(tmp_path, **changed)
    with locks.alone(str(tmp_path), interval=1000):
        pass
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    "changed", [{"started": "1"}, {"boot": "before"}, {"process": 0}]
)
def test_without_locks_what_ended_here_is_taken_over_at_once(
    tmp_path, no_locks, changed
):
    if "process" in changed:
        changed["process"] = number_of_nobody()
    leave(tmp_path, **changed)
    with locks.alone(str(tmp_path), interval=1000):
        pass
    assert os.listdir(tmp_path) == []


def test_without_locks_what_runs_here_is_seen(tmp_path, no_locks, caplog):
    with locks.alone(str(tmp_path)):
        refused(tmp_path, "this one")
        assert os.listdir(tmp_path) == [locks.FILE_NAME]
    assert os.listdir(tmp_path) == []


ELSEWHERE = {"host": "elsewhere", "boot": "another"}


@pytest.mark.parametrize("content", [ELSEWHERE, None])
@pytest.mark.parametrize("locked", [True, False])
def test_a_training_elsewhere_without_heartbeat_is_taken_over(
    tmp_path, monkeypatch, request, content, locked
):
    if not locked:
        request.getfixturevalue("no_locks")
    path = leave(tmp_path, **(content or {}))
    if content is None:
        path.write_text("of another version")
    said = []
    monkeypatch.setattr(
        locks.logging,
        "warning",
        lambda *words: said.append(words[0] % words[1:]),
    )
    with locks.alone(str(tmp_path), interval=0.02, missed=3):
        kept = json.loads(path.read_text())
        assert kept["process"] == os.getpid()
    assert os.listdir(tmp_path) == []
    [line] = said
    assert "missed 3 heartbeats" in line and str(tmp_path) in line
    assert content is None or "elsewhere" in line


@pytest.mark.parametrize("locked", [True, False])
def test_a_training_elsewhere_with_a_heartbeat_is_left_alone(
    tmp_path, request, locked
):
    if not locked:
        request.getfixturevalue("no_locks")
    path = leave(tmp_path, **ELSEWHERE)
    ended = threading.Event()

    def beat():
        number = 0
        while not ended.wait(0.01):
            number += 1
            leave(tmp_path, **ELSEWHERE, heartbeat=str(number))

    thread = threading.Thread(target=beat)
    thread.start()
    try:
        refused(tmp_path, "elsewhere.*2020-01-02 03:04:05")
    finally:
        ended.set()
        thread.join()
    assert json.loads(path.read_text())["token"] == "theirs"


def test_one_that_ends_while_it_is_watched_is_no_obstacle(tmp_path):
    path = leave(tmp_path, **ELSEWHERE)
    timer = threading.Timer(0.3, path.unlink)
    timer.start()
    with locks.alone(str(tmp_path), interval=0.1, missed=10_000):
        pass
    timer.join()
    assert os.listdir(tmp_path) == []


def test_who_was_taken_over_writes_nothing_more(tmp_path):
    with locks.alone(str(tmp_path)):
        locks.require_held(str(tmp_path))
        path = leave(tmp_path, host="elsewhere")
        with pytest.raises(InputError, match="elsewhere"):
            locks.require_held(f"{tmp_path}/.")
    assert json.loads(path.read_text())["host"] == "elsewhere"
    locks.require_held(str(tmp_path))


def test_many_at_once_are_one(tmp_path):
    leave(tmp_path, started="1")
    code = (
        "import sys\n"
        "from bert_tf.support import locks\n"
        "try:\n"
        "    with locks.alone(sys.argv[1]):\n"
        "        print('held', flush=True)\n"
        "        sys.stdin.read()\n"
        "except ValueError: print('refused', flush=True)\n"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    processes = [subprocess.Popen(command, **pipes) for _ in range(4)]
    said = [process.stdout.readline() for process in processes]
    for process in processes:
        process.communicate()
    assert sorted(said) == [b"held\n", *3 * [b"refused\n"]]
    assert os.listdir(tmp_path) == []


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    refused(tmp_path / "nowhere", "--output_dir.*/nowhere/.*No such")


def test_a_folder_in_a_bucket_is_not_locked(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with locks.alone("gs://bucket/folder"), locks.alone("gs://bucket/folder"):
        pass
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("code", [errno.EPERM, errno.ENOTSUP])
def test_without_hard_links_a_quicker_process_is_told_by_its_successor(
    tmp_path, no_locks, monkeypatch, code
):
    path = leave(tmp_path, boot="before")
    rename = os.rename

    def rename_late(source, target):
        monkeypatch.setattr(locks.os, "rename", rename)
        leave(tmp_path, token="quicker")
        rename(source, target)

    def refuse(*_):
        raise OSError(code, "no links")

    monkeypatch.setattr(locks.os, "rename", rename_late)
    monkeypatch.setattr(locks.os, "link", refuse)
    with locks.alone(str(tmp_path), interval=1000):
        assert json.loads(path.read_text())["token"] != "quicker"
        refused(tmp_path, "this one")
    assert os.listdir(tmp_path) == []


def test_a_file_system_that_cannot_flush_can_still_lock(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(errno.EINVAL, "not supported")

    monkeypatch.setattr(locks.os, "fsync", refuse)
    with locks.alone(str(tmp_path)):
        refused(tmp_path, "this one")
    assert os.listdir(tmp_path) == []


def test_where_there_can_be_no_such_file_there_is_no_lock(
    tmp_path, monkeypatch
):
    def refuse(*_):
        raise OSError(errno.ENOTSUP, "not supported")

    monkeypatch.setattr(locks.os, "open", refuse)
    with locks.alone(str(tmp_path)):
        pass
    assert os.listdir(tmp_path) == []
