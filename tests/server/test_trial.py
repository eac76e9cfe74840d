"""Versions are tried in a process of their own before they are loaded."""

import concurrent.futures
import os
import subprocess
import threading

import pytest
from helpers.running_server import wait_until

from bert_tf.errors import InputError
from bert_tf.server.trial import Loader
from bert_tf.server.versions import ModelVersions


def load(path):
    return "helpers.loaders:load"


POLL = 0.02
WAIT = 60


@pytest.fixture
def add(tmp_path):
    def add_version(number, does="load"):
        folder = tmp_path / str(number)
        folder.mkdir(exist_ok=True)
        (folder / "does").write_text(does)
        return folder

    return add_version


def processes(tmp_path):
    """The process of each load, in order."""
    lines = (tmp_path / "loads").read_text().splitlines()
    return [int(line.split()[0]) for line in lines]


def is_alive(process):
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True


def test_a_version_is_loaded_by_another_process_and_then_here(add, tmp_path):
    assert Loader(load, WAIT)(add(3), 3) == "model 3"
    other, own = processes(tmp_path)
    assert own == os.getpid() and other != own and not is_alive(other)


def test_without_a_trial_it_is_loaded_here_only(add, tmp_path):
    assert Loader(load, None)(add(3), 3) == "model 3"
    assert processes(tmp_path) == [os.getpid()]


@pytest.mark.parametrize(
    ("does", "seconds", "words"),
    [
        (
            "abort",
            WAIT,
            [
                "ends the process that loads it",
                "SIGABRT",
                "Check failed: 1 > 2",
            ],
        ),
        ("exit", WAIT, ["ends the process that loads it", "exit status 7"]),
        ("hang", 1, ["within 1 seconds", "--load_seconds"]),
        ("refuse", WAIT, ["its saved_model.pb is none"]),
        ("raise", WAIT, ["KeyError: 'odd'"]),
    ],
)
def test_what_fails_in_a_trial_is_an_error_and_not_loaded_here(
    add, tmp_path, does, seconds, words
):
    with pytest.raises(InputError) as error:
        Loader(load, seconds)(add(3, does), 3)
    for word in words:
        assert word in str(error.value)
    if "SIGABRT" in words or "exit status 7" in words:
        assert str(tmp_path / "3") in str(error.value)
    assert str(error.value).isprintable()
    (other,) = processes(tmp_path)
    assert other != os.getpid() and not is_alive(other)


def test_versions_that_end_or_hold_up_processes_leave_the_old_one_served(
    add, tmp_path, caplog
):
    add(1)
    loader = Loader(load, 1.0)
    told = []
    versions = ModelVersions(
        str(tmp_path),
        loader,
        POLL,
        lambda *event: told.append(event),
        loader.stop,
    )
    add(2, "abort")
    add(3, "hang")
    wait_until(lambda: len(told) == 3)
    assert told == [(1, True), (3, False), (2, False)]
    assert versions.version == 1
    assert [s.state for s in versions.statuses()] == ["END", "END", "AVAILABLE"]
    lines = [r.getMessage() for r in caplog.records if r.levelname == "ERROR"]
    assert len(lines) == 2 and not any("\n" in line for line in lines)
    assert all("Version 1 stays." in line for line in lines)
    add(4)
    wait_until(lambda: versions.version == 4)
    versions.close()


def test_at_the_start_a_version_that_ends_processes_is_an_error(add, tmp_path):
    add(1, "abort")
    with pytest.raises(InputError, match=r"(?s)No version.*/1: .*SIGABRT"):
        ModelVersions(str(tmp_path), Loader(load, WAIT))


def test_a_server_that_ends_does_not_wait_for_a_trial(
    add, tmp_path, caplog, monkeypatch
):
    readers = set()
    communicate = subprocess.Popen.communicate

    def noting_the_thread(*args, **options):
        readers.add(threading.current_thread().name)
        return communicate(*args, **options)

    monkeypatch.setattr(subprocess.Popen, "communicate", noting_the_thread)
    add(1)
    loader = Loader(load, 600)
    versions = ModelVersions(
        str(tmp_path), loader, POLL, stop_loading=loader.stop
    )
    add(2, "hang")
    wait_until(lambda: len(processes(tmp_path)) == 3)
    pool = concurrent.futures.ThreadPoolExecutor(1, "closing")
    pool.submit(versions.close).result(WAIT)
    # Two threads that read the same pipes close them under each other.
    assert len(readers) == 2
    assert not [name for name in readers if name.startswith("closing")]
    assert not is_alive(processes(tmp_path)[-1])
    assert not [r for r in caplog.records if r.levelname == "ERROR"]
