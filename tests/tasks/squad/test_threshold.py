"""The threshold of null odds, as a number or one that was kept."""

import pytest

from bert_tf.errors import InputError
from bert_tf.tasks.squad import threshold
from bert_tf.tasks.squad.data import SquadExample
from bert_tf.tasks.squad.threshold import AUTO, THRESHOLD_FILE

ANSWERED = [SquadExample("q", "who?", "x", answers=("x",))]
UNKNOWN = [SquadExample("q", "who?", "x")]


def keep(folder, text):
    folder.mkdir(exist_ok=True)
    (folder / THRESHOLD_FILE).write_text(text)


def test_a_number_is_taken_as_it_is():
    assert threshold.find_threshold(2.0, "x/model.ckpt") == 2.0
    assert threshold.threshold_to_predict(2.0, UNKNOWN, ["x"], "dev") == 2.0
    assert threshold.threshold_to_export(2.0, ["x"]) == 2.0


def test_auto_takes_the_threshold_beside_the_checkpoint(tmp_path):
    keep(tmp_path, "-1.5\n")
    prefix = str(tmp_path / "model.ckpt-7")
    assert threshold.find_threshold(AUTO, prefix) == -1.5


def test_auto_chooses_on_a_file_with_answers_even_if_one_was_kept(tmp_path):
    keep(tmp_path, "-1.5\n")
    found = threshold.threshold_to_predict(AUTO, ANSWERED, [tmp_path], "dev")
    assert found is None


def test_auto_takes_the_first_threshold_that_was_kept(tmp_path):
    output, start = tmp_path / "output", tmp_path / "start"
    keep(start, "1.0\n")
    folders = [str(output), str(start)]
    for expected in (1.0, 2.5):
        found = threshold.threshold_to_predict(AUTO, UNKNOWN, folders, "dev")
        assert found == threshold.threshold_to_export(AUTO, folders) == expected
        keep(output, "2.5\n")


def test_auto_without_answers_or_a_kept_threshold_is_an_error(tmp_path):
    path = tmp_path / THRESHOLD_FILE
    with pytest.raises(InputError, match=f"dev.json has none.*{path}"):
        threshold.threshold_to_predict(
            AUTO, UNKNOWN, [str(tmp_path)], "dev.json"
        )
    with pytest.raises(InputError, match="--do_export"):
        threshold.threshold_to_export(AUTO, [str(tmp_path)])
    with pytest.raises(InputError, match=f"{path}, which is not there"):
        threshold.find_threshold(AUTO, str(tmp_path / "model.ckpt"))


@pytest.mark.parametrize("text", ["", "high", "nan"])
def test_an_error_names_a_file_without_a_number(text, tmp_path):
    keep(tmp_path, text)
    with pytest.raises(
        InputError, match=f"{THRESHOLD_FILE} must hold a number"
    ):
        threshold.find_kept_threshold([tmp_path])
