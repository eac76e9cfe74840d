"""Requests that wait together share a run."""

import concurrent.futures
import threading

import numpy as np
import pytest
from helpers.running_server import wait_until

from bert_tf.server import batching
from bert_tf.server.batching import Batcher
from bert_tf.server.protocol import RequestError

WAIT = 20


class Gate:
    """A computation that waits until it is let go, and notes its batches."""

    def __init__(self):
        self.open = threading.Event()
        self.entered = threading.Semaphore(0)
        self.batches = []

    def __call__(self, inputs):
        self.entered.release()
        assert self.open.wait(WAIT)
        self.batches.append(inputs["x"].tolist())
        if 13 in inputs["x"]:
            raise ValueError("13 is refused")
        return {"square": inputs["x"] ** 2, "rows": inputs["x"][:, np.newaxis]}


class Counts:
    def __init__(self):
        self.seen = []

    def ran(self, rows, waited, seconds):
        self.seen.append((rows, len(waited)))


@pytest.fixture
def gate():
    return Gate()


@pytest.fixture
def start(gate):
    """Makes a batcher, and keeps its worker busy with a request of 0."""
    made = []

    def make(**options):
        batcher = Batcher(**options)
        made.append(batcher)
        batcher.submit(gate, "first", {"x": np.array([0])}, [1])
        assert gate.entered.acquire(timeout=WAIT)
        return batcher

    yield make
    gate.open.set()
    for batcher in made:
        batcher.close(WAIT)


def submit(batcher, gate, *values, kind="same"):
    inputs = {"x": np.array(values)}
    return batcher.submit(gate, kind, inputs, [1] * len(values))


def squares(future):
    return future.result(WAIT)["square"].tolist()


def test_waiting_requests_are_one_batch_and_each_gets_its_rows(start, gate):
    counts = Counts()
    batcher = start(watcher=counts)
    futures = [submit(batcher, gate, *values) for values in ([1], [2, 3], [4])]
    gate.open.set()
    assert [squares(future) for future in futures] == [[1], [4, 9], [16]]
    assert futures[1].result()["rows"].tolist() == [[2], [3]]
    batcher.close(WAIT)
    assert gate.batches == [[0], [1, 2, 3, 4]]
    assert counts.seen == [(1, 1), (4, 3)]


def test_a_batch_has_at_most_max_batch_rows_and_long_requests_have_parts(
    start, gate
):
    batcher = start(max_batch=3)
    values = ([1, 2], [3, 4], [5], [6, 7, 8, 9])
    futures = [submit(batcher, gate, *each) for each in values]
    gate.open.set()
    for future, each in zip(futures, values):
        assert squares(future) == [x * x for x in each]
    assert gate.batches == [[0], [1, 2, 5], [3, 4], [6, 7, 8], [9]]


def test_requests_of_different_kinds_or_none_share_no_batch(start, gate):
    batcher = start()
    kinds = ["a", "b", None, "a", None, "b"]
    futures = [
        submit(batcher, gate, value, kind=kind)
        for value, kind in enumerate(kinds)
    ]
    gate.open.set()
    assert [squares(future) for future in futures] == [
        [value**2] for value in range(6)
    ]
    assert gate.batches == [[0], [0, 3], [1, 5], [2], [4]]


def test_only_the_failing_request_of_a_batch_fails(start, gate):
    batcher = start()
    futures = [submit(batcher, gate, value) for value in (1, 13, 2)]
    gate.open.set()
    assert squares(futures[0]) == [1]
    assert squares(futures[2]) == [4]
    with pytest.raises(ValueError, match="13 is refused"):
        futures[1].result(WAIT)
    assert squares(submit(batcher, gate, 5)) == [25]


def test_an_output_without_rows_is_not_split(start, gate):
    batcher = start()

    def total(inputs):
        return {"total": np.array([inputs["x"].sum()])}

    futures = [
        batcher.submit(total, "sum", {"x": np.array([1, 2])}, [1] * 2),
        batcher.submit(total, "sum", {"x": np.array([10, 20])}, [1] * 2),
    ]
    gate.open.set()
    found = [future.result(WAIT)["total"].tolist() for future in futures]
    assert found == [[3], [30]]


def test_a_full_queue_refuses_and_says_when_to_try_again(start, gate):
    batcher = start(max_waiting=3)
    kept = submit(batcher, gate, 1, 2)
    with pytest.raises(RequestError, match="2 of 3 windows"):
        submit(batcher, gate, 3, 4)
    try:
        submit(batcher, gate, 3, 4)
    except RequestError as error:
        assert error.status == 503
        assert int(error.headers["Retry-After"]) >= 1
    last = submit(batcher, gate, 5)
    assert batcher.waiting == 3
    gate.open.set()
    assert squares(kept) == [1, 4] and squares(last) == [25]


def test_a_request_that_is_longer_than_the_queue_is_taken_when_it_is_empty(
    start, gate
):
    batcher = start(max_waiting=2)
    long = submit(batcher, gate, 1, 2, 3)
    gate.open.set()
    assert squares(long) == [1, 4, 9]


def test_a_cancelled_request_is_not_computed(start, gate):
    batcher = start(max_waiting=2)
    gone = submit(batcher, gate, 1, 2)
    assert gone.cancel()
    stays = submit(batcher, gate, 3, 4)  # There is room again.
    gate.open.set()
    assert squares(stays) == [9, 16]
    batcher.close(WAIT)
    assert gate.batches == [[0], [3, 4]]


def test_close_finishes_the_queue_and_refuses_new_requests(start, gate):
    batcher = start()
    future = submit(batcher, gate, 7)
    closing = threading.Thread(target=batcher.close)
    closing.start()
    while not batcher._closed:
        pass
    with pytest.raises(RequestError, match="stopping"):
        submit(batcher, gate, 8)
    gate.open.set()
    closing.join(WAIT)
    assert squares(future) == [49]
    assert batcher.waiting == 0


def test_many_threads_get_their_own_results():
    batcher = Batcher(max_batch=8, max_waiting=10_000, num_workers=3)

    def ask(value):
        inputs = {"x": np.array([value, -value])}
        future = batcher.submit(
            lambda x: {"y": x["x"] * 2}, "k", inputs, [1, 1]
        )
        return future.result(WAIT)["y"].tolist()

    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        got = list(pool.map(ask, range(500)))
    batcher.close(WAIT)
    assert got == [[2 * value, -2 * value] for value in range(500)]


def test_others_get_their_turn_between_the_parts_of_a_request(start, gate):
    batcher = start(max_batch=2)
    long = submit(batcher, gate, *range(1, 8))
    other = submit(batcher, gate, 100, 101, kind="other")
    gate.open.set()
    assert squares(other) == [10000, 10201]
    assert squares(long) == [n * n for n in range(1, 8)]
    assert gate.batches[:3] == [[0], [1, 2], [100, 101]]
    assert gate.batches[3:] == [[3, 4], [5, 6], [7]]


def test_parts_share_batches_with_other_requests(start, gate):
    batcher = start(max_batch=3)
    long = submit(batcher, gate, 1, 2, 3, 4)
    short = submit(batcher, gate, 5, 6)
    gate.open.set()
    assert squares(long) == [1, 4, 9, 16]
    assert squares(short) == [25, 36]
    assert gate.batches == [[0], [1, 2, 3], [5, 6, 4]]


def test_a_request_that_is_cancelled_between_its_parts_is_not_finished(
    start, gate
):
    batcher = start(max_batch=1)
    long = submit(batcher, gate, *range(1, 6))
    after = submit(batcher, gate, 7, kind="other")
    gate.open.set()
    assert squares(after) == [49]
    batches = Gate()
    batcher.close(WAIT)
    assert long.done()

    batcher = Batcher(max_batch=1)
    long = submit(batcher, batches, *range(1, 6))
    assert batches.entered.acquire(timeout=WAIT)
    assert long.cancel()
    batches.open.set()
    assert squares(submit(batcher, batches, 9)) == [81]
    batcher.close(WAIT)
    assert batches.batches == [[1], [9]]
    assert batcher.waiting == 0


def test_a_part_that_fails_ends_its_request(start, gate):
    batcher = start(max_batch=1)
    long = submit(batcher, gate, 1, 13, 3, 4)
    gate.open.set()
    with pytest.raises(ValueError, match="13 is refused"):
        long.result(WAIT)
    batcher.close(WAIT)
    assert gate.batches == [[0], [1], [13]]
    assert batcher.waiting == 0


def test_work_is_counted_by_its_cost(start, gate):
    batcher = start(max_batch=4, max_waiting=10)
    inputs = {"x": np.array([1, 2, 3])}
    long = batcher.submit(gate, "same", inputs, [3, 2, 9])
    # What is longer than a batch counts as one, for it is computed in parts.
    assert batcher.waiting == 4
    other = batcher.submit(gate, "same", inputs, [1, 1, 2])
    assert batcher.waiting == 8
    with pytest.raises(RequestError, match="8 of 10 windows"):
        submit(batcher, gate, 4, 5, 6)
    gate.open.set()
    assert squares(long) == squares(other) == [1, 4, 9]
    # The row that costs 9 is computed beside the others.
    assert sorted(gate.batches) == [[0], [1], [1, 2, 3], [2], [3]]


@pytest.mark.parametrize(
    ("kind", "costs"),
    [
        ("same", [9]),  # A text of many windows.
        (None, [1] * 9),  # Rows that are not independent.
    ],
)
def test_others_are_computed_beside_what_is_longer_than_a_batch(kind, costs):
    batcher = Batcher(max_batch=4)
    long, short = Gate(), Gate()
    short.open.set()
    inputs = {"x": np.arange(len(costs))}
    first = batcher.submit(long, kind, inputs, costs)
    assert long.entered.acquire(timeout=WAIT)
    second = batcher.submit(long, kind, inputs, costs)
    for value in range(5):
        assert squares(submit(batcher, short, value)) == [value**2]
    # One at a time.
    assert not long.entered.acquire(blocking=False)
    assert batcher.waiting == 4
    long.open.set()
    batcher.close(WAIT)
    for future in (first, second):
        assert squares(future) == [n * n for n in range(len(costs))]


def of_length(*lengths):
    texts = np.empty(len(lengths), object)
    texts[:] = [b"a" * length for length in lengths]
    return {"x": np.array(lengths), "text": texts}


def test_texts_share_batches_with_texts_of_similar_length(start, gate):
    batcher = start()
    asked = [[3], [65], [64, 1], [128, 2], [129], [66]]
    futures = [
        batcher.submit(gate, "same", of_length(*each), [1] * len(each))
        for each in asked
    ]
    gate.open.set()
    for future, each in zip(futures, asked):
        assert squares(future) == [n * n for n in each]
    batcher.close(WAIT)
    assert gate.batches == [[0], [3, 64, 1], [65, 128, 2, 66], [129]]


def test_parts_of_a_long_request_have_texts_of_similar_length(start, gate):
    batcher = start(max_batch=3)
    lengths = [1, 300, 2, 3, 100, 4, 301, 5]
    future = batcher.submit(gate, "same", of_length(*lengths), [1] * 8)
    # A part of it shares a batch with others of its size.
    other = batcher.submit(gate, "same", of_length(299), [1])
    gate.open.set()
    assert squares(future) == [n * n for n in lengths]
    assert squares(other) == [299**2]
    batcher.close(WAIT)
    assert gate.batches == [[0], [300, 301, 299], [100], [1, 2, 3], [4, 5]]


def test_the_size_of_rows_is_that_of_their_longest_text():
    pairs = of_length(3, 4)
    pairs["second"] = of_length(64, 65)["text"]
    assert batching.sizes_of(pairs, 2) == [6, 7]
    choices = {"choices": np.array([[b"a", b"b" * 129], [b"", b"c"]], object)}
    assert batching.sizes_of(choices, 2) == [8, 6]
    assert batching.sizes_of(of_length(), 0) == []
    numbers = {"x": np.zeros((3, 99)), "one": np.array(b"a" * 99, object)}
    assert batching.sizes_of(numbers, 3) == [0, 0, 0]


def test_a_closed_queue_finishes_long_and_short_parts_of_one_request():
    batcher = Batcher(max_batch=2)
    gate = Gate()
    gate.open.set()
    costs = [1, 9, 1, 1, 9, 9, 1]
    inputs = {"x": np.arange(len(costs))}
    future = batcher.submit(gate, "same", inputs, costs)
    batcher.close(WAIT)
    assert squares(future) == [n * n for n in range(len(costs))]


def test_close_returns_when_the_last_waiting_request_is_cancelled():
    batcher, gate = Batcher(max_batch=4), Gate()
    first, second = (
        batcher.submit(gate, "same", {"x": np.array([value])}, [9])
        for value in (1, 2)
    )
    assert gate.entered.acquire(timeout=WAIT)
    closing = threading.Thread(target=batcher.close, daemon=True)
    closing.start()

    def the_other_worker_waits():
        with batcher._changed:
            return batcher._closed and batcher._changed._waiters

    wait_until(the_other_worker_waits)
    assert second.cancel()
    gate.open.set()
    assert squares(first) == [1]
    closing.join(WAIT)
    assert not closing.is_alive()


def test_time_to_wait_is_that_of_all_parts_that_wait(start, gate):
    batcher = start(max_batch=2)
    submit(batcher, gate, *range(1, 11))
    submit(batcher, gate, 11, 12, kind="other")
    batcher._seconds_of_row = 0.5
    assert batcher.seconds_to_wait() == 6


def test_parts_of_different_widths_are_padded():
    parts = [
        {
            "tokens": np.array([[[b"a"]]], object),
            "n": np.float32([[1]]),
            "entity_starts": np.int32([[0, 5]]),
            "scores": np.float32([[0.5]]),
        },
        {
            "tokens": np.array([[[b"b"], [b"c"]]] * 2, object),
            "n": np.float32([[2], [3]]),
            "entity_starts": np.int32([[3], [-1]]),
            "scores": np.float32([[0.25, 1.0]] * 2),
        },
    ]
    joined = batching.join(parts, np.arange(3))
    assert joined["tokens"].tolist() == [
        [[b"a"], [b""]],
        [[b"b"], [b"c"]],
        [[b"b"], [b"c"]],
    ]
    assert joined["entity_starts"].tolist() == [[0, 5], [3, -1], [-1, -1]]
    assert joined["scores"].tolist() == [[0.5, 0.0], [0.25, 1.0], [0.25, 1.0]]
    assert joined["n"].tolist() == [[1], [2], [3]]
    assert joined["n"].dtype == np.float32
