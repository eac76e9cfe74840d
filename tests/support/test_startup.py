"""What commands do to start sooner, and a library must not."""

import os
import shutil
import subprocess
import sys
import zipfile

import pytest
from helpers.paths import ROOT

IN_A_NEW_PROCESS = """
import gc, sys
from bert_tf.support import startup
startup.prepare()
assert "tensorflow" not in sys.modules
seen = []
gc.callbacks.append(lambda phase, info: seen.append(info["generation"]))
import keras
# One before, of the whole heap; an enabled collector makes hundreds.
assert seen[:2] == [2, 2] and len(seen) < 10, seen
assert gc.isenabled() and gc.get_freeze_count() > 100_000
import tensorflow
for module in (keras, tensorflow):
    assert module.__loader__ is module.__spec__.loader
    loader = type(module.__loader__)
    assert loader.__module__.startswith("_frozen_importlib"), loader
print(keras.ops.add(1, 1).numpy())
"""

COLLECTOR_OFF = """
import gc
gc.disable()
from bert_tf.support import startup
startup.prepare()
import tensorflow
assert not gc.isenabled() and not gc.get_freeze_count()
print(2)
"""

AT_EXIT = """
import atexit, os, sys

def show():
    finders = [type(finder).__module__ for finder in sys.meta_path]
    found = "bert_tf.support.startup" in finders
    print("bert_tf" in sys.modules, found, "TF_CPP_MIN_LOG_LEVEL" in os.environ)

atexit.register(show)
"""


def output_of(*arguments, **environment):
    done = subprocess.run(
        [sys.executable, *arguments],
        check=True,
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
    )
    return done.stdout.strip()


BROKEN_TENSORFLOW = """
import os, sys
os.write(2, b"a notice\\n")
if sys.argv[1:]:
    raise ImportError("no AVX")
"""


@pytest.mark.parametrize("breaks", [False, True])
def test_notices_of_the_import_are_shown_if_it_fails(tmp_path, breaks):
    (tmp_path / "tensorflow.py").write_text(BROKEN_TENSORFLOW)
    code = (
        "import sys; sys.path.insert(0, sys.argv.pop(1)); "
        "from bert_tf.support import startup; startup.prepare(); "
        "import tensorflow; print('after', file=sys.stderr)"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path), *["x"] * breaks],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert ended.returncode == breaks
    assert ("a notice\n" in ended.stderr) == breaks
    assert ("no AVX" if breaks else "after") in ended.stderr


def test_python_interface_hides_the_notices_and_changes_nothing_else(tmp_path):
    (tmp_path / "tensorflow.py").write_text(
        "import os; os.write(2, b'a notice'); "
        "level = os.environ['TF_CPP_MIN_LOG_LEVEL']"
    )
    code = (
        "import os, sys; sys.path.insert(0, sys.argv[1]); import bert_tf\n"
        "from absl import flags\n"  # It adds a finder of its own.
        "os.environ.pop('TF_CPP_MIN_LOG_LEVEL', None)\n"
        "before = dict(os.environ), list(sys.meta_path)\n"
        "bert_tf.Predictor, bert_tf.Predictor\n"
        "import gc, tensorflow\n"
        "assert before == (dict(os.environ), sys.meta_path)\n"
        "assert not gc.get_freeze_count()\n"
        "print(int(tensorflow.level) >= 2)"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert (ended.stdout, ended.stderr) == ("True\n", "")


def test_deferred_modules_are_executed_when_they_are_loaded():
    code = (
        "import sys; from bert_tf.support import startup\n"
        "startup.prepare()\n"
        "with startup.deferred():\n"
        "    from bert_tf.data import tables\n"
        "    from bert_tf.exports import results\n"
        "print('csv' in sys.modules, tables.__name__, 'csv' in sys.modules)\n"
        "startup.load_deferred()\n"
        "print('Candidate' in object.__getattribute__(results, '__dict__'))\n"
    )
    assert output_of("-c", code) == "False bert_tf.data.tables True\nTrue"


@pytest.mark.slow
def test_collector_is_disabled_while_tensorflow_is_imported():
    assert output_of("-c", IN_A_NEW_PROCESS) == "2"


@pytest.mark.exhaustive
def test_collector_that_was_off_stays_off():
    assert output_of("-c", COLLECTOR_OFF) == "2"


@pytest.fixture
def changes(tmp_path, monkeypatch):
    """Runs Python and tells whether bert_tf changed the interpreter."""
    monkeypatch.delenv("TF_CPP_MIN_LOG_LEVEL")
    (tmp_path / "sitecustomize.py").write_text(AT_EXIT)
    for name in ("bert-tf-score", "train.py", "their_module.py"):
        (tmp_path / name).write_text("import bert_tf")

    def run(*arguments):
        arguments = [
            word.replace("FOLDER", str(tmp_path)) for word in arguments
        ]
        path = os.pathsep.join([str(tmp_path), str(ROOT)])
        return output_of(*arguments, PYTHONPATH=path)

    return run


@pytest.mark.parametrize(
    "arguments",
    [
        ("-m", "bert_tf.errors"),
        ("-mbert_tf.errors",),
        ("-um", "bert_tf.errors", "--name=value"),
        ("FOLDER/bert-tf-score",),
    ],
)
def test_commands_start_quickly_and_quietly(changes, arguments):
    assert changes(*arguments) == "True True True"


@pytest.mark.parametrize(
    "arguments",
    [
        ("-c", "import bert_tf", "bert_tf.run_classifier"),
        ("-m", "their_module"),
        ("FOLDER/train.py", "-m", "bert_tf"),
    ],
)
def test_importing_the_library_changes_nothing(changes, arguments):
    assert changes(*arguments) == "True False False"


@pytest.fixture
def clone(tmp_path):
    """A folder called bert_tf with what setup.py needs of the repository."""
    folder = tmp_path / "bert_tf"
    folder.mkdir()
    for name in ("setup.py", "pyproject.toml", "README.md"):
        shutil.copy(ROOT / name, folder)
    for name in ("bert_tf", "checkpoints"):
        (folder / name).symlink_to(ROOT / name)
    return folder


def names_in_wheel(clone, *command):
    subprocess.run(
        [sys.executable, "setup.py", "-q", *command, "-d", "../dist"],
        cwd=clone,
        check=True,
        capture_output=True,
    )
    (wheel,) = (clone.parent / "dist").glob("*.whl")
    return zipfile.ZipFile(wheel).namelist()


def test_a_clone_called_like_the_package_does_not_hide_it(clone):
    """An editable install adds a path: a finder would come too late."""
    names = names_in_wheel(clone, "editable_wheel")
    outside = [name for name in names if ".dist-info/" not in name]

    assert [os.path.splitext(name)[1] for name in outside] == [".pth"]
    ended = subprocess.run(
        [sys.executable, "-S", "-c", "import bert_tf; print(bert_tf.__file__)"],
        cwd=clone.parent,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert ended.stdout.strip() == str(ROOT / "bert_tf" / "__init__.py")


def test_a_wheel_has_the_builtin_checkpoint_and_the_page(clone):
    names = names_in_wheel(clone, "bdist_wheel")

    for folder, inside in (
        (ROOT / "checkpoints" / "builtin", "bert_tf/_checkpoints/builtin"),
        (ROOT / "bert_tf" / "server" / "page", "bert_tf/server/page"),
    ):
        for path in folder.iterdir():
            assert f"{inside}/{path.name}" in names
    assert "bert_tf/_checkpoints/released_models.json" in names
    assert "bert_tf/py.typed" in names
