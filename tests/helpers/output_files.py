"""Files in the output folder of a command that trains."""

from bert_tf.checkpoints import names
from bert_tf.cli import output_folder

KEPT = {names.CONFIG, names.VOCAB, names.LABELS_FILE, names.SETTINGS_FILE}


def unlisted(folder):
    """Names of files below a folder that `output_folder.WRITTEN` lacks.

    Those that a training does not replace are left out, as is an export.
    """
    found = {
        path.name
        for path in folder.rglob("*")
        if path.is_file() and "export" not in path.relative_to(folder).parts
    }
    return {name for name in found - KEPT if not output_folder.is_written(name)}
