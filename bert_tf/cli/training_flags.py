"""Flags of commands that train, and the settings that they become."""

import math

from absl import logging

from bert_tf.checkpoints import folder_settings
from bert_tf.checkpoints.folder_settings import UNSAID, FolderSettings
from bert_tf.cli import (
    command_line,
    lora_flags,
    model_flags,
    output_folder,
    sweep_flags,
)
from bert_tf.errors import InputError
from bert_tf.training import settings
from bert_tf.training.settings import OFF, TPU


def define_original(flags):
    """Defines the flags that all training commands of the original have."""
    flags.string(
        "output_dir",
        None,
        "Folder for checkpoints and results. A checkpoint in it is resumed.",
    )
    flags.require("output_dir")
    flags.number("learning_rate", 5e-5, "Peak learning rate.")
    flags.integer(
        "save_checkpoints_steps", 1000, "Save a checkpoint every N steps."
    )
    flags.integer(
        "iterations_per_loop",
        1000,
        "Maximum number of steps in one call of the compiled loop.",
    )
    define_tpu(flags)
    # Not in the original.
    flags.integer("seed", None, "Makes a run repeatable. [drawn, and logged]")


def define_actions(flags, train_batch_size=32):
    """Defines what a command does with its train, dev and test files."""
    flags.boolean("do_train", False, "Train.")
    flags.boolean("do_eval", False, "Evaluate on the dev set.")
    flags.boolean("do_predict", False, "Predict the test set.")
    flags.integer(
        "train_batch_size", train_batch_size, "Examples in a training step."
    )
    flags.integer("eval_batch_size", 8, "Examples in a batch of evaluation.")
    flags.integer("predict_batch_size", 8, "Examples in a batch of prediction.")


def define_runs(flags):
    """Defines --num_runs and --sweep."""
    define_num_runs(flags, "--do_eval")
    sweep_flags.define(flags)


def define_num_runs(flags, needs):
    """Defines --num_runs.

    Args:
        flags: a `FlagSet`.
        needs: what gives the results that are compared.
    """
    flags.integer(
        "num_runs",
        1,
        "Train N times, with consecutive seeds, in the folders run_1, run_2, "
        "... of OUTPUT_DIR; mean and deviation of the results are logged and "
        f"written to {settings.RUNS_FILE}. Needs {needs}.",
    )


def define_epochs(flags, what):
    """Defines the flags of commands that count epochs.

    Args:
        flags: a `FlagSet`.
        what: the examples of an epoch, in words.
    """
    flags.number("num_train_epochs", 3.0, f"Number of passes over {what}.")
    flags.number(
        "warmup_proportion",
        0.1,
        "Share of the steps in which the learning rate warms up.",
    )


def define_tpu(flags):
    """Defines the original's flags for TPUs."""
    flags.boolean("use_tpu", False, "Run on a TPU, with one-hot embeddings.")
    flags.string(
        "tpu_name", None, "Cloud TPU to use: its name, or grpc://IP:PORT."
    )
    flags.string("tpu_zone", None, "Zone of the Cloud TPU. [looked up]")
    flags.string("gcp_project", None, "Project of the Cloud TPU. [looked up]")
    flags.string(
        "master", None, "Address of the TPU, where --tpu_name is not given."
    )
    flags.integer("num_tpu_cores", 8, "Cores that the TPU must have.")


def define(flags, skips_padding=True, padding=""):
    """Defines flags that the original lacks; defaults change no result.

    Args:
        flags: a `FlagSet`.
        skips_padding: whether padding is skipped; false where results depend
            on it.
        padding: a sentence for the help on how results depend on padding.
    """
    model_flags.define_padding(
        flags,
        skips_padding,
        f"{padding} In training dropout then draws other values; a training "
        "that is resumed keeps the setting that it began with.".lstrip(),
    )
    flags.choice(
        "distribution",
        OFF,
        settings.DISTRIBUTIONS,
        "Devices to spread a batch over. off: one GPU, or the CPU. mirrored: "
        "all GPUs of this machine. multi_worker: several machines, each "
        "running the same command; the environment variable TF_CONFIG lists "
        "them. tpu: the same as --use_tpu.",
    )
    flags.boolean(
        "jit_compile",
        False,
        "Compile training steps with XLA. It takes longer to start; whether "
        "steps are faster depends on model and machine.",
    )
    flags.integer(
        "gradient_accumulation_steps",
        1,
        "Split each batch into N micro-batches; memory is that of one. "
        "--train_batch_size is still the whole batch, and the weights change "
        "as after the whole batch.",
    )
    flags.boolean(
        "bucket_by_length",
        False,
        "Batch examples of similar length; pad to the longest in the batch, "
        "not to --max_seq_length. Changes the order of examples.",
    )
    flags.boolean(
        "recompute",
        False,
        "Keep only the input of each encoder layer in memory, and recompute "
        "the rest for the gradients. Results are the same.",
    )
    define_precision(flags)
    flags.integer(
        "eval_every_steps",
        None,
        "Evaluate every N steps of training, and at its end. A checkpoint is "
        "saved before each evaluation.",
    )
    flags.string(
        "keep_best",
        None,
        "With --eval_every_steps: the result, as eval_results.txt names it, "
        "whose best checkpoint is kept in OUTPUT_DIR/best. Evaluation and "
        "prediction at the end use this checkpoint.",
    )
    flags.integer(
        "early_stopping_patience",
        None,
        "With --keep_best: stop after N evaluations without improvement.",
    )
    flags.choice(
        "optimizer",
        "adamw",
        settings.OPTIMIZERS,
        "adamw: the original's. lamb: for large batches; its state in "
        "checkpoints is called lamb_m and lamb_v. Both first clip the "
        "gradients to a global norm of 1, and decay the same weights by 0.01.",
    )
    flags.boolean(
        "bias_correction",
        False,
        "With --optimizer=adamw: correct the bias of Adam's averages, as in "
        "its paper but not in the original. lamb always does.",
    )
    flags.number(
        "layerwise_lr_decay",
        1.0,
        "Learning rate of each layer as a multiple of that of the layer above: "
        "layer i of L gets this to the power L - 1 - i, embeddings to the "
        "power L; the highest layer, pooler and heads get the full rate.",
    )
    flags.string(
        "freeze",
        None,
        "Parts of the encoder that are not trained: embeddings, pooler, "
        "layers from 0, such as embeddings,0-5. They have no optimizer state.",
    )
    lora_flags.define(flags)


def define_precision(flags):
    """Defines --precision."""
    flags.choice(
        "precision",
        "float32",
        settings.PRECISIONS,
        "Precision of the computation. mixed_bfloat16 and mixed_float16 do "
        "most of it in 16 bits, which is faster on some devices. Weights and "
        "checkpoints are always float32. With mixed_float16 the loss is "
        "scaled, and steps whose gradients overflow are skipped.",
    )


def take_folder_settings(values, head, names):
    """Sets flags that are not given to what the model's folder notes.

    Args:
        values: parsed `FlagValues`.
        head, names: as in `model_flags.take_folder_settings`.

    Raises:
        InputError: a given flag contradicts the folder.
    """
    output_dir = values.output_dir
    if "num_runs" in values and values.num_runs > 1:
        output_dir = settings.folder_of_run(output_dir, 1)
    model_flags.take_folder_settings(
        values, head, names, output_dir=output_dir, trains=values.do_train
    )
    take_padding(values, output_dir)


def take_padding(values, output_dir):
    """Sets --skip_padding where it is not given.

    A training that goes on keeps the setting that it began with; one that noted
    none, such as the original's, computed padding. TPUs and XLA need batches of
    one shape.

    Args:
        values: parsed `FlagValues`.
        output_dir: the folder in which a training may go on.

    Raises:
        InputError: --skip_padding is given, and cannot be.
    """
    # Imported here, since it loads TensorFlow.
    from bert_tf.checkpoints import finding

    flag = values["skip_padding"]
    fixed = "--jit_compile" if values.jit_compile else None
    if devices(values).use_tpu:
        fixed = "--use_tpu"
    goes_on = values.do_train and finding.has_checkpoints(output_dir)
    if not flag.present and goes_on:
        flag.value = folder_settings.read(output_dir).skip_padding is True
    elif not flag.present and fixed and flag.value:
        flag.value = False
        logging.info("Padding is computed: %s needs it.", fixed)
    if flag.value and fixed:
        raise InputError(
            "`--skip_padding` makes batches of many shapes, and "
            f"{fixed} needs them of one. Received: {fixed}, and "
            + (
                "--skip_padding"
                if flag.present
                else f"{output_dir}, whose training skips padding. Give "
                "--skip_padding=false --ignore_folder_settings to change over."
            )
        )


def check(values, results):
    """Raises `InputError` for invalid flags, before any work.

    Args:
        values: parsed `FlagValues`, with the flags of `define_original` and
            `define`.
        results: names of the command's evaluation results.
    """
    command_line.require_positive(
        values,
        "train_batch_size",
        "save_checkpoints_steps",
        "iterations_per_loop",
        "gradient_accumulation_steps",
    )
    output_folder.check(values)
    command_line.require_between(values, "learning_rate", 0, math.inf)
    if values.seed is not None:
        num_runs = values.num_runs if "num_runs" in values else 1
        command_line.require_between(values, "seed", 0, 2**32 - num_runs)
    _check_evaluation(values, results)
    parts = values.gradient_accumulation_steps
    if values.train_batch_size % parts:
        raise InputError(
            "`--gradient_accumulation_steps` must divide --train_batch_size. "
            f"Received: --gradient_accumulation_steps={parts} "
            f"--train_batch_size={values.train_batch_size}"
        )
    if devices(values).use_tpu and values.bucket_by_length:
        raise InputError(
            "`--bucket_by_length` makes batches of many lengths, and a TPU "
            "needs them of one. Received: --bucket_by_length --use_tpu"
        )
    command_line.require_between(values, "layerwise_lr_decay", 0, 1)
    if values.layerwise_lr_decay == 0:
        raise InputError(
            "`--layerwise_lr_decay` must be above 0; to freeze layers, use "
            "--freeze. Received: --layerwise_lr_decay=0"
        )
    lora_flags.check(values)
    correction = values["bias_correction"]
    if values.optimizer == "lamb" and correction.present:
        raise InputError(
            "`--bias_correction` is for --optimizer=adamw: lamb always "
            "corrects. Received: --optimizer=lamb "
            f"--bias_correction={str(correction.value).lower()}"
        )


def check_actions(values):
    """Raises `InputError` for flags of `define_actions` and `define_runs`."""
    if not (
        values.do_train
        or values.do_eval
        or values.do_predict
        or values.do_export
    ):
        raise InputError(
            "At least one of `do_train`, `do_eval` or `do_predict` must be "
            "True."
        )
    command_line.require_positive(
        values, "eval_batch_size", "predict_batch_size"
    )
    check_runs(values, "do_eval")


def check_runs(values, action):
    """Raises `InputError` for invalid flags of `define_runs`.

    Args:
        values: parsed `FlagValues`.
        action: name of the flag that gives the results of a run.
    """
    command_line.require_positive(values, "num_runs")
    if values.num_runs > 1 and not values[action].value:
        raise InputError(
            f"`--num_runs` needs --{action}, whose results it compares. "
            f"Received: --num_runs={values.num_runs}"
        )


def check_epochs(values):
    """Raises `InputError` for invalid flags of `define_epochs`."""
    command_line.require_between(values, "num_train_epochs", 0, math.inf)
    command_line.require_between(values, "warmup_proportion", 0, 1)


def _check_evaluation(values, results):
    # A sweep compares runs by this result, at their end.
    sweeps = "sweep" in values and values.sweep is not None
    for name, other in (
        ("early_stopping_patience", "keep_best"),
        (
            "early_stopping_patience" if sweeps else "keep_best",
            "eval_every_steps",
        ),
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


def devices(values):
    """The `DeviceSettings` of the flags.

    Raises:
        InputError: --use_tpu and --distribution contradict each other.
    """
    distribution = values.distribution if "distribution" in values else OFF
    if values.use_tpu:
        if distribution not in (OFF, TPU):
            raise InputError(
                "`--use_tpu` is --distribution=tpu. Received: --use_tpu "
                f"--distribution={distribution}"
            )
        distribution = TPU
    cores = values["num_tpu_cores"]
    return settings.DeviceSettings(
        distribution,
        values.tpu_name,
        values.tpu_zone,
        values.gcp_project,
        values.master,
        None if cores.using_default_value else cores.value,
    )


def run_settings(values, head=UNSAID, names=(), **noted):
    """The `RunSettings` of the flags.

    Args:
        values: parsed and checked `FlagValues`.
        head: what is trained, as in `FolderSettings`.
        names: of flags whose values training notes in its folder.
        noted: what else it notes there, by name.
    """
    use_tpu = devices(values).use_tpu
    evaluation = None
    if values.eval_every_steps is not None:
        evaluation = settings.EvaluationSettings(
            values.eval_every_steps,
            values.keep_best,
            values.early_stopping_patience,
        )
    epochs = None
    if "num_train_epochs" in values:
        epochs = settings.Epochs(
            values.num_train_epochs, values.warmup_proportion
        )
    adapters = lora_flags.used(values)
    has_steps = "num_train_steps" in values
    batch_sizes = {
        name: values[name].value
        for name in ("eval_batch_size", "predict_batch_size")
        if name in values
    }
    return settings.RunSettings(
        output_dir=values.output_dir,
        files=model_flags.model_files(values),
        training=settings.TrainingSettings(
            output_dir=values.output_dir,
            num_train_steps=values.num_train_steps if has_steps else 0,
            learning_rate=values.learning_rate,
            num_warmup_steps=values.num_warmup_steps if has_steps else 0,
            batch_size=values.train_batch_size,
            save_checkpoints_steps=values.save_checkpoints_steps,
            steps_per_call=values.iterations_per_loop,
            jit_compile=values.jit_compile,
            optimizer=values.optimizer,
            bias_correction=values.bias_correction,
            layerwise_lr_decay=values.layerwise_lr_decay,
            gradient_accumulation_steps=values.gradient_accumulation_steps,
        ),
        do_train=values.do_train,
        seed=values.seed,
        epochs=epochs,
        build=settings.BuildSettings(
            values.precision,
            values.recompute,
            values.freeze,
            one_hot_embeddings=use_tpu,
            skip_padding=values.skip_padding,
            **adapters,
        ),
        evaluation=evaluation,
        use_tpu=use_tpu,
        bucket_by_length=values.bucket_by_length,
        folder=FolderSettings(
            head,
            skip_padding=values.skip_padding,
            **adapters,
            **{name: values[name].value for name in names},
            **noted,
        ),
        **batch_sizes,
    )
