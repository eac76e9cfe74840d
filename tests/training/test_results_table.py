"""The table of evaluations."""

import math

from bert_tf.training import results_table
from bert_tf.training.history import History


def history_of(values, name="eval_f1", every=10):
    found = History(every * len(values))
    for number, value in enumerate(values, 1):
        found.evaluate(number * every, {name: value, "loss": 2 - value})
    return found


def test_of_many_evaluations_some_are_shown_the_best_and_the_last_too():
    values = [0.5] * 100
    values[36] = 0.9
    found = history_of(values)

    lines = results_table.make(found, most_rows=12).splitlines()

    steps = [int(line.split()[0]) for line in lines[1:-1]]
    assert {10, 370, 1000} <= set(steps) and 10 <= len(steps) <= 12
    assert lines[-1] == f"  ({len(steps)} of 100 evaluations)"
    assert [line for line in lines if "*" in line] == [
        line for line in lines if " 370 " in line
    ]


def test_lines_fit_and_missing_values_are_nan():
    found = history_of([0.5, 0.6])
    names = [f"eval_a_long_name_of_set_{n}_accuracy" for n in range(9)]
    found.evaluate(30, {name: 12345.678 for name in names})
    found.metric, found.best = names[5], 30

    lines = results_table.make(found).splitlines()

    assert all(len(line) <= 110 for line in lines)
    assert lines[0].split()[1] == names[5]
    assert math.isnan(float(lines[1].split()[1]))
    assert lines[3].split()[1] == "12345.7*"
