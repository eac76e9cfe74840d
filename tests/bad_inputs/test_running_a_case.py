"""What the checks of bad inputs themselves rest on."""

import os
import subprocess
import sys
from unittest import mock

import pytest
from helpers.bad_inputs import Case, Outcome, faults, of, run_case
from helpers.paths import ROOT

from bert_tf import run_classifier


def test_what_a_command_does_not_report_goes_through():
    case = of("run_classifier")("a bug", ()).values[0]
    main = mock.Mock(side_effect=KeyError("'label'"))
    with (
        mock.patch.object(run_classifier, "main", main),
        pytest.raises(KeyError),
    ):
        run_case(case)


def test_work_begun_before_the_mistake_was_found_is_a_fault():
    case = Case("run_classifier", names=("here",), leaves=("labels",))
    outcome = Outcome(1, "here", ("labels.txt", "train.tf_record"))

    assert faults(case, outcome) == ["work had begun: train.tf_record"]


def test_a_process_says_the_same():
    case = Case("run_classifier", ("--do_lower=False",))

    process = subprocess.run(
        [sys.executable, "-m", "bert_tf.run_classifier", *case.words],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
    )

    assert process.returncode == 1
    assert "Traceback" not in process.stderr
    outcome = run_case(case)
    assert outcome.exit_code == 1
    assert " ".join(outcome.message.split()) in " ".join(process.stderr.split())
