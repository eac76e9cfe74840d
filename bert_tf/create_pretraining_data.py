r"""Makes masked-LM and next-sentence examples from text, for run_pretraining.

The original's create_pretraining_data.py: same flags, same records.

  python -m bert_tf.create_pretraining_data --input_file=corpus/*.txt \
    --output_file=examples.tfrecord --vocab_file=BERT/vocab.txt \
    --do_lower_case=True --max_seq_length=128 --max_predictions_per_seq=20 \
    --masked_lm_prob=0.15 --random_seed=12345 --dupe_factor=5

The text has one sentence in each line, and blank lines between documents;
files that end in .gz are unpacked while reading.

Large text: with --num_workers=8 the text is cut into shards of whole documents
(of at most 16 MB each, or --num_shards of them). Each shard is made into one
file, examples.tfrecord-00000-of-00048, exactly as a run on its text alone with
the seed that `shard_seed` derives. Run the same command again after it was
stopped: what is finished is kept.
"""

from bert_tf.cli import command_line, pretraining_data_flags
from bert_tf.tasks.pretraining.shards import (
    find_text,
    make_files,
    make_shards,
    report,
    stopping_at_signals,
)


def define_flags(values):
    """Defines this script's flags on a `FlagValues`."""
    pretraining_data_flags.define(command_line.FlagSet(values))


def main(flags):
    """Does what the parsed flags ask for."""
    options = pretraining_data_flags.check(flags)
    seed = flags.random_seed
    outputs = flags.output_file.split(",")
    with stopping_at_signals():
        ranges = find_text(flags.input_file)
        if flags.num_workers is None and flags.num_shards is None:
            summary = make_files(ranges, options, seed, outputs)
        else:
            summary = make_shards(
                ranges,
                options,
                seed,
                outputs,
                flags.num_workers,
                flags.num_shards,
            )
    report(summary)


def cli():
    """The console command."""
    command_line.run(define_flags, main, __doc__)


if __name__ == "__main__":
    cli()
