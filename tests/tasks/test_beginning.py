"""How a run begins, without a model."""

import pytest

from bert_tf.checkpoints import folder_settings
from bert_tf.checkpoints.folder_settings import FolderSettings
from bert_tf.errors import InputError
from bert_tf.modeling import BertConfig
from bert_tf.tasks import beginning
from bert_tf.training.settings import ModelFiles, RunSettings, TrainingSettings
from bert_tf.training.start import OpenedModel


def note(folder, head, ignore=False, resumed=True):
    training = TrainingSettings(str(folder), 1, 1e-3, 0, 8)
    settings = RunSettings(
        str(folder),
        ModelFiles(ignore_folder_settings=ignore),
        training,
        do_train=True,
        folder=FolderSettings(head=head, max_seq_length=24),
    )
    opened = OpenedModel(BertConfig(9), "bert_config.json", None, None)
    return beginning.note_of(opened, settings, resumed)


def test_a_folder_of_another_head_is_refused_by_its_name(tmp_path):
    folder_settings.write(
        str(tmp_path), FolderSettings(head="choices", max_seq_length=16)
    )
    with pytest.raises(InputError) as caught:
        note(tmp_path, "tokens")
    message = str(caught.value)
    for fact in ("bert_tf.json", "choices", "tokens", "--output_dir"):
        assert fact in message
    # No training command has such a flag.
    assert "--head" not in message
    with pytest.raises(InputError, match="max_seq_length=24 must agree"):
        note(tmp_path, "choices")
    assert note(tmp_path, "tokens", ignore=True).head == "tokens"
    assert note(tmp_path, "tokens", resumed=False).head == "tokens"
