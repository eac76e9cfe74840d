r"""Serves an exported model, in TensorFlow Serving's REST protocol.

  python -m bert_tf.serve MODEL_FOLDER --port=8501
  curl localhost:8501/v1/models/MODEL_FOLDER:predict -d '{
    "signature_name": "serve_text", "instances": [{"text_a": "A fine film."}]}'

The highest version is served, and replaced by a new one as soon as that is
complete; the output folder of a training is exported first.
http://localhost:8501/ is a page to try it. docs/server.md lists paths, limits
and metrics. Needs `pip install 'bert_tf[serving]'`.
"""

import asyncio
import math
import os
import re
import resource
import socket
import sys

from absl import logging

from bert_tf.cli import command_line
from bert_tf.cli.command_line import FlagSet
from bert_tf.errors import InputError, Interrupted
from bert_tf.exports.settings import EXPORT_FOLDER
from bert_tf.server.admission import make_hosts
from bert_tf.server.protocol import Limits
from bert_tf.tasks import trained

MEGABYTE = 1024 * 1024

# Open files of a server besides its connections.
OTHER_FILES = 128


def define_flags(values):
    """Defines the flags of this command."""
    flags = FlagSet(values)
    flags.string(
        "host",
        "127.0.0.1",
        "Address to listen on; 0.0.0.0 for all addresses of the machine. There "
        "is no password: keep the default, or put a proxy in front.",
    )
    flags.strings(
        "allowed_hosts",
        "Names that requests may have in Host, besides those of this machine, "
        "separated by commas: those of a proxy in front, say. * is any. "
        "[with the default of --host, none; with others, any]",
    )
    flags.integer("port", 8501, "Port to listen on; 0 for any free one.")
    flags.string(
        "model_name",
        None,
        "Model name in paths. [name of the folder; of OUTPUT_DIR/export, which "
        "--do_export writes, that of OUTPUT_DIR]",
    )
    flags.number(
        "poll_seconds", 2.0, "Seconds between checks for a new version."
    )
    flags.boolean(
        "no_trial",
        False,
        "Load a version at once. Otherwise a process of its own loads it "
        "first, so that a damaged one cannot end the server.",
    )
    flags.number(
        "load_seconds",
        300.0,
        "Seconds for that process to load and warm up a version (else it is "
        "not served).",
    )
    flags.integer("max_batch", 32, "Windows of texts per batch.")
    flags.boolean("no_batching", False, "Compute each request on its own.")
    flags.integer("workers", 1, "Batches computed in parallel.")
    flags.integer(
        "max_waiting", 512, "Windows of texts in the queue (above it 503)."
    )
    flags.integer(
        "max_windows",
        2048,
        "Windows of the texts of a request: rows that the model reads (above "
        "it 413).",
    )
    flags.number("timeout", 30.0, "Seconds to the response (else 503).")
    flags.number("max_body_mb", 2.0, "Megabytes of a request (above it 413).")
    flags.integer(
        "max_instances", 128, "Instances of a request (above it 413)."
    )
    flags.integer(
        "max_text_chars", 20_000, "Characters of a text (above it 413)."
    )
    flags.integer(
        "max_answer_values",
        4_000_000,
        "Numbers and texts in a response (above it 413).",
    )
    flags.integer("max_connections", 512, "Open connections (above it 503).")
    flags.number(
        "request_seconds", 20.0, "Seconds to receive a request (else 408)."
    )
    flags.number(
        "answer_seconds",
        30.0,
        "Seconds without progress before a response is dropped.",
    )
    flags.number(
        "idle_seconds", 15.0, "Idle seconds before a connection is closed."
    )
    flags.number(
        "drain_seconds", 30.0, "Seconds to finish requests in a shutdown."
    )


def check_flags(flags):
    """Raises `InputError` for a bad value of a flag."""
    command_line.require_positive(
        flags,
        "max_batch",
        "workers",
        "max_waiting",
        "max_instances",
        "max_windows",
        "max_text_chars",
        "max_answer_values",
        "max_connections",
    )
    for name in (
        "poll_seconds",
        "timeout",
        "max_body_mb",
        "request_seconds",
        "answer_seconds",
        "idle_seconds",
    ):
        command_line.require_between(flags, name, 0.001, math.inf)
    # Longer than any load, and short enough for alarm() and poll().
    command_line.require_between(flags, "load_seconds", 0.001, 86_400)
    command_line.require_between(flags, "drain_seconds", 0, math.inf)
    command_line.require_between(flags, "port", 0, 65535)
    make_hosts(flags["allowed_hosts"].value, flags["host"].value)


def main(flags, folder):
    """Serves until a signal.

    Args:
        flags: parsed `FlagValues`.
        folder: of the model.

    Raises:
        InputError: a flag is wrong, there is no version to serve, or the
            address is not available.
        Interrupted: requests were left unanswered at the end.
    """
    check_flags(flags)
    name = find_name(flags.model_name, folder)
    require_packages()
    folder = trained.export_of(folder, inspect=True)
    server, listening = make_server(flags, name, folder)
    address, port = listening.getsockname()[:2]
    shown = f"[{address}]" if ":" in address else address
    print(
        f"Serving {name}, version {server.application.versions.version}, at "
        f"http://{shown}:{port}/v1/models/{name}. Try it at "
        f"http://{shown}:{port}/",
        flush=True,
    )
    try:
        asyncio.run(server.serve([listening]))
    finally:
        server.application.versions.close()
        server.application.batcher.close(seconds=1)
    if server.unanswered or server.force_exit:
        raise Interrupted(
            f"ended with {server.unanswered} requests unanswered", server.signal
        )
    logging.info("All requests were answered.")


def find_name(given, folder):
    """The name of the model in paths.

    Args:
        given: the name that is asked for; None for that of the folder. What
            --do_export has written is called like the folder of the training.
        folder: of the model.

    Raises:
        InputError: it is not valid in a path.
    """
    outer, name = os.path.split(os.path.abspath(folder))
    if name == EXPORT_FOLDER:
        name = os.path.basename(outer) or name
    name = given or name
    if not re.fullmatch(r"[^/:\s?#%]+", name):
        raise InputError(
            "`--model_name` must be a name without spaces and the characters "
            f"/ : ? # %, for it stands in paths. Received: {name!r}"
        )
    return name


def require_packages():
    """Raises `InputError` unless the server's packages are installed."""
    try:
        import prometheus_client  # noqa: F401
        import starlette  # noqa: F401
        import uvicorn  # noqa: F401
    except ImportError as error:
        raise InputError(
            f"The server needs {error.name}: pip install 'bert_tf[serving]'"
        ) from error


def make_server(flags, name, folder):
    """An `HttpServer` that is ready to serve, and the socket for it.

    Args:
        flags: parsed `FlagValues`.
        name: of the model in paths.
        folder: of the model.

    Raises:
        InputError: no version can be served, or the address is not available.
    """
    listening = listen(flags.host, flags.port, flags.max_connections)
    address = listening.getsockname()[0]
    hosts = make_hosts(flags.allowed_hosts, address)

    # Importing these takes a second, and TensorFlow, which the loader imports,
    # more: errors in flags come first.
    from bert_tf.server.app import Application, Settings
    from bert_tf.server.batching import Batcher
    from bert_tf.server.connections import HttpServer, Patience
    from bert_tf.server.metrics import Metrics
    from bert_tf.server.trial import Loader, by_format
    from bert_tf.server.versions import ModelVersions

    metrics = Metrics()
    load = Loader(by_format, None if flags.no_trial else flags.load_seconds)
    try:
        versions = ModelVersions(
            folder, load, flags.poll_seconds, metrics.loaded, load.stop
        )
    except BaseException:
        listening.close()
        raise
    batcher = Batcher(
        flags.max_batch, flags.max_waiting, flags.workers, metrics
    )
    limits = Limits(
        body_bytes=int(flags.max_body_mb * MEGABYTE),
        instances=flags.max_instances,
        text_chars=flags.max_text_chars,
        answer_values=flags.max_answer_values,
        windows=flags.max_windows,
    )
    settings = Settings(
        name, limits, flags.timeout, not flags.no_batching, hosts
    )
    patience = Patience(
        connections=flags.max_connections,
        request_seconds=flags.request_seconds,
        answer_seconds=flags.answer_seconds,
        idle_seconds=flags.idle_seconds,
        drain_seconds=flags.drain_seconds,
    )
    application = Application(versions, batcher, metrics, settings)
    server = HttpServer(application, patience, metrics.cut)
    metrics.watch(
        "connections", "Open connections.", lambda: server.connections
    )
    return server, listening


def listen(host, port, connections):
    """A listening socket; clients may connect before the server runs.

    Raises:
        InputError: the address is not available, or the process may not have
            that many open files.
    """
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = connections + OTHER_FILES
    if most != resource.RLIM_INFINITY and wanted > most:
        raise InputError(
            "`--max_connections` must be below what the process may have "
            f"open, {most} files (`ulimit -Hn`). Received: "
            f"--max_connections={connections}"
        )
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, most))
    try:
        (family, kind, protocol, _, address), *_ = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
        # Without the protocol, asyncio leaves Nagle's algorithm on: the body of
        # a response then waits 40 ms for its head to be acknowledged.
        listening = socket.socket(family, kind, protocol)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
        # From here on clients wait instead of being refused.
        listening.listen(connections)
    except (OSError, OverflowError) as error:
        raise InputError(
            f"Cannot listen at --host={host} --port={port}: {error}"
        ) from error
    return listening


def cli():
    """The console command."""
    try:
        command_line.run(define_flags, main, __doc__, positional="MODEL_FOLDER")
    except SystemExit as end:
        if not isinstance(end.code, int) or end.code <= 128:
            raise
        # After a second signal a request may still be computed. onnxruntime
        # aborts a process whose interpreter ends meanwhile.
        trained.remove_temporary()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(end.code)


if __name__ == "__main__":
    cli()
