r"""Classifies texts with a model that run_classifier fine-tuned.

  python -m bert_tf.classify --checkpoint=/tmp/mrpc_output \
    --text='A text. ||| And another one.'

--text may be repeated; a pair is `A ||| B`. The model may predict labels, any
number of labels, or a number. docs/classification.md has --input_file, the
lines of --output_file, and the same in Python.
"""

import itertools

from bert_tf.cli import command_line, export_flags, inference_flags, model_flags
from bert_tf.cli.command_line import FlagSet
from bert_tf.exports.results import Labels, Value
from bert_tf.support import startup
from bert_tf.tasks.classification.rows import truncation_advice
from bert_tf.tasks.classification.targets import WINDOW_POOLINGS
from bert_tf.tasks.vectors.lines import split_pair

with startup.deferred():
    from bert_tf.tasks.classification import labeller as labellers

SHOWN = 5
"""Labels that are printed of each text; --output_file has all."""


def define_flags(values):
    """Defines this command's flags on a `FlagValues`."""
    flags = FlagSet(values)
    inference_flags.define_texts(flags, "as in training; else 128")
    flags.integer(
        "doc_stride",
        None,
        "Split long texts into overlapping windows, N word pieces apart. [as "
        "in training; else long texts are truncated]",
    )
    flags.choice(
        "window_pooling",
        None,
        WINDOW_POOLINGS,
        "With windows: how to combine their logits. [as in training; else "
        "mean]",
    )
    inference_flags.define_labels(flags)
    flags.string(
        "task_name",
        None,
        "Instead of --labels_file, for models of the original: the task that "
        "the model was trained for.",
    )


def main(flags):
    """Runs the command with parsed flags."""
    inference_flags.check(flags)
    texts, asked = itertools.tee(inference_flags.read_texts(flags))
    lowers, strips, ignore = model_flags.casing(flags)
    labeller = labellers.Labeller(
        flags.checkpoint,
        flags.vocab_file,
        flags.bert_config_file,
        lowers,
        strips,
        flags.max_seq_length,
        flags.doc_stride,
        flags.window_pooling,
        **export_flags.find_labels(flags),
        batch_size=flags.batch_size,
        ignore_folder_settings=ignore,
        skip_padding=flags.skip_padding,
    )
    with inference_flags.open_output(flags) as write:
        found = labeller.classify(map(split_pair, asked))
        for text, result in zip(texts, found, strict=True):
            write(show(text, result), {"text": text, **result._asdict()})
    labeller.unknown.warn()
    if labeller.truncation.num_cut:
        labeller.truncation.log(
            labeller.max_seq_length, truncation_advice(labeller.doc_stride)
        )


def show(text, result):
    """A text and its result, as text."""
    lines = [" ".join(text.splitlines())]
    if isinstance(result, Value):
        return "\n".join([*lines, f"  {result.value:8.4f}"])
    if isinstance(result, Labels):
        chances = {name: result.scores[name] for name in result.labels}
        lines += ["  (no label)"] * (not chances)
    else:
        chances = result.probabilities
    best = sorted(chances, key=lambda name: -chances[name])
    most = len(best) if isinstance(result, Labels) else SHOWN
    lines += [f"  {chances[name]:8.4f}  {name}" for name in best[:most]]
    return "\n".join(lines)


def cli():
    """The console command."""
    command_line.run(define_flags, main, __doc__)


if __name__ == "__main__":
    cli()
