"""Sound files: WAV, FLAC and Vorbis through libsndfile, Opus, MP3 and AAC through FFmpeg (PyAV).

Axes: C channels, L samples.
"""

import errno
import io
import mmap
import struct
from collections.abc import Iterable
from fractions import Fraction

import av
import numpy as np
import soundfile
from av.audio.stream import AudioStream
from av.container import InputContainer
from jaxtyping import Float
from numpy import ndarray

from nexus.media.audio_blocks import SoundBlocks, open_blocks, regular, track_blocks
from nexus.media.io import PathLike, atomic
from nexus.media.reproducible import clear_serial, clear_time

WRITABLE = (".wav", ".flac", ".ogg", ".opus", ".mp3", ".m4a")
LAYOUTS = {1: "mono", 2: "stereo", 3: "3.0", 4: "4.0", 5: "5.0", 6: "5.1", 7: "6.1", 8: "7.1"}
MPEG_RATES = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000)


def supported_rate(suffix: str, rate: int) -> int:
    """The sample rate a format will hold: its own where it can, else the next above, else its highest."""
    if suffix == ".opus":
        return 48000
    if suffix in (".mp3", ".m4a"):
        return next((r for r in MPEG_RATES if r >= rate), MPEG_RATES[-1])
    return rate


def max_channels(suffix: str) -> int:
    return {".mp3": 2, ".wav": 1024}.get(suffix, 8)


def encode(samples: Float[ndarray, "C L"], rate: int, suffix: str, bitrate: int | None = None) -> bytes:
    """A whole sound file, the same bytes for the same samples; `rate` must be a supported one.

    bitrate: in bits per second, for Opus, MP3 and AAC.
    """
    buffer = io.BytesIO()
    if suffix == ".flac" and not samples.shape[1]:
        return _empty_flac(rate, len(samples))
    write_blocks(buffer, suffix, iter([samples]), rate, len(samples), bitrate)
    with buffer.getbuffer() as written:
        _make_reproducible(written, suffix)
    return buffer.getvalue()


def save_blocks(path: PathLike, blocks: Iterable[Float[ndarray, "C _"]], rate: int, channels: int) -> None:
    """Writes a sound as its pieces come, all of it or nothing; `rate` must be a supported one.

    Raises:
        OSError: the file could not be written.
    """
    with atomic(path) as temporary:
        suffix = temporary.suffix.lower()
        with temporary.open("w+b") as file:
            try:
                write_blocks(file, suffix, blocks, rate, channels)
            except soundfile.LibsndfileError as error:
                said = f"could not be written ({error.error_string}); is the disk full?"
                raise OSError(errno.EIO, said, str(path)) from error
        if suffix != ".m4a" and temporary.stat().st_size:
            with temporary.open("r+b") as file, mmap.mmap(file.fileno(), 0) as written, memoryview(written) as view:
                _make_reproducible(view, suffix)


def write_blocks(
    file: io.BytesIO | io.BufferedRandom,
    suffix: str,
    blocks: Iterable[Float[ndarray, "C _"]],
    rate: int,
    channels: int,
    bitrate: int | None = None,
) -> None:
    """Encodes pieces into an open file."""
    kinds = {".wav": ("WAV", "FLOAT"), ".flac": ("FLAC", "PCM_24"), ".ogg": ("OGG", "VORBIS")}
    if suffix in kinds:
        container, subtype = kinds[suffix]
        # By its descriptor where there is one: Ctrl-C or a full disk within a callback of libsndfile would be lost.
        place = file if isinstance(file, io.BytesIO) else file.fileno()
        with soundfile.SoundFile(place, "w", rate, channels, subtype, format=container, closefd=False) as out:
            for block in regular(blocks, rate):  # libsndfile overflows its stack on very long writes of Vorbis
                out.write(block.T)
        return
    codec, container = {".opus": ("libopus", "ogg"), ".mp3": ("libmp3lame", "mp3"), ".m4a": ("aac", "ipod")}[suffix]
    options = {"movie_timescale": str(rate)} if suffix == ".m4a" else {}  # so that the edit list is exact
    with av.open(file, "w", format=container, options=options) as out:  # type: ignore[arg-type]  # type: ignore[arg-type]
        stream, n = out.add_stream(codec, rate=rate, layout=LAYOUTS[channels]), 0
        assert isinstance(stream, AudioStream)
        stream.bit_rate = bitrate or 96_000 * channels
        out.start_encoding()
        for block in blocks:
            if block.shape[1]:
                out.mux(stream.encode(frame_of(block, rate, n)))
            n += block.shape[1]
        out.mux(stream.encode(None))


def _make_reproducible(written: memoryview, suffix: str) -> None:
    if suffix == ".wav":
        clear_time(written)
    elif suffix in (".ogg", ".opus"):
        clear_serial(written)


def frame_of(samples: Float[ndarray, "C L"], rate: int, start: int = 0) -> av.AudioFrame:
    """One frame for an encoder, beginning `start` samples into its stream."""
    frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples), format="fltp", layout=LAYOUTS[len(samples)])
    frame.sample_rate, frame.pts, frame.time_base = rate, start, Fraction(1, rate)
    return frame


def decode(path: PathLike) -> tuple[Float[ndarray, "C L"], int]:
    """Samples and rate of a sound file, or of the first sound track of a video file.

    Raises:
        OSError: it cannot be opened.
        ValueError: it is not what its name says, damaged, cut short, or has no sound.
    """
    return _joined(open_blocks(path))


def decode_stream(source: InputContainer) -> tuple[Float[ndarray, "C L"], int]:
    """The first sound track of an open file, of the length the file declares where it does so exactly.

    Raises:
        CutShort: there is no sound, or less than declared.
    """
    return _joined(track_blocks(source))


def _joined(sound: SoundBlocks) -> tuple[Float[ndarray, "C L"], int]:
    none = np.zeros((sound.channels, 0), np.float32)
    return np.concatenate([none, *sound.blocks], axis=1), sound.rate


def _empty_flac(rate: int, channels: int) -> bytes:
    """A header alone, which libsndfile would not write: STREAMINFO of 0 samples in blocks of 4096."""
    packed = rate << 44 | channels - 1 << 41 | 23 << 36
    return b"fLaC\x80\0\0\x22" + struct.pack(">HH6xQ16x", 4096, 4096, packed)
