"""Files from elsewhere never end the process, nor show a traceback."""

import os
import subprocess
import sys

import pytest
from helpers.hostile import KINDS
from helpers.paths import ROOT

# The seeds are fixed; a change of the readers is tried with more.
COUNT = 40


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_each_file_is_read_or_refused(kind, tmp_path):
    ended = subprocess.run(
        [sys.executable, "-m", "helpers.hostile", kind, str(COUNT), tmp_path],
        env={**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests'}"},
        capture_output=True,
        text=True,
    )

    assert ended.stdout == ""
    assert ended.returncode == 0, ended.stderr[-3000:]
