"""Files of all tasks are read as what they hold, or refused.

A few of each kind; with BERT_TF_HOSTILE=1 hundreds, for changes of readers.
"""

import pytest
from helpers.hostile import count_of, run


@pytest.mark.parametrize("kind", ["tables", "squad", "ner", "choices"])
def test_each_file_is_read_as_it_is_or_refused(kind, tmp_path, capsys):
    run(kind, count_of(kind, 40), tmp_path)

    assert capsys.readouterr().out == ""
