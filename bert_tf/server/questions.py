"""What a request asks of the model: inputs of a signature, and an answer.

TensorFlow Serving's protocol; OpenAI's for embeddings; that of Cohere and Jina
to rank documents. Plain Python and NumPy.
"""

import base64
import functools
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bert_tf.errors import quote, some_of
from bert_tf.exports.interface import PAIR, TEXT, Tensor
from bert_tf.exports.results import HEADS
from bert_tf.server import output, protocol, values
from bert_tf.server.loaded import LoadedVersion
from bert_tf.server.protocol import Limits, RequestError, kind_of
from bert_tf.server.values import Arrays
from bert_tf.tasks import metrics

FLOAT, BASE64 = ENCODINGS = ("float", "base64")


class Question(NamedTuple):
    """What is computed for a request.

    Attributes:
        signature_name: of the function to compute.
        inputs: its arrays by name.
        write: function of the outputs that returns the body of the response.
    """

    signature_name: str
    inputs: Arrays
    write: Callable[[Arrays], bytes]


def read_predict(
    model: LoadedVersion, name: str, body: bytes, limits: Limits
) -> Question:
    """A request of TensorFlow Serving's protocol.

    Args:
        model: the version that is asked.
        name: its name on the server.
        body: of the request.
        limits: of the request.

    Raises:
        RequestError: the request is refused.
    """
    asked = protocol.parse_predict(body)
    signature_name = asked.signature_name
    signature = protocol.find_signature(model.signatures, signature_name)
    return Question(
        signature_name,
        values.read_inputs(asked, signature, limits),
        functools.partial(
            output.write_outputs, is_row=asked.is_row, limits=limits
        ),
    )


def read_embeddings(
    model: LoadedVersion, name: str, body: bytes, limits: Limits
) -> Question:
    """A request for the vectors of texts, as OpenAI's `/v1/embeddings`.

    Args, Raises: as `read_predict`.
    """
    request = protocol.parse_json(body)
    known = "model, input, encoding_format, dimensions, user"
    protocol.require_keys(request, known.split(", "), known)
    _check_model(request, name)
    given = request.get("input")
    texts = _texts(
        [given] if isinstance(given, str) else given, "input", limits
    )
    encoding = request.get("encoding_format", FLOAT)
    if encoding not in ENCODINGS:
        raise RequestError(
            f'"encoding_format" must be {FLOAT} or {BASE64}. Received: '
            f"{kind_of(encoding)}"
        )
    width = _width(model)
    if width is None:
        raise _no_vectors(model, "/v1/embeddings")
    wanted = request.get("dimensions", width)
    if type(wanted) is not int or wanted != width:
        raise RequestError(
            f'"dimensions" must be {width}, the length of this model\'s '
            f"vectors, or be left out. Received: {kind_of(wanted)}"
        )

    def write(outputs: Arrays) -> bytes:
        protocol.limit_values(outputs["embedding"].size, limits)
        rows = _as_json(outputs["embedding"], encoding)
        data = ", ".join(
            f'{{"object": "embedding", "index": {index}, "embedding": {row}}}'
            for index, row in enumerate(rows)
        )
        rest = {"model": name, "usage": _usage(model, outputs, texts)}
        return (
            f'{{"object": "list", "data": [{data}], {json.dumps(rest)[1:]}'
        ).encode()

    return Question(TEXT, {_inputs(model)[0]: _column(texts)}, write)


def read_rerank(
    model: LoadedVersion, name: str, body: bytes, limits: Limits
) -> Question:
    """A request to rank documents by a query, as Cohere's `/v1/rerank`.

    The relevance is the cosine of vectors; of a model that takes pairs, its
    number for query and document, or the probability of a label.

    Args, Raises: as `read_predict`.
    """
    request = protocol.parse_json(body)
    known = "model, query, documents, top_n, return_documents, label"
    protocol.require_keys(request, known.split(", "), known)
    _check_model(request, name)
    (query,) = _texts([request.get("query")], "query", limits, is_list=False)
    documents = _documents(request.get("documents"), limits)
    top_n = request.get("top_n", len(documents))
    if type(top_n) is not int or top_n < 1:
        raise RequestError(
            '"top_n" must be a whole number above 0. Received: '
            f"{kind_of(top_n)}"
        )
    returns = request.get("return_documents", False)
    if type(returns) is not bool:
        raise RequestError(
            '"return_documents" must be true or false. Received: '
            f"{kind_of(returns)}"
        )
    make = _by_cosine if _width(model) is not None else _by_pair
    signature_name, inputs, relevance = make(
        model, query, documents, request.get("label")
    )

    def write(outputs: Arrays) -> bytes:
        scores = relevance(outputs)
        best = np.argsort(-scores, kind="stable")[:top_n]
        shown = output.rows_as_json("score", scores)
        results = []
        for place in best.tolist():
            text = ""
            if returns:
                document = json.dumps(
                    {"text": documents[place]}, ensure_ascii=False
                )
                text = f', "document": {document}'
            results.append(
                f'{{"index": {place}, "relevance_score": {shown[place]}{text}}}'
            )
        second = documents if signature_name == PAIR else ()
        first = [query] * len(second) or [query, *documents]
        usage = _usage(model, outputs, first, second)
        rest = json.dumps({"model": name, "usage": usage})[1:]
        return f'{{"results": [{", ".join(results)}], {rest}'.encode()

    return Question(signature_name, inputs, write)


READERS = {
    "predict": read_predict,
    "embeddings": read_embeddings,
    "rerank": read_rerank,
}
"""By the verb of a path."""


# ------------------------------------------------------------ parts of a body


def _check_model(request: Mapping[str, Any], name: str) -> None:
    """Raises `RequestError`, 404, if a body names another model."""
    given = request.get("model", name)
    if not isinstance(given, str):
        raise RequestError(
            f'"model" must be a text. Received: {kind_of(given)}'
        )
    require_model(given, name)


def require_model(given: str, name: str) -> None:
    """Raises `RequestError`, 404, for a model that is not served."""
    if given != name:
        raise RequestError(
            f"There is no model {quote(given)}; this server has {name!r}.", 404
        )


def _texts(
    given: Any, key: str, limits: Limits, is_list: bool = True
) -> list[str]:
    """Texts of a body; raises `RequestError` for anything else.

    Args:
        given: JSON.
        key: where it is in the body.
        limits: for their number and length.
        is_list: whether places in it are named.
    """
    if not isinstance(given, list) or not given:
        raise RequestError(
            f'"{key}" must be a list with at least one text. Received: '
            f"{'an empty list' if given == [] else kind_of(given)}"
        )
    values.limit_rows(len(given), key, limits)

    def place(index: Sequence[int]) -> str:
        return key + (f"[{index[0]}]" if index and is_list else "")

    for number, text in enumerate(given):
        if not isinstance(text, str):
            raise RequestError(
                f"{place([number])} must be a text. Received: {kind_of(text)}"
            )
    values.to_array(given, Tensor("string", (None,)), place, limits)
    return given


def _documents(given: Any, limits: Limits) -> list[str]:
    """The texts of documents, which may be objects with a `text`."""
    if isinstance(given, list):
        given = [
            document["text"]
            if isinstance(document, dict) and set(document) == {"text"}
            else document
            for document in given
        ]
    return _texts(given, "documents", limits)


# ------------------------------------------------------------------ the model


def _inputs(model: LoadedVersion) -> tuple[str, str]:
    """The names of a model's inputs for the first text and the second one."""
    return HEADS[model.about["head"]].inputs


def _width(model: LoadedVersion) -> int | None:
    """The length of the vector of a text; None if the model gives none."""
    if model.about.get("head") != "features" or TEXT not in model.signatures:
        return None
    embedding = model.signatures[TEXT].outputs.get("embedding")
    shape = embedding.shape if embedding else None
    return shape[1] if shape and len(shape) == 2 else None


def _no_vectors(model: LoadedVersion, path: str) -> RequestError:
    head = model.about.get("head")
    pooling = model.about.get("pooling")
    what = f"the head {head}" if head else "no head of bert_tf"
    if head == "features":
        what += f" with pooling={pooling}, a vector for each token"
    return RequestError(
        f"{path} needs a model with one vector for each text: "
        f"export_saved_model --head=features --pooling=mean. This one has "
        f"{what}"
    )


def _by_cosine(
    model: LoadedVersion, query: str, documents: Sequence[str], label: Any
) -> tuple[str, Arrays, Callable[[Arrays], NDArray]]:
    """A signature, its inputs, and the relevance from its outputs."""
    if label is not None:
        raise RequestError(
            '"label" is for models that classify pairs; this one compares '
            f"vectors. Received: {kind_of(label)}"
        )
    inputs = {_inputs(model)[0]: _column([query, *documents])}

    def relevance(outputs: Arrays) -> NDArray:
        first, *others = metrics.unit(outputs["embedding"])
        return np.stack(others) @ first

    return TEXT, inputs, relevance


def _by_pair(
    model: LoadedVersion, query: str, documents: Sequence[str], label: Any
) -> tuple[str, Arrays, Callable[[Arrays], NDArray]]:
    """The same, of a model that takes the query and each document as a pair."""
    if model.about.get("head") != "classifier" or PAIR not in model.signatures:
        raise _no_vectors(model, "/v1/rerank")
    first, second = _inputs(model)
    inputs = {
        first: _column([query] * len(documents)),
        second: _column(documents),
    }
    # Models exported before there were others have one label.
    kind = model.about.get("label_type", "class")
    if kind == "number":
        if label is not None:
            raise RequestError(
                '"label" is for models with labels; this one gives a number. '
                f"Received: {kind_of(label)}"
            )
        return PAIR, inputs, lambda outputs: outputs["value"]
    names = model.about["labels"]
    if label not in names:
        raise RequestError(
            '"label" must be the label whose probability is the relevance of '
            f"a document: {some_of(names)}. Received: {kind_of(label)}"
        )
    name = "scores" if kind == "multi" else "probabilities"
    column = names.index(label)
    return PAIR, inputs, lambda outputs: outputs[name][:, column]


# ----------------------------------------------------------------- the answer


def _column(texts: Sequence[str]) -> NDArray:
    column = np.empty(len(texts), object)
    column[:] = [text.encode("utf-8") for text in texts]
    return column


def _as_json(vectors: NDArray, encoding: str) -> list[str]:
    """Vectors [B, D] as lists of numbers, or as float32 in base64."""
    if encoding == FLOAT:
        return output.rows_as_json("embedding", vectors)
    return [
        json.dumps(base64.b64encode(row.astype("<f4").tobytes()).decode())
        for row in vectors
    ]


def _usage(
    model: LoadedVersion,
    outputs: Arrays,
    first: Sequence[str],
    second: Sequence[str] = (),
) -> dict[str, int]:
    """The word pieces that the model has read, [CLS] and [SEP] among them."""
    total = sum(map(model.count_pieces, (*first, *second)))
    total += 2 * len(first) + len(second)
    if "num_cut" in outputs:
        total -= int(outputs["num_cut"].sum())
    return {"prompt_tokens": total, "total_tokens": total}
