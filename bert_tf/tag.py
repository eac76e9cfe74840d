r"""Finds entities in texts with a model that run_ner fine-tuned.

  python -m bert_tf.tag --checkpoint=/tmp/ner_output \
    --text='Ann Lee lives in New York.'

Prints each entity with its type, its probability and its characters; the
lines of --output_file have the label of each word too. docs/ner.md has more.
"""

import itertools

from bert_tf.cli import command_line, inference_flags, model_flags
from bert_tf.cli.command_line import FlagSet
from bert_tf.support import startup

with startup.deferred():
    from bert_tf.checkpoints import folders
    from bert_tf.tasks.ner import tagger as taggers


def define_flags(values):
    """Defines this command's flags on a `FlagValues`."""
    flags = FlagSet(values)
    inference_flags.define_texts(flags, "as in training; else 128")
    inference_flags.define_labels(flags)
    flags.number(
        "min_probability",
        0.0,
        "Leave out entities whose probability is lower. Labels of words stay.",
    )


def main(flags):
    """Runs the command with parsed flags."""
    inference_flags.check(flags)
    command_line.require_between(flags, "min_probability", 0, 1)
    texts, asked = itertools.tee(inference_flags.read_texts(flags))
    lowers, strips, ignore = model_flags.casing(flags)
    path = flags.labels_file
    tagger = taggers.Tagger(
        flags.checkpoint,
        flags.vocab_file,
        flags.bert_config_file,
        lowers,
        strips,
        flags.max_seq_length,
        folders.read_labels(path) if path else None,
        flags.batch_size,
        ignore,
        flags.skip_padding,
    )
    with inference_flags.open_output(flags) as write:
        for text, tags in zip(texts, tagger.tag(asked), strict=True):
            entities = [
                one
                for one in tags.entities
                if one.probability >= flags.min_probability
            ]
            tags = tags._replace(entities=entities)
            write(show(text, tags), as_dict(text, tags))
    tagger.unknown.warn()


def show(text, tags):
    """A text and its entities, as text."""
    lines = [" ".join(text.splitlines())]
    for one in tags.entities:
        found = " ".join(one.text.splitlines())
        lines.append(
            f"  {one.probability:8.4f}  {one.type}  {found}  "
            f"[characters {one.start} to {one.end}]"
        )
    return "\n".join([*lines, *["  (no entity)"] * (not tags.entities)])


def as_dict(text, tags):
    """A text, its entities and the labels of its words, for JSON."""
    entities = [one._asdict() for one in tags.entities]
    return {"text": text, **tags._asdict(), "entities": entities}


def cli():
    """The console command."""
    command_line.run(define_flags, main, __doc__)


if __name__ == "__main__":
    cli()
