r"""Writes a SavedModel that takes text and needs nothing but TensorFlow.

  python -m bert_tf.export_saved_model --head=classifier \
    --checkpoint=/tmp/mrpc_output --output_dir=/tmp/mrpc_model

makes /tmp/mrpc_model/1; the next time /tmp/mrpc_model/2, and so on. The head is
what the checkpoint was trained for: classifier, span (run_squad), tokens
(run_ner), choices (run_multiple_choice), pretraining, or features for any.
--heads=mood=/tmp/mood_output,topic=/tmp/topic_output instead makes one model of
several that were trained on the same frozen encoder.
docs/serving.md has the inputs and outputs of each;
`bert_tf.Predictor("/tmp/mrpc_model")` loads it in Python.
"""

import importlib
from collections.abc import Callable
from typing import Any, NamedTuple

from absl import logging

from bert_tf.cli import command_line, export_flags, model_flags
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


FLAGS_OF_SEVERAL = ("doc_stride", "window_pooling", "batch_size")
"""Those of heads that --heads takes."""


def define_flags(values):
    """Defines the flags of this command."""
    flags = FlagSet(values)
    model_flags.define(flags, "checkpoint")
    model_flags.define_casing(flags)
    flags.choice(
        "head",
        None,
        HEADS,
        "What the checkpoint was trained for; features for any.",
    )
    export_flags.define_several(flags)
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
    flags.require("output_dir")


def main(flags):
    """Does what the parsed flags ask for."""
    heads = export_flags.read_heads(flags)
    if heads:
        export_several(flags, heads)
        return
    check_flags(flags)
    flags.checkpoint = best_of(flags.checkpoint)
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

        log_check(*check.check(path, flags.checkpoint, flags.check))


def best_of(checkpoint):
    """The best checkpoint if a training kept it, as all that use it take."""
    # Imported here, since it loads TensorFlow.
    from bert_tf.checkpoints import finding

    return finding.of_results(checkpoint)


def export_several(flags, heads):
    """Exports several heads, given by name, as one model."""
    settings.check_names(heads)
    model_flags.check_files(flags)
    command_line.require_positive(flags, "batch_size")
    unused_flags(flags, FLAGS_OF_SEVERAL, "--heads")
    folder.check_output(flags.output_dir)
    source = export_flags.source_of(flags)
    settings.check(source)
    # Imported here, since they load TensorFlow.
    from bert_tf.tasks import check, several_heads, several_served

    if flags.check is not None:
        kinds = [several_heads.head_of(path) for path in heads.values()]
        comparison.read_texts(flags.check, comparison.strictest(kinds))
    pooling = flags["window_pooling"]
    path = several_served.export_several(
        source,
        flags.output_dir,
        heads,
        flags.doc_stride,
        None if pooling.using_default_value else pooling.value,
        flags.batch_size,
    )
    print(path)
    if flags.check is not None:
        log_check(*check.check_several(path, heads, flags.check))


def log_check(report, text):
    """Logs the report of --check."""
    logging.info("Wrote %s.\n%s", report, text.rstrip())


def unused_flags(flags, used, given):
    """The flags of other heads; raises `InputError` if one is given.

    Args:
        flags: parsed flags.
        used: names of those that have an effect.
        given: the flag that says what is exported.
    """
    of_heads = {name for head in HEADS.values() for name in head.flags}
    unused = of_heads.difference(used)
    for name in sorted(unused):
        heads = [head for head in HEADS if name in HEADS[head].flags]
        if not flags[name].using_default_value:
            raise InputError(
                f"`--{name}` is for --head={' or '.join(heads)}, and without "
                f"effect on others. Received: {given} "
                f"--{name}={flags[name].value}"
            )
    return unused


def check_flags(flags):
    """Raises `InputError` for bad values, and flags without effect."""
    model_flags.check_files(flags)
    command_line.require_positive(flags, "batch_size")
    unused = unused_flags(
        flags, HEADS[flags.head].flags, f"--head={flags.head}"
    )
    noted = model_flags.take_folder_settings(
        flags,
        flags.head,
        [name for name in FOLDER_FLAGS if name not in unused],
        "checkpoint",
    )
    if flags.head != "features" and not flags.ignore_folder_settings:
        noted.require_head(
            flags.head, "; --ignore_folder_settings exports this head"
        )
    export_flags.check_heads(flags)
    folder.check_output(flags.output_dir)


def cli():
    """The console command."""
    command_line.run(define_flags, main, __doc__)


if __name__ == "__main__":
    cli()
