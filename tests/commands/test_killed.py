"""kill -9 at random moments; see the helper for what is checked."""

import pytest
from helpers import kill_commands


@pytest.mark.slow
def test_the_same_command_again_finishes_and_leaves_nothing(tmp_path):
    # The quickest ones; the helper itself kills all of them.
    names = ["create_pretraining_data shards", "convert_checkpoint to_hf"]

    assert kill_commands.run(names, 4, 1, tmp_path) == []
