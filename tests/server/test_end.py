"""The command as a process of its own: how it starts and how it ends."""

import concurrent.futures
import contextlib
import http.client
import json
import re
import signal
import subprocess
import sys
import threading
import urllib.request

import pytest
from absl import flags
from helpers import prepared, small_models

from bert_tf import serve
from bert_tf.cli import command_line
from bert_tf.errors import InputError

WAIT = 60


@pytest.fixture(scope="module", params=["saved_model", "onnx"])
def served(request, tmp_path_factory):
    """A model's folder, and a function of seconds: what takes them."""
    folder = tmp_path_factory.mktemp(request.param) / "m"
    if request.param == "saved_model":
        small_models.save(small_models.Odd(), folder / "1")
        return folder, lambda seconds: {
            "signature_name": "wait",
            "inputs": {"x": [1], "seconds": seconds},
        }
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    from helpers import small_plain

    small_plain.save(folder / "1")
    return folder, lambda seconds: {
        "signature_name": "serve_text",
        # Each of them takes some seconds.
        "instances": ["goodly " * int(seconds) or "good"],
    }


@contextlib.contextmanager
def command(*arguments):
    """The process, and what it says first."""
    process = prepared.Popen(
        ["-m", "bert_tf.serve", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def ask(port, body):
    """The status of a request.

    "refused" if nobody listens any more, None if it was taken and not answered.
    """
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=WAIT)
    try:
        connection.connect()
    except ConnectionRefusedError:
        return "refused"
    try:
        connection.request("POST", "/v1/models/m:predict", json.dumps(body))
        response = connection.getresponse()
        response.read()
        return response.status
    except (ConnectionError, http.client.HTTPException):
        return None
    finally:
        connection.close()


@pytest.mark.slow
def test_a_signal_under_load_loses_no_request(served):
    folder, taking = served
    with command(folder, "--port=0") as process:
        port = int(re.search(r":(\d+)/v1", process.stdout.readline())[1])
        statuses, stop = [], threading.Event()

        def keep_asking():
            while not stop.is_set():
                statuses.append(ask(port, taking(0.01)))
                if statuses[-1] != 200:
                    break

        threads = [threading.Thread(target=keep_asking) for _ in range(8)]
        for thread in threads:
            thread.start()
        while statuses.count(200) < 20:
            assert process.poll() is None
        process.send_signal(signal.SIGTERM)
        for thread in threads:
            thread.join(WAIT)
        _, log = process.communicate(timeout=WAIT)
    # Each client was answered until it was refused.
    assert set(statuses) <= {200, 503, "refused"}
    assert len(statuses) - statuses.count(200) == len(threads)
    assert process.returncode == 0
    assert "All requests were answered." in log


@pytest.mark.slow
def test_a_second_signal_ends_at_once(served):
    folder, taking = served
    with command(folder, "--port=0", "--timeout=999") as process:
        port = int(re.search(r":(\d+)/v1", process.stdout.readline())[1])
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            busy = pool.submit(ask, port, taking(5 * WAIT))
            metrics = f"http://127.0.0.1:{port}/metrics"
            while b"requests_under_way 1.0" not in fetch(metrics):
                pass
            process.send_signal(signal.SIGINT)
            while b"503" not in fetch(f"http://127.0.0.1:{port}/readyz"):
                pass
            process.send_signal(signal.SIGTERM)
            _, log = process.communicate(timeout=WAIT)
            assert busy.result() == 503
    assert process.returncode == 128 + signal.SIGTERM
    assert "1 requests unanswered" in log


def fetch(url):
    try:
        with urllib.request.urlopen(url, timeout=WAIT) as answer:
            return answer.read()
    except urllib.error.HTTPError as error:
        return str(error.code).encode()


def test_packages_that_are_missing_are_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "starlette", None)
    with pytest.raises(InputError, match=r"pip install 'bert_tf\[serving\]'"):
        serve.require_packages()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "There must be one MODEL_FOLDER, beside flags. Received: none"),
        (["a", "b"], "Received: 'a' 'b'"),
        (["nowhere"], "The folder nowhere does not exist."),
        (["a:b"], "`--model_name` must be a name without"),
        (["nowhere", "--port=99999"], "`--port` must be"),
        (["nowhere", "--max_batch=0"], "`--max_batch` must be above 0"),
        (["nowhere", "--timeout=nan"], "`--timeout` must be a finite"),
        (["nowhere", "--load_seconds=86401"], "and at most 86400"),
        (["nowhere", "--host=256.0.0.1"], "Cannot listen at --host=256.0.0.1"),
        (["nowhere", "--max_connections=99999999"], "must be below what"),
    ],
)
def test_an_input_error_is_one_message(arguments, message, capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["serve", *arguments])
    values = flags.FlagValues()
    serve.define_flags(values)
    rest = command_line.parse(values, sys.argv)[1:]
    with pytest.raises(SystemExit) as end:
        command_line.finish(serve.main, values, rest, "MODEL_FOLDER")
    assert end.value.code == 1
    assert message in capsys.readouterr().err
