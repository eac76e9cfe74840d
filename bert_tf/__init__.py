"""BERT on today's TensorFlow.

`import bert_tf` loads nothing heavy; import the room you need, for example
`from bert_tf import tokenization` or `from bert_tf.modeling import BertModel`.
"""

__version__ = "0.1.0"
