"""BERT on today's TensorFlow.

`import bert_tf` loads nothing heavy; import the room you need, for example
`from bert_tf import tokenization` or `from bert_tf.modeling import BertModel`.
`bert_tf.load`, for checkpoints, and `bert_tf.Predictor`, for models that
answer, are imported when they are first used.
"""

from bert_tf.support import startup as _startup

__version__ = "0.2.0"

# Here, since commands import TensorFlow before any function of theirs runs.
if _startup.is_command():
    _startup.prepare()


def __getattr__(name):
    if name in ("Predictor", "load"):
        _startup.quieten()
    if name == "Predictor":
        from bert_tf.tasks.predictor import Predictor

        return Predictor
    if name == "load":
        from bert_tf.tasks.vectors.encoder import load

        return load
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
