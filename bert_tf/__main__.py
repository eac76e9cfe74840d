"""The front door: lists the commands, and runs one by its name.

python -m bert_tf
python -m bert_tf run_classifier --help
"""

import ast
import difflib
import pathlib
import runpy
import sys

import bert_tf

GROUPS = {
    "Models": (
        "released_models",
        "convert_checkpoint",
        "extend_vocab",
        "extend_positions",
    ),
    "Pretraining": (
        "learn_vocab",
        "create_pretraining_data",
        "beam_pretraining_data",
        "run_pretraining",
    ),
    "Fine-tuning": (
        "run_classifier",
        "run_squad",
        "run_ner",
        "run_multiple_choice",
        "run_sentence_vectors",
        "glue_submission",
    ),
    "Using a model": (
        "classify",
        "tag",
        "answer",
        "fill_mask",
        "score",
        "extract_features",
        "search",
    ),
    "Looking inside": ("attention", "neighbours"),
    "Serving": ("export_saved_model", "serve"),
}


def summary(command):
    """The first line of a command's docstring."""
    # Read, since an import would take seconds.
    path = pathlib.Path(__file__).with_name(f"{command}.py")
    source = path.read_text(encoding="utf-8")
    return (ast.get_docstring(ast.parse(source)) or "").partition("\n")[0]


def overview(program):
    """All commands in groups, with a line each."""
    width = max(len(name) for names in GROUPS.values() for name in names)
    lines = [f"bert_tf {bert_tf.__version__}", ""]
    lines.append(f"usage: {program} COMMAND [--FLAG=VALUE ...]")
    lines.append(f"       {program} COMMAND --help")
    for group, commands in GROUPS.items():
        lines += ["", group]
        lines += [f"  {name:{width}}  {summary(name)}" for name in commands]
    return "\n".join(lines)


def main(arguments, program):
    """Runs a command line; returns the exit status, unless a command ends it.

    Args:
        arguments: those after the program's name.
        program: how it was called, for messages.
    """
    if not arguments or arguments[0] in ("--help", "-h", "help"):
        print(overview(program))
        return 0
    if arguments[0] == "--version":
        print(f"bert_tf {bert_tf.__version__}")
        return 0
    name = arguments[0].replace("-", "_")
    commands = [name for names in GROUPS.values() for name in names]
    if name not in commands:
        near = difflib.get_close_matches(name, commands, 1)
        hint = f" Did you mean {near[0]}?" if near else ""
        print(
            f"{program}: error: There is no command {arguments[0]!r}.{hint} "
            f"`{program}` lists all.",
            file=sys.stderr,
        )
        return 1
    sys.argv = [name, *arguments[1:]]
    # As `python -m bert_tf.COMMAND` does.
    runpy.run_module(f"bert_tf.{name}", run_name="__main__", alter_sys=True)
    return 0


def cli():
    """The console command bert-tf."""
    return main(sys.argv[1:], "bert-tf")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], "python -m bert_tf"))
