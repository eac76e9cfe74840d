"""What the page shows of a model's inside: attention, and words in contexts.

Endpoints of this server's own, for versions that were exported with --inspect.
docs/server.md has their requests and answers.
"""

import json
from typing import Any, NamedTuple

import numpy as np

from bert_tf.data.grouping import padded_length
from bert_tf.errors import InputError
from bert_tf.exports.interface import INSPECT
from bert_tf.server import costs, protocol, values
from bert_tf.server.protocol import PredictRequest, RequestError
from bert_tf.server.work import Job
from bert_tf.tasks.inspection import data, metrics, rows

MOST_NEIGHBOURS = 100


class _Asked(NamedTuple):
    """The body of a request: its values by key, checked but for the texts."""

    body: dict[str, Any]

    def text(self, key: str, limits: protocol.Limits) -> str:
        """A text; "" if there is none of this key."""
        texts = [self.body.get(key, "")]
        return _read(texts, key, limits)[0]

    def number(self, key: str, default: int) -> int:
        """A whole number."""
        value = self.body.get(key, default)
        if type(value) is not int:
            raise RequestError(
                f'"{key}" must be a whole number. Received: '
                f"{protocol.kind_of(value)}"
            )
        return value


def _parse(body: bytes, required: str, *others: str) -> _Asked:
    asked = protocol.parse_json(body)
    unknown = sorted(set(asked) - {required, *others})
    if required not in asked or unknown:
        raise RequestError(
            f'The body must have "{required}", and may have '
            f"{' and '.join(others)}. Received: {protocol.kind_of(asked)}"
        )
    return _Asked(asked)


def _read(texts: Any, key: str, limits: protocol.Limits) -> list[str]:
    try:
        return values.read_texts(PredictRequest("", True, texts), limits)
    except RequestError as error:
        message = str(error).replace("instances", key)
        raise RequestError(message, error.status) from error


def _require(model) -> None:
    if INSPECT not in model.signatures:
        raise RequestError(
            "This model was exported without the signature `inspect`: export "
            "it with --inspect, or serve the output folder of its training."
        )


def _layer_of(asked: _Asked, model, first: int = 0) -> int:
    number = asked.number("layer", -1)
    count = model.config["num_hidden_layers"]
    try:
        layer = data.find_layer(number, count)
    except InputError as error:
        raise RequestError(str(error).replace("--layer", "layer")) from error
    if layer < first:
        raise RequestError(
            f'"layer" must be from {first} to {count}, or from -1, the last '
            f"one, to -{count}. Received: {number}"
        )
    return layer


def attention(body: bytes, model, limits: protocol.Limits) -> Job:
    """A request for the attention of a text or pair in one layer.

    Args:
        body: JSON with `text`, `text_b` (or none), `layer` (1 for the first
            one, -1 for the last one, the default).
        model: a `LoadedVersion`.
        limits: of the request and its answer.

    Raises:
        RequestError: it is not that, or exceeds a limit.
    """
    asked = _parse(body, "text", "text_b", "layer")
    _require(model)
    layer = _layer_of(asked, model, first=1)
    pair = asked.text("text", limits), asked.text("text_b", limits)
    longest = model.about["max_seq_length"]
    row = rows.row_of(pair, model.tokenizer, longest, model.pieces_of)
    heads, size = model.config["num_attention_heads"], len(row.tokens)
    protocol.limit_values(heads * size**2, limits)

    def compute(inputs):
        # Padded as others are, so that there are few shapes.
        given = row.inputs(padded_length(size, longest))
        found = model.run(INSPECT, {**given, "layer": np.int32(layer)})
        return {"attention": found["attention"][:, :, :size, :size]}

    def write(found):
        return json.dumps(
            {
                "tokens": row.tokens,
                "segment_ids": row.segment_ids,
                "num_cut": row.num_cut,
                "layer": layer,
                "layers": model.config["num_hidden_layers"],
                "heads": heads,
                # Short, and near enough to look at.
                "attention": found["attention"][0]
                .astype(np.float64)
                .round(5)
                .tolist(),
            }
        ).encode()

    return Job(compute, {"row": np.zeros(1, np.int32)}, [1], write)


def neighbours(body: bytes, model, limits: protocol.Limits) -> Job:
    """A request for a word in its contexts.

    Args:
        body: JSON with `word`, `texts`, `layer` (0 for the embedding output,
            -1 for the last one, the default) and `top_k` (3).
        model: a `LoadedVersion`.
        limits: of the request and its answer.

    Raises:
        RequestError, InputError: it is not that, the word is in no text, or a
            limit is exceeded.
    """
    asked = _parse(body, "word", "texts", "layer", "top_k")
    _require(model)
    layer, top_k = _layer_of(asked, model), asked.number("top_k", 3)
    if not 1 <= top_k <= MOST_NEIGHBOURS:
        raise RequestError(
            f'"top_k" must be from 1 to {MOST_NEIGHBOURS}. Received: {top_k}'
        )
    texts = _read(asked.body.get("texts"), "texts", limits)
    tokenizer, longest = model.tokenizer, model.about["max_seq_length"]
    word = data.read_word(asked.text("word", limits), tokenizer)
    found = data.find(texts, word, tokenizer, longest)
    if len(found.rows) > limits.windows:
        raise costs.too_many(limits.windows)
    protocol.limit_values(len(found.words) * (top_k + 1), limits)

    def compute(inputs):
        part = [found.rows[i] for i in inputs["row"]]
        given = data.inputs_of(part, longest)
        hidden = model.run(INSPECT, {**given, "layer": np.int32(layer)})
        vectors = np.empty(len(part), object)
        for i, row in enumerate(part):
            vectors[i] = hidden["hidden"][i][row.pieces]
        return {"vectors": vectors}

    def write(outputs):
        mean = data.Mean(len(found.words), model.config["hidden_size"])
        for row, vectors in zip(found.rows, outputs["vectors"]):
            mean.add(row, vectors)
        return _write(word, layer, found.words, texts, tokenizer, mean, top_k)

    numbers = np.arange(len(found.rows), dtype=np.int32)
    return Job(compute, {"row": numbers}, [1] * len(numbers), write)


def _write(word, layer, words, texts, tokenizer, mean, top_k) -> bytes:
    vectors = mean.vectors()
    near = metrics.nearest(vectors, vectors, range(len(words)), top_k)
    places = {
        line: list(tokenizer.basic_tokenizer.align(texts[line]))
        for line in {one.line for one in words}
    }
    occurrences = []
    for one, numbers, cosines in zip(words, near.places, near.cosines):
        _, starts, ends = places[one.line][one.position]
        nearest = [
            {"occurrence": int(i), "cosine": round(float(cosine), 5)}
            for i, cosine in zip(numbers, cosines)
        ]
        occurrences.append(
            {
                "line": one.line,
                "position": one.position,
                # Characters of the line.
                "start": starts[0],
                "end": ends[-1],
                "nearest": nearest,
            }
        )
    return json.dumps(
        {
            "word": word,
            "layer": layer,
            "mean": round(near.mean, 5),
            "occurrences": occurrences,
        }
    ).encode()
