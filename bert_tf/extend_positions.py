r"""Extends the position table of a checkpoint, for longer inputs.

  python -m bert_tf.extend_positions --init_checkpoint=builtin \
    --max_position_embeddings=1024 --output_dir=BERT_1024

Writes a new folder; all other weights keep their values. Train on long texts
afterwards. --new_positions says how new rows are filled: docs/extending.md.
"""

import numpy as np
from absl import logging

from bert_tf.checkpoints.names import POSITION_EMBEDDINGS
from bert_tf.cli import command_line, model_flags
from bert_tf.cli.command_line import FlagSet
from bert_tf.errors import InputError
from bert_tf.support import startup

with startup.deferred():
    from bert_tf.checkpoints import folders

# Su's value; between 0 and 0.5 the place in a part weighs more than the part.
WEIGHT_OF_PART = 0.4


def define_flags(values):
    """Defines this script's flags on a `FlagValues`."""
    flags = FlagSet(values)
    model_flags.define_new_folder(flags)
    flags.integer(
        "max_position_embeddings",
        None,
        "Number of positions of the new model.",
    )
    flags.choice(
        "new_positions",
        "repeat",
        METHODS,
        "How to fill new rows: repeat the table; add a row for the part and "
        "one for the place in it; or interpolate the table.",
    )
    flags.require("max_position_embeddings")


def main(flags):
    """Runs the command with parsed flags."""
    before = extend(
        flags.init_checkpoint,
        flags.output_dir,
        flags.max_position_embeddings,
        new_positions=flags.new_positions,
        vocab_file=flags.vocab_file,
        bert_config_file=flags.bert_config_file,
    )
    logging.info("*** Written to %s ***", flags.output_dir)
    logging.info(
        "%d positions, %d before (--new_positions=%s).",
        flags.max_position_embeddings,
        before,
        flags.new_positions,
    )


def extend(
    init_checkpoint,
    output_dir,
    max_position_embeddings,
    *,
    new_positions="repeat",
    vocab_file=None,
    bert_config_file=None,
):
    """Writes a folder with a checkpoint that has more positions.

    Args:
        init_checkpoint: whatever `checkpoints.find` takes.
        output_dir: a folder that does not exist or is empty; created when all
            of it is written.
        max_position_embeddings: the new number of positions.
        new_positions: one of `METHODS`.
        vocab_file, bert_config_file: None for those beside the checkpoint.

    Returns:
        The old number of positions.

    Raises:
        InputError: a file is missing or does not fit the others, the number of
            positions is not higher than before, or the output exists.
    """
    if new_positions not in METHODS:
        raise InputError(
            f"`new_positions` must be one of {list(METHODS)}. "
            f"Received: new_positions={new_positions!r}"
        )
    folders.check_output(output_dir)
    source = folders.find(init_checkpoint, vocab_file, bert_config_file)
    config = source.config
    before = config.max_position_embeddings
    most = before**2 if new_positions == "hierarchical" else None
    if max_position_embeddings <= before or (
        most is not None and max_position_embeddings > most
    ):
        limit = f" and at most {most}" if most else ""
        raise InputError(
            f"`--max_position_embeddings` must be above {before}{limit} with "
            f"--new_positions={new_positions}: {source.path} has "
            f"{before}. Received: "
            f"--max_position_embeddings={max_position_embeddings}"
        )
    shape = (before, config.hidden_size)
    folders.require_shape(source.reader, POSITION_EMBEDDINGS, shape)

    weights = folders.read_weights(source.reader)
    table = weights[POSITION_EMBEDDINGS]
    longer = METHODS[new_positions](
        table.astype(np.float64), max_position_embeddings
    )
    weights[POSITION_EMBEDDINGS] = longer.astype(table.dtype)
    config.max_position_embeddings = max_position_embeddings
    with open(source.vocab_file, "rb") as file:
        vocab = file.read()
    folders.write(
        output_dir,
        weights,
        vocab,
        config,
        source.labels_file,
        source.noted.settings,
    )
    return before


def repeat(table, size):
    """`table` [n, D] repeated to [size, D]."""
    return table[np.arange(size) % len(table)]


def hierarchical(table, size):
    """A table [size, D] whose rows encode a part and the place in it.

    Row i * n + j is a * u[i] + (1 - a) * u[j]. The first n rows are those of
    `table` if u[j] is (table[j] - a * table[0]) / (1 - a).

    Args:
        table: float array [n, D].
        size: at most n * n.
    """
    rows = len(table)
    units = (table - WEIGHT_OF_PART * table[0]) / (1 - WEIGHT_OF_PART)
    part, place = np.divmod(np.arange(size), rows)
    longer = WEIGHT_OF_PART * units[part] + (1 - WEIGHT_OF_PART) * units[place]
    # Without rounding errors.
    longer[:rows] = table
    return longer


def interpolate(table, size):
    """`table` [n, D] interpolated to [size, D], with the same ends."""
    at = np.linspace(0, len(table) - 1, size)
    below = np.minimum(at.astype(int), max(len(table) - 2, 0))
    above = np.minimum(below + 1, len(table) - 1)
    share = (at - below)[:, None]
    return (1 - share) * table[below] + share * table[above]


METHODS = {
    "repeat": repeat,
    "hierarchical": hierarchical,
    "interpolate": interpolate,
}


def cli():
    """The console command."""
    command_line.run(define_flags, main, __doc__)


if __name__ == "__main__":
    cli()
