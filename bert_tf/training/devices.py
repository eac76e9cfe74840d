"""Distribution over devices: strategies, workers, TPUs."""

import atexit
import contextlib
import json
import os
import socket

import numpy as np
import tensorflow as tf
from absl import logging

from bert_tf.errors import InputError, WorkerLost
from bert_tf.support import files
from bert_tf.training.settings import MIRRORED, MULTI_WORKER

SECONDS_TO_ANSWER = 20

# Cores of a Cloud TPU, unless another number is given.
DEFAULT_TPU_CORES = 8


def find_strategy(settings):
    """The `tf.distribute.Strategy` of `DeviceSettings`.

    With several workers, call it before any other TensorFlow operation; it
    returns when all workers have connected.

    Raises:
        InputError: no TPU can be reached, or it has another number of cores;
            or TF_CONFIG does not define the workers.
    """
    if settings.use_tpu:
        return _find_tpu(settings)
    of_tpus = ("tpu_name", "tpu_zone", "gcp_project", "master", "num_tpu_cores")
    given = [
        name for name in of_tpus if getattr(settings, name) not in (None, "")
    ]
    if given:
        logging.warning(
            "Without --use_tpu, --%s is without effect.", ", --".join(given)
        )
    if settings.distribution == MIRRORED:
        return _mirror()
    if settings.distribution == MULTI_WORKER:
        return _find_workers()
    return tf.distribute.get_strategy()


def _mirror():
    found = tf.config.list_logical_devices("GPU")
    found = found or tf.config.list_logical_devices("CPU")
    if len(found) == 1:
        logging.warning(
            "--distribution=%s: there is one device only, %s.",
            MIRRORED,
            found[0].name,
        )
        return tf.distribute.get_strategy()
    return tf.distribute.MirroredStrategy([device.name for device in found])


# ------------------------------------------------------------- several machines


def _find_workers():
    task, workers = _read_tf_config()
    logging.info(
        "This is %s of %d workers. Waiting for all of them: %s",
        task,
        len(workers),
        ", ".join(workers),
    )
    try:
        return tf.distribute.MultiWorkerMirroredStrategy()
    except (RuntimeError, ValueError, tf.errors.OpError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise InputError(
            f"--distribution={MULTI_WORKER}: {task} cannot work with the "
            f"others: {reason}. Check the addresses in TF_CONFIG."
        ) from error


def _read_tf_config():
    """The name of this process, and the addresses of all workers.

    Raises:
        InputError: TF_CONFIG is missing or malformed.
    """
    text = os.environ.get("TF_CONFIG", "")
    try:
        config = json.loads(text)
        cluster, task = config["cluster"], config["task"]
        kind, index = task["type"], int(task["index"])
        workers = [*cluster.get("chief", ()), *cluster.get("worker", ())]
        others = sorted(set(cluster) - {"chief", "worker"})
        if not workers or others or not 0 <= index < len(cluster[kind]):
            raise ValueError("no such worker")
    except (
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
        RecursionError,
    ) as error:
        raise InputError(
            f"--distribution={MULTI_WORKER} needs the environment variable "
            "TF_CONFIG with all workers and the task of this process: "
            '{"cluster": {"worker": ["host1:2222", "host2:2222"]}, "task": '
            '{"type": "worker", "index": 0}}. Tasks are workers, and at most '
            f"one chief. Received: TF_CONFIG={text!r}"
        ) from error
    return f"{kind} {index}", workers


def num_workers(strategy):
    """The number of processes that the strategy spans."""
    if not isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy):
        return 1
    cluster = strategy.cluster_resolver.cluster_spec().as_dict()
    return max(1, sum(map(len, cluster.values())))


def is_chief(strategy):
    """Whether this process is the one that writes files."""
    if num_workers(strategy) == 1:
        return True
    resolver = strategy.cluster_resolver
    has_chief = "chief" in resolver.cluster_spec().as_dict()
    chief = ("chief" if has_chief else "worker", 0)
    return (resolver.task_type, resolver.task_id) == chief


def sum_over_workers(strategy, values):
    """Sums numbers over all workers; waits for all of them.

    Args:
        strategy: a `tf.distribute.Strategy`, or None.
        values: numbers, equally many on every worker.

    Returns:
        A float64 array.
    """
    values = np.asarray(values, np.float64)
    if strategy is None or num_workers(strategy) == 1:
        return values
    with naming_lost_workers(strategy):
        return strategy.reduce("SUM", tf.constant(values), axis=None).numpy()


def as_chief_says(strategy, values):
    """The chief's numbers, on every worker."""
    values = np.asarray(values, np.float64)
    if strategy is not None and not is_chief(strategy):
        values = np.zeros_like(values)
    return sum_over_workers(strategy, values)


def wait_for_workers(strategy):
    """Returns when all workers have called it."""
    sum_over_workers(strategy, [0])


# Errors that TensorFlow raises when another worker is lost.
_LOST = (
    tf.errors.AbortedError,
    tf.errors.CancelledError,
    tf.errors.DeadlineExceededError,
    tf.errors.FailedPreconditionError,
    tf.errors.InternalError,
    tf.errors.UnavailableError,
    tf.errors.UnknownError,
)


@contextlib.contextmanager
def naming_lost_workers(strategy):
    """Turns TensorFlow's errors about a lost worker into `WorkerLost`.

    Raises:
        WorkerLost: another worker has ended or cannot be reached.
    """
    count = num_workers(strategy)
    if count == 1:
        yield
        return
    try:
        yield
    except _LOST as error:
        reason = str(error.message).strip().splitlines()[0][:200]
        raise WorkerLost(
            f"One of the {count} workers has ended or cannot be reached; see "
            "its log. The newest checkpoint is complete: start the same "
            "command on all workers to resume. TensorFlow reported: "
            f"{type(error).__name__}: {reason}"
        ) from error


@contextlib.contextmanager
def chief_alone(strategy):
    """A block of work for the chief, at whose end the other workers wait.

    Yields:
        Whether this is the chief.
    """
    yield is_chief(strategy)
    wait_for_workers(strategy)


def work_folder(strategy, output_dir):
    """The folder for record files.

    The chief writes them to the output folder, another worker to a temporary
    folder that is removed when the process ends.
    """
    if is_chief(strategy):
        return output_dir
    stack = contextlib.ExitStack()
    atexit.register(stack.close)
    return stack.enter_context(files.temporary_folder("worker"))


# ------------------------------------------------------------------------ TPUs


def _find_tpu(settings):
    address = settings.tpu_name or settings.master or "local"
    if address == "local" and not tf.config.list_physical_devices("TPU"):
        raise InputError(
            "`--use_tpu`: this machine has no TPU. Name one with --tpu_name "
            "(and --tpu_zone, --gcp_project), or leave out --use_tpu to run "
            "on its CPU or GPU."
        )
    try:
        if address.startswith("grpc://"):
            _require_listener(address)
        with _socket_timeout():
            resolver = tf.distribute.cluster_resolver.TPUClusterResolver(
                tpu=address,
                zone=settings.tpu_zone,
                project=settings.gcp_project,
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
    wanted = settings.num_tpu_cores
    if wanted is None:
        wanted = DEFAULT_TPU_CORES
    if cores != wanted:
        raise InputError(
            "`--num_tpu_cores` must be the number of cores of the TPU, "
            f"{cores}. Received: --num_tpu_cores={wanted}"
        )
    return strategy


def _require_listener(address):
    """Raises `OSError` or `ValueError` unless the address accepts connections.

    TensorFlow itself would wait for minutes at an address without a TPU.
    """
    for one in address.split(","):
        host, _, port = one.removeprefix("grpc://").rpartition(":")
        if not (host and port.isdigit()):
            raise ValueError("an address must be grpc://IP:PORT")
        place = host.strip("[]"), int(port)
        socket.create_connection(place, SECONDS_TO_ANSWER).close()


@contextlib.contextmanager
def _socket_timeout():
    # The lookup of a TPU's name asks Google's servers, and has no timeout.
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(SECONDS_TO_ANSWER)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


def log_devices(strategy):
    """Logs the devices that were found, and those in use."""
    replicas = strategy.num_replicas_in_sync
    kinds: dict[str, int] = {}
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
