r"""Pretrains BERT on files of create_pretraining_data, and evaluates it.

The original's run_pretraining.py: same flags, same files. A checkpoint in the
output folder is resumed. To start from random weights, leave out
--init_checkpoint and give --bert_config_file.

  python -m bert_tf.run_pretraining --input_file=/tmp/tf_examples.tfrecord \
    --output_dir=/tmp/pretraining_output --do_train=true --do_eval=true \
    --init_checkpoint=builtin --num_train_steps=20 --num_warmup_steps=10
"""

import math

from absl import logging

from bert_tf import checkpoints, tokenization
from bert_tf.cli import (
    closing,
    command_line,
    export_flags,
    model_flags,
    training_flags,
)
from bert_tf.cli.command_line import FlagSet
from bert_tf.data import text_files
from bert_tf.errors import InputError
from bert_tf.support import files, startup

with startup.deferred():
    from bert_tf import models
    from bert_tf.data import records
    from bert_tf.tasks import beginning
    from bert_tf.tasks.pretraining import dynamic_masking, served, task
    from bert_tf.training import devices, start

HEAD = "pretraining"
FOLDER_FLAGS = ("max_seq_length",)
"""What the folder of a training notes, and later runs take from it."""


def define_flags(values):
    """Defines this script's flags on a `FlagValues`."""
    flags = FlagSet(values)
    flags.string(
        "input_file",
        None,
        "TFRecord files of create_pretraining_data: names or patterns, "
        "separated by commas.",
    )
    flags.integer(
        "max_seq_length",
        128,
        "Word pieces of an input, as given to create_pretraining_data.",
    )
    flags.integer(
        "max_predictions_per_seq",
        20,
        "Maximum number of masked pieces, as given to create_pretraining_data.",
    )
    flags.boolean("do_train", False, "Train.")
    flags.boolean("do_eval", False, "Evaluate on the same files.")
    flags.integer("train_batch_size", 32, "Examples in a training step.")
    flags.integer("eval_batch_size", 8, "Examples in a batch of evaluation.")
    model_flags.define(flags)
    training_flags.define_original(flags)
    flags.integer("num_train_steps", 100000, "Number of training steps.")
    flags.integer("num_warmup_steps", 10000, "Number of warm-up steps.")
    flags.integer("max_eval_steps", 100, "Batches to evaluate.")

    flags.boolean(
        "next_sentence",
        True,
        "Train the next-sentence head too; if false, masked words only.",
    )
    flags.boolean(
        "mask_on_the_fly",
        False,
        "Draw new masks in each epoch, instead of the masks in the records "
        "(which create_pretraining_data makes --dupe_factor times). Needs the "
        "vocabulary. Evaluation keeps the masks in the records.",
    )
    flags.number(
        "masked_lm_prob", 0.15, "With --mask_on_the_fly: the share to mask."
    )
    flags.boolean(
        "do_whole_word_mask",
        False,
        "With --mask_on_the_fly: mask all pieces of a word together. Words are "
        "recognized by `##`; records do not have those of a --word_segmenter.",
    )
    flags.boolean(
        "check_records",
        True,
        "Refuse records with a mask, a segment, a masked position or a "
        "next-sentence label out of range; if false, compute with them as the "
        "original does. Token ids are always checked.",
    )
    training_flags.define(flags)
    export_flags.define(flags)
    model_flags.define_casing(flags)
    flags.require("input_file")


def main(flags):
    """Does what the parsed flags ask for."""
    training_flags.take_folder_settings(flags, HEAD, FOLDER_FLAGS)
    check_flags(flags)
    settings = training_flags.run_settings(flags, HEAD, FOLDER_FLAGS)
    opened = start.open_model(
        settings.files,
        settings.output_dir,
        settings.build,
        reads_text=flags.do_export,
        needs_vocab=flags.mask_on_the_fly,
    )
    config = opened.config
    check_config(flags, config, opened.config_file)
    strategy = devices.find_strategy(training_flags.devices(flags))
    paths = text_files.find_files(flags.input_file)
    logging.info("*** Input Files ***\n%s", "\n".join(paths))
    schema = task.pretraining_schema(
        flags.max_seq_length,
        flags.max_predictions_per_seq,
        config.type_vocab_size if flags.check_records else None,
        flags.skip_padding,
    )
    records.check_records(paths, schema, config.vocab_size)
    masker = make_masker(flags, opened) if flags.mask_on_the_fly else None
    files.make_folder("output_dir", flags.output_dir)
    result, is_chief = "masked_lm_accuracy", devices.is_chief(strategy)
    with (
        closing.summary(flags, HEAD, lambda: result, is_chief),
        beginning.alone(settings, strategy),
    ):
        run(flags, settings, opened, strategy, (paths, schema), masker)


def run(flags, settings, opened, strategy, data, masker):
    """Trains, evaluates and exports.

    Args:
        flags: parsed and checked `FlagValues`.
        settings: `RunSettings`.
        opened: `training.start.OpenedModel`.
        strategy: a `tf.distribute.Strategy`.
        data: the paths of the records, and their schema.
        masker: draws new masks; None for those in the records.
    """
    paths, schema = data
    export_dir = export_flags.find_export_dir(flags, flags.output_dir)
    begun = beginning.begin(
        lambda: models.pretraining(
            opened.config,
            use_one_hot_embeddings=settings.build.one_hot_embeddings,
            next_sentence=flags.next_sentence,
        ),
        opened,
        settings,
        strategy,
        flags.do_export,
    )
    log_start(settings, begun.start)
    work = task.Pretraining(
        paths,
        schema,
        begun.model,
        settings,
        opened.config.vocab_size,
        strategy,
        flags.max_eval_steps,
        flags.next_sentence,
    )
    step = begun.start.step
    if flags.do_train:
        step = work.train(begun.start, begun.seed, masker)
    with devices.chief_alone(strategy) as is_chief:
        if is_chief:
            step = beginning.use_best(begun.model, settings, step)
            if flags.do_eval:
                work.evaluate(step)
            if flags.do_export:
                checkpoint = beginning.checkpoint_to_export(
                    settings, begun.start
                )
                served.export_pretraining(
                    export_flags.source_of_run(flags, checkpoint, opened),
                    export_dir,
                    # An untrained head is not exported.
                    next_sentence=None if flags.next_sentence else False,
                )


def check_flags(flags):
    """Raises `InputError` for flags that do not fit each other."""
    if not (flags.do_train or flags.do_eval or flags.do_export):
        raise InputError(
            "At least one of `do_train` or `do_eval` must be True."
        )
    command_line.require_positive(
        flags,
        "max_seq_length",
        "max_predictions_per_seq",
        "eval_batch_size",
        "num_train_steps",
        "max_eval_steps",
    )
    command_line.require_between(flags, "num_warmup_steps", 0, math.inf)
    command_line.require_between(flags, "masked_lm_prob", 0, 1)
    training_flags.check(flags, task.result_names(flags.next_sentence))
    for name in ("masked_lm_prob", "do_whole_word_mask"):
        if flags[name].present and not flags.mask_on_the_fly:
            raise InputError(
                f"`--{name}` has a meaning only with --mask_on_the_fly: masks "
                "are otherwise those that create_pretraining_data made."
            )
    for name in ("do_lower_case", "strip_accents"):
        if flags[name].present and not (flags.do_train or flags.do_export):
            raise InputError(
                f"`--{name}` has a meaning only with --do_export and "
                "--do_train, which notes it for later uses of the model: the "
                "text in the records is what create_pretraining_data made of "
                "it."
            )


def check_config(flags, config, config_file):
    """Raises `InputError` for flags that do not fit the model's config."""
    start.require_positions(
        config,
        flags.max_seq_length,
        "create_pretraining_data needs the same value.",
    )
    if config.attention_direction() == "left_to_right" and flags.next_sentence:
        raise InputError(
            f"{config_file} has directionality=left_to_right: "
            "[CLS] attends only to itself, and cannot predict the next "
            "sentence. "
            "Give --next_sentence=false."
        )


def make_masker(flags, opened):
    """The `Masker` that draws new masks.

    Raises:
        InputError: the vocabulary lacks [MASK], or pieces that continue a word
            where whole words are to be masked.
    """
    vocab_file = opened.vocab_file
    vocab = tokenization.load_vocab(vocab_file)
    if flags.do_whole_word_mask and not any(
        token.startswith("##") for token in vocab
    ):
        raise InputError(
            "`--do_whole_word_mask` needs a vocabulary with pieces that begin "
            f"with `##`. {vocab_file} has none."
        )
    return dynamic_masking.Masker.from_vocab(
        vocab,
        vocab_file,
        masked_lm_prob=flags.masked_lm_prob,
        whole_words=flags.do_whole_word_mask,
    )


def log_start(settings, point):
    """Logs what the run resumes, and warns of settings without effect."""
    if not settings.do_train:
        return
    training = settings.training
    if point.step >= training.num_train_steps:
        logging.warning(
            "%s is at step %d: --num_train_steps=%d is reached, nothing is "
            "trained. To continue, raise --num_train_steps (the learning rate "
            "then decays to the new end).",
            point.prefix,
            point.step,
            training.num_train_steps,
        )
    elif training.num_warmup_steps >= training.num_train_steps:
        logging.warning(
            "--num_warmup_steps=%d is not below --num_train_steps=%d: the "
            "learning rate only rises, and never reaches %g.",
            training.num_warmup_steps,
            training.num_train_steps,
            training.learning_rate,
        )
    step = point.reader and checkpoints.global_step(point.reader)
    if not point.resumed and step:
        logging.info(
            "The initial checkpoint was saved at step %d. Its weights are "
            "used, its step and optimizer state are not: training starts at "
            "step 0. To resume it, give its folder as --output_dir.",
            step,
        )
    if point.resumed and settings.seed is None:
        logging.info(
            "Without --seed, a new order of the records is drawn: some come "
            "again sooner than in an uninterrupted run."
        )
    if point.resumed and point.step * training.batch_size > 10**6:
        logging.info(
            "Skipping the %d records of the first %d steps; this takes a "
            "while.",
            point.step * training.batch_size,
            point.step,
        )


def cli():
    """The console command."""
    command_line.run(define_flags, main, __doc__)


if __name__ == "__main__":
    cli()
