"""The help text of a command: its docstring, then its flags in groups."""

import re
import shutil
import textwrap

# What several commands have. Flags that are not here are the command's own.
_GROUPS = {
    "Model": (
        "init_checkpoint checkpoint vocab_file bert_config_file do_lower_case "
        "strip_accents ignore_folder_settings"
    ),
    "Training": (
        "do_train train_batch_size learning_rate num_train_epochs "
        "num_train_steps warmup_proportion num_warmup_steps seed num_runs "
        "sweep class_weights teacher transfer_file distill_temperature "
        "distill_weight optimizer bias_correction layerwise_lr_decay "
        "freeze lora_rank lora_targets gradient_accumulation_steps "
        "bucket_by_length"
    ),
    "Evaluation and prediction": (
        "do_eval do_predict eval_batch_size predict_batch_size max_eval_steps "
        "eval_every_steps keep_best early_stopping_patience test_labels"
    ),
    "Output": (
        "output_dir output_file save_checkpoints_steps do_export export_dir"
    ),
    "Speed and memory": (
        "skip_padding precision recompute jit_compile distribution batch_size "
        "iterations_per_loop use_one_hot_embeddings"
    ),
    "TPUs": "use_tpu tpu_name tpu_zone gcp_project master num_tpu_cores",
}
_OWN = "Flags of this command"
_ASK = {"--help", "-help", "-h", "--helpfull", "--helpshort"}


def is_asked(arguments):
    """Whether a command line, without the program, asks for help."""
    for argument in arguments:
        if argument == "--":
            return False
        if argument in _ASK:
            return True
    return False


def text(values, names, doc, width=None):
    """The help text.

    Args:
        values: the `FlagValues` that has the flags.
        names: of the command's flags, in the order of their definition.
        doc: the command's docstring.
        width: of a line; that of the terminal.
    """
    width = width or min(shutil.get_terminal_size().columns, 100)
    groups = {_OWN: [name for name in names if _group_of(name) == _OWN]}
    for group, listed in _GROUPS.items():
        groups[group] = [name for name in listed.split() if name in names]
    lines = [doc.strip(), ""]
    for group, members in groups.items():
        if members:
            lines += [f"{group}:", ""]
            for name in members:
                lines += _flag(values[name], width)
            lines.append("")
    lines.append("Also: --flagfile=FILE, a file with one flag on each line.")
    return "\n".join(lines)


def _group_of(name):
    for group, members in _GROUPS.items():
        if name in members.split():
            return group
    return _OWN


def _flag(flag, width):
    """A flag's name, values and default; what it means, indented."""
    required = any(
        getattr(validator, "flag_name", None) == flag.name
        and "must have a value" in validator.message
        for validator in flag.validators
    )
    kind = flag.parser.syntactic_help or flag.flag_type()
    meaning = re.sub(r"\s+", " ", flag.help).strip()
    # absl adds this to the flags that take several values.
    meaning = meaning.replace(".; repeat this option", "; repeat this option")
    choices = getattr(flag.parser, "enum_values", None)
    if choices:
        kind = "|".join(choices)
        meaning = meaning.removeprefix(f"<{kind}>: ")
    name = (
        f"--[no]{flag.name}" if flag.boolean else f"--{flag.name}={_word(kind)}"
    )
    end = ""  # Brackets at the end of the meaning are a default in words.
    if required:
        end = " (required)"
    elif flag.default not in (None, []) and not meaning.endswith("]"):
        end = f" (default: {flag.default_as_str.strip(chr(39))})"
    return [
        f"  {name}{end}",
        *textwrap.wrap(
            meaning,
            width,
            initial_indent=" " * 6,
            subsequent_indent=" " * 6,
            break_on_hyphens=False,
        ),
    ]


def _word(kind):
    """What stands after the `=`, in one word."""
    if "|" in kind:
        return kind
    return {
        "string": "TEXT",
        "multi string": "TEXT",
        "int": "N",
        "integer": "N",
        "float": "X",
        "number": "X",
    }.get(kind.removeprefix("a ").removeprefix("an "), kind.upper())
