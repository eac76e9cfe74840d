"""Reads BERTs of keras-bert and bert4keras: .h5 files of Keras 2.

Both name their layers, not the variables of the original. A file may hold
weights only, as `save_weights` writes it, or the whole model.
"""

_DENSE = ("kernel", "bias")
_SELF = tuple(
    f"self/{name}/{part}"
    for name in ("query", "key", "value")
    for part in _DENSE
)
_ATTENTION = (*_SELF, "output/dense/kernel", "output/dense/bias")
_FEED_FORWARD = tuple(
    f"{name}/dense/{part}"
    for name in ("intermediate", "output")
    for part in _DENSE
)
