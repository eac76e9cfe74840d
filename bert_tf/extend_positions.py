"""Gives a checkpoint a longer position table, to read texts over 512 tokens.

  python -m bert_tf.extend_positions --init_checkpoint=BERT/bert_model.ckpt \
    --max_position_embeddings=1024 --output_dir=BERT_1024

Writes a new folder with bert_model.ckpt, vocab.txt and bert_config.json. All
other weights keep their values. Optimizer slots and the step are left out,
since the table has another shape. New rows (--new_positions) are one of:

  repeat        The default: the table again from its first row on, as in
                Longformer (Beltagy et al. 2020). Texts of up to 512 tokens give
                the same numbers as before. Positions 512 apart look the same
                until training tells them apart.
  hierarchical  Row i * n + j is 0.4 times a row for i plus 0.6 times a row for
                j, such that the first n rows stay the same (Su 2020). All rows
                differ. At most n * n positions.
  interpolate   The n rows are stretched by linear interpolation, as vision
                transformers do for larger images (Dosovitskiy et al. 2021).
                Order is kept over the whole length, but neighbours are closer
                than in training: short texts give other numbers as well.

No method knows how distant tokens relate: train on long texts afterwards
(create_pretraining_data and run_pretraining with a longer --max_seq_length, or
fine-tuning). Time and memory of attention grow with the square of the length.
Without training, --doc_stride splits long texts into windows.
"""

import numpy as np
from absl import logging

from bert_tf.checkpoints import folders
from bert_tf.checkpoints.names import POSITION_EMBEDDINGS
from bert_tf.cli import command_line, model_flags
from bert_tf.cli.command_line import FlagSet
from bert_tf.errors import InputError

# Su's; anything above 0 and below 0.5 gives the nearer places more weight.
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
        "How new rows are made: the table repeated; a row for the part plus "
        "one for the place in it; or the table stretched.",
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
        output_dir: a folder that does not exist or is empty. It appears when
            all of it is written.
        max_position_embeddings: the new number of positions.
        new_positions: one of `METHODS`.
        vocab_file, bert_config_file: None for those beside the checkpoint.

    Returns:
        The old number of positions.

    Raises:
        InputError: a file is missing or does not fit the others, there are as
            many positions already, or the output exists.
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
    folders.write(output_dir, weights, vocab, config, source.labels_file)
    return before


def repeat(table, size):
    """A table [size, D] that begins again where `table` [n, D] ends."""
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
    # Exactly, not up to rounding.
    longer[:rows] = table
    return longer


def interpolate(table, size):
    """`table` [n, D] interpolated to [size, D]; first and last row stay."""
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
