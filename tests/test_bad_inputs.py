"""Every bad input ends its command with a message that names what is wrong."""

import os
import re
import subprocess
import sys
from unittest import mock

import pytest
from helpers.paths import ROOT
from helpers.programs import load

bad_inputs = load(ROOT / "benchmarks" / "bad_inputs.py")


def all_cases():
    for group, cases in bad_inputs.GROUPS.items():
        for case in cases:
            marks = [pytest.mark.slow] if case.is_slow else []
            name = f"{group}: {case.tried}"[:60]
            yield pytest.param(case, id=name, marks=marks)


@pytest.fixture(scope="module")
def table():
    return (ROOT / "docs" / "errors.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("case", all_cases())
def test_a_bad_input_is_answered_as_the_table_says(case, table):
    outcome = bad_inputs.run_case(case)

    assert bad_inputs.faults(case, outcome) == []
    row = bad_inputs.table_row(case, outcome.message)
    assert row in table.splitlines(), (
        "docs/errors.md is not up to date: run benchmarks/bad_inputs.py"
    )


def test_the_table_has_all_cases_and_no_others(table):
    def without_messages(text):
        return re.sub(r"^(\| .*? \|) .* \|$", r"\1", text, flags=re.M)

    groups = bad_inputs.GROUPS.items()
    text = bad_inputs.render({name: [""] * len(got) for name, got in groups})

    assert without_messages(table) == without_messages(text)


def test_no_two_cases_of_a_group_are_called_the_same():
    for cases in bad_inputs.GROUPS.values():
        assert len({case.tried for case in cases}) == len(cases)


def test_what_a_command_does_not_report_goes_through():
    case = bad_inputs.Case("a bug")
    main = mock.Mock(side_effect=KeyError("'label'"))
    with (
        mock.patch.object(bad_inputs.run_classifier, "main", main),
        pytest.raises(KeyError),
    ):
        bad_inputs.run_case(case)


def test_work_begun_before_the_mistake_was_found_is_a_fault():
    case = bad_inputs.Case("a mistake", ("here",), leaves=("labels",))
    outcome = bad_inputs.Outcome(1, "here", ("labels.txt", "train.tf_record"))

    assert bad_inputs.faults(case, outcome) == [
        "work had begun: train.tf_record"
    ]


def test_a_process_says_the_same():
    case = next(c for c in bad_inputs.FLAGS if "do_lower=" in c.tried)
    command = [sys.executable, "-m", "bert_tf.run_classifier"]

    process = subprocess.run(
        [*command, *case.arguments],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
    )

    assert process.returncode == 1
    said = " ".join(process.stderr.split())
    assert " ".join(bad_inputs.run_case(case).message.split()) in said
    assert "Traceback" not in said
