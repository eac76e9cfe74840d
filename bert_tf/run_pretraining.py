r"""Pretrains BERT on files of create_pretraining_data, and evaluates it.

The original's run_pretraining.py: same flags, same files in the output folder.

  python -m bert_tf.run_pretraining --input_file=/tmp/tf_examples.tfrecord \
    --output_dir=/tmp/pretraining_output --do_train=true --do_eval=true \
    --bert_config_file=BERT/bert_config.json \
    --init_checkpoint=BERT/bert_model.ckpt --train_batch_size=32 \
    --max_seq_length=128 --max_predictions_per_seq=20 \
    --num_train_steps=20 --num_warmup_steps=10 --learning_rate=2e-5

A folder that has a checkpoint, of the original or of this script, is continued
at its step with its optimizer's state. To start from random weights leave out
--init_checkpoint.
"""

import functools
import math

from absl import logging

from bert_tf import (
    checkpoints,
    models,
    tokenization,
)
from bert_tf.checkpoints import folders
from bert_tf.cli import (
    command_line,
    export_flags,
    model_flags,
    training_flags,
)
from bert_tf.cli.command_line import FlagSet
from bert_tf.data import records, text_files
from bert_tf.errors import InputError
from bert_tf.exports import export
from bert_tf.support import files as support_files
from bert_tf.support.progress import counted
from bert_tf.tasks.pretraining import dynamic_masking, served, task
from bert_tf.training import devices, evaluation, loop, prediction
from bert_tf.training import start as training_start

# As many files in turns as in the original.
FILES_AT_ONCE = 4


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
        "Word pieces of an input, as create_pretraining_data was told.",
    )
    flags.integer(
        "max_predictions_per_seq",
        20,
        "Most masked pieces of an input, as create_pretraining_data was told.",
    )
    flags.boolean("do_train", False, "Train.")
    flags.boolean("do_eval", False, "Evaluate on the same files.")
    flags.integer("train_batch_size", 32, "Examples in a training step.")
    flags.integer("eval_batch_size", 8, "Examples in a batch of evaluation.")
    model_flags.define_config(flags)
    model_flags.define_training(flags)
    flags.integer("num_train_steps", 100000, "The step to train to.")
    flags.integer("num_warmup_steps", 10000, "So many first steps warm up.")
    flags.integer("max_eval_steps", 100, "Batches to evaluate.")

    flags.boolean(
        "next_sentence",
        True,
        "Learn to tell the next sentence too; false for masked words only.",
    )
    flags.boolean(
        "mask_on_the_fly",
        False,
        "Draw new masks in each epoch, instead of the masks in the records "
        "(which create_pretraining_data makes --dupe_factor times). Needs "
        "--vocab_file. Evaluation keeps the masks in the records.",
    )
    flags.string(
        "vocab_file",
        None,
        "With --mask_on_the_fly or --do_export: the vocabulary.",
    )
    flags.number(
        "masked_lm_prob", 0.15, "With --mask_on_the_fly: the share to mask."
    )
    flags.boolean(
        "do_whole_word_mask",
        False,
        "With --mask_on_the_fly: mask all pieces of a word together. Words are "
        "known by `##`: those of a --word_segmenter are not in the records.",
    )
    training_flags.define(flags)
    export_flags.define(flags)
    flags.boolean(
        "do_lower_case",
        True,
        "With --do_export: lower-case the text, as it was when records were "
        "made of it.",
    )
    flags.require("input_file")


def main(flags):
    """Does what the parsed flags ask for."""
    config = check_flags(flags)
    strategy = devices.find_strategy(flags)
    files = text_files.find_files(flags.input_file)
    logging.info("*** Input Files ***\n%s", "\n".join(files))
    schema = task.pretraining_schema(
        flags.max_seq_length, flags.max_predictions_per_seq
    )
    records.check_records(files, schema, config.vocab_size)
    masker = make_masker(flags, config) if flags.mask_on_the_fly else None
    support_files.make_folder("output_dir", flags.output_dir)
    export_dir = export_flags.find_export_dir(flags, flags.output_dir)

    seed = training_start.set_seed(flags.seed, strategy)
    devices.log_devices(strategy)
    start = training_start.find_starting_point(
        flags.output_dir, flags.init_checkpoint
    )
    tell_about_start(flags, start)
    if flags.do_export and not flags.do_train:
        export.checkpoint_of_run(
            flags.output_dir, flags.keep_best is not None, start.prefix
        )
    model = training_flags.build_model(
        flags,
        lambda: models.pretraining(
            config,
            use_one_hot_embeddings=flags.use_tpu,
            next_sentence=flags.next_sentence,
        ),
        config,
        start,
        strategy,
    )
    if flags.do_train or start.resumed:
        folders.complete(
            flags.output_dir, flags.bert_config_file, flags.vocab_file
        )
    work = Pretraining(flags, config, files, schema, model, strategy)
    step = start.step
    if flags.do_train:
        step = work.train(start, seed, masker)
    with devices.chief_alone(strategy) as is_chief:
        if is_chief:
            step = training_flags.use_best(flags, model, step)
            if flags.do_eval:
                work.evaluate(step)
            if flags.do_export:
                checkpoint = export.checkpoint_of_run(
                    flags.output_dir, flags.keep_best is not None, start.prefix
                )
                source = export_flags.source_of(flags, checkpoint)
                served.export_pretraining(
                    source,
                    export_dir,
                    # What was not trained has nothing to say.
                    next_sentence=None if flags.next_sentence else False,
                )


def check_flags(flags):
    """The model's config, if the flags fit it and each other.

    Raises:
        InputError: names the flag.
    """
    if not (flags.do_train or flags.do_eval or flags.do_export):
        raise InputError(
            "At least one of `do_train` or `do_eval` must be True."
        )
    config = model_flags.read_config(flags)
    command_line.require_positive(
        flags,
        "max_seq_length",
        "max_predictions_per_seq",
        "eval_batch_size",
        "num_train_steps",
        "max_eval_steps",
    )
    model_flags.check_training(flags)
    command_line.require_between(flags, "num_warmup_steps", 0, math.inf)
    command_line.require_between(flags, "masked_lm_prob", 0, 1)
    training_flags.check(flags, config, task.result_names(flags.next_sentence))
    model_flags.require_positions(
        flags, config, "create_pretraining_data needs the same value."
    )
    if config.attention_direction() == "left_to_right" and flags.next_sentence:
        raise InputError(
            f"{flags.bert_config_file} has directionality=left_to_right: "
            "[CLS] sees nothing but itself, and cannot tell what follows. "
            "Give --next_sentence=false."
        )
    for name in ("masked_lm_prob", "do_whole_word_mask"):
        if flags[name].present and not flags.mask_on_the_fly:
            raise InputError(
                f"`--{name}` has a meaning only with --mask_on_the_fly: masks "
                "are otherwise those that create_pretraining_data made."
            )
    if flags["vocab_file"].present and not (
        flags.mask_on_the_fly or flags.do_export
    ):
        raise InputError(
            "`--vocab_file` has a meaning only with --mask_on_the_fly or "
            "--do_export: masks are otherwise those that "
            "create_pretraining_data made."
        )
    if flags["do_lower_case"].present and not flags.do_export:
        raise InputError(
            "`--do_lower_case` has a meaning only with --do_export: the text "
            "in the records is what create_pretraining_data made of it."
        )
    if flags.do_export:
        check_export(flags, config)
    return config


def check_export(flags, config):
    """Raises `InputError` where the vocabulary for an export does not fit."""
    if not flags.vocab_file:
        raise InputError(
            "`--do_export` needs `--vocab_file`: the model is going to take "
            "text."
        )
    command_line.require_file("vocab_file", flags.vocab_file)
    checkpoints.check_vocab(
        config.vocab_size, flags.vocab_file, flags.bert_config_file
    )


def make_masker(flags, config):
    """What draws new masks, with the vocabulary of the flags.

    Raises:
        InputError: the vocabulary is missing, does not fit, or has no pieces
            that go on with a word where whole words are to be masked.
    """
    if not flags.vocab_file:
        raise InputError(
            "`--mask_on_the_fly` needs `--vocab_file`: [MASK] and what may "
            "replace a word are in it."
        )
    command_line.require_file("vocab_file", flags.vocab_file)
    checkpoints.check_vocab(
        config.vocab_size, flags.vocab_file, flags.bert_config_file
    )
    vocab = tokenization.load_vocab(flags.vocab_file)
    continued = sum(token.startswith("##") for token in vocab)
    if flags.do_whole_word_mask and not continued:
        raise InputError(
            "`--do_whole_word_mask` needs a vocabulary with pieces that begin "
            f"with `##`. {flags.vocab_file} has none."
        )
    return dynamic_masking.Masker.from_vocab(
        vocab,
        flags.vocab_file,
        masked_lm_prob=flags.masked_lm_prob,
        whole_words=flags.do_whole_word_mask,
    )


def tell_about_start(flags, start):
    """Warns of what the original lets pass in silence."""
    if not flags.do_train:
        return
    if start.step >= flags.num_train_steps:
        logging.warning(
            "%s is at step %d: --num_train_steps=%d is reached, nothing is "
            "trained. To go on, raise --num_train_steps (the learning rate "
            "then decays to the new end).",
            start.prefix,
            start.step,
            flags.num_train_steps,
        )
    elif flags.num_warmup_steps >= flags.num_train_steps:
        logging.warning(
            "--num_warmup_steps=%d is not below --num_train_steps=%d: the "
            "learning rate only rises, and never reaches %g.",
            flags.num_warmup_steps,
            flags.num_train_steps,
            flags.learning_rate,
        )
    step = start.prefix and checkpoints.global_step(start.prefix)
    if not start.resumed and step:
        logging.info(
            "The initial checkpoint was saved at step %d. Its weights are "
            "used, its step and optimizer state are not: training starts at "
            "step 0. To continue it, give its folder as --output_dir.",
            step,
        )
    if start.resumed and flags.seed is None:
        logging.info(
            "Without --seed the order of the records is drawn anew: some are "
            "seen sooner again than in an undisturbed run."
        )
    if start.resumed and start.step * flags.train_batch_size > 10**6:
        logging.info(
            "Passing over the %d records of the first %d steps; this takes a "
            "while.",
            start.step * flags.train_batch_size,
            start.step,
        )


class Pretraining:
    """The two things that this script does with one model."""

    def __init__(self, flags, config, files, schema, model, strategy):
        self.flags = flags
        self.config = config
        self.files = files
        self.schema = schema
        self.model = model
        self.strategy = strategy
        self._predictor = prediction.DatasetPredictor(
            model, strategy, task.per_prediction
        )

    def train(self, start, seed, masker=None):
        """Trains from a `StartingPoint` to the last step, and returns it.

        The seed decides the order of the examples and, if there is a `Masker`,
        the masks.
        """
        flags = self.flags
        logging.info("***** Running training *****")
        logging.info("  Batch size = %d", flags.train_batch_size)

        def batches(step):
            found = records.training_batches(
                self.files,
                self.schema,
                flags.train_batch_size,
                seed,
                step,
                self.config.vocab_size,
                FILES_AT_ONCE,
                flags.bucket_by_length,
            )
            return masker.remask(found, seed, step) if masker else found

        with self._naming_bad_records():
            return loop.train(
                self.model,
                functools.partial(
                    task.losses, next_sentence=flags.next_sentence
                ),
                batches,
                start,
                training_flags.settings(
                    flags,
                    self.config,
                    flags.num_train_steps,
                    flags.num_warmup_steps,
                ),
                self.strategy,
                task.count,
                training_flags.evaluation(flags, self.results),
            )

    def evaluate(self, step):
        """Writes eval_results.txt."""
        evaluation.write_eval_results(
            self.flags.output_dir, {**self.results(), "global_step": step}
        )

    def results(self):
        """How good the model is.

        As in the original, exactly --max_eval_steps batches count; files with
        fewer are gone over again.
        """
        size, num_batches = (
            self.flags.eval_batch_size,
            self.flags.max_eval_steps,
        )
        logging.info("***** Running evaluation *****")
        logging.info("  Batch size = %d", size)
        dataset = records.evaluation_batches(
            self.files,
            self.schema,
            size,
            self.config.vocab_size,
            num_batches=num_batches,
        )
        batches = self._predictor(dataset)
        with self._naming_bad_records():
            return task.evaluate(
                counted(
                    batches,
                    num_batches * size,
                    "Evaluating",
                    prediction.count_rows,
                ),
                self.flags.next_sentence,
            )

    def _naming_bad_records(self):
        return records.naming_bad_records(
            self.files, self.schema, self.config.vocab_size
        )


def cli():
    """The console command."""
    command_line.run(define_flags, main, __doc__)


if __name__ == "__main__":
    cli()
