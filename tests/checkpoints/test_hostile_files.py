"""Files from elsewhere never end the process, nor show a traceback.

A few of each kind; with BERT_TF_HOSTILE=1 hundreds, for changes of readers.
"""

import pytest
from helpers.hostile import run_in_process


@pytest.mark.slow
@pytest.mark.parametrize(
    "kinds",
    [
        {
            "checkpoints": 15,
            "made_up_checkpoints": 15,
            "old_checkpoints": 15,
            "records": 8,
        },
        {"hugging_face": 25, "configs": 12},
    ],
    ids=["checkpoints", "model folders"],
)
def test_each_file_is_read_or_refused(kinds, tmp_path):
    run_in_process(tmp_path, kinds)
