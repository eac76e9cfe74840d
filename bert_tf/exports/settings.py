"""Settings of an export, and the values that they may have."""

import dataclasses

INT8, BFLOAT16 = QUANTIZATIONS = ("int8", "bfloat16")
"""Ways to quantize the encoder's linear layers."""

ROWS_AT_ONCE = 32
"""Rows of a request that are computed together, to bound memory."""


@dataclasses.dataclass(frozen=True)
class Source:
    """The model to export.

    Attributes:
        checkpoint: a checkpoint's prefix, or the folder that it is in.
        vocab_file: None for the vocab.txt beside the checkpoint.
        bert_config_file: None for the bert_config.json beside it.
        do_lower_case, strip_accents: what is done to text; None for what the
            folder tells.
        max_seq_length: the most word pieces of a row that is made of text; None
            for the default of the task's own command, or as many as the model
            has positions for.
        quantize: one of `QUANTIZATIONS`, or None to keep float32.
        skip_padding: whether the encoder is computed at tokens only, and its
            outputs at padding are zeros; None for what changes no result of the
            head.
        ignore_folder_settings: whether casing wins where it contradicts the
            folder.
    """

    checkpoint: str
    vocab_file: str | None = None
    bert_config_file: str | None = None
    do_lower_case: bool | None = None
    max_seq_length: int | None = None
    quantize: str | None = None
    strip_accents: bool | None = None
    ignore_folder_settings: bool = False
    skip_padding: bool | None = None
