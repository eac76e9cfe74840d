"""Which devices work is spread over.

Comes in: the flags about TPUs. Goes out: a `tf.distribute.Strategy`, and a line
for the log. What runs on the devices is for `training`.
"""

import contextlib
import socket

import tensorflow as tf
from absl import logging

from bert_tf.errors import InputError

SECONDS_TO_ANSWER = 20
TPU_FLAGS = ("tpu_name", "tpu_zone", "gcp_project", "master")


def define_tpu_flags(flags, values):
    """Defines the original's flags for TPUs on a `FlagValues`."""
    text = {
        "tpu_name": "Cloud TPU to use: its name, or grpc://IP:PORT.",
        "tpu_zone": "Zone of the Cloud TPU; found out where possible.",
        "gcp_project": "Project of the Cloud TPU; found out where possible.",
        "master": "Address of the TPU, where --tpu_name is not given.",
    }
    flags.DEFINE_bool(
        "use_tpu", False, "Run on a TPU, with one-hot embeddings.",
        flag_values=values,
    )  # fmt: skip
    for name in TPU_FLAGS:
        flags.DEFINE_string(name, None, text[name], flag_values=values)
    flags.DEFINE_integer(
        "num_tpu_cores",
        8,
        "Cores that the TPU must have.",
        flag_values=values,
    )


def find_strategy(flags):
    """The TPU's strategy with `--use_tpu`, else that of the one best device.

    Args:
        flags: parsed `FlagValues` with those of `define_tpu_flags`.

    Raises:
        InputError: no TPU can be reached, or it has another number of cores.
    """
    if flags.use_tpu:
        return _find_tpu(flags)
    given = [name for name in TPU_FLAGS if flags[name].value]
    if not flags["num_tpu_cores"].using_default_value:
        given.append("num_tpu_cores")
    if given:
        logging.warning(
            "Without --use_tpu, --%s is without effect.", ", --".join(given)
        )
    return tf.distribute.get_strategy()


def _find_tpu(flags):
    address = flags.tpu_name or flags.master or "local"
    if address == "local" and not tf.config.list_physical_devices("TPU"):
        raise InputError(
            "`--use_tpu`: this machine has no TPU. Name one with --tpu_name "
            "(and --tpu_zone, --gcp_project), or leave out --use_tpu to run "
            "on its CPU or GPU."
        )
    try:
        if address.startswith("grpc://"):
            _knock(address)
        with _limited_waiting():
            resolver = tf.distribute.cluster_resolver.TPUClusterResolver(
                tpu=address, zone=flags.tpu_zone, project=flags.gcp_project
            )
        tf.config.experimental_connect_to_cluster(resolver)
        tf.tpu.experimental.initialize_tpu_system(resolver)
    except (
        ImportError,
        OSError,
        RuntimeError,
        ValueError,
        tf.errors.OpError,
    ) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise InputError(
            f"`--use_tpu`: the TPU {address!r} cannot be reached: "
            f"{reason}. Check --tpu_name, --tpu_zone and --gcp_project, or "
            "leave out --use_tpu to run on this machine's CPU or GPU."
        ) from error
    strategy = tf.distribute.TPUStrategy(resolver)
    cores = strategy.num_replicas_in_sync
    if cores != flags.num_tpu_cores:
        raise InputError(
            "`--num_tpu_cores` must be the number of cores of the TPU, "
            f"{cores}. Received: --num_tpu_cores={flags.num_tpu_cores}"
        )
    return strategy


def _knock(address):
    """Raises `OSError` or `ValueError` unless somebody answers there.

    TensorFlow itself would wait for minutes at an address without a TPU.
    """
    for one in address.split(","):
        host, _, port = one.removeprefix("grpc://").rpartition(":")
        if not (host and port.isdigit()):
            raise ValueError("an address must be grpc://IP:PORT")
        place = host.strip("[]"), int(port)
        socket.create_connection(place, SECONDS_TO_ANSWER).close()


@contextlib.contextmanager
def _limited_waiting():
    # Looking up a name asks Google's servers, without a limit of its own.
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(SECONDS_TO_ANSWER)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


def log_devices(strategy):
    """Says in the log what the work runs on."""
    replicas = strategy.num_replicas_in_sync
    kinds = {}
    for device in tf.config.list_logical_devices():
        kinds[device.device_type] = kinds.get(device.device_type, 0) + 1
    found = ", ".join(f"{number} {kind}" for kind, number in kinds.items())
    used = "TPU" if "TPU" in kinds else "GPU:0" if "GPU" in kinds else "CPU"
    if replicas > 1:
        used = f"{replicas} replicas ({type(strategy).__name__})"
    threads = tf.config.threading.get_intra_op_parallelism_threads()
    logging.info(
        "Devices found: %s. Running on %s%s; TensorFlow %s.",
        found,
        used,
        f", {threads} threads" if threads else "",
        tf.__version__,
    )
