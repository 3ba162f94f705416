"""Sound files: WAV, FLAC and Vorbis through libsndfile, Opus, MP3 and AAC through FFmpeg (PyAV); cut files are refused.

Axes: C channels, L samples.
"""

import io
import struct
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import soundfile
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.error import FFmpegError
from jaxtyping import Float
from numpy import ndarray

from nexus.media.io import PathLike, recognise
from nexus.media.reproducible import clear_serial, clear_time

READABLE = (".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".m4a", ".mp4", ".m4v", ".mov", ".webm", ".mkv")
WRITABLE = (".wav", ".flac", ".ogg", ".opus", ".mp3", ".m4a")
LAYOUTS = {1: "mono", 2: "stereo", 3: "3.0", 4: "4.0", 5: "5.0", 6: "5.1", 7: "6.1", 8: "7.1"}
MPEG_RATES = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000)
SLACK = 4096  # samples a lossy file may lack without being called cut: encoder delay and one frame


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
    if suffix == ".wav":
        soundfile.write(buffer, samples.T, rate, format="WAV", subtype="FLOAT")
    elif suffix == ".flac" and not samples.shape[1]:
        buffer.write(_empty_flac(rate, len(samples)))
    elif suffix == ".flac":
        soundfile.write(buffer, samples.T, rate, format="FLAC", subtype="PCM_24")
    elif suffix == ".ogg":
        with soundfile.SoundFile(buffer, "w", rate, len(samples), "VORBIS", format="OGG") as file:
            for start in range(0, samples.shape[1], rate):  # libsndfile overflows its stack on very long writes
                file.write(samples[:, start : start + rate].T)
    else:
        codec, container = {".opus": ("libopus", "ogg"), ".mp3": ("libmp3lame", "mp3"), ".m4a": ("aac", "ipod")}[suffix]
        options = {"movie_timescale": str(rate)} if suffix == ".m4a" else {}  # so that the edit list is exact
        with av.open(buffer, "w", format=container, options=options) as out:
            stream = out.add_stream(codec, rate=rate, layout=LAYOUTS[len(samples)])
            assert isinstance(stream, AudioStream)
            stream.bit_rate = bitrate or 96_000 * len(samples)
            out.start_encoding()
            if samples.shape[1]:
                out.mux(stream.encode(frame_of(samples, rate)))
            out.mux(stream.encode(None))
    with buffer.getbuffer() as written:
        if suffix == ".wav":
            clear_time(written)
        elif suffix in (".ogg", ".opus"):
            clear_serial(written)
    return buffer.getvalue()


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
    path, container = Path(path), recognise(path, READABLE)
    try:
        samples, rate = _DECODERS.get(container, _decode_ffmpeg)(path)
    except (FFmpegError, soundfile.LibsndfileError, CutShort) as error:
        raise ValueError(f"{path} is damaged: {error}") from error
    if not np.isfinite(samples).all():
        raise ValueError(f"{path} is damaged: it holds samples that are not finite numbers")
    return samples, rate


class CutShort(Exception):
    """A file that ends before it says it does."""


def decode_stream(source: InputContainer) -> tuple[Float[ndarray, "C L"], int]:
    """The first sound track of an open file, of the length the file declares where it does so exactly.

    Raises:
        CutShort: there is no sound, or less than declared.
    """
    if not source.streams.audio:
        raise CutShort("it has no sound track")
    stream = source.streams.audio[0]
    rate = stream.rate
    planar = av.AudioResampler(format="fltp", layout=stream.layout, rate=rate)
    chunks, declared = [np.zeros((stream.channels, 0), np.float32)], None
    for frame in source.decode(stream):
        if frame.sample_rate != rate:
            raise CutShort(f"its sample rate changes from {rate} to {frame.sample_rate}")
        frame.pts = None
        chunks += [part.to_ndarray() for part in planar.resample(frame)]
    chunks += [part.to_ndarray() for part in planar.resample(None)]
    samples = np.concatenate(chunks, axis=1)
    if stream.duration is not None and stream.time_base is not None:
        declared = stream.duration * stream.time_base * rate
    if declared is not None and samples.shape[1] < declared - SLACK and _length_is_declared(source):
        raise CutShort(f"it ends after {samples.shape[1]} of {int(declared)} samples")
    if "mp4" in source.format.name and declared is not None and declared.denominator == 1:
        samples = samples[:, : int(declared)]  # the last AAC packet is padded
    return samples, rate


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


def _decode_ffmpeg(path: Path) -> tuple[Float[ndarray, "C L"], int]:
    with av.open(str(path)) as source:
        return decode_stream(source)


def _decode_sndfile(path: Path) -> tuple[Float[ndarray, "C L"], int]:
    samples, rate = soundfile.read(str(path), dtype="float32", always_2d=True)
    return np.ascontiguousarray(samples.T), rate


def _decode_wav(path: Path) -> tuple[Float[ndarray, "C L"], int]:
    """libsndfile reads a cut WAV without complaint: the chunk sizes are compared with the file's."""
    size = path.stat().st_size
    with path.open("rb") as file:
        streamed = file.read(12)[:4] == b"RF64"
        while len(header := file.read(8)) == 8:
            name, length = struct.unpack("<4sI", header)
            if name == b"data":
                left = size - file.tell()
                if length > left and length < 0xFFFFFF00 and not streamed:  # streamed files leave it at the maximum
                    raise CutShort(f"it ends after {left} of {length} bytes of sound")
                return _decode_sndfile(path)
            file.seek(length + length % 2, 1)
    raise CutShort("it has no sound data")


def _decode_flac(path: Path) -> tuple[Float[ndarray, "C L"], int]:
    with path.open("rb") as file:
        info = file.read(42)
    if len(info) < 42:
        raise CutShort("its header is cut")
    packed = int.from_bytes(info[18:26], "big")  # 20 bits rate, 3 channels - 1, 5 bits - 1, 36 samples
    rate, channels, declared = packed >> 44, (packed >> 41 & 7) + 1, packed & (1 << 36) - 1
    if declared == 0 and path.stat().st_size < 20_000 and not _has_flac_frame(path):
        return np.zeros((channels, 0), np.float32), rate
    samples, rate = _decode_sndfile(path)
    if declared and samples.shape[1] != declared:
        raise CutShort(f"it ends after {samples.shape[1]} of {declared} samples")
    return samples, rate


def _empty_flac(rate: int, channels: int) -> bytes:
    """A header alone, which libsndfile would not write: STREAMINFO of 0 samples in blocks of 4096."""
    packed = rate << 44 | channels - 1 << 41 | 23 << 36
    return b"fLaC\x80\0\0\x22" + struct.pack(">HH6xQ16x", 4096, 4096, packed)


def _has_flac_frame(path: Path) -> bool:
    """Whether anything follows the metadata blocks (one bit last, seven bits type, 24 bits length each)."""
    data, at = path.read_bytes(), 4
    while at + 4 <= len(data):
        last, length = data[at] >> 7, int.from_bytes(data[at + 1 : at + 4], "big")
        at += 4 + length
        if last:
            break
    return at < len(data)


def _decode_ogg(path: Path) -> tuple[Float[ndarray, "C L"], int]:
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
        return _decode_ffmpeg(path)
    samples, rate = _decode_sndfile(path)
    declared = int.from_bytes(page[6:14], "little", signed=True)  # a Vorbis page counts the samples up to its end
    if samples.shape[1] < declared - SLACK:
        raise CutShort(f"{declared - samples.shape[1]} of its {declared} samples cannot be decoded")
    return samples, rate


_DECODERS = {"WAV": _decode_wav, "FLAC": _decode_flac, "Ogg": _decode_ogg}
