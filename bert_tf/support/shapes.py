"""Shapes of tensors that enter a model, compared with each other."""

from bert_tf.errors import InputError


def require_same_shape(input_ids, **others):
    """Refuses tensors of other shapes: broadcasting would hide them.

    Args:
        input_ids: int tensor [B, S].
        **others: tensors by name, or None.

    Raises:
        InputError: one is not [B, S].
    """
    shape = tuple(input_ids.shape)
    if len(shape) != 2:
        raise InputError(
            "`input_ids` must have shape [batch, sequence]. "
            f"Received: shape {shape}"
        )
    for name, tensor in others.items():
        if tensor is None:
            continue
        other = tuple(tensor.shape)
        if len(other) != 2 or any(
            None not in (size, wanted) and size != wanted
            for size, wanted in zip(other, shape)
        ):
            raise InputError(
                f"`{name}` must have the shape of `input_ids`, {shape}. "
                f"Received: shape {other}"
            )


def require_length_within(length, longest):
    """Refuses a known length beyond the position table (`InputError`)."""
    if length is not None and length > longest:
        raise InputError(
            "The sequence is longer than the model's position table: "
            f"{length} tokens, `max_position_embeddings` is {longest}. "
            "Shorten the input (`max_seq_length`)."
        )
