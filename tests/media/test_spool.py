"""Samples put down piece by piece are read back from anywhere."""

import numpy as np
import pytest

from nexus.media import spool as spools
from nexus.media.audio_blocks import fitted
from nexus.media.spool import Spool


def test_read_back_from_anywhere(monkeypatch):
    monkeypatch.setattr(spools, "BLOCK", 100)
    samples = np.random.default_rng(0).standard_normal((3, 1000)).astype(np.float32)
    pieces = np.split(samples, [0, 1, 1, 400], axis=1)
    with Spool(3) as spool:
        assert [piece.shape for piece in spool.filled(pieces)] == [piece.shape for piece in pieces]
        assert spool.length == 1000 and np.array_equal(spool.peak, np.abs(samples).max(axis=1, keepdims=True))
        for start, stop in ((0, 1000), (399, 402), (-50, 20), (990, 1200), (1000, 1100), (-9, -1), (5, 5), (7, 3)):
            assert np.array_equal(spool.read(start, stop), samples[:, max(start, 0) : max(stop, 0)])
        assert [block.shape[1] for block in spool.blocks()] == [100] * 10
        assert np.array_equal(np.concatenate(list(spool.blocks()), axis=1), samples)
    with pytest.raises(ValueError, match="closed"):
        spool.read(0, 1)


def test_nothing():
    with Spool(2) as spool:
        assert list(spool.filled([])) == [] and list(spool.blocks()) == [] and spool.read(0, 9).shape == (2, 0)


@pytest.mark.parametrize("length", [0, 1, 6, 7, 8, 500_000])
def test_fitted_to_a_length(length):
    samples = np.arange(14, dtype=np.float32).reshape(2, 7)
    made = np.concatenate(list(fitted(np.split(samples, [3, 3], axis=1), 2, length)), axis=1)
    assert made.shape == (2, length) and np.array_equal(made[:, :7], samples[:, :length]) and not made[:, 7:].any()
    assert sum(block.shape[1] for block in fitted([], 2, length)) == length
