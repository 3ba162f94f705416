"""Sound files read piece by piece, so that hours need no more memory than seconds; cut files are refused.

WAV, FLAC and Vorbis come through libsndfile, everything else through FFmpeg (PyAV).
Axes: C channels, L samples.
"""

import math
import struct
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import soundfile
from av.container import InputContainer
from av.error import FFmpegError
from jaxtyping import Float
from numpy import ndarray

from nexus.media.io import PathLike, recognise

READABLE = (".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".m4a", ".mp4", ".m4v", ".mov", ".webm", ".mkv")
SLACK = 4096  # samples a lossy file may lack without being called cut: encoder delay and one frame
BLOCK = 1 << 18  # samples a piece

Pieces = Iterator[Float[ndarray, "C _"]]


class CutShort(Exception):
    """A file that ends before it says it does."""


@dataclass(frozen=True, kw_only=True)
class SoundBlocks:
    """An open sound: its rate, its channels, and its samples in pieces, which are read as they are asked for."""

    rate: int
    channels: int
    blocks: Pieces
    length: int | None = None  # samples a channel, as declared; None where they have to be counted

    def resample(self, rate: int) -> "SoundBlocks":
        """At another rate: to the bit what `Audio.resample` makes of the whole."""
        if rate == self.rate:
            return self
        length = None if self.length is None else math.ceil(Fraction(self.length * rate, self.rate))
        return replace(self, rate=rate, length=length, blocks=resampled(self.blocks, self.rate, rate, self.channels))


def open_blocks(path: PathLike, size: int = BLOCK) -> SoundBlocks:
    """A sound file, or the first sound track of a video file, in pieces of at most `size` samples (FFmpeg's are as
    they come).

    Raises:
        OSError: it cannot be opened.
        ValueError: it is not what its name says, damaged, cut short, or has no sound; some of this may come to light
            only while the pieces are read.
    """
    path, container = Path(path), recognise(path, READABLE)
    opened = _refused(path, lambda: _OPENERS.get(container, _open_ffmpeg)(path, size))
    return replace(opened, blocks=_checked(path, opened.blocks))


def _refused(path: Path, do: Callable[[], Any]) -> Any:
    """The result of `do`; what the libraries say of damage becomes a ValueError that names the file."""
    try:
        return do()
    except (FFmpegError, soundfile.LibsndfileError, CutShort) as error:
        raise ValueError(f"{path} is damaged: {error}") from error


def _checked(path: Path, blocks: Pieces) -> Pieces:
    while (block := _refused(path, lambda: next(blocks, None))) is not None:
        if not np.isfinite(block).all():
            raise ValueError(f"{path} is damaged: it holds samples that are not finite numbers")
        yield block


def resampled(blocks: Iterable[ndarray], rate: int, to: int, channels: int) -> Pieces:
    """Pieces at another rate (soxr, very high quality); ceil(L to / rate) samples in all."""
    import soxr

    stream, n_in, n_out = soxr.ResampleStream(rate, to, channels, dtype="float32", quality="VHQ"), 0, 0
    for block in blocks:
        n_in += block.shape[1]
        made = stream.resample_chunk(np.ascontiguousarray(block.T)).T
        n_out += made.shape[1]
        yield made
    length = math.ceil(Fraction(n_in * to, rate))
    rest = stream.resample_chunk(np.zeros((0, channels), np.float32), last=True).T[:, : max(length - n_out, 0)]
    yield np.pad(rest, ((0, 0), (0, length - n_out - rest.shape[1])))


def regular(blocks: Iterable[ndarray], size: int) -> Pieces:
    """The same samples in pieces of `size`, the last of what is left."""
    waiting, n = [], 0
    for block in blocks:
        waiting.append(block)
        n += block.shape[1]
        if n >= size:
            joined = np.concatenate(waiting, axis=1)
            n %= size
            yield from (joined[:, at : at + size] for at in range(0, joined.shape[1] - n, size))
            waiting = [joined[:, joined.shape[1] - n :]]
    if n:
        yield np.concatenate(waiting, axis=1)


def fitted(blocks: Iterable[ndarray], channels: int, length: int) -> Pieces:
    """The same samples cut, or filled up with silence, to `length` of each channel."""
    left = length
    for block in blocks:
        yield block[:, :left]
        left -= min(left, block.shape[1])
    while left:
        yield np.zeros((channels, min(left, BLOCK)), np.float32)
        left -= min(left, BLOCK)


def track_blocks(source: InputContainer) -> SoundBlocks:
    """The first sound track of an open file, of the length the file declares where it does so exactly.

    Raises:
        CutShort: there is no sound, or, while it is read, less than declared.
    """
    if not source.streams.audio:
        raise CutShort("it has no sound track")
    stream = source.streams.audio[0]
    return SoundBlocks(rate=stream.rate, channels=stream.channels, blocks=_track(source))


def _track(source: InputContainer) -> Pieces:
    stream = source.streams.audio[0]
    rate, n, declared = stream.rate, 0, None
    if stream.duration is not None and stream.time_base is not None:
        declared = stream.duration * stream.time_base * rate
    exact = "mp4" in source.format.name and declared is not None and declared.denominator == 1
    for block in _frames(source, rate):
        if exact:
            block = block[:, : max(0, int(declared) - n)]  # type: ignore[arg-type]  # the last AAC packet is padded
        n += block.shape[1]
        yield block
    if declared is not None and n < declared - SLACK and _length_is_declared(source):
        raise CutShort(f"it ends after {n} of {int(declared)} samples")


def _frames(source: InputContainer, rate: int) -> Pieces:
    stream = source.streams.audio[0]
    planar = av.AudioResampler(format="fltp", layout=stream.layout, rate=rate)
    for frame in source.decode(stream):
        if frame.sample_rate != rate:
            raise CutShort(f"its sample rate changes from {rate} to {frame.sample_rate}")
        frame.pts = None
        yield from (part.to_ndarray() for part in planar.resample(frame))
    yield from (part.to_ndarray() for part in planar.resample(None))


def _length_is_declared(source: InputContainer) -> bool:
    """False where FFmpeg guesses the length from the bit rate: an MP3 without a Xing or Info header."""
    if source.format.name != "mp3":
        return True
    with open(source.name, "rb") as file:
        head = file.read(10)
        if head[:3] == b"ID3":  # size: four bytes of seven bits
            file.seek(10 + sum(b << s for b, s in zip(head[6:10], (21, 14, 7, 0), strict=True)))
        else:
            file.seek(0)
        frame = file.read(64)
    return b"Xing" in frame or b"Info" in frame


def _open_ffmpeg(path: Path, size: int) -> SoundBlocks:
    with av.open(str(path)) as source:
        found = track_blocks(source)

    def blocks() -> Pieces:
        with av.open(str(path)) as source:
            yield from track_blocks(source).blocks

    return replace(found, blocks=blocks())


def _open_sndfile(path: Path, size: int, least: int = 0) -> SoundBlocks:
    """`least` samples must be there."""
    with soundfile.SoundFile(str(path)) as file:
        rate, channels, length = file.samplerate, file.channels, file.frames

    def blocks() -> Pieces:
        n = 0
        with soundfile.SoundFile(str(path)) as file:
            while len(block := file.read(size, dtype="float32", always_2d=True)):
                n += len(block)
                yield np.ascontiguousarray(block.T)
        if n < least:
            raise CutShort(f"it ends after {n} of {least} samples")

    return SoundBlocks(rate=rate, channels=channels, blocks=blocks(), length=length)


def _open_wav(path: Path, size: int) -> SoundBlocks:
    """libsndfile reads a cut WAV without complaint: the chunk sizes are compared with the file's."""
    n_bytes = path.stat().st_size
    with path.open("rb") as file:
        streamed = file.read(12)[:4] == b"RF64"
        while len(header := file.read(8)) == 8:
            name, length = struct.unpack("<4sI", header)
            if name == b"data":
                left = n_bytes - file.tell()
                if length > left and length < 0xFFFFFF00 and not streamed:  # streamed files leave it at the maximum
                    raise CutShort(f"it ends after {left} of {length} bytes of sound")
                return _open_sndfile(path, size)
            file.seek(length + length % 2, 1)
    raise CutShort("it has no sound data")


def _open_flac(path: Path, size: int) -> SoundBlocks:
    with path.open("rb") as file:
        info = file.read(42)
    if len(info) < 42:
        raise CutShort("its header is cut")
    packed = int.from_bytes(info[18:26], "big")  # 20 bits rate, 3 channels - 1, 5 bits - 1, 36 samples
    rate, channels, declared = packed >> 44, (packed >> 41 & 7) + 1, packed & (1 << 36) - 1
    if declared == 0 and path.stat().st_size < 20_000 and not _has_flac_frame(path):
        return SoundBlocks(rate=rate, channels=channels, blocks=iter(()), length=0)
    return _open_sndfile(path, size, least=declared)


def _has_flac_frame(path: Path) -> bool:
    """Whether anything follows the metadata blocks (one bit last, seven bits type, 24 bits length each)."""
    data, at = path.read_bytes(), 4
    while at + 4 <= len(data):
        last, length = data[at] >> 7, int.from_bytes(data[at + 1 : at + 4], "big")
        at += 4 + length
        if last:
            break
    return at < len(data)


def _open_ogg(path: Path, size: int) -> SoundBlocks:
    """The last page must be whole and carry the end-of-stream flag."""
    with path.open("rb") as file:
        head = file.read(128)
        file.seek(max(0, path.stat().st_size - 131072))
        tail = file.read()
    page = tail[tail.rfind(b"OggS") :]
    whole = len(page) >= 27 and len(page) >= 27 + page[26] + sum(page[27 : 27 + page[26]])
    if not whole or not page[5] & 4:
        raise CutShort("it ends before its last page")
    if b"vorbis" not in head:
        return _open_ffmpeg(path, size)
    declared = int.from_bytes(page[6:14], "little", signed=True)  # a Vorbis page counts the samples up to its end
    return _open_sndfile(path, size, least=declared - SLACK)


_OPENERS = {"WAV": _open_wav, "FLAC": _open_flac, "Ogg": _open_ogg}
