r"""Writes a SavedModel that takes text and needs nothing but TensorFlow.

  python -m bert_tf.export_saved_model --head=classifier \
    --checkpoint=/tmp/mrpc_output --output_dir=/tmp/mrpc_model

makes /tmp/mrpc_model/1; the next time /tmp/mrpc_model/2, and so on. The head is
what the checkpoint was trained for: classifier, span (run_squad), tokens
(run_ner), choices (run_multiple_choice), pretraining, or features for any.
docs/serving.md has the inputs and outputs of each;
`bert_tf.Predictor("/tmp/mrpc_model")` loads it in Python.
"""

import importlib
from collections.abc import Callable
from typing import Any, NamedTuple

from absl import logging

from bert_tf.cli import (
    command_line,
    export_flags,
    inference_flags,
    model_flags,
)
from bert_tf.cli.command_line import FlagSet
from bert_tf.errors import InputError
from bert_tf.exports import folder, settings
from bert_tf.tasks import comparison


class Head(NamedTuple):
    """How a head is exported.

    Attributes:
        module: has the function export_HEAD. It loads TensorFlow, so it is
            imported when it is needed.
        arguments: function of the parsed flags that returns the arguments of
            export_HEAD by name, apart from `source` and `output_dir`.
        flags: those that not all heads have.
    """

    module: str
    arguments: Callable[[Any], dict[str, Any]]
    flags: tuple[str, ...]


HEADS = {
    "classifier": Head(
        "bert_tf.tasks.classification.served",
        export_flags.classifier_arguments,
        (
            "labels_file",
            "task_name",
            "doc_stride",
            "window_pooling",
            "batch_size",
        ),
    ),
    "span": Head(
        "bert_tf.tasks.squad.served",
        export_flags.span_arguments,
        (
            "doc_stride",
            "max_query_length",
            "max_answer_length",
            "version_2_with_negative",
            "null_score_diff_threshold",
            "batch_size",
        ),
    ),
    "pretraining": Head(
        "bert_tf.tasks.pretraining.served",
        export_flags.pretraining_arguments,
        ("top_k", "next_sentence", "batch_size"),
    ),
    "choices": Head(
        "bert_tf.tasks.choices.served",
        export_flags.choices_arguments,
        ("batch_size",),
    ),
    "features": Head(
        "bert_tf.tasks.vectors.served",
        export_flags.features_arguments,
        ("pooling", "normalize", "layers", "doc_stride", "batch_size"),
    ),
    "tokens": Head(
        "bert_tf.tasks.ner.served",
        export_flags.tokens_arguments,
        ("labels_file", "batch_size"),
    ),
}


FOLDER_FLAGS = (
    "max_seq_length",
    "doc_stride",
    "window_pooling",
    "max_query_length",
    "pooling",
    "normalize",
)
"""What the folder of a checkpoint may note."""


def define_flags(values):
    """Defines the flags of this command."""
    flags = FlagSet(values)
    inference_flags.define_model(flags)
    flags.choice(
        "head",
        None,
        HEADS,
        "What the checkpoint was trained for; features for any.",
    )
    flags.string("output_dir", None, "The folder to make the next version in.")
    flags.integer(
        "max_seq_length",
        None,
        "Word pieces of a row made of text. Longer texts are truncated, or "
        "read in windows: contexts of questions, and texts around a [MASK]. "
        "[classifier, tokens, choices and features 128, span 384, pretraining "
        "the number of positions]",
    )
    model_flags.define_padding(
        flags,
        None,
        "Vectors and logits of padding are then zeros, or nothing that means "
        "anything. [true; span false, since padding counts in its softmax]",
    )
    export_flags.define_format(flags)
    export_flags.define_inspect(flags)
    export_flags.define_check(flags)
    export_flags.define_heads(flags)
    flags.require("head", "output_dir")


def main(flags):
    """Does what the parsed flags ask for."""
    check_flags(flags)
    source = export_flags.source_of(flags)
    settings.check(source)
    if flags.check is not None:
        comparison.read_texts(flags.check, flags.head)
    head = HEADS[flags.head]
    arguments = head.arguments(flags)
    module = importlib.import_module(head.module)
    export = getattr(module, f"export_{flags.head}")
    path = export(source, flags.output_dir, **arguments)
    print(path)
    if flags.check is not None:
        # Imported here, since it loads TensorFlow.
        from bert_tf.tasks import check

        report, text = check.check(path, flags.checkpoint, flags.check)
        logging.info("Wrote %s.\n%s", report, text.rstrip())


def check_flags(flags):
    """Raises `InputError` for bad values, and flags without effect."""
    inference_flags.check_model(flags)
    command_line.require_positive(flags, "batch_size")
    of_heads = {name for head in HEADS.values() for name in head.flags}
    unused = of_heads.difference(HEADS[flags.head].flags)
    for name in sorted(unused):
        heads = [head for head in HEADS if name in HEADS[head].flags]
        if not flags[name].using_default_value:
            raise InputError(
                f"`--{name}` is for --head={' or '.join(heads)}, and without "
                f"effect on others. Received: --head={flags.head} "
                f"--{name}={flags[name].value}"
            )
    model_flags.take_folder_settings(
        flags,
        flags.head,
        [name for name in FOLDER_FLAGS if name not in unused],
        "checkpoint",
    )
    export_flags.check_heads(flags)
    folder.check_output(flags.output_dir)


def cli():
    """The console command."""
    command_line.run(define_flags, main, __doc__)


if __name__ == "__main__":
    cli()
