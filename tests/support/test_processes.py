import os
import signal

import pytest

from bert_tf.errors import InputError
from bert_tf.support.processes import run_jobs


def squarer(offset):
    process = os.getpid()

    def square(number):
        if number == 13:
            raise InputError("13 is not squared")
        if number == 666:
            os.kill(os.getpid(), signal.SIGKILL)
        if number == 404:
            raise LookupError("a bug")
        return process, number**2 + offset

    return square


def results(jobs, num_workers=2):
    found = run_jobs(squarer, (1,), jobs, num_workers, 60.0)
    return [one for one in found if one]


def test_every_job_is_done_in_one_of_the_workers():
    got = results(range(12))
    assert sorted((job, square) for job, (_, square) in got) == [
        (number, number**2 + 1) for number in range(12)
    ]
    processes = {process for _, (process, _) in got}
    assert len(processes) <= 2
    assert os.getpid() not in processes


def test_no_jobs_need_no_workers():
    assert results([]) == []


@pytest.mark.parametrize(
    ("job", "error", "message"),
    [
        (13, InputError, "13 is not squared"),
        (666, InputError, "ended by signal 9.*use fewer workers"),
        (404, RuntimeError, "failed; its error is above"),
    ],
)
def test_failing_worker_stops_the_work(job, error, message):
    with pytest.raises(error, match=message):
        results([1, job, 2, 3])
