"""The flags that run_classifier, run_squad and run_pretraining train with.

Comes in: a command line, and what a script alone knows: how many steps, and how
its model is built. Goes out: `TrainingSettings`, and the model. The flags that
the original had are defined in the scripts; what trains is in `training`.
"""

import contextlib

from absl import logging

from bert_tf import (
    layers,
    models,
    optimization,
)
from bert_tf.cli import command_line
from bert_tf.errors import InputError
from bert_tf.training import evaluation as training_evaluation
from bert_tf.training import settings as training_settings
from bert_tf.training import start as training_start
from bert_tf.training.devices import DISTRIBUTIONS, OFF, TPU, TPU_FLAGS


def define(flags):
    """Defines the flags on a `FlagValues`; left out, none changes anything."""
    define_distribution_flag(flags)
    flags.boolean(
        "jit_compile",
        False,
        "Compile training steps with XLA. It takes longer to start; whether "
        "steps are faster depends on model and machine.",
    )
    flags.integer(
        "gradient_accumulation_steps",
        1,
        "Compute each step's batch in so many parts, one after the other, in "
        "as little memory as one part takes. --train_batch_size is still the "
        "whole batch, and weights change as after the whole batch.",
    )
    flags.boolean(
        "bucket_by_length",
        False,
        "Train on batches of examples of about one length, padded to what they "
        "need and not to --max_seq_length. It changes the order of examples.",
    )
    flags.boolean(
        "recompute",
        False,
        "Keep only the input of each encoder layer in memory, and compute the "
        "rest again when gradients are due. The numbers are the same.",
    )
    define_precision(flags)
    flags.integer(
        "eval_every_steps",
        None,
        "Evaluate every so many steps of training, and at its end. A "
        "checkpoint is saved before each time.",
    )
    flags.string(
        "keep_best",
        None,
        "With --eval_every_steps: the result, as eval_results.txt names it, "
        "whose best checkpoint is kept in OUTPUT_DIR/best. Evaluation and "
        "prediction at the end use that one.",
    )
    flags.integer(
        "early_stopping_patience",
        None,
        "With --keep_best: stop after so many evaluations in a row that were "
        "not better than the best.",
    )
    flags.choice(
        "optimizer",
        "adamw",
        optimization.OPTIMIZERS,
        "adamw: the original's. lamb: for large batches; its state in "
        "checkpoints is called lamb_m and lamb_v. Both clip all gradients "
        "together to a norm of 1 first, and decay the same weights by 0.01.",
    )
    flags.boolean(
        "bias_correction",
        False,
        "With --optimizer=adamw: correct the averages of the first steps, as "
        "Adam's authors do and the original does not. lamb always does.",
    )
    flags.number(
        "layerwise_lr_decay",
        1.0,
        "Train each layer with the learning rate of the next higher one times "
        "this: layer i of L with its power L - 1 - i, embeddings with its "
        "power L; the highest layer, pooler and heads with the full rate.",
    )
    flags.string(
        "freeze",
        None,
        "Parts of the encoder that are not trained: embeddings, pooler, "
        "layers from 0; embeddings,0-5 say. They have no optimizer state.",
    )


def define_precision(flags):
    """Defines --precision, for whatever builds a model."""
    flags.choice(
        "precision",
        "float32",
        layers.PRECISIONS,
        "What the model computes in: mixed_bfloat16 and mixed_float16 do most "
        "of the work in 16 bits, where the device is quicker with those. "
        "Weights and checkpoints are float32 in all. With mixed_float16 the "
        "loss is scaled, and steps whose gradients are too large are skipped.",
    )


def check(values, config, results):
    """Raises `InputError` for a bad value of those, before any work.

    Args:
        values: parsed `FlagValues`.
        config: the model's `BertConfig`.
        results: names of those that the script evaluates.
    """
    check_distribution(values)
    _check_evaluation(values, results)
    command_line.require_positive(values, "gradient_accumulation_steps")
    parts = values.gradient_accumulation_steps
    if values.train_batch_size % parts:
        raise InputError(
            "`--gradient_accumulation_steps` must divide --train_batch_size. "
            f"Received: --gradient_accumulation_steps={parts} "
            f"--train_batch_size={values.train_batch_size}"
        )
    if values.bucket_by_length and values.use_tpu:
        raise InputError(
            "`--bucket_by_length` makes batches of many lengths, and a TPU "
            "needs them of one. Received: --bucket_by_length --use_tpu"
        )
    command_line.require_between(values, "layerwise_lr_decay", 0, 1)
    if values.layerwise_lr_decay == 0:
        raise InputError(
            "`--layerwise_lr_decay` must be above 0: --freeze keeps layers as "
            "they are. Received: --layerwise_lr_decay=0"
        )
    correction = values["bias_correction"]
    if values.optimizer == "lamb" and correction.present:
        raise InputError(
            "`--bias_correction` is for --optimizer=adamw: lamb always "
            "corrects. Received: --optimizer=lamb "
            f"--bias_correction={str(correction.value).lower()}"
        )
    if values.freeze is not None:
        with _named("freeze"):
            models.parse_parts(values.freeze, config.num_hidden_layers)


def _check_evaluation(values, results):
    for name, other in (
        ("keep_best", "eval_every_steps"),
        ("early_stopping_patience", "keep_best"),
    ):
        if values[name].value is not None and values[other].value is None:
            raise InputError(
                f"`--{name}` needs --{other}. Received: "
                f"--{name}={values[name].value}"
            )
    for name in ("eval_every_steps", "early_stopping_patience"):
        if values[name].value is not None:
            command_line.require_positive(values, name)
    if values.keep_best is not None and values.keep_best not in results:
        raise InputError(
            f"`--keep_best` must be one of {', '.join(results)}. Received: "
            f"--keep_best={values.keep_best}"
        )


@contextlib.contextmanager
def _named(flag):
    try:
        yield
    except InputError as error:
        raise InputError(f"`--{flag}`: {error}") from error


def build_model(values, build, config, start, strategy):
    """`training.build_model`, changed as the flags say.

    Args:
        values: parsed `FlagValues`.
        build, config, start, strategy: of `training.build_model`.
    """
    with layers.precision(values.precision):
        model = training_start.build_model(
            build, config, start, strategy, values.bert_config_file
        )
    if values.recompute:
        models.recompute(model)
    if values.freeze is not None:
        parts = models.parse_parts(values.freeze, config.num_hidden_layers)
        models.freeze(model, parts)
        logging.info(
            "Frozen: %s. %d of %d variables are trained.",
            values.freeze,
            len(model.trainable_variables),
            len(model.weights),
        )
    return model


def settings(values, config, num_train_steps, num_warmup_steps):
    """The `TrainingSettings` that the flags ask for.

    Args:
        values: parsed `FlagValues`.
        config: the model's `BertConfig`.
        num_train_steps, num_warmup_steps: ints.
    """
    return training_settings.TrainingSettings(
        output_dir=values.output_dir,
        num_train_steps=num_train_steps,
        learning_rate=values.learning_rate,
        num_warmup_steps=num_warmup_steps,
        batch_size=values.train_batch_size,
        save_checkpoints_steps=values.save_checkpoints_steps,
        steps_per_call=values.iterations_per_loop,
        jit_compile=values.jit_compile,
        optimizer=optimization.OptimizerSettings(
            values.optimizer,
            values.bias_correction,
            values.layerwise_lr_decay,
            config.num_hidden_layers,
        ),
        gradient_accumulation_steps=values.gradient_accumulation_steps,
    )


def evaluation(values, evaluate):
    """The `EvaluationSettings` that the flags ask for, or None.

    Args:
        values: parsed `FlagValues`.
        evaluate: function of no arguments that returns results by name.
    """
    if values.eval_every_steps is None:
        return None
    return training_settings.EvaluationSettings(
        evaluate,
        values.eval_every_steps,
        values.keep_best,
        values.early_stopping_patience,
    )


def use_best(values, model, step):
    """Gives the model the best weights, if they are kept.

    Args:
        values: parsed `FlagValues`.
        model: a `keras.Model`.
        step: that its weights are of.

    Returns:
        The step that its weights are of now.
    """
    if values.keep_best is None:
        return step
    best = training_evaluation.load_best(model, values.output_dir)
    return step if best is None else best


def count_steps(flags, num_examples):
    """The number of steps to train: the original's, rounded down.

    With --doc_stride, the windows are the examples.

    Raises:
        InputError: it is 0.
    """
    size, epochs = flags.train_batch_size, flags.num_train_epochs
    num_steps = int(num_examples / size * epochs)
    if num_steps < 1:
        raise InputError(
            f"There is not one step to train: {num_examples} examples / "
            f"--train_batch_size={size} x --num_train_epochs={epochs} is "
            "below 1."
        )
    return num_steps


def define_tpu_flags(flags):
    """Defines the original's flags for TPUs on a `FlagValues`."""
    text = {
        "tpu_name": "Cloud TPU to use: its name, or grpc://IP:PORT.",
        "tpu_zone": "Zone of the Cloud TPU; found out where possible.",
        "gcp_project": "Project of the Cloud TPU; found out where possible.",
        "master": "Address of the TPU, where --tpu_name is not given.",
    }
    flags.boolean("use_tpu", False, "Run on a TPU, with one-hot embeddings.")
    for name in TPU_FLAGS:
        flags.string(name, None, text[name])
    flags.integer("num_tpu_cores", 8, "Cores that the TPU must have.")


def define_distribution_flag(flags):
    """Defines --distribution on a `FlagValues`."""
    flags.choice(
        "distribution",
        OFF,
        DISTRIBUTIONS,
        "What a batch is spread over. off: one GPU, or the CPU. mirrored: all "
        "GPUs of this machine. multi_worker: several machines, each of which "
        "runs the same command; the environment variable TF_CONFIG tells them "
        "of each other. tpu: the same as --use_tpu.",
    )


def check_distribution(flags):
    """Makes --distribution=tpu and --use_tpu the same.

    Raises:
        InputError: they contradict each other.
    """
    if flags.distribution == TPU:
        flags.use_tpu = True
    elif flags.use_tpu and flags.distribution != OFF:
        raise InputError(
            "`--use_tpu` is --distribution=tpu. Received: --use_tpu "
            f"--distribution={flags.distribution}"
        )
