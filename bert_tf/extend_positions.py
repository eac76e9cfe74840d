"""Gives a checkpoint a longer position table, to read texts over 512 tokens.

  python -m bert_tf.extend_positions --init_checkpoint=BERT/bert_model.ckpt \
    --max_position_embeddings=1024 --output_dir=BERT_1024

Writes a new folder with bert_model.ckpt, vocab.txt and bert_config.json. All
other weights keep their values. The optimizer's slots and the step are left
out, for the table has another shape. Where new rows come from
(--new_positions):

  repeat        The table from its first row on, again and again, as Longformer
                was started (Beltagy et al. 2020). Texts that fitted before give
                the same numbers as before, and in each repetition neighbours
                are as far apart as the model learned. A token 512 further on
                looks as if it stood at the same place, until training tells
                them apart. The default: it changes nothing that was learned,
                and the least of training makes it useful.
  hierarchical  Row i * n + j is 0.4 of one row for i and 0.6 of another for j,
                made so that the first n stay what they are (Su 2020). No two
                places look the same. Up to n times n positions.
  interpolate   The n rows are stretched, with straight lines between them, as
                vision transformers do for larger pictures (Dosovitskiy et al.
                2021). Order is kept over the whole length; but neighbours are
                nearer than the model learned, so that short texts give other
                numbers than before too.

None of them knows what far tokens are to each other: train on long texts
afterwards (create_pretraining_data and run_pretraining with a longer
--max_seq_length, or fine-tuning). Time and memory of attention grow with the
square of the length. Without training, run_classifier --doc_stride and
extract_features --doc_stride read long texts in windows.
"""

import numpy as np
from absl import logging

from bert_tf.checkpoints import folders
from bert_tf.cli import command_line, model_flags
from bert_tf.cli.command_line import FlagSet
from bert_tf.errors import InputError

POSITIONS = "bert/embeddings/position_embeddings"

# Su's; anything above 0 and below 0.5 gives the nearer places more weight.
WEIGHT_OF_PART = 0.4


def define_flags(values):
    """Defines this script's flags on a `FlagValues`."""
    flags = FlagSet(values)
    model_flags.define_new_folder(flags)
    flags.integer(
        "max_position_embeddings",
        None,
        "How many tokens the new model can read at once.",
    )
    flags.choice(
        "new_positions",
        "repeat",
        METHODS,
        "Where new rows come from: the table again and again; parts and places "
        "in them, told apart; or the table stretched.",
    )
    flags.require("max_position_embeddings")


def main(flags):
    """Does what the parsed flags ask for."""
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
    """Writes a folder with a checkpoint of more positions.

    Args:
        init_checkpoint: whatever `checkpoints.find` takes.
        output_dir: a folder that is not there, or empty. It appears when all
            of it is written.
        max_position_embeddings: how many there are to be.
        new_positions: one of `METHODS`.
        vocab_file, bert_config_file: looked for beside the checkpoint when
            None.

    Returns:
        How many positions there were.

    Raises:
        InputError: a file is missing or fits no other, there are as many
            positions already, or the output is there.
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
            f"--new_positions={new_positions}: {source.reader.path} has "
            f"{before}. Received: "
            f"--max_position_embeddings={max_position_embeddings}"
        )
    shape = (before, config.hidden_size)
    folders.require_shape(source.reader, POSITIONS, shape)

    weights = folders.read_weights(source.reader)
    table = weights[POSITIONS]
    longer = METHODS[new_positions](
        table.astype(np.float64), max_position_embeddings
    )
    weights[POSITIONS] = longer.astype(table.dtype)
    config.max_position_embeddings = max_position_embeddings
    with open(source.vocab_file, "rb") as file:
        vocab = file.read()
    folders.write(output_dir, weights, vocab, config, source.labels_file)
    return before


def repeat(table, size):
    """A table [size, D] that begins again where `table` [n, D] ends."""
    return table[np.arange(size) % len(table)]


def hierarchical(table, size):
    """A table [size, D] whose rows tell both part and place in it.

    Row i * n + j is a * u[i] + (1 - a) * u[j]. For the first n rows to be those
    of `table`, u[j] must be (table[j] - a * table[0]) / (1 - a).

    Args:
        table: float array [n, D].
        size: at most n * n.
    """
    rows = len(table)
    units = (table - WEIGHT_OF_PART * table[0]) / (1 - WEIGHT_OF_PART)
    part, place = np.divmod(np.arange(size), rows)
    longer = WEIGHT_OF_PART * units[part] + (1 - WEIGHT_OF_PART) * units[place]
    # Exactly, not only up to rounding.
    longer[:rows] = table
    return longer


def interpolate(table, size):
    """A table [size, D] from the first to the last row of `table` [n, D]."""
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
