"""How far data have come that are made once and kept: a training waits for them, at times for minutes."""

import logging
import time
from collections.abc import Iterator, Sequence
from typing import TypeVar

log = logging.getLogger(__name__)
EVERY = 10.0  # seconds

Item = TypeVar("Item")


def reported(items: Sequence[Item], what: str) -> Iterator[Item]:
    """The items as they are worked on, and now and then a line: `drawing clips: 750 of 8000, 02:21 left`.

    The time left is by the pace since the line before, so that what an earlier run did does not count. Work of a few
    seconds says nothing.
    """
    said_at, said = time.monotonic(), 0
    for done, item in enumerate(items):
        now = time.monotonic()
        if done > said and now - said_at >= EVERY:
            seconds = round((now - said_at) / (done - said) * (len(items) - done))
            log.info("%s: %d of %d, %02d:%02d left", what, done, len(items), *divmod(seconds, 60))
            said_at, said = now, done
        yield item
