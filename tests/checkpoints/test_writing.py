import contextlib
import itertools
import os
import pathlib
import resource

import numpy as np
import pytest
import tensorflow as tf
from helpers import prepared
from helpers.golden import CHECKPOINTS
from helpers.paths import GOLDEN

from bert_tf import checkpoints
from bert_tf.checkpoints.names import DATA
from bert_tf.errors import InputError


def test_a_path_that_tensorflow_cannot_read_is_not_written(tmp_path, variables):
    with pytest.raises(InputError, match="Rename the folder"):
        checkpoints.save(tmp_path / "run[1]", 0, variables)


@pytest.mark.parametrize("folder", ["tiny", "micro", "toy"])
def test_write_gives_the_very_files_that_the_original_wrote(folder, tmp_path):
    source = CHECKPOINTS / folder / "bert_model.ckpt"
    reader = tf.compat.v1.train.NewCheckpointReader(str(source))
    names = reader.get_variable_to_shape_map()

    checkpoints.write(
        tmp_path / "c", {name: reader.get_tensor(name) for name in names}
    )

    for end in (".index", DATA):
        want = pathlib.Path(f"{source}{end}").read_bytes()
        assert (tmp_path / f"c{end}").read_bytes() == want
    assert len(list(tmp_path.iterdir())) == 2


def test_saver_of_tensorflow_1_restores_what_save_wrote(tmp_path, weights):
    checkpoints.load(weights, CHECKPOINTS / "micro")
    checkpoints.save(tmp_path, 7, weights)

    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        restored = {
            name: tf.compat.v1.get_variable(name, weight.shape)
            for name, weight in weights.items()
        }
        restored["global_step"] = tf.compat.v1.get_variable(
            "global_step", [], tf.int64
        )
        newest = tf.compat.v1.train.latest_checkpoint(str(tmp_path))
        tf.compat.v1.train.Saver().restore(session, newest)
        values = session.run(restored)
    assert values.pop("global_step") == 7
    for name, value in values.items():
        np.testing.assert_array_equal(value, np.array(weights[name]))


def test_other_floats_and_integers_are_stored_as_the_original_does(tmp_path):
    values = {
        "half": tf.constant([1.5], tf.bfloat16),
        "double": np.float64(0.1),
        "int": np.int32(3),
    }
    checkpoints.write(tmp_path / "c", values)
    reader = checkpoints.CheckpointReader(tmp_path)
    assert reader.dtypes == {
        "half": "float32",
        "double": "float32",
        "int": "int64",
    }
    assert reader.tensor("double") == np.float32(0.1)


def test_state_file_is_as_the_original_writes_it(tmp_path, variables):
    for step in (11000, 12000, 13000, 14000, 14599):
        checkpoints.save(tmp_path, step, variables)
    want = (CHECKPOINTS / "trained_squad" / "checkpoint").read_text()
    assert (tmp_path / "checkpoint").read_text() == want


def test_save_keeps_the_newest_and_touches_no_others(tmp_path, variables):
    checkpoints.write(tmp_path / "model.ckpt-3", variables)
    for step in (10, 20, 30, 40):
        prefix = checkpoints.save(tmp_path, step, variables, keep=2)
        pathlib.Path(f"{prefix}.meta").write_text("as the original writes")
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"checkpoint"} | {
        f"model.ckpt-{step}{end}"
        for step in (3, 30, 40)
        for end in (".index", DATA, ".meta")
        if (step, end) != (3, ".meta")
    }


def test_save_does_not_delete_in_another_folder(tmp_path, variables):
    elsewhere = checkpoints.save(tmp_path / "other", 1, variables)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "checkpoint").write_text(
        f'model_checkpoint_path: "{elsewhere}"\n'
        f'all_model_checkpoint_paths: "{elsewhere}"\n'
    )
    checkpoints.save(tmp_path / "run", 2, variables, keep=1)
    assert checkpoints.latest(tmp_path / "run").endswith("run/model.ckpt-2")
    assert checkpoints.find(elsewhere) == elsewhere


def test_remote_paths_work_too(variables):
    for step in (1, 2, 3):
        checkpoints.save("ram://remote/run", step, variables, keep=2)
    newest = checkpoints.latest("ram://remote/run")
    assert newest == "ram://remote/run/model.ckpt-3"
    variables["a"].assign([0.0, 0.0])
    checkpoints.load(variables, newest)
    np.testing.assert_array_equal(variables["a"], [1.0, 2.0])


def test_full_disk_leaves_the_old_checkpoint(tmp_path, variables):
    old = checkpoints.save(tmp_path, 1, variables)
    before = sorted(path.name for path in tmp_path.iterdir())
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
    try:
        with pytest.raises(InputError, match=r"model\.ckpt-2 could not be"):
            checkpoints.save(tmp_path, 2, {"a": np.zeros(10**6)})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert checkpoints.latest(tmp_path) == old
    assert sorted(path.name for path in tmp_path.iterdir()) == before


def latest_step(folder):
    return int(checkpoints.latest(folder).rpartition("-")[2])


class Killed(BaseException):
    """Nothing catches it, as nothing catches a kill -9."""


def kill_at(monkeypatch, operation):
    """Dies before the given one of all operations that change files."""
    left = [operation]

    def dying(function):
        def wrapper(*args, **kwargs):
            left[0] -= 1
            if left[0] < 0:
                raise Killed
            return function(*args, **kwargs)

        return wrapper

    for owner, name in (
        (tf.raw_ops, "SaveV2"),
        (tf.io.gfile, "rename"),
        (tf.io.gfile, "remove"),
        (os, "link"),
        (os, "fsync"),
    ):
        monkeypatch.setattr(owner, name, dying(getattr(owner, name)))


def read_all(path):
    """The one value that all tensors of a checkpoint have."""
    values = {"a": tf.Variable(tf.zeros(8)), "b": tf.Variable(tf.zeros(8))}
    checkpoints.load(values, path, expect=values)
    assert len(set(np.concatenate(list(values.values())))) == 1
    return float(values["a"][0])


def all_equal_to(value):
    return {name: np.full(8, value, np.float32) for name in ("a", "b")}


def die_everywhere(monkeypatch, work):
    """Yields after a death before each of the operations of `work`."""
    for operation in itertools.count():
        with monkeypatch.context() as patch:
            kill_at(patch, operation)
            try:
                work()
                return
            except Killed:
                pass
        yield operation


def test_killed_overwriting_leaves_the_old_or_the_new(tmp_path, monkeypatch):
    prefix, seen = tmp_path / "c", []
    checkpoints.write(prefix, all_equal_to(1))
    for _ in die_everywhere(
        monkeypatch, lambda: checkpoints.write(prefix, all_equal_to(2))
    ):
        seen.append(read_all(prefix))
        assert read_all(tmp_path) == seen[-1]
        checkpoints.write(prefix, all_equal_to(1))
        names = sorted(path.name for path in tmp_path.iterdir())
        assert names == [f"c{DATA}", "c.index"]
    assert set(seen) == {1, 2}
    assert seen == sorted(seen)
    assert len(seen) > 10


def test_killed_twice_overwriting_leaves_a_whole_one(tmp_path, monkeypatch):
    prefix = tmp_path / "c"
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)
    deaths = 0
    for first in range(0, 18, 3):
        checkpoints.write(prefix, all_equal_to(1))
        for _ in die_everywhere(
            monkeypatch, lambda: checkpoints.write(prefix, all_equal_to(2))
        ):
            deaths += 1
            assert read_all(prefix) in (1, 2, 3)
            with monkeypatch.context() as patch:
                kill_at(patch, first)
                with contextlib.suppress(Killed):
                    checkpoints.write(prefix, all_equal_to(3))
            assert read_all(prefix) in (1, 2, 3)
    assert deaths > 60


def files_of(folder):
    return {path.name for path in folder.iterdir()}


def test_killed_saving_leaves_a_folder_that_goes_on(tmp_path, monkeypatch):
    seen = []
    for operation in itertools.count():
        folder = tmp_path / str(operation)
        checkpoints.save(folder, 1, all_equal_to(1))
        with monkeypatch.context() as patch:
            kill_at(patch, operation)
            try:
                checkpoints.save(folder, 2, all_equal_to(2), keep=1)
                break
            except Killed:
                pass
        seen.append(read_all(folder))
        assert latest_step(folder) == seen[-1]
        checkpoints.tidy(folder, keep=1)
        step = latest_step(folder)
        assert seen[-1] <= step == read_all(folder)
        assert files_of(folder) == {
            "checkpoint",
            f"model.ckpt-{step}{DATA}",
            f"model.ckpt-{step}.index",
        }
        checkpoints.save(folder, 3, all_equal_to(3), keep=1)
        assert latest_step(folder) == 3
        assert len(files_of(folder)) == 3
    assert set(seen) == {1, 2}
    assert len(seen) > 15


@pytest.mark.slow
@pytest.mark.parametrize(
    "times", [7, pytest.param(40, marks=pytest.mark.exhaustive)]
)
def test_kill_9_always_leaves_a_whole_checkpoint(tmp_path, times):
    script = GOLDEN / "checkpoints/kill_saving.py"
    done = prepared.run(
        [script, tmp_path / "run", str(times)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    steps = [int(line) for line in done.stdout.split()]
    assert len(steps) == times
    assert steps == sorted(steps)
    assert steps[-1] > times


# However the folder is spelled.


@pytest.mark.parametrize(
    "folder", ["run", "./run/", "a/../run", "a/run", "../w/run", "link/run", ""]
)
def test_state_file_names_checkpoints_of_its_folder_plainly(
    tmp_path, monkeypatch, variables, folder
):
    work = tmp_path / "w"
    (work / "a").mkdir(parents=True)
    (work / "link").symlink_to("a")
    monkeypatch.chdir(work)
    for step in (1, 2, 3):
        prefix = checkpoints.save(folder, step, variables, keep=2)

    assert prefix == os.path.join(folder, "model.ckpt-3")
    assert pathlib.Path(folder, "checkpoint").read_text() == (
        'model_checkpoint_path: "model.ckpt-3"\n'
        'all_model_checkpoint_paths: "model.ckpt-2"\n'
        'all_model_checkpoint_paths: "model.ckpt-3"\n'
    )
    assert not os.path.exists(os.path.join(folder, "model.ckpt-1.index"))
    assert checkpoints.latest(folder) == prefix
    assert tf.train.latest_checkpoint(folder) == prefix
    # From other working directories, as other paths of the same folder.
    for cwd in ("/", work / folder):
        monkeypatch.chdir(cwd)
        path = os.path.relpath(work / folder)
        newest = os.path.join(path, "model.ckpt-3")
        assert tf.train.latest_checkpoint(path) == newest
        assert checkpoints.latest(path) == newest


def test_names_that_climb_out_of_the_folder_are_still_understood(
    tmp_path, monkeypatch, variables
):
    """As written up to version 0.1 for a relative --output_dir."""
    monkeypatch.chdir(tmp_path)
    for step in (40, 50):
        checkpoints.save("outputs/quick/run", step, variables)
    path = pathlib.Path("outputs/quick/run/checkpoint")
    path.write_text(path.read_text().replace('"model', '"../../../model'))

    for folder in ("outputs/quick/run", tmp_path / "outputs/quick/run/"):
        newest = checkpoints.latest(folder)
        assert newest == os.path.join(folder, "model.ckpt-50")
    checkpoints.save("outputs/quick/run", 60, variables, keep=2)
    assert path.read_text().count('"model.ckpt-') == 3
    assert sorted(os.listdir(path.parent)) == [
        "checkpoint",
        f"model.ckpt-50{DATA}",
        "model.ckpt-50.index",
        f"model.ckpt-60{DATA}",
        "model.ckpt-60.index",
    ]


def test_a_relative_name_of_another_folder_is_kept_and_not_deleted(
    tmp_path, monkeypatch, variables
):
    monkeypatch.chdir(tmp_path)
    elsewhere = checkpoints.save("other", 1, variables)
    os.mkdir("run")
    pathlib.Path("run/checkpoint").write_text(
        'model_checkpoint_path: "../other/model.ckpt-1"\n'
        'all_model_checkpoint_paths: "../other/model.ckpt-1"\n'
    )
    assert read_one(checkpoints.latest("run")) == read_one(elsewhere)
    checkpoints.save("run", 2, variables)
    assert (
        '"../other/model.ckpt-1"' in pathlib.Path("run/checkpoint").read_text()
    )
    checkpoints.save("run", 3, variables, keep=1)
    assert checkpoints.find(elsewhere) == elsewhere


def read_one(prefix):
    return checkpoints.CheckpointReader(prefix).tensor("a").tolist()


# ------------------------------------------------- nothing outside is changed


@pytest.fixture
def victim(tmp_path, variables):
    """Another folder, and a function that says what it holds."""
    for step in (1, 2):
        checkpoints.save(tmp_path / "victim", step, variables)
    pathlib.Path(tmp_path / "mine").mkdir()

    def content():
        return {
            path.name: path.read_bytes()
            for path in (tmp_path / "victim").iterdir()
        }

    return content


@pytest.mark.parametrize(
    "start",
    [
        "../victim/",
        "./../victim/",
        "{mine}/../victim/",
        "{mine}/link/",
        "link/",
        "{victim}/",
        "model.ckpt-2/../../victim/",
        "..\\\\victim\\\\",
    ],
)
def test_names_outside_of_the_folder_are_never_deleted(
    tmp_path, variables, victim, start
):
    before, mine = victim(), tmp_path / "mine"
    (mine / "link").symlink_to("../victim")
    start = start.format(mine=mine, victim=tmp_path / "victim")
    (mine / "checkpoint").write_text(
        f'model_checkpoint_path: "{start}model.ckpt-2"\n'
        f'all_model_checkpoint_paths: "{start}model.ckpt-1"\n'
        f'all_model_checkpoint_paths: "{start}model.ckpt-2"\n'
    )
    checkpoints.tidy(mine, keep=1)
    for step in (10, 20, 30):
        checkpoints.save(mine, step, variables, keep=1)
    assert victim() == before
    assert files_of(mine) - {"link"} == {
        "checkpoint",
        f"model.ckpt-30{DATA}",
        "model.ckpt-30.index",
    }


def test_links_in_the_folder_are_not_followed(tmp_path, variables, victim):
    before, mine = victim(), tmp_path / "mine"
    for name in before:
        (mine / name).symlink_to(f"../victim/{name}")
    index = "../victim/model.ckpt-1.index"
    for name in (
        "checkpoint.unfinished",
        "model.ckpt-3.unfinished.index",
        f"model.ckpt-3.replacement{DATA}",
        "model.ckpt-3.index",
    ):
        (mine / name).symlink_to(index)
    for step in (3, 4):
        checkpoints.save(mine, step, variables, keep=1)
    assert victim() == before
    assert len(files_of(mine)) == 3


@pytest.mark.parametrize(
    "start",
    [
        "C:\\\\runs\\\\mrpc\\\\",
        "C:\\runs\\mrpc\\",  # By hand: TensorFlow doubles backslashes.
        "runs\\\\mrpc\\\\",
        "..\\\\",
        "\\\\\\\\server\\\\share\\\\",
        "C:/runs/mrpc/",
        "/home/somebody/mrpc/",
        "gs://bucket/mrpc/",
    ],
)
def test_a_state_file_of_another_machine_is_understood(
    tmp_path, variables, start
):
    for step in (1, 2, 3):
        checkpoints.save(tmp_path, step, variables)
    names = [f'"{start}model.ckpt-{step}"' for step in (1, 2, 3)]
    (tmp_path / "checkpoint").write_bytes(
        f"model_checkpoint_path: {names[1]}\r\n".encode()
        + "".join(
            f"all_model_checkpoint_paths: {name}\r\n" for name in names
        ).encode()
    )
    assert latest_step(tmp_path) == 2
    checkpoints.save(tmp_path, 4, variables, keep=2)
    assert latest_step(tmp_path) == 4
    assert files_of(tmp_path) == {"checkpoint"} | {
        f"model.ckpt-{step}{end}" for step in (3, 4) for end in (".index", DATA)
    }
    assert "mrpc" not in (tmp_path / "checkpoint").read_text()


@pytest.mark.parametrize("keep", [2, None])
def test_tidy_deletes_nothing_of_who_keeps_more(keep, tmp_path, variables):
    for step in range(4):
        checkpoints.save(tmp_path, step, variables, keep=None)
    before = files_of(tmp_path)
    checkpoints.tidy(tmp_path, keep=keep)
    assert files_of(tmp_path) == before
