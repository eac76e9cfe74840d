import os
import socket
import subprocess
import tempfile

import pytest

from bert_tf.errors import InputError
from bert_tf.support import files, liveness


def left_by(path, process, host=None, start=""):
    """The name under which a process would have written to a path."""
    host = host or socket.gethostname()
    return f"{path}.{host}-{process}{start and '.' + start}.incomplete"


def start_of(process):
    return liveness.incarnation(process)


def test_nothing_has_the_name_before_a_file_is_whole(tmp_path):
    path = str(tmp_path / "x")
    with files.whole_or_nothing(path) as file:
        file.write(b"new")
        mine = left_by("x", os.getpid(), start=start_of(os.getpid()))
        assert os.listdir(tmp_path) == [mine]
    assert os.listdir(tmp_path) == ["x"]
    assert (tmp_path / "x").read_bytes() == b"new"


def test_an_error_leaves_the_file_that_was_there(tmp_path):
    path = str(tmp_path / "x")
    files.write_text(path, "old")
    with pytest.raises(ZeroDivisionError), files.whole_or_nothing(path) as file:
        file.write(b"new")
        raise ZeroDivisionError
    assert os.listdir(tmp_path) == ["x"]
    assert (tmp_path / "x").read_text() == "old"


def test_a_file_that_cannot_be_written_is_named(tmp_path):
    path = str(tmp_path / "nowhere" / "x")
    with pytest.raises(InputError, match=f"Cannot write {path}: No such file"):
        files.write_text(path, "")


@pytest.mark.parametrize("name", ["out", "out/", "a/../out"])
def test_a_folder_appears_whole(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    os.mkdir("a")
    with files.whole_folder(name) as folder:
        open(os.path.join(folder, "x"), "w").close()
        assert not os.path.exists("out")
    assert sorted(os.listdir()) == ["a", "out"]
    assert os.listdir("out") == ["x"]


def test_an_error_leaves_nothing_of_a_folder(tmp_path):
    with (
        pytest.raises(ZeroDivisionError),
        files.whole_folder(str(tmp_path / "out")) as folder,
    ):
        open(os.path.join(folder, "x"), "w").close()
        raise ZeroDivisionError
    assert os.listdir(tmp_path) == []


def test_a_folder_with_files_is_not_replaced(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "x").touch()
    with pytest.raises(OSError), files.whole_folder(str(tmp_path / "out")):
        pass
    assert os.listdir(tmp_path) == ["out"]
    assert os.listdir(tmp_path / "out") == ["x"]


def test_what_killed_processes_of_this_machine_left_is_removed(tmp_path):
    gone = subprocess.Popen(["true"])
    gone.wait()
    path = str(tmp_path / "x[1]")
    kept = [
        left_by(path, os.getppid()),
        left_by(path, gone.pid, "other"),
        # Of a machine whose name only begins like this one's.
        left_by(path, gone.pid, f"{socket.gethostname()}-1"),
        f"{path}.incomplete",
    ]
    kept.append(left_by(path, os.getppid(), start=start_of(os.getppid())))
    ended = [
        left_by(path, gone.pid),
        left_by(path, gone.pid, start="0123abcd"),
        # The number came back, as that of the first process of a container.
        left_by(path, os.getpid(), start="0123abcd"),
    ]
    for name in [*kept, *ended]:
        open(name, "w").close()

    files.write_text(path, "")

    assert sorted(map(str, tmp_path.iterdir())) == sorted([*kept, path])


def test_what_a_process_in_another_container_writes_is_left_alone(tmp_path):
    path = str(tmp_path / "x")
    # Its number cannot be seen from here; its lock can.
    unseen = left_by(path, 999_999_999, start="0123abcd")
    with open(unseen, "w") as file:
        assert liveness.lock(file.fileno())
        files.write_text(path, "")
        assert os.path.exists(unseen)
    files.write_text(path, "")
    assert os.listdir(tmp_path) == ["x"]


def test_a_link_under_the_name_of_an_unfinished_file_is_not_followed(tmp_path):
    path = str(tmp_path / "x")
    (tmp_path / "other").write_text("text")
    os.symlink(tmp_path / "other", files.unfinished_name(path))
    files.write_text(path, "new")
    assert (tmp_path / "other").read_text() == "text"
    assert sorted(os.listdir(tmp_path)) == ["other", "x"]


def test_temporary_folders_of_killed_processes_go(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    gone = subprocess.Popen(["true"])
    gone.wait()
    os.makedirs(left_by(tmp_path / "bert_tf_assets.xyz", gone.pid) + "/deep")
    with (
        files.temporary_folder("assets") as one,
        files.temporary_folder("assets") as other,
    ):
        there = {str(tmp_path / name) for name in os.listdir(tmp_path)}
        assert there == {one, other}
    assert os.listdir(tmp_path) == []


def test_what_is_left_of_a_folder_is_removed_as_well(tmp_path):
    gone = subprocess.Popen(["true"])
    gone.wait()
    path = str(tmp_path / "out")
    os.makedirs(os.path.join(left_by(path, gone.pid), "deep"))

    with files.whole_folder(path):
        pass

    assert os.listdir(tmp_path) == ["out"]


def test_copy_of_a_file_to_itself_changes_nothing(tmp_path):
    path = tmp_path / "x"
    path.write_text("text")
    os.symlink(tmp_path, tmp_path / "link")
    files.copy(str(path), str(tmp_path / "link" / "x"))
    assert path.read_text() == "text"
    files.copy(str(path), str(tmp_path / "y"))
    assert (tmp_path / "y").read_text() == "text"


def test_a_file_to_write_must_not_be_read(tmp_path):
    for name in ("in", "other", "vocab"):
        (tmp_path / name).touch()
    (tmp_path / "link").symlink_to(tmp_path / "in")
    path = {name: str(tmp_path / name) for name in os.listdir(tmp_path)}
    inputs = {"input_file": [path["other"], path["in"]]}
    inputs["vocab_file"] = [path["vocab"], str(tmp_path / "gone")]

    files.require_other_file([str(tmp_path / "new")], inputs)
    for outputs, named in (
        ([path["in"]], "`--input_file`.* Received: .*/in for both"),
        ([path["link"]], r"`--input_file`.* Received: .*/link \(.*/in\)"),
        ([str(tmp_path / "new"), path["vocab"]], "`--vocab_file`.*/vocab for"),
        ([f"{tmp_path}/./in"], r"`--input_file`.*/\./in"),
    ):
        with pytest.raises(InputError, match="^`--output_file` .*" + named):
            files.require_other_file(outputs, inputs)
