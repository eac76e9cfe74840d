r"""Writes the vectors that BERT makes of each line of a text.

The original's extract_features.py: same flags, same JSON.

  echo 'Who was Jim Henson ? ||| Jim Henson was a puppeteer' > input.txt

  python -m bert_tf.extract_features --input_file=input.txt \
    --output_file=output.jsonl --vocab_file=BERT/vocab.txt \
    --bert_config_file=BERT/bert_config.json \
    --init_checkpoint=BERT/bert_model.ckpt --layers=-1,-2,-3,-4 \
    --max_seq_length=128 --batch_size=8

A line is a text, or two, with ` ||| ` between them. What comes out is in the
order of the lines, whatever the batches were.

One vector for each line: --pooling=mean (or cls, max, second_to_last_mean).
Vectors as arrays: --output_format=npz, for `numpy.load`, or tfrecord; how they
are laid out is written in bert_tf/feature_files.py.

Lines longer than --max_seq_length: --doc_stride=N reads all of them, in windows
that start N word pieces apart. The output has each token once, as if the model
could read lines of any length, with its vector from the window that has most
around it (the lesser of left and right counts, as in SQuAD). [CLS], [SEP] and
the shorter text of a pair are in every window: in front of the text that is cut
into windows they are taken from the first one, behind it from the last.
Poolings are over all tokens of the line; cls is the mean of the windows' [CLS].

The paper's feature-based approach, where another model is trained on the
concatenated last four layers of every token:

  python -m bert_tf.extract_features --pooling=concat_last_4 \
    --output_format=npz --output_file=train.npz ...

  arrays = numpy.load("train.npz")
  start, end = arrays["offsets"][:2]
  arrays["tokens"][start:end]      # the word pieces of the first line
  arrays["values"][start:end, 0]   # [tokens, 4 * hidden_size]
"""

import itertools
import math
import os

from absl import logging

from bert_tf import checkpoints, models
from bert_tf.checkpoints import inference
from bert_tf.cli import command_line, export_flags, model_flags, training_flags
from bert_tf.cli.command_line import FlagSet
from bert_tf.data import (
    grouping,
    packing,
    text_files,
)
from bert_tf.errors import InputError
from bert_tf.support import files
from bert_tf.support.progress import counted
from bert_tf.tasks.vectors import files as feature_files
from bert_tf.tasks.vectors import lines, served
from bert_tf.tasks.vectors.lines import (
    POOLINGS,
)
from bert_tf.tasks.vectors.task import extract
from bert_tf.training import devices

EXAMPLES_TO_LOG = 5


def define_flags(values):
    """Defines this script's flags on a `FlagValues`."""
    flags = FlagSet(values)
    flags.string(
        "input_file",
        None,
        "Text with one example in each line: `A`, or `A ||| B`. Files or "
        "patterns, separated by commas; .gz is unpacked.",
    )
    flags.string(
        "output_file", None, "File to write; one that is there is replaced."
    )
    flags.string(
        "layers",
        "-1,-2,-3,-4",
        "Layers to write: 0 is the lowest, -1 the highest one.",
    )
    flags.integer(
        "max_seq_length", 128, "Word pieces of an input; what is over is cut."
    )
    flags.string(
        "init_checkpoint",
        None,
        "The weights: a prefix such as BERT/bert_model.ckpt, or a folder.",
    )
    model_flags.define_text(flags)
    flags.integer(
        "doc_stride",
        None,
        "Read long lines in windows that start so many word pieces apart. "
        "[none: what is over is cut off]",
    )
    flags.integer("batch_size", 32, "Lines in a batch.")
    training_flags.define_tpu_flags(flags)
    flags.boolean(
        "use_one_hot_embeddings",
        False,
        "Look up word embeddings by multiplying, which is quicker on TPUs.",
    )

    flags.choice(
        "output_format",
        "jsonl",
        feature_files.FORMATS,
        "jsonl as the original's; npz or tfrecord.",
    )
    flags.choice(
        "pooling",
        "none",
        POOLINGS,
        "One vector for each line and layer: that of [CLS], or mean or max "
        "over all tokens, [CLS] and [SEP] among them. second_to_last_mean: the "
        "mean of layer -2. concat_last_4: one vector for each token, of the "
        "layers -1, -2, -3, -4.",
    )
    flags.boolean(
        "float16", False, "With npz and tfrecord: numbers of 16 bits."
    )
    export_flags.define(flags, beside="output_file")
    flags.require("input_file", "output_file", "init_checkpoint")


def main(flags):
    """Does what the parsed flags ask for."""
    config, layers = check_flags(flags)
    tokenizer = model_flags.load_tokenizer(flags, config)
    checkpoints.check_config(
        config, flags.init_checkpoint, flags.bert_config_file
    )
    ranges = find_input(flags)
    survey = look_through(flags, config, tokenizer, ranges)
    export_dir = export_flags.find_export_dir(
        flags, os.path.dirname(flags.output_file)
    )

    strategy = devices.find_strategy(flags)
    devices.log_devices(strategy)
    fixed_size = find_fixed_size(flags, strategy)
    pooling = POOLINGS[flags.pooling]
    over_tokens = pooling.over_tokens
    has_windows = flags.doc_stride is not None
    # The mean and the highest of windows are not those of their line.
    of_each = pooling
    if has_windows and over_tokens in ("mean", "max"):
        of_each = pooling._replace(over_tokens=None)
    # No layer depends on the pooler; nothing else may be missing.
    model, _ = inference.load_model(
        lambda: models.feature_extractor(
            config,
            layers,
            of_each,
            use_one_hot_embeddings=flags.use_one_hot_embeddings,
        ),
        config,
        flags.init_checkpoint,
        "bert/pooler/",
        strategy,
    )
    shape = tuple(model.output["values"].shape[-2:])
    layout = feature_files.Layout(
        num_lines=survey.num_lines,
        num_tokens=survey.num_tokens,
        shape=shape,
        layers=layers,
        keeps_tokens=over_tokens is None,
        concatenated=pooling.concatenated,
        longest_token=max(map(len, tokenizer.vocab)),
        float16=flags.float16,
    )
    examples = read_examples(flags, tokenizer, ranges)
    batches = (
        grouping.group_by_length(
            examples,
            flags.batch_size,
            lambda example: len(example.tokens),
            lambda example: (
                math.prod(shape)
                * (len(example.tokens) if over_tokens is None else 1)
            ),
        )
        if fixed_size is None
        # They are filled up to one shape: smaller ones would save nothing.
        else grouping.batched(examples, fixed_size)
    )
    padded = (
        lines.pad_batch(batch, flags.max_seq_length, fixed_size)
        for batch in batches
    )
    placed = extract(model, padded, tokenizer, strategy, fixed_size is not None)
    if has_windows:
        windows = grouping.in_order(
            (place, lines.pool_window(one, over_tokens))
            for place, one in placed
        )
        vectors = lines.join_windows(windows, over_tokens)
    else:
        vectors = grouping.in_order(placed)
    files.remove_left_overs(flags.output_file)
    open_file = feature_files.FORMATS[flags.output_format]
    num_lines = num_tokens = 0
    with open_file(flags.output_file, layout) as write:
        for one in counted(vectors, survey.num_lines, "Extracting features"):
            write(one)
            num_lines += 1
            num_tokens += len(one.tokens)
        if (num_lines, num_tokens) != survey[:2]:
            raise InputError(
                f"{flags.input_file} had {survey.num_lines} lines and "
                f"{survey.num_tokens} word pieces at first, and then "
                f"{num_lines} and {num_tokens}: it must not change meanwhile."
            )
    logging.info(
        "Wrote the features of %d lines to %s.",
        survey.num_lines,
        flags.output_file,
    )
    if flags.do_export:
        source = export_flags.source_of(flags, flags.init_checkpoint)
        served.export_features(
            source,
            export_dir,
            flags.pooling,
            None if pooling.layers else layers,
            flags.doc_stride,
        )


def check_flags(flags):
    """The model's config and the layers to take, if the flags make sense.

    Raises:
        InputError: names the flag.
    """
    command_line.require_positive(flags, "batch_size")
    config = model_flags.check_text(flags)
    if not 3 <= flags.max_seq_length <= config.max_position_embeddings:
        raise InputError(
            "`--max_seq_length` must be at least 3 ([CLS] and two [SEP]) and "
            f"at most {config.max_position_embeddings}, the positions that "
            f"the model has. Received: --max_seq_length={flags.max_seq_length}"
        )
    packing.require_stride(flags.doc_stride, flags.max_seq_length)
    if flags.float16 and flags.output_format == "jsonl":
        raise InputError(
            "`--float16` needs --output_format=npz or tfrecord: JSON has six "
            "digits after the point in any case."
        )
    path = flags.output_file
    if not path or "://" in path or os.path.isdir(path):
        raise InputError(
            "`--output_file` must name a file on this machine. Received: "
            f"--output_file={path}"
        )
    files.make_folder("output_file", os.path.dirname(path) or ".")
    return config, find_layers(flags, config.num_hidden_layers)


def find_layers(flags, num_hidden_layers):
    """The layers that the flags ask for, as they name them."""
    layers = POOLINGS[flags.pooling].layers
    if layers is None:
        return lines.parse_layers(flags.layers, num_hidden_layers)
    received = f"--pooling={flags.pooling}"
    if not flags["layers"].using_default_value:
        raise InputError(
            f"`--layers` is not for --pooling={flags.pooling}, which takes "
            f"the layers {', '.join(map(str, layers))}. Received: {received} "
            f"--layers={flags.layers}"
        )
    lines.check_layers(layers, num_hidden_layers, received)
    return layers


def find_input(flags):
    """The whole files to read.

    Raises:
        InputError: names the flag; a pipe, among others.
    """
    paths = text_files.find_files(flags.input_file)
    for path in paths:
        if not os.path.isfile(path):
            raise InputError(
                "`--input_file` must name ordinary files, for the text is read "
                f"twice: save it in one. Received: {path}"
            )
    text_files.require_other_file(flags.output_file, paths)
    return text_files.whole_files(paths)


def find_fixed_size(flags, strategy):
    """Rows of each batch where the device wants all of one shape, or None.

    Raises:
        InputError: they cannot be shared equally.
    """
    cores = strategy.num_replicas_in_sync
    if flags.batch_size % cores:
        raise InputError(
            f"`--batch_size` must be a multiple of the {cores} cores. "
            f"Received: --batch_size={flags.batch_size}"
        )
    return flags.batch_size if flags.use_tpu or cores > 1 else None


def read_examples(flags, tokenizer, ranges):
    """An `Example` for each line of the files, or for each window of it."""
    return lines.make_examples(
        text_files.read_lines(ranges),
        tokenizer,
        flags.max_seq_length,
        flags.doc_stride,
    )


def look_through(flags, config, tokenizer, ranges):
    """Reads all text once, says in the log what is in it, and counts.

    A bad line at the end of a long text is so found at the start.

    Raises:
        InputError: there is no line, or a bad one.
    """
    examples = read_examples(flags, tokenizer, ranges)
    first = list(itertools.islice(examples, EXAMPLES_TO_LOG))
    for example in first:
        logging.info("*** Example ***\n%s", lines.describe_example(example))
    survey = lines.survey(
        itertools.chain(first, examples), config.type_vocab_size
    )
    if not survey.num_lines:
        raise InputError(
            f"`--input_file` must hold at least one line. {flags.input_file} "
            "is empty."
        )
    logging.info(
        "%d lines, %d word pieces.", survey.num_lines, survey.num_tokens
    )
    if flags.doc_stride is not None:
        logging.info("They are read in %d windows.", survey.num_windows)
    if survey.num_cut_lines:
        logging.warning(
            "%d of %d lines are longer than --max_seq_length=%d: %d word "
            "pieces are cut off.",
            survey.num_cut_lines,
            survey.num_lines,
            flags.max_seq_length,
            survey.num_cut,
        )
    return survey


def cli():
    """The console command."""
    command_line.run(define_flags, main, __doc__)


if __name__ == "__main__":
    cli()
