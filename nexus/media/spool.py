"""Samples put down in a file without a name, so that a sound made piece by piece can be read twice and from anywhere.

Axes: C channels, L samples.
"""

import tempfile
from collections.abc import Iterable, Iterator

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from nexus.media.audio_blocks import BLOCK, Pieces


class Spool:
    """float32 samples on disk, four bytes each, gone when it is closed; `with Spool(channels) as spool`.

    Raises:
        OSError: the disk is full.
    """

    def __init__(self, channels: int):
        self.channels, self.length = channels, 0
        self.peak = np.zeros((channels, 1), np.float32)  # the largest magnitude of each channel
        self._file = tempfile.TemporaryFile()  # noqa: SIM115  # closed when the spool is

    def __enter__(self) -> "Spool":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def filled(self, blocks: Iterable[Float[ndarray, "C _"]]) -> Iterator[Float[ndarray, "C _"]]:
        """The same pieces; each is put down when it is asked for."""
        for block in blocks:
            samples = np.ascontiguousarray(block.T, dtype=np.float32)
            self._file.seek(0, 2)
            self._file.write(samples.data)
            self.length += len(samples)
            self.peak = np.maximum(self.peak, np.abs(samples).max(axis=0, initial=0)[:, None])
            yield block

    def read(self, start: int, stop: int) -> Float[ndarray, "C _"]:
        """Samples from start to stop, as far as there are any."""
        start, stop = min(max(start, 0), self.length), min(max(stop, 0), self.length)
        frame = 4 * self.channels
        self._file.seek(start * frame)
        data = self._file.read(max(stop - start, 0) * frame)
        return np.frombuffer(data, np.float32).reshape(-1, self.channels).T

    def blocks(self) -> Pieces:
        """All samples in pieces."""
        return (self.read(at, at + BLOCK) for at in range(0, self.length, BLOCK))
