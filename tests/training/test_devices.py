"""Flags about TPUs on a machine that has none, and what the log says."""

import logging
import socket
import time

import pytest
import tensorflow as tf
from absl import flags

from bert_tf.cli import training_flags
from bert_tf.cli.command_line import FlagSet
from bert_tf.errors import InputError
from bert_tf.training import devices


def parse(*arguments):
    values = flags.FlagValues()
    training_flags.define_tpu(FlagSet(values))
    training_flags.define(FlagSet(values))
    values(["program", *arguments])
    return values


def find_strategy(*arguments):
    return devices.find_strategy(training_flags.devices(parse(*arguments)))


@pytest.fixture
def free_port():
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    return port


@pytest.mark.skipif(
    bool(tf.config.list_physical_devices("TPU")), reason="there is a TPU"
)
@pytest.mark.parametrize("given", [[], ["--tpu_name=local"]])
def test_a_machine_without_a_tpu_is_reported(given):
    with pytest.raises(InputError, match=r"no TPU.*--tpu_name.*--use_tpu"):
        find_strategy("--use_tpu", *given)


@pytest.mark.parametrize("flag", ["tpu_name", "master"])
def test_an_address_without_a_listener_is_reported_at_once(flag, free_port):
    address = f"grpc://127.0.0.1:{free_port}"
    began = time.monotonic()
    with pytest.raises(InputError, match=f"'{address}'.*refused.*--tpu_name"):
        find_strategy("--use_tpu", f"--{flag}={address}")
    # TensorFlow itself knocks there for minutes.
    assert time.monotonic() - began < 2 * devices.SECONDS_TO_ANSWER


def test_all_addresses_must_accept_connections(free_port):
    with socket.create_server(("127.0.0.1", 0)) as server:
        first = f"grpc://127.0.0.1:{server.getsockname()[1]}"
        second = f"grpc://127.0.0.1:{free_port}"
        with pytest.raises(InputError, match=r"refused"):
            find_strategy("--use_tpu", f"--tpu_name={first},{second}")


@pytest.mark.parametrize(
    "address", ["grpc://127.0.0.1", "grpc://:8470", "grpc://127.0.0.1:x"]
)
def test_an_address_needs_a_port(address):
    with pytest.raises(InputError, match=f"'{address}'.*grpc://IP:PORT"):
        find_strategy("--use_tpu", f"--tpu_name={address}")


def test_a_tpu_name_that_cannot_be_resolved_is_reported(monkeypatch):
    def getaddrinfo(*arguments, **more):
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    with pytest.raises(InputError, match=r"'my-tpu' cannot be reached: .*\S"):
        find_strategy("--use_tpu", "--tpu_name=my-tpu")
    assert socket.getdefaulttimeout() is None


@pytest.mark.parametrize(
    ("given", "named"),
    [
        (["--tpu_name=a", "--tpu_zone=b"], "--tpu_name, --tpu_zone is without"),
        (["--gcp_project=a"], "--gcp_project is without"),
        (["--master=grpc://a:1"], "--master is without"),
        (["--num_tpu_cores=16"], "--num_tpu_cores is without"),
    ],
)
def test_tpu_flags_without_use_tpu_are_warned_about(given, named, caplog):
    assert find_strategy(*given) is tf.distribute.get_strategy()
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert named in record.getMessage()


def test_without_tpu_flags_there_is_no_warning(caplog):
    assert find_strategy() is tf.distribute.get_strategy()
    assert find_strategy("--nouse_tpu") is tf.distribute.get_strategy()
    assert not caplog.records


def test_the_log_names_devices_and_the_tensorflow_version(caplog):
    caplog.set_level(logging.INFO)
    devices.log_devices(tf.distribute.get_strategy())
    count = len(tf.config.list_logical_devices("CPU"))
    assert f"Devices found: {count} CPU" in caplog.text
    assert f"TensorFlow {tf.__version__}" in caplog.text
    has_gpu = bool(tf.config.list_logical_devices("GPU"))
    assert f"Running on {'GPU:0' if has_gpu else 'CPU'}" in caplog.text


# ------------------------------------------------------------- several of them


def test_use_tpu_and_distribution_tpu_are_the_same():
    for arguments in (["--use_tpu"], ["--distribution=tpu"]):
        assert training_flags.devices(parse(*arguments)).use_tpu
    assert not training_flags.devices(parse("--distribution=mirrored")).use_tpu


@pytest.mark.parametrize("other", ["mirrored", "multi_worker"])
def test_use_tpu_with_another_distribution_is_refused(other):
    with pytest.raises(InputError, match=rf"--use_tpu --distribution={other}"):
        training_flags.devices(parse("--use_tpu", f"--distribution={other}"))


@pytest.mark.skipif(
    len(tf.config.list_logical_devices()) > 1, reason="there are several"
)
def test_mirrored_on_one_device_warns_and_does_not_mirror(caplog):
    strategy = find_strategy("--distribution=mirrored")
    assert strategy is tf.distribute.get_strategy()
    assert "one device only" in caplog.text


@pytest.mark.parametrize(
    "text",
    [
        None,
        "",
        "{",
        "[]",
        '{"cluster": {"worker": ["a:1"]}}',
        '{"cluster": {}, "task": {"type": "worker", "index": 0}}',
        '{"cluster": {"worker": ["a:1"]}, '
        '"task": {"type": "worker", "index": 1}}',
        '{"cluster": {"worker": ["a:1"]}, "task": {"type": "ps", "index": 0}}',
        '{"cluster": {"worker": ["a:1"], "ps": ["b:1"]}, '
        '"task": {"type": "worker", "index": 0}}',
        '{"cluster": {"worker": ["a:1"]}, '
        '"task": {"type": "worker", "index": "x"}}',
    ],
)
def test_multi_worker_needs_a_valid_tf_config(text, monkeypatch):
    if text is None:
        monkeypatch.delenv("TF_CONFIG", raising=False)
    else:
        monkeypatch.setenv("TF_CONFIG", text)
    with pytest.raises(InputError, match=r"TF_CONFIG.*\"cluster\".*Received"):
        find_strategy("--distribution=multi_worker")


def test_a_single_process_is_the_chief(tmp_path):
    strategy = tf.distribute.get_strategy()
    assert devices.is_chief(strategy) and devices.num_workers(strategy) == 1
    assert devices.work_folder(strategy, str(tmp_path)) == str(tmp_path)
    for agree in (devices.sum_over_workers, devices.as_chief_says):
        assert agree(strategy, [3, 0.5]).tolist() == [3, 0.5]
    with devices.chief_alone(strategy) as is_chief:
        assert is_chief


def test_errors_of_a_single_process_are_not_reported_as_lost_workers():
    with (
        pytest.raises(tf.errors.UnavailableError),
        devices.naming_lost_workers(tf.distribute.get_strategy()),
    ):
        raise tf.errors.UnavailableError(None, None, "gone")
