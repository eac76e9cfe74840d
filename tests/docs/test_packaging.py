"""What a wheel contains, and what its metadata says."""

import ast
import json
import re
import subprocess
import sys

import pytest
from helpers.paths import ROOT

import bert_tf
from bert_tf import __main__ as front_door

# Prints the paths in a wheel, and its metadata. Nothing is built.
INSPECT = """
import json, sys
from distutils.core import run_setup
made = run_setup("setup.py", ["--quiet"], stop_after="init")
build = made.get_command_obj("build_py")
build.build_lib = "LIB"
build.ensure_finalized()
print(json.dumps({
    "files": build.get_outputs(include_bytecode=False),
    "version": made.metadata.version,
    "requires": made.install_requires,
    "extras": {name: list(some) for name, some in made.extras_require.items()},
    "scripts": made.entry_points["console_scripts"],
    "classifiers": made.metadata.classifiers,
}))
"""


@pytest.fixture(scope="module")
def wheel():
    command = [sys.executable, "-c", f"import setuptools\n{INSPECT}"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_a_wheel_has_the_package_and_the_built_in_model_and_no_more(wheel):
    packed = {path.removeprefix("LIB/") for path in wheel["files"]}

    tracked = subprocess.run(
        [
            "git",
            "ls-files",
            "bert_tf",
            "checkpoints/builtin",
            "checkpoints/*.json",
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    inner = {
        path.replace("checkpoints/", "bert_tf/_checkpoints/", 1)
        if path.startswith("checkpoints/")
        else path
        for path in tracked
    }
    assert packed == inner
    for name in ("vocab.txt", "bert_model.ckpt.index", "bert_config.json"):
        assert f"bert_tf/_checkpoints/builtin/{name}" in packed
    assert {"bert_tf/py.typed", "bert_tf/server/page/app.js"} <= packed


def test_the_version_is_that_of_the_package_and_of_the_changes(wheel):
    assert wheel["version"] == bert_tf.__version__
    changes = (ROOT / "CHANGELOG.md").read_text()
    newest = re.search(r"^## (\S+)", changes, re.M)[1]
    assert newest == bert_tf.__version__


def test_each_command_is_installed(wheel):
    names = [name for some in front_door.GROUPS.values() for name in some]
    wanted = {f"bert-tf-{n.replace('_', '-')} = bert_tf.{n}:cli" for n in names}
    assert set(wheel["scripts"]) == {*wanted, "bert-tf = bert_tf.__main__:cli"}


def test_each_extra_is_explained(wheel):
    page = (ROOT / "docs" / "installing.md").read_text()
    rows = dict(re.findall(r"^\| `(\w+)` \| .* \| (.*) \|$", page, re.M))

    assert rows.keys() == wheel["extras"].keys()
    for name, packages in wheel["extras"].items():
        named = [re.match(r"[\w-]+", one)[0] for one in packages]
        lacking = [one for one in named if one not in rows[name]]
        assert not lacking or rows[name].endswith("and others")


def test_messages_name_extras_that_there_are(wheel):
    named = set()
    for path in (ROOT / "bert_tf").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                named |= set(re.findall(r"bert[_-]tf\[(\w+)\]", node.value))
    assert {"serving", "beam"} <= named <= wheel["extras"].keys()


def test_classifiers_name_the_pythons_that_are_tested(wheel):
    found = [c.rpartition(" ")[2] for c in wheel["classifiers"] if "3." in c]
    page = (ROOT / "docs" / "installing.md").read_text()
    assert found == ["3.11", "3.12", "3.13"]
    assert "Python 3.11, 3.12 or 3.13" in page
