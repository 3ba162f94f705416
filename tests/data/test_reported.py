"""Long work on data says how far it is."""

import logging

from nexus.data import reported
from nexus.data.reported import reported as report


def slow(monkeypatch, seconds):
    """The clock goes on by `seconds` whenever it is looked at."""
    now = iter(range(0, 10**6, seconds))
    monkeypatch.setattr(reported.time, "monotonic", lambda: float(next(now)))


def test_items_come_through_and_long_work_says_how_far_it_is(monkeypatch, caplog):
    caplog.set_level(logging.INFO, "nexus.data")
    slow(monkeypatch, 6)
    assert list(report("abcdefg", "drawing clips")) == list("abcdefg")
    said = ((1, "01:12"), (3, "00:24"), (5, "00:12"))  # twelve seconds for the first, then six each
    assert caplog.messages == [f"drawing clips: {done} of 7, {left} left" for done, left in said]


def test_short_work_says_nothing(monkeypatch, caplog):
    caplog.set_level(logging.INFO, "nexus.data")
    slow(monkeypatch, 1)
    assert list(report(range(9), "drawing clips")) == list(range(9))
    assert not caplog.messages
