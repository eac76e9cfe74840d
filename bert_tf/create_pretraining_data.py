r"""Makes masked-LM and next-sentence examples from text, for run_pretraining.

The original's create_pretraining_data.py: same flags, same records. Texts have
one sentence in each line, and blank lines between documents. --num_workers=N
makes shards of large ones, and resumes (docs/pretraining.md).

  python -m bert_tf.create_pretraining_data --input_file=corpus/*.txt \
    --output_file=examples.tfrecord --vocab_file=builtin \
    --max_seq_length=128 --max_predictions_per_seq=20 --dupe_factor=5
"""

from bert_tf.cli import command_line, pretraining_data_flags
from bert_tf.tasks.pretraining import record_files, shards


def define_flags(values):
    """Defines this command's flags on a `FlagValues`."""
    pretraining_data_flags.define(command_line.FlagSet(values))


def main(flags):
    """Runs the command with parsed flags."""
    options = pretraining_data_flags.check(flags)
    seed = flags.random_seed
    with record_files.stopping_at_signals():
        ranges = record_files.find_text(flags.input_file)
        if flags.num_workers is None and flags.num_shards is None:
            outputs = flags.output_file.split(",")
            summary = record_files.make_files(ranges, options, seed, outputs)
        else:
            summary = shards.make_shards(
                ranges,
                options,
                seed,
                flags.output_file,
                flags.num_workers,
                flags.num_shards,
            )
    record_files.report(summary)


def cli():
    """The console command."""
    command_line.run(define_flags, main, __doc__)


if __name__ == "__main__":
    cli()
