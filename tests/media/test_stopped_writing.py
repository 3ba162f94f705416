"""Long sounds are written whole or not at all, and what stops the writing is heard at once."""

import resource
import signal

import numpy as np
import pytest

from nexus.media.audio_io import save_blocks

RATE = 8000


@pytest.mark.parametrize("suffix", [".wav", ".flac", ".ogg"])
def test_an_interruption_within_a_write_stops_it(tmp_path, suffix):
    """The signal comes while the library writes: a timer of this process, not a call between pieces."""
    asked = 0

    def blocks():
        nonlocal asked
        rng = np.random.default_rng(0)
        while asked < 3000:
            asked += 1
            yield rng.uniform(-0.5, 0.5, (1, RATE)).astype(np.float32)

    def stop(*_):
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, 0.05)
    try:
        with pytest.raises(KeyboardInterrupt):
            save_blocks(tmp_path / f"x{suffix}", blocks(), RATE, 1)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert asked < 3000 and not list(tmp_path.iterdir())


def test_a_full_disk_is_said(tmp_path):
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, limits[1]))
    try:
        with pytest.raises(OSError, match=r"is the disk full\?.*x\.wav"):
            save_blocks(tmp_path / "x.wav", (np.zeros((1, RATE), np.float32) for _ in range(9)), RATE, 1)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, ignored)
    assert not list(tmp_path.iterdir())
