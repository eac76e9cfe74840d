r"""Writes the vectors that BERT computes for each line of a text.

The original's extract_features.py: same flags, same JSON. A line is a text, or
two texts separated by ` ||| `.

  python -m bert_tf.extract_features --input_file=input.txt \
    --output_file=output.jsonl --init_checkpoint=builtin --layers=-1,-2

docs/vectors.md has the formats, pooling, and lines of any length.
"""

import os

from absl import logging

from bert_tf import checkpoints
from bert_tf.cli import command_line, export_flags, model_flags, training_flags
from bert_tf.cli.command_line import FlagSet
from bert_tf.data import packing, text_files, vocabulary
from bert_tf.errors import InputError
from bert_tf.support import files, startup
from bert_tf.tasks.vectors import lines
from bert_tf.tasks.vectors.lines import FORMATS

with startup.deferred():
    from bert_tf.tasks.vectors import files as vector_files
    from bert_tf.tasks.vectors import served, task
    from bert_tf.training import devices, start


def define_flags(values):
    """Defines this command's flags on a `FlagValues`."""
    flags = FlagSet(values)
    flags.string(
        "input_file",
        None,
        "Text with one example in each line: `A`, or `A ||| B`. Files or "
        "patterns, separated by commas; .gz files are decompressed.",
    )
    flags.string(
        "output_file", None, "File to write; an existing one is replaced."
    )
    flags.string(
        "layers",
        lines.DEFAULT_LAYERS,
        "Layers to write: 0 is the lowest, -1 the highest one; embeddings is "
        "what the lowest one reads.",
    )
    flags.integer(
        "max_seq_length",
        128,
        "Maximum number of word pieces in an input; the rest is truncated.",
    )
    model_flags.define(flags, required=True)
    model_flags.define_casing(flags)
    flags.integer(
        "doc_stride",
        None,
        "Read long lines in windows that start N word pieces apart. [none: "
        "long lines are truncated]",
    )
    flags.integer("batch_size", 32, "Number of lines in a batch.")
    model_flags.define_padding(flags, True, "TPUs always compute padding.")
    training_flags.define_tpu(flags)
    flags.boolean(
        "use_one_hot_embeddings",
        False,
        "Look up word embeddings by matrix multiplication, which is faster on "
        "TPUs.",
    )

    flags.choice(
        "output_format",
        "jsonl",
        FORMATS,
        "jsonl as written by the original; npz or tfrecord.",
    )
    flags.choice(
        "pooling",
        "none",
        lines.POOLINGS,
        "One vector for each line and layer: that of [CLS], or the mean or "
        "maximum over all tokens, including [CLS] and [SEP]. "
        "second_to_last_mean: the mean of layer -2. concat_last_4: one vector "
        "for each token, from the layers -1, -2, -3, -4.",
    )
    flags.boolean(
        "normalize",
        False,
        "With a pooling over tokens: divide each vector by its length.",
    )
    flags.boolean(
        "float16", False, "With npz and tfrecord: write numbers of 16 bits."
    )
    export_flags.define(flags, beside="output_file")
    flags.require("input_file", "output_file")


def main(flags):
    """Runs the command with parsed flags."""
    model_flags.take_folder_settings(flags, None, ("max_seq_length",))
    check_flags(flags)
    opened = start.open_model(model_flags.model_files(flags))
    config, tokenizer = opened.config, opened.tokenizer
    layers = check_config(flags, config)
    reader = checkpoints.CheckpointReader(flags.init_checkpoint)
    checkpoints.check_config(config, reader, opened.config_file)
    ranges = find_input(flags)

    def read_examples():
        return lines.make_examples(
            text_files.read_lines(ranges),
            tokenizer,
            flags.max_seq_length,
            flags.doc_stride,
        )

    files.make_folder("output_file", os.path.dirname(flags.output_file) or ".")
    survey = survey_input(flags, read_examples(), config.type_vocab_size)
    export_dir = export_flags.find_export_dir(
        flags, os.path.dirname(flags.output_file)
    )

    extractor = load_extractor(flags, config, reader, tokenizer, layers)
    pooling = lines.POOLINGS[flags.pooling]
    layout = vector_files.FileLayout(
        num_lines=survey.num_lines,
        num_tokens=survey.num_tokens,
        shape=extractor.shape,
        layers=layers,
        keeps_tokens=pooling.over_tokens is None,
        concatenated=pooling.concatenated,
        longest_token=max(map(len, tokenizer.vocab)),
        float16=flags.float16,
    )
    vector_files.write_vectors(
        flags.output_file,
        flags.output_format,
        layout,
        extractor.extract(read_examples()),
        flags.input_file,
    )
    if flags.do_export:
        served.export_features(
            export_flags.source_of_run(flags, flags.init_checkpoint, opened),
            export_dir,
            flags.pooling,
            None if pooling.layers else layers,
            flags.doc_stride,
            normalize=flags.normalize,
        )


def check_flags(flags):
    """Raises `InputError` for flags that do not fit each other."""
    command_line.require_positive(flags, "batch_size")
    packing.require_stride(flags.doc_stride, flags.max_seq_length)
    if flags.float16 and flags.output_format == "jsonl":
        raise InputError(
            "`--float16` needs --output_format=npz or tfrecord: JSON has six "
            "digits after the point in any case."
        )
    if flags.normalize:
        lines.require_one_vector(flags.pooling)
    path = flags.output_file
    if not path or not files.is_local(path) or os.path.isdir(path):
        raise InputError(
            "`--output_file` must name a file on this machine. Received: "
            f"--output_file={path}"
        )
    if flags.output_format == "tfrecord":
        files.require_utf8(path)


def check_config(flags, config):
    """The layers to extract, if the flags fit the model's config.

    Raises:
        InputError: names the flag.
    """
    if not 3 <= flags.max_seq_length <= config.max_position_embeddings:
        raise InputError(
            "`--max_seq_length` must be at least 3 ([CLS] and two [SEP]) and "
            f"at most {config.max_position_embeddings}, the positions that "
            f"the model has. Received: --max_seq_length={flags.max_seq_length}"
        )
    is_given = not flags["layers"].using_default_value
    return lines.find_layers(
        flags.pooling,
        flags.layers if is_given else None,
        config.num_hidden_layers,
    )


def find_input(flags):
    """The files to read, as ranges.

    Raises:
        InputError: names the flag; also for a pipe.
    """
    paths = text_files.find_files(flags.input_file)
    for path in paths:
        if not os.path.isfile(path):
            raise InputError(
                "`--input_file` must name ordinary files, for the text is read "
                f"twice: save it in one. Received: {path}"
            )
    files.require_other_file(
        [flags.output_file],
        {"input_file": paths, **model_flags.files_read(flags)},
    )
    return text_files.whole_files(paths)


def survey_input(flags, examples, type_vocab_size):
    """Reads all text once and logs its size.

    A bad line at the end of a long text is thus reported at the start.

    Raises:
        InputError: there is no line, or a bad one.
    """
    survey = lines.survey(task.log_first(examples), type_vocab_size)
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
    # Without [CLS] and [SEP].
    vocabulary.warn_of_unknown(
        survey.num_unknown, survey.num_tokens - 2 * survey.num_lines
    )
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


def load_extractor(flags, config, reader, tokenizer, layers):
    """The `Extractor` that the flags describe, on the devices they name."""
    strategy = devices.find_strategy(training_flags.devices(flags))
    devices.log_devices(strategy)
    return task.Extractor(
        config,
        reader,
        tokenizer,
        layers,
        lines.POOLINGS[flags.pooling],
        strategy,
        max_seq_length=flags.max_seq_length,
        joins_windows=flags.doc_stride is not None,
        batch_size=flags.batch_size,
        has_fixed_shape=needs_fixed_shape(flags, strategy),
        use_one_hot_embeddings=flags.use_one_hot_embeddings,
        skip_padding=flags.skip_padding,
        normalize=flags.normalize,
    )


def needs_fixed_shape(flags, strategy):
    """Whether the devices need batches of a single shape.

    Raises:
        InputError: a batch cannot be split equally among the devices.
    """
    cores = strategy.num_replicas_in_sync
    if flags.batch_size % cores:
        raise InputError(
            f"`--batch_size` must be a multiple of the {cores} cores. "
            f"Received: --batch_size={flags.batch_size}"
        )
    return flags.use_tpu or cores > 1


def cli():
    """The console command."""
    command_line.run(define_flags, main, __doc__)


if __name__ == "__main__":
    cli()
