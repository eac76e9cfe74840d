"""Warm-up requests of a SavedModel, as TensorFlow Serving reads them.

The file assets.extra/tf_serving_warmup_requests is a TFRecord of
`tensorflow.serving.PredictionLog`s: a model server runs these requests before
it serves a model.

Only the fields in use are described here, with the names and numbers of
tensorflow_serving/apis/*.proto, so that no other package is needed. Tensors are
declared as `bytes`, which have the same encoding as a message.
"""

import tensorflow as tf
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError
from tensorflow.core.framework.tensor_pb2 import TensorProto

from bert_tf.data.records import require_frames
from bert_tf.errors import InputError

FILE_NAME = "tf_serving_warmup_requests"

_KINDS = descriptor_pb2.FieldDescriptorProto

# For each message its fields: number and type.
_MESSAGES = {
    "ModelSpec": {
        "name": (1, _KINDS.TYPE_STRING),
        "signature_name": (3, _KINDS.TYPE_STRING),
    },
    "PredictRequest": {"model_spec": (1, "ModelSpec"), "inputs": (2, "map")},
    "PredictLog": {"request": (1, "PredictRequest")},
    "PredictionLog": {"predict_log": (6, "PredictLog")},
}


def write(path, requests):
    """Writes the file.

    Args:
        path: of the file.
        requests: pairs of a signature's name and its inputs by name, as
            `tf.make_tensor_proto` takes them.
    """
    with tf.io.TFRecordWriter(path) as writer:
        for signature_name, inputs in requests:
            writer.write(encode(signature_name, inputs))


def encode(signature_name, inputs):
    """One request as a serialized `PredictionLog`."""
    log = prediction_log()()
    request = log.predict_log.request
    request.model_spec.signature_name = signature_name
    for name, value in sorted(inputs.items()):
        proto = tf.make_tensor_proto(value)
        request.inputs[name] = proto.SerializeToString(deterministic=True)
    return log.SerializeToString(deterministic=True)


def read(path):
    """The requests of a file: pairs as `write` takes them, of NumPy arrays.

    Args:
        path: a file that `write` or TensorFlow Serving's own tools made.

    Raises:
        InputError: a record is not a `PredictionLog` of a predict request.
    """
    require_frames(path)
    for number, record in enumerate(tf.data.TFRecordDataset(path)):
        try:
            log = prediction_log().FromString(record.numpy())
            request = log.predict_log.request
            inputs = {
                name: tf.make_ndarray(TensorProto.FromString(value))
                for name, value in request.inputs.items()
            }
        except (DecodeError, ValueError, TypeError) as error:
            raise InputError(
                f"{path}: record {number} is not a PredictionLog: {error}"
            ) from error
        if not inputs:
            raise InputError(
                f"{path}: record {number} must be a log of a predict request; "
                "other kinds are not supported."
            )
        yield request.model_spec.signature_name, inputs


def prediction_log():
    """The class of `PredictionLog`s, with the fields in use."""
    # The default pool may already hold TensorFlow Serving's own definition.
    file = descriptor_pb2.FileDescriptorProto(
        name="warmup.proto", package="tensorflow.serving", syntax="proto3"
    )
    for name, fields in _MESSAGES.items():
        message = file.message_type.add(name=name)
        for field_name, (number, kind) in fields.items():
            field = message.field.add(
                name=field_name, number=number, label=_KINDS.LABEL_OPTIONAL
            )
            if kind == "map":
                field.label = _KINDS.LABEL_REPEATED
                kind = f"{name}.InputsEntry"
                _add_entry(message)
            if isinstance(kind, str):
                field.type = _KINDS.TYPE_MESSAGE
                field.type_name = f".tensorflow.serving.{kind}"
            else:
                field.type = kind
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    found = pool.FindMessageTypeByName("tensorflow.serving.PredictionLog")
    return message_factory.GetMessageClass(found)


def _add_entry(message):
    """Adds the entry type of a map<string, TensorProto> called `inputs`."""
    entry = message.nested_type.add(name="InputsEntry")
    entry.options.map_entry = True
    for number, name, kind in (
        (1, "key", _KINDS.TYPE_STRING),
        (2, "value", _KINDS.TYPE_BYTES),
    ):
        entry.field.add(
            name=name, number=number, type=kind, label=_KINDS.LABEL_OPTIONAL
        )
