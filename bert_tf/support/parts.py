"""Names of a model's parts, as flags and functions take them."""

from bert_tf.errors import InputError

EMBEDDINGS, POOLER = "embeddings", "pooler"

LORA_TARGETS = {
    "query": "attention/self/query",
    "key": "attention/self/key",
    "value": "attention/self/value",
    "attention_output": "attention/output/dense",
    "intermediate": "intermediate/dense",
    "output": "output/dense",
}
"""Linear layers of an encoder layer that `add_lora` takes, and their scopes."""


def parse_parts(text: str, num_hidden_layers: int) -> set[str | int]:
    """Parses a list of parts of the encoder, such as `embeddings,0-5`.

    Args:
        text: `embeddings`, `pooler`, numbers of layers from 0 (the lowest) and
            ranges of them, separated by commas.
        num_hidden_layers: int.

    Returns:
        A set of `EMBEDDINGS`, `POOLER` and numbers.

    Raises:
        InputError: the model has no such part.
    """
    parts: set[str | int] = set()
    for part in text.split(","):
        part = part.strip()
        first, dash, last = part.partition("-")
        last = last if dash else first
        if part in (EMBEDDINGS, POOLER):
            parts.add(part)
        elif (
            first.isdecimal()
            and last.isdecimal()
            and int(first) <= int(last) < num_hidden_layers
        ):
            parts.update(range(int(first), int(last) + 1))
        else:
            raise InputError(
                f"A part must be {EMBEDDINGS}, {POOLER}, a layer from 0 to "
                f"{num_hidden_layers - 1}, or several as in 0-"
                f"{num_hidden_layers - 1}. Received: {part!r} in {text!r}"
            )
    return parts


def parse_targets(text: str) -> tuple[str, ...]:
    """Parses a list of `LORA_TARGETS`, such as `query,value`; `all` for all.

    Returns:
        A tuple of them, in their order.

    Raises:
        InputError: there is no such target.
    """
    given = [part.strip() for part in text.split(",")]
    unknown = [part for part in given if part not in (*LORA_TARGETS, "all")]
    if unknown:
        raise InputError(
            f"A target must be all or one of {', '.join(LORA_TARGETS)}. "
            f"Received: {unknown[0]!r} in {text!r}"
        )
    return tuple(x for x in LORA_TARGETS if x in given or "all" in given)
