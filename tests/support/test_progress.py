"""What long work says about itself."""

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
def test_seconds_are_told_as_people_read_them(seconds, text):
    assert progress.format_seconds(seconds) == text


def now_and_then(monkeypatch, seconds):
    """A clock that goes on by some seconds whenever it is looked at."""
    time = iter(range(0, 10**6, seconds))
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(time))


def test_a_log_gets_a_line_every_30_seconds(caplog, monkeypatch):
    caplog.set_level(logging.INFO)
    now_and_then(monkeypatch, 10)

    assert list(progress.counted("abcdefg", 7, "Reading")) == list("abcdefg")

    lines = [record.getMessage() for record in caplog.records]
    # The clock is looked at once at first, then once after each thing.
    assert lines == [
        "Reading: 3/7, 0.1/s, 40 s left",
        "Reading: 6/7, 0.1/s, 10 s left",
    ]


def test_batches_count_for_what_is_in_them(caplog, monkeypatch):
    caplog.set_level(logging.INFO)
    now_and_then(monkeypatch, 30)

    list(progress.counted("abc", 20, "Predicting", size=lambda thing: 8))

    lines = [record.getMessage() for record in caplog.records]
    assert [line.split(",")[0] for line in lines] == [
        "Predicting: 8/20",
        "Predicting: 16/20",
        "Predicting: 20/20",
    ]


def test_a_terminal_is_left_without_the_line(monkeypatch):
    terminal = io.StringIO()
    terminal.isatty = lambda: True
    monkeypatch.setattr(sys, "stderr", terminal)
    now_and_then(monkeypatch, 1)

    list(progress.counted("ab", 2, "Reading"))

    lines = terminal.getvalue().split("\r\x1b[2K")
    assert lines == ["", "Reading: 1/2, 1.0/s, 1 s left",
                     "Reading: 2/2, 1.0/s, 0 s left", ""]  # fmt: skip
