"""Which parts of which pages are run, with which flags, and what is not run."""

from typing import NamedTuple

from helpers import miniature, pages


class Part(NamedTuple):
    """Sections of a page that are run together, one block after the other.

    Attributes:
        page: its path.
        headings: of the sections; () for the whole page.
        more, rest, graphs: as in `pages.Run`.
        trained: as in `miniature.make`.
    """

    page: str
    headings: tuple[str, ...] = ()
    more: dict[str, str] = {}
    rest: dict[str, str] = {}
    trained: tuple[str, ...] = ()
    graphs: bool = False


SHORT = "--max_seq_length=24"
ONE_EPOCH = f"{SHORT} --num_train_epochs=1 --train_batch_size=8"
# Flags stand after those of the page: fewer steps, shorter texts.
PARTS = {
    "fine-tune": Part(
        "README.md", ("Fine-tune",), {"run_classifier": ONE_EPOCH}
    ),
    "use": Part("README.md", ("Use it",)),
    "checkpoints": Part("docs/checkpoints.md"),
    "glue": Part(
        "docs/classification.md",
        ("GLUE",),
        {"run_classifier": ONE_EPOCH},
        graphs=True,
    ),
    "own data": Part(
        "docs/classification.md",
        ("Your own data",),
        {"run_classifier": ONE_EPOCH},
        {"run_classifier": "--init_checkpoint=BERT --output_dir=/tmp/own"},
    ),
    "numbers": Part("docs/classification.md", ("Numbers",), graphs=True),
    "several labels": Part(
        "docs/classification.md", ("Several labels for each text",), graphs=True
    ),
    "classify": Part(
        "docs/classification.md",
        ("Asking a model",),
        trained=("mrpc_output",),
    ),
    "compare settings": Part(
        "docs/classification.md",
        ("The best of several settings",),
        {"run_classifier": SHORT},
    ),
    "distillation": Part(
        "docs/distillation.md",
        ("Teaching a small model",),
        {"run_classifier": ONE_EPOCH},
    ),
    "extending": Part(
        "docs/extending.md", (), {"learn_vocab": "--vocab_size=150"}
    ),
    "inspection": Part("docs/inspection.md"),
    "swag": Part(
        "docs/multiple_choice.md",
        ("SWAG",),
        {"run_multiple_choice": ONE_EPOCH},
    ),
    "choices": Part(
        "docs/multiple_choice.md", ("Your own data", "Using it"), graphs=True
    ),
    # Of so few steps no more is learnt with the page's rate.
    "ner": Part(
        "docs/ner.md", (), {"run_ner": "--learning_rate=2e-3"}, graphs=True
    ),
    "table 1": Part(
        "docs/paper.md",
        ("The tables of the paper",),
        {"table1_glue": "--only=MRPC --num_runs=1 --tiny"},
    ),
    "performance": Part("docs/performance.md", (), {"run_ner": ONE_EPOCH}),
    "pretraining": Part(
        "docs/pretraining.md",
        (),
        {
            "run_pretraining": "--num_train_steps=3 --num_warmup_steps=1 "
            "--max_eval_steps=2"
        },
    ),
    "worth": Part(
        "docs/sentences.md",
        (
            "What a model's vectors are worth before that",
            "What training brings",
        ),
        {"run_sentence_vectors": f"{SHORT} --num_train_epochs=0.1"},
    ),
    "train sentences": Part(
        "docs/sentences.md", ("Training",), {"run_sentence_vectors": ONE_EPOCH}
    ),
    "ask sentences": Part(
        "docs/sentences.md",
        ("A trial", "What it writes", "Searching a text", "Serving"),
    ),
    "sentence-transformers": Part(
        "docs/sentences.md", ("sentence-transformers",)
    ),
    "server": Part("docs/server.md"),
    "exports": Part(
        "docs/serving.md",
        ("Exported models", "Without TensorFlow"),
        trained=("mrpc_output",),
    ),
    "checked export": Part(
        "docs/serving.md",
        ("Checking an export",),
        rest={
            "export_saved_model": "--head=classifier "
            "--checkpoint=/tmp/mrpc_output --output_dir=/tmp/checked"
        },
        trained=("mrpc_output",),
    ),
    "quantized exports": Part(
        "docs/serving.md",
        ("Fewer bits",),
        rest={
            "export_saved_model": "--head=classifier "
            "--checkpoint=/tmp/mrpc_output --output_dir=/tmp/quantized"
        },
        trained=("mrpc_output",),
    ),
    # Its Python, which needs another package, is run by test_serving.py.
    "ask exports": Part("docs/serving.md", ("tensorflow_model_server",)),
    "train heads": Part(
        "docs/several_heads.md",
        ("Train",),
        {"run_classifier": ONE_EPOCH, "run_ner": ONE_EPOCH},
    ),
    "several heads": Part(
        "docs/several_heads.md", ("Export", "Ask", "What it costs")
    ),
    "squad": Part(
        "docs/squad.md",
        (),
        {
            "run_squad": "--num_train_epochs=0.2 --max_seq_length=96 "
            "--doc_stride=64 --max_query_length=24"
        },
    ),
    "tokenizer": Part("docs/tokenizer.md"),
    "lora": Part("docs/training.md", ("LoRA",), {"run_classifier": ONE_EPOCH}),
    "sweep": Part(
        "docs/training.md",
        ("Several settings",),
        {"run_classifier": SHORT},
        {
            "run_classifier": "--task_name=MRPC --data_dir=GLUE/MRPC "
            "--init_checkpoint=BERT"
        },
    ),
    "vectors": Part(
        "docs/vectors.md",
        rest={
            "extract_features": "--input_file=input.txt --init_checkpoint=BERT"
        },
    ),
}

ELSEWHERE = {
    ("docs/developing.md", "Adding a data set of classification"): (
        "docs/test_pages.py"
    ),
    ("docs/distributed.md", "Kubernetes"): "training/test_distribution.py",
    ("docs/distributed.md", "Slurm"): "training/test_distribution.py",
    ("docs/python.md", ""): "docs/test_python.py",
    ("docs/serving.md", "In Python"): "docs/test_serving.py",
}
"""Sections ("": all) whose fences other tests run, and their files."""

NOT_RUN = {
    "./run_scripts/quickstart.sh": "test_readme.py runs it, without installing",
    "./run_scripts/test.sh": "runs these tests",
    "/tmp/small/bin/": "run_scripts/test_without_tensorflow.sh does this",
    "TASK=": "twenty trainings; test_distil_recipe.py has the script",
    "docker ": "needs Docker",
    "export BERT_BASE_DIR": "the test says where the model is",
    "pip ": "installs packages",
    "python -m bert_tf.beam_pretraining_data": "needs Apache Beam; "
    "test_beam_pretraining_data.py",
    "python -m bert_tf.released_models download": "needs the network; "
    "test_released_models.py has a server",
    "python -m build": "its package is not among the locked ones",
    "python -m twine": "its package is not among the locked ones",
    "python -m venv": "run_scripts/test_without_tensorflow.sh does this",
    "python bench": "measures for minutes, beside other programs",
    "source .venv/bin/activate": "the test has its environment",
    "tensorboard ": "an extra that is not among the locked packages",
    "tensorflow_model_server ": "another program",
}
"""Beginnings of commands that no test runs as they stand, and why."""


def start(name, folder, **options):
    """A `pages.Run` of a part, in a new folder of small data."""
    part = PARTS[name]
    miniature.make(folder, *part.trained)
    return pages.Run(
        folder,
        more=part.more,
        rest=part.rest,
        graphs=part.graphs,
        skip=NOT_RUN,
        **{"variables": miniature.VARIABLES, **options},
    )


def run(name, folder, **options):
    """Runs a part; returns its `pages.Run`, whose servers have ended."""
    part = PARTS[name]
    with start(name, folder, **options) as started:
        return started.page(part.page, *part.headings)
