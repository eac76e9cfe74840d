"""Several devices and several processes: one batch, whatever computes it."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time

import numpy as np
import pytest
import tensorflow as tf
from absl import flags as absl_flags
from helpers import prepared
from helpers.golden import (
    CHECKPOINTS,
    read_config,
    read_scalars,
    read_variables,
    write_small_config,
)
from helpers.paths import ROOT

from bert_tf import run_pretraining
from bert_tf.cli import command_line, training_flags

pytestmark = pytest.mark.usefixtures("graphs_as_traced")

TINY = CHECKPOINTS / "tiny"

# A process of its own: devices are split before any is used.
PROGRAM = """
import tensorflow as tf
from bert_tf import {script}

for cpu in tf.config.list_physical_devices("CPU"):
    parts = [tf.config.LogicalDeviceConfiguration()] * {cpus}
    tf.config.set_logical_device_configuration(cpu, parts)
{script}.cli()
"""


@pytest.fixture(scope="module")
def small_bert(tmp_path_factory):
    """One layer, without dropout."""
    return write_small_config(
        tmp_path_factory.mktemp("bert"),
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    )


@pytest.fixture(scope="module")
def pretraining_flags(records_file, small_bert):
    def given(output_dir, **more):
        values = {
            "input_file": records_file,
            "output_dir": output_dir,
            "bert_config_file": small_bert,
            "max_seq_length": 32,
            "max_predictions_per_seq": 5,
            "do_train": True,
            "train_batch_size": 8,
            "learning_rate": 1e-2,
            "num_train_steps": 6,
            "num_warmup_steps": 0,
            "save_checkpoints_steps": 3,
            "iterations_per_loop": 2,
            "seed": 3,
            **more,
        }
        return [f"--{name}={value}" for name, value in values.items()]

    return given


# A training that goes on until it is stopped.
ENDLESS = {
    "num_train_steps": 10**6,
    "save_checkpoints_steps": 20,
    "learning_rate": 1e-3,
}


@pytest.fixture(scope="module")
def stopped(tmp_path_factory, pretraining_flags):
    """The folder of an endless training on one device, which was stopped."""
    folder = tmp_path_factory.mktemp("stopped") / "out"
    process = start(pretraining_flags(folder, **ENDLESS))
    wait_for(folder / "model.ckpt-20.index", [process])
    process.send_signal(signal.SIGTERM)
    finish(process, 128 + signal.SIGTERM)
    return folder


# What trainings have that are compared with `one`.
WATCHED = {
    "bucket_by_length": True,
    "eval_every_steps": 3,
    "keep_best": "masked_lm_loss",
    "max_eval_steps": 3,
    "do_eval": True,
}


@pytest.fixture(scope="module")
def one(tmp_path_factory, pretraining_flags):
    """The folder of a training on one device."""
    folder = tmp_path_factory.mktemp("one") / "out"
    finish(start(pretraining_flags(folder, **WATCHED)))
    return folder


def start(arguments, script="run_pretraining", cpus=1, **environment):
    return prepared.Popen(
        ["-c", PROGRAM.format(script=script, cpus=cpus), *arguments],
        env={**os.environ, "CUDA_VISIBLE_DEVICES": "-1", **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def finish(process, code=0):
    text, _ = process.communicate(timeout=600)
    assert process.returncode == code, text[-4000:]
    return text


def start_workers(arguments, count=2, **more):
    """One process each, as a cluster manager would start them."""
    ports = []
    for _ in range(count):
        with socket.create_server(("127.0.0.1", 0)) as server:
            ports.append(server.getsockname()[1])
    addresses = [f"127.0.0.1:{port}" for port in ports]
    return [
        start(
            [*arguments, "--distribution=multi_worker"],
            TF_CONFIG=json.dumps(
                {
                    "cluster": {"worker": addresses},
                    "task": {"type": "worker", "index": index},
                }
            ),
            **more,
        )
        for index in range(count)
    ]


def assert_same_training(folder, other):
    got, want = read_scalars(folder), read_scalars(other)
    for tag in ("loss", "masked_lm_loss", "gradient_norm"):
        assert got[tag].keys() == want[tag].keys()
        for step, value in want[tag].items():
            assert got[tag][step] == pytest.approx(value, abs=1e-5), tag
    got, want = read_variables(folder), read_variables(other)
    assert got.keys() == want.keys()
    for name, value in want.items():
        np.testing.assert_allclose(got[name], value, atol=1e-4, err_msg=name)


@pytest.mark.exhaustive
def test_two_devices_train_like_one(one, tmp_path, pretraining_flags):
    given = pretraining_flags(
        tmp_path / "both", **WATCHED, distribution="mirrored"
    )
    both = start(given, cpus=2)
    assert "2 replicas (MirroredStrategy)" in finish(both)

    assert_same_training(tmp_path / "both", one)
    results = (tmp_path / "both" / "eval_results.txt").read_text()
    assert "global_step = 6\n" in results


@pytest.mark.exhaustive
def test_adapters_are_trained_alike_by_two_devices_and_by_xla(
    tmp_path, pretraining_flags
):
    no_dropout = tmp_path / "bert_config.json"
    changes = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    config = read_config(TINY, **changes)
    no_dropout.write_text(config.to_json_string())
    given = {"init_checkpoint": TINY, "bert_config_file": no_dropout}
    given |= {"lora_rank": 4, "skip_padding": False}
    runs = {
        "one": start(pretraining_flags(tmp_path / "one", **given)),
        "both": start(
            pretraining_flags(
                tmp_path / "both", **given, distribution="mirrored"
            ),
            cpus=2,
        ),
        "xla": start(
            pretraining_flags(tmp_path / "xla", **given, jit_compile=True)
        ),
    }
    texts = {name: finish(process) for name, process in runs.items()}

    assert "2 replicas (MirroredStrategy)" in texts["both"]
    for name in ("both", "xla"):
        assert_same_training(tmp_path / name, tmp_path / "one")
    assert any("lora" in name for name in read_variables(tmp_path / "xla"))


@pytest.mark.exhaustive  # The next test has it with fewer options.
@pytest.mark.parametrize("count", [2, 4])
def test_workers_train_like_one_process_and_the_chief_writes(
    count, one, tmp_path, pretraining_flags
):
    more = {**WATCHED, "gradient_accumulation_steps": 2}
    several = start_workers(
        pretraining_flags(tmp_path / "several", **more), count
    )
    for text in map(finish, several):
        assert f"{count} replicas (CollectiveAllReduceStrategy)" in text or (
            f"{count} replicas (MultiWorkerMirroredStrategy)" in text
        )

    assert_same_training(tmp_path / "several", one)
    events = list((tmp_path / "several").glob("events.out.tfevents.*"))
    assert len(events) == 1
    ours, theirs = (
        dict(
            line.split(" = ")
            for line in (folder / "eval_results.txt").read_text().splitlines()
        )
        for folder in (tmp_path / "several", one)
    )
    assert ours.keys() == theirs.keys()
    for name, value in theirs.items():
        assert float(ours[name]) == pytest.approx(float(value), abs=1e-4)


def wait_for(path, processes):
    """Returns when a file is there, and none of the processes has ended."""
    began = time.monotonic()
    while not path.exists():
        for process in processes:
            if process.poll() is not None:
                pytest.fail(process.communicate()[0][-4000:])
        assert time.monotonic() - began < 500
        time.sleep(0.1)


@pytest.mark.slow
@pytest.mark.parametrize(
    "victim", [0, pytest.param(1, marks=pytest.mark.exhaustive)]
)
def test_workers_train_like_one_process_and_resume_if_one_is_killed(
    stopped, tmp_path, pretraining_flags, victim
):
    out = tmp_path / "out"
    given = pretraining_flags(out, **ENDLESS)
    workers = start_workers(given)
    try:
        wait_for(out / "model.ckpt-60.index", workers)
        workers[victim].kill()
        text = finish(workers[1 - victim], code=1)
        finish(workers[victim], code=-signal.SIGKILL)

        assert "One of the 2 workers has ended" in text
        assert "start the same command on all workers" in text
        assert "Traceback" not in text
        newest = tf.train.latest_checkpoint(str(out))
        later = int(newest.rpartition("-")[2])
        assert later >= 60

        alone = read_variables(stopped / "model.ckpt-20")
        together = read_variables(out / "model.ckpt-20")
        assert together.keys() == alone.keys()
        for name, value in alone.items():
            np.testing.assert_allclose(
                together[name], value, atol=1e-4, err_msg=name
            )

        # As if killed two checkpoints earlier, so that what follows is known.
        whole = read_variables(newest)
        step = later - 40
        for number in (later, later - 20):
            for path in out.glob(f"model.ckpt-{number}.*"):
                path.unlink()
        (out / "checkpoint").write_text(
            f'model_checkpoint_path: "model.ckpt-{step}"\n'
        )
        workers = start_workers(given)
        wait_for(out / f"model.ckpt-{later}.index", workers)
        resumed = read_variables(out / f"model.ckpt-{later}")
        # One of them is told to stop, and they do so together.
        workers[1 - victim].send_signal(signal.SIGTERM)
        for text in (finish(worker, 128 + 15) for worker in workers):
            assert f"(step {step})" in text
            (last,) = re.findall(r"stopped by SIGTERM at step (\d+)", text)
        newest = tf.train.latest_checkpoint(str(out))
        assert newest.endswith(f"model.ckpt-{last}")

        # It went on as if nothing had happened.
        assert resumed.keys() == whole.keys()
        for name, value in whole.items():
            np.testing.assert_allclose(
                resumed[name], value, atol=1e-5, err_msg=name
            )
    finally:
        for worker in workers:
            worker.kill()
            worker.communicate()


@pytest.mark.slow
def test_workers_without_a_shared_folder_are_refused(
    stopped, tmp_path, pretraining_flags
):
    shutil.copytree(stopped, tmp_path / "1")
    step = tf.train.latest_checkpoint(str(stopped)).rpartition("-")[2]
    addresses = []
    for _ in range(2):
        with socket.create_server(("127.0.0.1", 0)) as server:
            addresses.append(f"127.0.0.1:{server.getsockname()[1]}")
    workers = [
        start(
            [
                *pretraining_flags(tmp_path / str(index), **ENDLESS),
                "--distribution=multi_worker",
            ],
            TF_CONFIG=json.dumps(
                {
                    "cluster": {"worker": addresses},
                    "task": {"type": "worker", "index": index},
                }
            ),
        )
        for index in range(2)
    ]
    for text in [finish(worker, 1) for worker in workers]:
        assert "Traceback" not in text
    assert f"This one starts at step {step}, the chief at step 0" in text
    assert "on a file system that they share" in text


# ------------------------------------------------------------------------ docs

DOCS = (ROOT / "docs" / "distributed.md").read_text(encoding="utf-8")


def code(language):
    return re.search(rf"```{language}\n(.*?)```", DOCS, re.DOTALL)[1]


def assert_trains(arguments):
    """They are right for the script; which files there are is not looked at."""
    values = absl_flags.FlagValues()
    run_pretraining.define_flags(values)
    assert command_line.parse(values, ["run_pretraining", *arguments]) == [
        "run_pretraining"
    ]
    training_flags.check(values, [])
    assert values.distribution == "multi_worker" and values.do_train


def test_the_kubernetes_job_runs_a_valid_command():
    lines = code("yaml").splitlines()
    arguments = [
        line.strip().removeprefix("- ")
        for line in lines
        if line.strip().startswith("- --")
    ]
    assert len(arguments) == 11
    assert_trains(arguments)
    # Spaces only, and always two more: what YAML is made of.
    depths = [len(line) - len(line.lstrip()) for line in lines]
    assert all(depth % 2 == 0 for depth in depths)
    assert "\t" not in code("yaml")


def test_the_slurm_script_sets_tf_config_for_each_task(tmp_path):
    stand_ins = {
        "scontrol": "printf 'node1\\nnode2\\nnode3\\n'",
        # As srun: the command once for each task, each with its number.
        "srun": 'shift; for i in 0 1 2; do SLURM_PROCID=$i "$@"; done',
        "python": f'if [ "$1" = -c ]; then exec {sys.executable} "$@"; fi\n'
        'printf "%s\\n" "$TF_CONFIG" "$@" END',
    }
    for name, text in stand_ins.items():
        (tmp_path / name).write_text(f"#!/bin/bash\n{text}\n")
        (tmp_path / name).chmod(0o755)
    (tmp_path / "job.sh").write_text(code("bash"))

    done = subprocess.run(
        ["bash", str(tmp_path / "job.sh")],
        env={
            "PATH": f"{tmp_path}:{os.environ['PATH']}",
            "SLURM_JOB_ID": "123456",
            "SLURM_JOB_NODELIST": "node[1-3]",
        },
        capture_output=True,
        text=True,
        check=True,
    )

    *tasks, rest = done.stdout.split("END\n")
    assert len(tasks) == 3 and not rest, done.stderr
    for index, task in enumerate(tasks):
        config, module, name, *arguments = task.splitlines()
        assert json.loads(config) == {
            "cluster": {"worker": [f"node{i}:23456" for i in (1, 2, 3)]},
            "task": {"type": "worker", "index": index},
        }
        assert (module, name) == ("-m", "bert_tf.run_pretraining")
        assert_trains(arguments)
