"""Imports point one way, and plain rooms stay free of TensorFlow."""

import ast
import functools
import pathlib
import subprocess
import sys

import pytest
from helpers.paths import ROOT

PACKAGE = ROOT / "bert_tf"

# Each line may import from itself, without circles, and from those above it.
ORDER = (
    ("errors", "support"),
    ("tokenization", "layers"),
    ("data", "modeling"),
    ("heads",),
    ("models", "optimization"),
    ("checkpoints",),
    ("training", "exports"),
    ("tasks",),
    ("cli", "server"),
)
ROOMS = {"support", "data", "checkpoints", "training", "exports", "tasks"}
ROOMS |= {"cli", "server"}
STEP = {room: step for step, rooms in enumerate(ORDER) for room in rooms}
COMMANDS = len(ORDER)
FREE = {"__init__", "__main__"}  # May import anything, lazily.

# Files of a task that know nothing of TensorFlow or Keras.
PLAIN_TASK_FILES = {
    "answers.py",
    "cells.py",
    "comparison.py",
    "data.py",
    "datasets.py",
    "given.py",
    "inference.py",
    "labels.py",
    "layouts.py",
    "metrics.py",
    "numbers.py",
    "page.py",
    "pictures.py",
    "predictor.py",
    "published.py",
    "report.py",
    "rows.py",
    "schemes.py",
    "several_inference.py",
    "submission.py",
    "target.py",
    "targets.py",
    "thresholds.py",
    "trained.py",
    "teacher_logits.py",
    "weights.py",
    "windows.py",
}
PLAIN_CHECKPOINTS = {
    "casing.py",
    "downloads.py",
    "zips.py",
    "folder_settings.py",
    "names.py",
    "released.py",
}
PLAIN_EXPORTS = {
    "folder.py",
    "inputs.py",
    "interface.py",
    "predictor.py",
    "results.py",
    "sessions.py",
    "settings.py",
}
PLAIN_TRAINING = {
    "curves.py",
    "flat_loss.py",
    "history.py",
    "settings.py",
    "results_table.py",
}


def modules():
    """Every module's path by its dotted name below the package."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        name = ".".join(parts).removesuffix(".__init__")
        found[name] = path
    return found


MODULES = modules()


@functools.cache
def parse(path):
    return ast.parse(path.read_text(encoding="utf-8"))


@functools.cache
def imports_of(path):
    """Dotted names below the package that a file imports, also in functions."""
    return list(_imports_of(parse(path)))


def _imports_of(tree):
    skipped = {
        inner
        for node in ast.walk(tree)
        if isinstance(node, ast.If)
        and ast.unparse(node.test).endswith("TYPE_CHECKING")
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if node in skipped:
            continue
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in names:
            if name.startswith("bert_tf."):
                yield _module_of(name.removeprefix("bert_tf."))


def _module_of(name):
    """The module that a dotted name is, or is defined in."""
    while name and name not in MODULES:
        name = name.rpartition(".")[0]
    return name or "__init__"


def step_of(module):
    return STEP.get(module.partition(".")[0], COMMANDS)


def is_plain(module):
    room, path = module.partition(".")[0], MODULES[module]
    if room in ("errors", "tokenization", "support", "cli"):
        return True
    if room == "data":
        return path.name != "records.py"
    if room == "server":
        return path.name != "model.py"
    if room == "checkpoints":
        return path.name in PLAIN_CHECKPOINTS
    if room == "exports":
        return path.name in PLAIN_EXPORTS
    if room == "training":
        return path.name in PLAIN_TRAINING
    return room == "tasks" and path.name in PLAIN_TASK_FILES


def test_every_file_is_in_a_known_room():
    packages = {
        path.name
        for path in PACKAGE.iterdir()
        if path.is_dir() and any(path.glob("*.py"))
    }

    assert packages == ROOMS


def test_imports_point_one_way():
    wrong = []
    for module, path in MODULES.items():
        if module in FREE:
            continue
        for imported in imports_of(path):
            if imported not in FREE and step_of(imported) > step_of(module):
                wrong.append(f"{module} imports {imported}")

    assert wrong == []


def test_no_command_imports_another_command():
    commands = {
        name
        for name in MODULES
        if step_of(name) == COMMANDS and name not in FREE
    }
    wrong = [
        f"{module} imports {imported}"
        for module in commands
        for imported in imports_of(MODULES[module])
        if imported in commands - {module}
    ]

    assert wrong == []


def test_imports_make_no_circle():
    after = {
        module: set(imports_of(path)) - {module} - FREE
        for module, path in MODULES.items()
        if module not in FREE
    }
    done, underway = set(), []

    def visit(module):
        if module in underway:
            circle = [*underway[underway.index(module) :], module]
            pytest.fail(" -> ".join(circle))
        if module not in done:
            underway.append(module)
            for imported in sorted(after.get(module, ())):
                visit(imported)
            done.add(underway.pop())

    for module in sorted(after):
        visit(module)


def test_no_task_imports_another():
    def task_of(module):
        parts = module.split(".")
        return parts[1] if parts[0] == "tasks" and len(parts) > 2 else None

    wrong = [
        f"{module} imports {imported}"
        for module, path in MODULES.items()
        for imported in imports_of(path)
        if task_of(module) is not None
        and task_of(imported) not in (None, task_of(module))
    ]

    assert wrong == []


def test_only_commands_and_cli_know_flags():
    wrong = []
    for module, path in MODULES.items():
        names = set()
        for node in ast.walk(parse(path)):
            if isinstance(node, ast.Import):
                names |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                names |= {f"{node.module}.{a.name}" for a in node.names}
        knows = any(
            name.startswith(("absl.flags", "absl.app")) for name in names
        )
        if knows and module.partition(".")[0] != "cli":
            wrong += [module] * (step_of(module) < COMMANDS)

    assert wrong == []


def test_modules_are_short():
    lengths = {
        module: len(path.read_text(encoding="utf-8").splitlines())
        for module, path in MODULES.items()
    }
    long = {module for module, length in lengths.items() if length > 500}

    assert max(lengths.values()) <= 700
    assert len(long) <= 8, sorted(long)


def test_plain_modules_load_neither_tensorflow_nor_keras():
    plain = sorted(filter(is_plain, MODULES))
    code = """
import importlib, sys
for name in sys.argv[1:]:
    for loaded in [m for m in sys.modules if m.partition(".")[0] == "bert_tf"]:
        del sys.modules[loaded]
    try:
        importlib.import_module("bert_tf." + name)
    except ImportError as error:
        print(name, error)
    heavy = {"tensorflow", "keras", "torch", "jax"} & set(sys.modules)
    if heavy:
        print(name, "loads", *sorted(heavy))
        break
"""
    process = subprocess.run(
        [sys.executable, "-c", code, *plain],
        capture_output=True,
        text=True,
        cwd=ROOT,
    )

    assert process.stdout + process.stderr == ""


def test_importing_the_package_changes_nothing_in_the_interpreter():
    code = """
import os, sys
finders, variables = list(sys.meta_path), dict(os.environ)
import bert_tf
heavy = {"tensorflow", "keras"} & set(sys.modules)
assert not heavy, heavy
assert sys.meta_path == finders, sys.meta_path
assert dict(os.environ) == variables
"""
    process = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT
    )

    assert process.stderr == ""


@pytest.mark.parametrize("room", sorted(ROOMS))
def test_packages_say_nothing_of_their_own(room):
    for path in sorted(PACKAGE.joinpath(room).rglob("__init__.py")):
        if path.parent == PACKAGE / "checkpoints":
            continue
        tree = parse(path)
        statements = [
            node for node in tree.body if not isinstance(node, ast.Expr)
        ]
        assert statements == [], path


def test_every_room_has_its_tests_in_a_folder_of_its_name():
    tests = ROOT / "tests"
    model = {"errors", "tokenization", "layers", "modeling", "heads"}
    model |= {"models", "optimization", "config", "backends", "layout"}
    at_the_top = {path.stem for path in tests.glob("*.py")}

    assert at_the_top <= {f"test_{name}" for name in model} | {
        "conftest",
        "__init__",
    }
    assert {room for room in ROOMS if not (tests / room).is_dir()} == set()


def test_no_test_depends_on_benchmarks():
    named = [
        str(path)
        for path in pathlib.Path(ROOT / "tests").rglob("*.py")
        if "benchmarks" in path.read_text(encoding="utf-8")
        and path != pathlib.Path(__file__)
    ]

    assert named == []
