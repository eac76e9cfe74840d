"""--lora_rank and --lora_targets."""

from bert_tf.cli import command_line
from bert_tf.errors import InputError
from bert_tf.support.parts import LORA_TARGETS, parse_targets
from bert_tf.training import settings


def define(flags):
    """Defines the flags on a `FlagSet`."""
    flags.integer(
        "lora_rank",
        None,
        "Train LoRA's adapters of this rank, 8 for example, and the head, but "
        "not the encoder: a hundredth of the weights or less. Needs a larger "
        "--learning_rate, such as 5e-4. Checkpoints have merged kernels, for "
        "every other command, and beside them what this training goes on with.",
    )
    flags.string(
        "lora_targets",
        settings.LORA_TARGETS,
        "With --lora_rank: the layers that get adapters, of "
        f"{', '.join(LORA_TARGETS)}; or all.",
    )


def check(values):
    """Raises `InputError` for values of the flags that do not fit."""
    if values.lora_rank is not None:
        command_line.require_positive(values, "lora_rank")
    elif values["lora_targets"].present:
        raise InputError(
            "`--lora_targets` needs --lora_rank. Received: "
            f"--lora_targets={values.lora_targets}"
        )
    try:
        parse_targets(values.lora_targets)
    except InputError as error:
        raise InputError(f"`--lora_targets`: {error}") from error


def used(values):
    """The flags by name; empty without LoRA, or where nothing is trained."""
    if values.lora_rank is None or not values.do_train:
        return {}
    targets = ",".join(parse_targets(values.lora_targets))
    return {"lora_rank": values.lora_rank, "lora_targets": targets}
