"""Video files: H.264 + AAC in MP4, VP9 + Opus in WebM, through FFmpeg (PyAV); pictures and sound on one exact clock.

Axes: F frames, H height, W width.
"""

import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.container import InputContainer, OutputContainer
from av.error import FFmpegError
from av.video.reformatter import ColorRange, Colorspace
from jaxtyping import UInt8
from numpy import ndarray

from nexus.media.audio import Audio
from nexus.media.audio_blocks import CutShort
from nexus.media.audio_io import decode_stream, frame_of, supported_rate
from nexus.media.clock import sample_at
from nexus.media.io import PathLike, atomic, check_suffix, recognise

READABLE = (".mp4", ".m4v", ".mov", ".webm", ".mkv")
WRITABLE = (".mp4", ".webm")
BT709 = 1  # FFmpeg's number for these primaries, transfer curve and matrix

_ASS_HEADER = b"""[Script Info]
ScriptType: v4.00+
[V4+ Styles]
Format: Name, Fontname, Fontsize
Style: Default,Arial,16
[Events]
Format: Layer, Start, End, Style, Name, MarginL, MarginR, MarginV, Effect, Text
"""


@dataclass(frozen=True, kw_only=True)
class Cue:
    """Words shown from `start` to `stop`, in seconds: a subtitle, or a chapter and its title."""

    start: Fraction
    stop: Fraction
    text: str


def write_video(
    path: PathLike,
    frames: Iterable[UInt8[ndarray, "H W 3"]],
    fps: Fraction,
    size: tuple[int, int],
    audio: Audio | None = None,
    *,
    subtitles: Sequence[Cue] = (),
    chapters: Sequence[Cue] = (),
    metadata: Mapping[str, str] | None = None,
    crf: int = 18,
) -> int:
    """Encodes frames as they come, all of the file or nothing; returns how many there were.

    size: (height, width), both even; subtitles become a soft track (MP4 only).
    """
    suffix = check_suffix(path, WRITABLE)
    height, width = size
    if height % 2 or width % 2 or min(size) < 2:
        nearest = f"{max(height + height % 2, 2)}x{max(width + width % 2, 2)}"
        raise ValueError(f"{suffix} needs an even height and width, got {height}x{width}; resize to {nearest} first")
    if subtitles and suffix != ".mp4":
        raise ValueError(f"a subtitle track needs .mp4, got {suffix}")
    if audio is not None:
        audio = audio.resample(supported_rate(".m4a" if suffix == ".mp4" else ".opus", audio.rate))
        audio = audio if audio.channels <= 8 else audio.mono()
    with (
        atomic(path) as temporary,
        av.open(str(temporary), "w", format=suffix[1:], options=_muxer(suffix, fps, audio)) as out,
    ):
        out.metadata.update(metadata or {})
        video = _video_stream(out, suffix, fps, size, crf)
        sound = _SoundTrack(out, suffix, audio, fps) if audio is not None else None
        words = _subtitle_stream(out) if subtitles else None
        if chapters:
            out.set_chapters([_chapter(i, cue) for i, cue in enumerate(chapters)])
        out.start_encoding()
        count = 0
        for count, pixels in enumerate(frames, 1):
            frame = _picture(pixels, size)
            frame.pts, frame.time_base = count - 1, 1 / fps
            _mux(out, video.encode(frame))
            if sound is not None:
                sound.write_up_to(count)
        if not count:
            raise ValueError("a video file needs at least one frame, got none")
        if audio is not None and abs(audio.duration - count / fps) > 1 / fps:
            raise ValueError(f"sound of {audio.seconds:.3f} s does not fit {count} frames at {fps} fps")
        _mux(out, video.encode(None))
        if sound is not None:
            sound.finish()
        for cue in subtitles:
            out.mux(_subtitle(words, cue))
    return count


def _muxer(suffix: str, fps: Fraction, audio: Audio | None) -> dict[str, str]:
    """MP4 clocks on which every frame and sample falls exactly; WebM without the random name of a segment."""
    if suffix != ".mp4":
        return {"fflags": "+bitexact"}
    ticks = fps.numerator * -(-10000 // fps.numerator)
    rate = 1000 if audio is None else audio.rate
    return {"video_track_timescale": str(ticks), "movie_timescale": str(rate), "movflags": "+faststart"}


def _video_stream(out: OutputContainer, suffix: str, fps: Fraction, size: tuple[int, int], crf: int):
    codec, options = (
        ("libx264", {"crf": str(crf)}) if suffix == ".mp4" else ("libvpx-vp9", {"crf": str(crf + 10), "b": "0"})
    )
    options |= {"preset": "medium"} if suffix == ".mp4" else {"deadline": "good", "cpu-used": "4", "row-mt": "1"}
    stream = out.add_stream(codec, rate=fps, options=options)
    stream.height, stream.width = size
    stream.pix_fmt = "yuv420p"
    context = stream.codec_context
    context.time_base = 1 / fps
    context.colorspace = context.color_primaries = context.color_trc = BT709
    context.color_range = ColorRange.MPEG
    return stream


def _picture(pixels: ndarray, size: tuple[int, int]) -> av.VideoFrame:
    if pixels.shape != (*size, 3) or pixels.dtype != np.uint8:
        raise ValueError(f"frames must be uint8 [{size[0]}, {size[1]}, 3], got {pixels.dtype} {list(pixels.shape)}")
    rgb = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")
    frame = rgb.reformat(
        format="yuv420p",
        dst_colorspace=Colorspace.ITU709,
        src_color_range=ColorRange.JPEG,
        dst_color_range=ColorRange.MPEG,
    )
    frame.colorspace = frame.color_primaries = frame.color_trc = BT709
    return frame


def _mux(out: OutputContainer, packets: Sequence[av.Packet]) -> None:
    for packet in packets:
        packet.duration = packet.duration or 1  # without it the last frame would have no length
        out.mux(packet)


class _SoundTrack:
    """Sound written next to the pictures it belongs to, so that neither waits long for the other."""

    def __init__(self, out: OutputContainer, suffix: str, audio: Audio, fps: Fraction):
        layouts = {1: "mono", 2: "stereo", 6: "5.1"}
        layout = layouts.get(audio.channels)
        if layout is None:
            raise ValueError(f"a video's sound has 1, 2 or 6 channels, got {audio.channels}; to_channels(1) first")
        self.out, self.audio, self.fps, self.written = out, audio, fps, 0
        self.stream = out.add_stream("aac" if suffix == ".mp4" else "libopus", rate=audio.rate, layout=layout)
        self.stream.bit_rate = 96_000 * audio.channels

    def write_up_to(self, frame: int) -> None:
        self._write(min(sample_at(frame, self.fps, self.audio.rate), self.audio.length))

    def finish(self) -> None:
        self._write(self.audio.length)
        self.out.mux(self.stream.encode(None))

    def _write(self, stop: int) -> None:
        if stop > self.written:
            chunk = self.audio.samples[:, self.written : stop]
            self.out.mux(self.stream.encode(frame_of(chunk, self.audio.rate, self.written)))
            self.written = stop


def _subtitle_stream(out: OutputContainer):
    stream = out.add_stream("mov_text")
    stream.codec_context.subtitle_header = _ASS_HEADER
    stream.codec_context.time_base = Fraction(1, 1000)
    stream.time_base = Fraction(1, 1000)
    return stream


def _subtitle(stream, cue: Cue) -> av.Packet:
    """A timed-text sample (3GPP TS 26.245): the byte count of the words, then the words."""
    words = cue.text.encode()
    packet = av.Packet(len(words).to_bytes(2, "big") + words)
    packet.stream, packet.time_base = stream, Fraction(1, 1000)
    packet.pts = packet.dts = round(cue.start * 1000)
    packet.duration = round(cue.stop * 1000) - packet.pts
    return packet


def _chapter(index: int, cue: Cue) -> Any:
    clock = Fraction(1, 1000)
    start, end = round(cue.start * 1000), round(cue.stop * 1000)
    return {"id": index, "start": start, "end": end, "time_base": clock, "metadata": {"title": cue.text}}


def read_video(path: PathLike) -> tuple[UInt8[ndarray, "F H W 3"], Fraction, Audio | None]:
    """Frames, upright, on a constant clock, frames per second, and the sound aligned to the first frame.

    A file of varying frame rate is put on a clock of its average rate, repeating or leaving out frames.

    Raises:
        OSError: the file cannot be opened.
        ValueError: it is damaged, cut short, not what its name says, or has no pictures.
    """
    path = Path(path)
    recognise(path, READABLE)
    try:
        with av.open(str(path)) as source:
            frames, fps, start = _read_pictures(source)
        with av.open(str(path)) as source:
            audio = _read_sound(source, start) if source.streams.audio else None
    except (FFmpegError, CutShort) as error:
        raise ValueError(f"{path} is damaged: {error}") from error
    return frames, fps, audio


def _read_pictures(source: InputContainer) -> tuple[ndarray, Fraction, Fraction]:
    if not source.streams.video:
        raise CutShort("it has no pictures")
    stream = source.streams.video[0]
    stream.thread_type = "AUTO"
    fps = Fraction(stream.average_rate or stream.guessed_rate or 25)
    pictures, times, matrix = [], [], None
    for frame in source.decode(stream):
        if frame.is_corrupt:
            raise CutShort(f"frame {len(times)} cannot be decoded")
        if not pictures and (side := frame.side_data.get("DISPLAYMATRIX")) is not None:
            matrix = bytes(side)
        pictures.append(frame.to_ndarray(format="rgb24"))
        if frame.pts is None or frame.time_base is None:
            times.append(len(times) / fps)
        else:
            times.append(frame.pts * frame.time_base)
    if not pictures:
        raise CutShort("it has no pictures")
    if stream.frames and len(pictures) < stream.frames:
        raise CutShort(f"it ends after {len(pictures)} of {stream.frames} frames")
    declared = _declared_end(stream)
    if declared is not None and times[-1] + 2 / fps < declared:
        raise CutShort(f"it ends after {float(times[-1]):.2f} of {float(declared):.2f} seconds")
    slots = {round((time - times[0]) * fps): picture for time, picture in zip(times, pictures, strict=True)}
    shown = [_upright(picture, matrix) for picture in _held(slots, max(slots) + 1)]
    return np.stack(shown), fps, times[0]


def _upright(picture: UInt8[ndarray, "H W 3"], matrix: bytes | None) -> UInt8[ndarray, "Y X 3"]:
    """A picture turned and mirrored as its file says (ISO/IEC 14496-12, 8.3.2), to the nearest quarter turn.

    matrix: nine numbers of fixed point, row by row; (x, y) is shown at (a x + c y, b x + d y), moved into view.
    """
    if matrix is None:
        return picture
    a, b, _, c, d = struct.unpack_from("=5i", matrix)
    if abs(b) + abs(c) > abs(a) + abs(d):
        picture, a, d = picture.swapaxes(0, 1), c, b
    return picture[:: -1 if d < 0 else 1, :: -1 if a < 0 else 1]


def _declared_end(stream) -> Fraction | None:
    """Where Matroska's tags say the pictures end, in seconds."""
    tag = stream.metadata.get("DURATION", "")
    if tag.count(":") != 2:
        return None
    hours, minutes, seconds = tag.split(":")
    return int(hours) * 3600 + int(minutes) * 60 + Fraction(seconds)


def _held(slots: dict[int, ndarray], count: int) -> Iterator[ndarray]:
    """Every slot's picture, or the last one shown."""
    picture = slots[0]
    for index in range(count):
        picture = slots.get(index, picture)
        yield picture


def _read_sound(source: InputContainer, start: Fraction) -> Audio:
    stream = source.streams.audio[0]
    begin = (stream.start_time or 0) * stream.time_base if stream.time_base else Fraction(0)
    audio = Audio(*decode_stream(source))
    late = round((begin - start) * audio.rate)
    return audio.pad(before=late) if late > 0 else audio.cut(min(-late, audio.length))
