"""What a sweep notes of its runs, and which one is the best."""

import math
import os
import pathlib

import numpy as np
import pytest
import tensorflow as tf

from bert_tf import checkpoints
from bert_tf.errors import InputError
from bert_tf.tasks import sweep

FLAGS = {"data_dir": "data", "seed": 1, "num_runs": 1, "train_batch_size": 32}


def point(rate, **flags):
    values = {"learning_rate": rate}
    decided = {**FLAGS, "learning_rate": float(rate), **flags}
    return sweep.Point(f"learning_rate={rate}", values, decided)


def note(notes, point, number=None, step=5, **results):
    entry = notes.find(point, number)
    pathlib.Path(notes.folder(entry)).mkdir(parents=True)
    notes.begin(entry)
    if results:
        notes.end(entry, results, step)
    return entry


@pytest.fixture
def notes(tmp_path):
    return sweep.Notes(str(tmp_path))


@pytest.mark.parametrize(
    ("metric", "values", "best"),
    [
        ("eval_f1", [0.5, 0.7, 0.6], 1),
        ("eval_loss", [0.5, 0.7, 0.6], 0),
        ("eval_f1", [0.7, 0.7], 0),
        ("eval_f1", [math.nan, 0.1], 1),
        ("eval_loss", [0.1, math.nan], 0),
        ("eval_f1", [math.nan, math.nan], 0),
    ],
)
def test_the_best_is_the_first_of_the_best_value(metric, values, best):
    numbers = range(len(values))
    assert sweep.best_of(metric, numbers, values.__getitem__) == best


def test_the_mean_of_a_points_runs_decides_then_the_best_of_them(notes):
    high, steady = (point(rate, num_runs=2) for rate in ("1e-3", "1e-4"))
    note(notes, high, 1, eval_f1=0.9)
    note(notes, high, 2, eval_f1=0.1)
    note(notes, steady, 1, eval_f1=0.6)
    note(notes, steady, 2, eval_f1=0.7)
    # Not all of its runs have ended.
    note(notes, point("1e-2", num_runs=2), 1, eval_f1=1.0)

    best = notes.best("eval_f1")

    assert (best.name, best.number) == ("learning_rate=1e-4", 2)


def test_the_table_has_a_line_for_each_run_that_has_ended(notes, tmp_path):
    note(notes, point("1e-3"), step=7, eval_f1=0.5, eval_loss=2)
    note(notes, point("1e-4"))
    wider = sweep.Point(
        "learning_rate=1e-3,train_batch_size=8",
        {"learning_rate": "1e-3", "train_batch_size": "8"},
        {**point("1e-3").flags, "train_batch_size": 8},
    )
    note(notes, wider, step=9, eval_f1=0.25, eval_loss=1)

    lines = (tmp_path / "sweep.tsv").read_text().splitlines()

    assert [line.split("\t") for line in lines] == [
        [
            "learning_rate",
            "train_batch_size",
            "eval_f1",
            "eval_loss",
            "step",
            "folder",
        ],
        ["1e-3", "32", "0.5", "2.0", "7", "sweep/learning_rate=1e-3"],
        ["1e-3", "8", "0.25", "1.0", "9", f"sweep/{wider.name}"],
    ]


def test_several_runs_of_a_point_have_their_numbers(notes, tmp_path):
    one = point("1e-3", num_runs=2)
    note(notes, one, 1, eval_f1=0.5)
    note(notes, one, 2, eval_f1=0.75)

    header, *rows = (
        line.split("\t")
        for line in (tmp_path / "sweep.tsv").read_text().splitlines()
    )

    assert header == ["learning_rate", "run", "eval_f1", "step", "folder"]
    assert rows[1][1:] == ["2", "0.75", "5", "sweep/learning_rate=1e-3/run_2"]


def test_notes_are_read_again_without_runs_whose_folder_is_gone(
    notes, tmp_path
):
    done = note(notes, point("1e-3"), eval_f1=1 / 3)
    begun = note(notes, point("1e-4"))
    removed = note(notes, point("1e-5"), eval_f1=1)
    (tmp_path / "sweep" / removed.name).rmdir()

    assert sweep.Notes(str(tmp_path)).entries == [done, begun]


def test_a_run_under_another_spelling_is_the_same(notes):
    note(notes, point("1e-3"), eval_f1=1)

    (placed,) = notes.place([point("0.001")])

    assert placed.name == "learning_rate=1e-3"


@pytest.mark.parametrize(
    ("points", "named"),
    [
        # A flag that no grid changes.
        ([point("1e-4", seed=2)], ("--seed=2", "seed=1")),
        (
            [point("1e-3", data_dir="other")],
            ("data_dir=other", "data_dir=data"),
        ),
        ([point("1e-4", num_runs=3)], ("--num_runs=3", "num_runs=1")),
        # The folder of a run that had another value, which some grid changes.
        (
            [
                point("1e-3", train_batch_size=8),
                point("1e-4")._replace(values={"train_batch_size": "32"}),
            ],
            ("train_batch_size=8", "train_batch_size=32", "learning_rate=1e-3"),
        ),
    ],
)
def test_other_flags_are_an_error_that_names_both(notes, points, named):
    note(notes, point("1e-3"), eval_f1=1)

    with pytest.raises(InputError) as caught:
        notes.place(points)

    for name in named:
        assert name in str(caught.value)


def test_other_values_add_runs(notes):
    note(notes, point("1e-3"), eval_f1=1)
    wider = point("1e-3")._replace(
        name="learning_rate=1e-3,seed=2",
        values={"learning_rate": "1e-3", "seed": "2"},
        flags={**point("1e-3").flags, "seed": 2},
    )

    assert notes.place([point("1e-4"), wider]) == [point("1e-4"), wider]


def test_paths_may_be_written_otherwise(notes, tmp_path):
    here = str(tmp_path)
    note(notes, point("1e-3", data_dir=here), eval_f1=1)

    notes.place([point("1e-3", data_dir=here + "/../" + tmp_path.name)])


@pytest.mark.parametrize("text", ["{", "[]", '{"saved": [], "runs": [{}]}'])
def test_damaged_notes_are_named(tmp_path, text):
    path = tmp_path / "sweep" / "sweep.json"
    path.parent.mkdir()
    path.write_text(text)

    with pytest.raises(InputError, match=r"sweep\.json"):
        sweep.Notes(str(tmp_path))


def test_what_another_process_has_written_is_not_overwritten(notes):
    note(notes, point("1e-3"))
    path = pathlib.Path(notes.path)
    path.write_text(path.read_text().replace("[]", "[3]"))

    with pytest.raises(InputError, match=r"sweep\.json"):
        notes.require_unchanged()


# ----------------------------------------------------------- the output folder


def save(folder, step, value):
    weights = {"w": np.full(3, value, np.float32)}
    checkpoints.save(folder, step, {**weights, "w/adam_m": np.ones(3)})
    (pathlib.Path(folder) / "labels.txt").write_text(f"{value}\n")


def written(folder):
    reader = tf.train.load_checkpoint(str(folder))
    names = reader.get_variable_to_shape_map()
    return {name: reader.get_tensor(name).tolist() for name in names}


def test_the_output_folder_gets_the_weights_of_the_best_and_no_others(
    notes, tmp_path
):
    first, second = (
        note(notes, point(rate), step=step, eval_f1=1)
        for rate, step in (("1e-3", 9), ("1e-4", 4))
    )
    save(notes.folder(first), 9, 1.0)
    save(notes.folder(second), 4, 2.0)

    notes.publish(first, keeps_best=False)
    notes.publish(second, keeps_best=False)

    assert written(tmp_path) == {"w": [2.0] * 3, "global_step": 4}
    assert (tmp_path / "labels.txt").read_text() == "2.0\n"
    assert [path.name for path in tmp_path.glob("*.index")] == [
        "model.ckpt-4.index"
    ]
    sweep.Notes(str(tmp_path)).require_own_folder()


def test_where_runs_keep_their_best_that_is_taken(notes, tmp_path):
    entry = note(notes, point("1e-3"), step=4, eval_f1=1)
    save(notes.folder(entry), 9, 1.0)
    save(os.path.join(notes.folder(entry), "best"), 4, 2.0)

    notes.publish(entry, keeps_best=True)

    assert written(tmp_path) == {"w": [2.0] * 3, "global_step": 4}


@pytest.mark.parametrize("is_later", [False, True])
def test_another_trainings_checkpoint_is_not_replaced(
    notes, tmp_path, is_later
):
    if is_later:
        entry = note(notes, point("1e-3"), step=9, eval_f1=1)
        save(notes.folder(entry), 9, 1.0)
        notes.publish(entry, keeps_best=False)
    save(str(tmp_path), 12, 3.0)

    with pytest.raises(InputError, match=r"output_dir.*model\.ckpt-12"):
        sweep.Notes(str(tmp_path)).require_own_folder()
