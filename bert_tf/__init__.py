"""BERT on today's TensorFlow.

`import bert_tf` loads nothing heavy; import the room you need, for example
`from bert_tf import tokenization` or `from bert_tf.modeling import BertModel`.
`bert_tf.Predictor`, for exported models, is imported when it is first used.
"""

import os as _os

from bert_tf.support import quick_import as _quick_import

_quick_import.install()

# TensorFlow's native side prints notices when it is imported. Without an NVIDIA
# driver its errors, too, are only about the missing driver.
_HAS_GPU = _os.path.exists("/proc/driver/nvidia")
_os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2" if _HAS_GPU else "3")

__version__ = "0.1.0"


def __getattr__(name):
    if name == "Predictor":
        from bert_tf.exports.predictor import Predictor

        return Predictor
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
