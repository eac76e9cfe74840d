r"""Shows what each token of a text attends to, in each layer and head.

  python -m bert_tf.attention --checkpoint=builtin \
    --text='The bank raised its rates. ||| They sat by the river.' \
    --output=map.html

Prints for each layer how its attention is spread. --output=map.html is a page
to look at, in one file; --output=maps.npz has the numbers. docs/inspection.md
has more, and the same in Python.
"""

import contextlib
import os

from absl import logging

from bert_tf.cli import command_line, inference_flags
from bert_tf.cli.command_line import FlagSet
from bert_tf.data.packing import Truncation
from bert_tf.data.vocabulary import UnknownTokens
from bert_tf.errors import InputError, count_of
from bert_tf.support import files, memory, startup
from bert_tf.tasks.inspection import metrics, page, rows
from bert_tf.tasks.inspection.rows import AttentionMap
from bert_tf.tasks.vectors.lines import split_pair

with startup.deferred():
    from bert_tf.tasks.inspection import model as inside

PAGE, ARRAYS = ".html", ".npz"

# What browsers show without trouble.
MOST_OF_A_PAGE = 128 * memory.MB

# While a text is computed its maps are in memory so many times.
COPIES = 3


def attention_maps(model, texts):
    """Computes the attention maps of texts, one text after the other.

    Args:
        model: what `bert_tf.load` returns; its weights are those that it has
            now.
        texts: a str, a tuple of two for a pair, or an iterable of those.

    Yields:
        The `AttentionMap` of each text: `tokens`, S of them, `segment_ids` and
        `weights`, float32 [layers, heads, S, S], after softmax and before
        dropout.

    Raises:
        InputError: something is not a text, or the maps do not fit into memory.
    """
    return maps_of_rows(model, make_rows(model, texts))


def attention_map(model, text):
    """The `AttentionMap` of one text or pair; see `attention_maps`."""
    (found,) = attention_maps(model, [text])
    return found


def summarize(maps):
    """Where each layer looks, over all tokens of some `AttentionMap`s.

    Returns:
        A list of `metrics.LayerSummary`, the first layer first.
    """
    summary = metrics.Summary()
    for one in maps:
        summary.add(one.tokens, one.weights)
    return summary.layers()


def make_rows(model, texts):
    """The rows of texts; warns of what is cut off or unknown.

    Args:
        model, texts: as for `attention_maps`.

    Raises:
        InputError: as `attention_maps`.
    """
    found = [
        rows.row_of(pair, model.tokenizer, model.max_seq_length)
        for pair in model.pairs_of(texts)
    ]
    truncation = Truncation()
    unknown = UnknownTokens(model.tokenizer.vocab)
    for row in found:
        truncation.add(row.num_cut)
        unknown.add(row.input_ids)
    if truncation.num_cut:
        truncation.log(
            model.max_seq_length,
            "`max_seq_length` may be as high as the number of the model's "
            f"positions, {model.config.max_position_embeddings}.",
        )
    unknown.warn()
    check_memory(model.config, found)
    return found


def maps_of_rows(model, found):
    """Yields the `AttentionMap` of each `rows.Row`, computed alone."""
    compute = inside.attention_function(model.model)
    for row in found:
        yield AttentionMap(row.tokens, row.segment_ids, compute(row.inputs()))


def count_numbers(config, found):
    """How many numbers the maps of each row have."""
    return [
        rows.numbers_of(
            row, config.num_hidden_layers, config.num_attention_heads
        )
        for row in found
    ]


def check_memory(config, found):
    """Raises `InputError` if the maps of a row do not fit into memory."""
    free = memory.available()
    for number, (row, count) in enumerate(
        zip(found, count_numbers(config, found)), start=1
    ):
        needed = count * rows.BYTES * COPIES
        if free is not None and needed > free:
            raise InputError(
                f"The attention of text {number} would need "
                f"{memory.amount(needed)} of memory (for {COPIES} copies of "
                f"{config.num_hidden_layers} layers x "
                f"{config.num_attention_heads} heads x {len(row.tokens)} x "
                f"{len(row.tokens)} tokens x {rows.BYTES} bytes), and there is "
                f"{memory.amount(free)}: use a lower `max_seq_length`."
            )


def define_flags(values):
    """Defines this command's flags on a `FlagValues`."""
    flags = FlagSet(values)
    inference_flags.define_model(flags)
    inference_flags.define_input(flags, "as in training; else 128")
    flags.string(
        "output",
        None,
        "File to write: map.html, a page that needs no network, or maps.npz "
        "with float32 [layers, heads, from, to]. [only the table is printed]",
    )


def main(flags):
    """Runs the command with parsed flags."""
    check_flags(flags)
    lines = list(inference_flags.read_texts(flags, "output"))
    inference_flags.require_texts(flags, lines)
    model = inference_flags.load_encoder(flags)
    # As elsewhere, a line with one text has no second one.
    pairs = [pair if pair[1] else pair[0] for pair in map(split_pair, lines)]
    found = make_rows(model, pairs)
    check_size(flags, model.config, found)
    summary = metrics.Summary()
    with open_output(flags.output, model.config, len(found)) as write:
        for one in maps_of_rows(model, found):
            summary.add(one.tokens, one.weights)
            write(one)
    if flags.output:
        logging.info("Wrote %s.", flags.output)
    print(show(summary.layers()))


def check_flags(flags):
    """Raises `InputError` for invalid flags, before any work."""
    inference_flags.check_model(flags)
    inference_flags.require_other_output(flags, "output")
    if flags.output is None:
        return
    _, end = os.path.splitext(flags.output)
    if end not in (PAGE, ARRAYS) or not files.is_local(flags.output):
        raise InputError(
            f"`--output` must name a file on this machine that ends in {PAGE}, "
            f"for a page to look at, or in {ARRAYS}, for the numbers. "
            f"Received: --output={flags.output}"
        )


def check_size(flags, config, found):
    """Says how much will be written; raises `InputError` if it is too much."""
    numbers = sum(count_numbers(config, found))
    logging.info(
        "%s, the longest of %d tokens; maps of %d layers and %d heads: %s.",
        count_of(len(found), "text"),
        rows.longest(found),
        config.num_hidden_layers,
        config.num_attention_heads,
        memory.amount(numbers * rows.BYTES),
    )
    if flags.output is None:
        return
    files.make_folder("output", os.path.dirname(flags.output) or ".")
    less = "give fewer texts, or a lower --max_seq_length"
    if flags.output.endswith(PAGE):
        size, most = numbers * page.BYTES, MOST_OF_A_PAGE
        where, less = "a page that browsers can show", f"{less}, or write .npz"
    else:
        size, most = numbers * rows.BYTES, memory.room_for(flags.output)
        where = "what the disk has room for"
    if size > most:
        raise InputError(
            f"`--output` would have {memory.amount(size)}, and {where} has "
            f"{memory.amount(most)}: {less}. Received: --output={flags.output}"
        )


def open_output(path, config, num_texts):
    """A context with a function that writes `AttentionMap`s."""
    if path is None:
        return contextlib.nullcontext(lambda _: None)
    if path.endswith(PAGE):
        return page.open_page(
            path, config.num_hidden_layers, config.num_attention_heads
        )
    return rows.open_npz(path, num_texts)


def show(layers):
    """The summaries of layers as a table."""
    lines = [
        "Attention, mean over heads and tokens: entropy in bits, weights in "
        "percent",
        "",
        "layer  entropy  [CLS]  [SEP]  itself  previous   next",
    ]
    for number, layer in enumerate(layers, start=1):
        entropy, cls, sep, itself, previous, after = layer
        lines.append(
            f"{number:5}  {entropy:7.2f}  {100 * cls:5.1f}  {100 * sep:5.1f}  "
            f"{100 * itself:6.1f}  {100 * previous:8.1f}  {100 * after:5.1f}"
        )
    return "\n".join(lines)


def cli():
    """The console command."""
    command_line.run(define_flags, main, __doc__)


if __name__ == "__main__":
    cli()
