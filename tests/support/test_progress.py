"""Progress on a terminal and in the log."""

import io
import logging
import sys

import pytest

from bert_tf.support import progress


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.4, "0 s"),
        (59.4, "59 s"),
        (59.6, "1:00 min"),
        (185, "3:05 min"),
        (3599, "59:59 min"),
        (7800, "2:10 h"),
        (360000, "100:00 h"),
    ],
)
def test_seconds_are_formatted_for_people(seconds, text):
    assert progress.format_seconds(seconds) == text


def tick(monkeypatch, seconds):
    """Makes the clock advance by some seconds each time it is read."""
    time = iter(range(0, 10**6, seconds))
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(time))


def test_a_log_gets_a_line_every_30_seconds(caplog, monkeypatch):
    caplog.set_level(logging.INFO)
    tick(monkeypatch, 10)

    assert list(progress.counted("abcdefg", 7, "Reading")) == list("abcdefg")

    lines = [record.getMessage() for record in caplog.records]
    # The clock is read once at the start, then once after each thing.
    assert lines == [
        "Reading: 3/7, 0.1/s, 40 s left",
        "Reading: 6/7, 0.1/s, 10 s left",
    ]


def test_batches_count_as_their_examples(caplog, monkeypatch):
    caplog.set_level(logging.INFO)
    tick(monkeypatch, 30)

    list(progress.counted("abc", 20, "Predicting", size=lambda thing: 8))

    lines = [record.getMessage() for record in caplog.records]
    assert [line.split(",")[0] for line in lines] == [
        "Predicting: 8/20",
        "Predicting: 16/20",
        "Predicting: 20/20",
    ]


def test_line_on_a_terminal_is_cleared_at_the_end(monkeypatch):
    terminal = io.StringIO()
    terminal.isatty = lambda: True
    monkeypatch.setattr(sys, "stderr", terminal)
    tick(monkeypatch, 1)

    list(progress.counted("ab", 2, "Reading"))

    lines = terminal.getvalue().split("\r\x1b[2K")
    # Before the last thing is passed on, and at the end.
    assert lines == ["", "Reading: 1/2, 1.0/s, 1 s left", "", ""]


def test_bytes_are_shown_with_their_rate_from_where_work_resumed(
    caplog, monkeypatch
):
    caplog.set_level(logging.INFO)
    tick(monkeypatch, 30)

    with progress.ByteProgress(8_000_000, "Creating", done=0.5) as line:
        line.show(0.5)
        line.show(0.75)

    lines = [record.getMessage() for record in caplog.records]
    assert lines == ["Creating: 6.0/8.0 MB, 0.03 MB/s, 1:00 min left"]


def test_line_is_cleared_where_only_the_last_thing_is_asked_for(monkeypatch):
    terminal = io.StringIO()
    terminal.isatty = lambda: True
    monkeypatch.setattr(sys, "stderr", terminal)
    tick(monkeypatch, 1)

    things = progress.counted("abc", 3, "Reading")
    assert [next(things) for _ in range(3)] == list("abc")

    assert terminal.getvalue().split("\r\x1b[2K")[-1] == ""
