"""Versions that come, are swapped in, fail, and go."""

import gc
import threading
import time
import weakref

import pytest
from helpers.running_server import wait_until

from bert_tf.errors import InputError
from bert_tf.server.protocol import RequestError
from bert_tf.server.versions import ModelVersions

POLL = 0.02
WAIT = 20


class Model:
    def __init__(self, path, version):
        with open(f"{path}/model.txt") as file:
            self.text = file.read()
        if self.text == "broken":
            raise InputError("model.txt is\n broken")
        self.version = version


@pytest.fixture
def add(tmp_path):
    def add_version(number, text="fine"):
        folder = tmp_path / str(number)
        folder.mkdir(exist_ok=True)
        (folder / "model.txt").write_text(text)

    return add_version


@pytest.fixture
def start(tmp_path):
    made = []

    def make(load=Model, **options):
        made.append(ModelVersions(str(tmp_path), load, POLL, **options))
        return made[-1]

    yield make
    for versions in made:
        versions.close()


def states(versions):
    return {status.version: status.state for status in versions.statuses()}


def test_the_highest_number_is_served(add, start):
    for number in (2, 10, 9):
        add(number)
    versions = start()
    assert versions.version == 10
    assert states(versions) == {10: "AVAILABLE"}
    with versions.borrow() as model:
        assert model.version == 10


def test_a_new_version_takes_over_and_the_old_one_is_unloaded_when_unused(
    add, start
):
    add(1)
    told = []
    versions = start(tell=lambda *event: told.append(event))
    lent = versions.take()
    old = weakref.ref(lent.model)
    add(2)
    wait_until(lambda: versions.version == 2)
    assert lent.model.version == 1
    assert states(versions) == {1: "UNLOADING", 2: "AVAILABLE"}
    with pytest.raises(RequestError, match="Version 1 is not served") as error:
        versions.take(1)
    assert error.value.status == 404
    versions.give_back(lent)
    wait_until(lambda: states(versions)[1] == "END")
    gc.collect()
    assert old() is None
    assert told == [(1, True), (2, True)]


def test_a_broken_version_is_reported_and_the_old_one_stays(add, start):
    add(1)
    versions = start()
    add(3, "broken")
    wait_until(lambda: 3 in states(versions))
    wait_until(lambda: states(versions)[3] == "END")
    assert versions.version == 1
    (status,) = versions.statuses(3)
    assert status.error == "model.txt is broken"
    add(2)
    wait_until(lambda: versions.version == 2)
    add(3, "mended")
    wait_until(lambda: versions.version == 3)
    assert versions.statuses(3)[0].error == ""


def test_a_broken_version_is_not_tried_again_until_it_changes(add, start):
    tried = []

    def load(path, version):
        tried.append(version)
        return Model(path, version)

    add(1)
    versions = start(load)
    add(2, "broken")
    wait_until(lambda: 2 in tried)
    time.sleep(10 * POLL)
    assert tried == [1, 2]
    assert versions.version == 1


def test_a_folder_is_loaded_once_it_stops_growing(add, start):
    add(1)
    tried = []

    def load(path, version):
        tried.append(version)
        return Model(path, version)

    versions = start(load)
    versions._stop.wait = lambda seconds: True  # Looks only when told to.
    versions._watcher.join()
    looks = iter([False, True])
    versions._stop.wait = lambda seconds: next(looks)
    add(2, "half of")
    versions._watch(POLL)
    assert tried == [1]
    looks = iter([False, True])
    add(2, "all of it")
    versions._watch(POLL)
    assert tried == [1]
    looks = iter([False, True])
    versions._watch(POLL)
    assert tried == [1, 2]
    with versions.borrow() as model:
        assert model.text == "all of it"


def test_deleting_the_current_version_goes_back_to_the_previous_one(
    add, start, tmp_path
):
    add(1)
    add(2)
    versions = start()
    assert versions.version == 2
    (tmp_path / "2" / "model.txt").unlink()
    (tmp_path / "2").rmdir()
    wait_until(lambda: versions.version == 1)
    (tmp_path / "1" / "model.txt").unlink()
    (tmp_path / "1").rmdir()
    time.sleep(5 * POLL)
    with versions.borrow() as model:  # With none left, the last one stays.
        assert model.version == 1


@pytest.mark.slow
def test_there_is_always_a_model_while_versions_change(add, start):
    add(1)
    versions = start()
    seen, stop = set(), threading.Event()

    def use():
        while not stop.is_set():
            lent = versions.take()
            seen.add(lent.model.version)
            versions.give_back(lent)
            time.sleep(0)  # Busy threads would keep the watcher waiting.

    threads = [threading.Thread(target=use) for _ in range(4)]
    for thread in threads:
        thread.start()
    wait_until(lambda: seen)
    for number in range(2, 6):
        add(number)
        wait_until(lambda number=number: number in seen)
    stop.set()
    for thread in threads:
        thread.join(WAIT)
    assert seen == {1, 2, 3, 4, 5}
    wait_until(
        lambda: (
            states(versions)
            == {5: "AVAILABLE", **dict.fromkeys((1, 2, 3, 4), "END")}
        )
    )


def test_folders_that_are_no_versions_are_left_alone(add, start):
    for name in (1, "2.incomplete-17", "temp-2", "03", "x"):
        add(name)
    versions = start()
    time.sleep(5 * POLL)
    assert states(versions) == {1: "AVAILABLE"}


def test_unknown_versions_are_not_found(add, start):
    add(1)
    versions = start()
    with pytest.raises(RequestError, match=r"There are: 1$"):
        versions.statuses(7)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda folder: folder.rmdir(), "does not exist"),
        (lambda folder: None, "a subfolder for each version.*nothing"),
        (lambda folder: (folder / "x").mkdir(), "There is: x/"),
        *(
            (
                lambda folder, name=name: (folder / name).touch(),
                "is one version of a model. Name the folder above it",
            )
            for name in ("saved_model.pb", "model.onnx", "model.xml")
        ),
    ],
)
def test_a_folder_without_versions_is_an_error(tmp_path, make, message):
    make(tmp_path)
    with pytest.raises(InputError, match=message):
        ModelVersions(str(tmp_path), Model)


def test_a_file_in_place_of_the_folder_is_an_error(tmp_path):
    (tmp_path / "model").touch()
    with pytest.raises(InputError, match="is a file"):
        ModelVersions(str(tmp_path / "model"), Model)


def test_at_the_start_the_next_best_version_is_taken(add, start):
    add(1)
    add(2, "broken")
    assert start().version == 1


def test_at_the_start_all_versions_broken_is_an_error(add, start):
    add(1, "broken")
    add(2, "broken")
    with pytest.raises(InputError, match=r"(?s)No version.*/2: model.*/1: mod"):
        start()
