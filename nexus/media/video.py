"""Moving pictures as a value: immutable 8-bit RGB frames, their exact rate, and their sound.

Axes: F frames, H height, W width.
"""

import base64
import math
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float, UInt8
from numpy import ndarray

from nexus.media.audio import Audio
from nexus.media.clock import exact_rate, sample_at
from nexus.media.image import Image
from nexus.media.io import PathLike, check_suffix, check_writable

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, slots=True, eq=False, init=False, repr=False)
class Video:
    """Frames [F, H, W, 3] uint8 at `fps` a second, and sound of the same length within one frame, or None."""

    frames: UInt8[ndarray, "F H W 3"]
    fps: Fraction
    audio: Audio | None

    def __init__(self, frames: Any, fps: Fraction | int | float | str, audio: Audio | None = None):
        """`frames` is copied; a float `fps` becomes the nearest simple fraction (23.976 is 24000/1001)."""
        array = np.asarray(frames)
        if array.dtype != np.uint8 or array.ndim != 4 or array.shape[3] != 3:
            raise ValueError(f"frames must be uint8 [frames, height, width, 3], got {array.dtype} {list(array.shape)}")
        rate = exact_rate(fps)
        array = np.array(array, order="C")
        array.flags.writeable = False
        object.__setattr__(self, "frames", array)
        object.__setattr__(self, "fps", rate)
        object.__setattr__(self, "audio", audio)
        if audio is not None and abs(audio.duration - self.duration) > 1 / rate:
            raise ValueError(
                f"sound of {audio.seconds:.3f} s does not fit pictures of {float(self.duration):.3f} s; "
                "with_audio cuts or pads it"
            )

    @classmethod
    def empty(cls, height: int, width: int, fps: Fraction | int | float | str) -> "Video":
        return cls(np.zeros((0, height, width, 3), np.uint8), fps)

    @classmethod
    def load(cls, path: PathLike) -> "Video":
        """Reads MP4, MOV, WebM, Matroska or GIF; sound of another length is cut or padded to the pictures.

        Raises:
            OSError: the file cannot be opened.
            ValueError: it is damaged, cut short, not what its name says, or has no pictures.
        """
        if Path(path).suffix.lower() == ".gif":
            from nexus.media.gif import read_gif

            return cls(*read_gif(path))
        from nexus.media.video_io import READABLE, read_video

        check_suffix(path, (*READABLE, ".gif"))
        frames, fps, audio = read_video(path)
        video = cls(frames, fps)
        if audio is None or abs(audio.duration - video.duration) > 1 / fps:
            return video.with_audio(audio)
        return cls(frames, fps, audio)

    @classmethod
    def from_tensor(
        cls, tensor: "Float[torch.Tensor, 'C F H W']", fps: Fraction | int | float | str, audio: Audio | None = None
    ) -> "Video":
        """From numbers in [-1, 1], clamped; one channel becomes grey."""
        values = tensor.detach().cpu().float().clamp(-1, 1)
        if not bool(values.isfinite().all()):
            raise ValueError("a video must be finite numbers in [-1, 1], got NaN or infinity")
        frames = ((values + 1) * 127.5).round().byte().permute(1, 2, 3, 0).numpy()
        return cls(np.repeat(frames, 3, axis=3) if frames.shape[3] == 1 else frames, fps, audio)

    @classmethod
    def concatenate(cls, parts: Sequence["Video"]) -> "Video":
        """One after another, each part's sound at its pictures; parts without sound are silent if any has some."""
        if not parts:
            raise ValueError("at least one video is needed, got none; Video.empty(height, width, fps) is the empty one")
        kinds = {(part.height, part.width, part.fps) for part in parts}
        if len(kinds) > 1:
            found = ", ".join(f"{h}x{w} at {fps}" for h, w, fps in sorted(kinds))
            raise ValueError(f"videos must share one size and rate, got {found}; resize them first")
        whole = cls(np.concatenate([part.frames for part in parts]), parts[0].fps)
        return whole.with_audio(_joined_sound(parts))

    @property
    def length(self) -> int:
        """Frames."""
        return len(self.frames)

    @property
    def height(self) -> int:
        return self.frames.shape[1]

    @property
    def width(self) -> int:
        return self.frames.shape[2]

    @property
    def duration(self) -> Fraction:
        """Seconds, exactly."""
        return self.length / self.fps

    @property
    def seconds(self) -> float:
        return float(self.duration)

    def save(self, path: PathLike) -> None:
        """Writes MP4 (H.264, AAC), WebM (VP9, Opus) or GIF (which has no sound), all of it or nothing."""
        from nexus.media.gif import write_gif
        from nexus.media.video_io import write_video

        suffix = check_suffix(path, (".mp4", ".webm", ".gif"))
        check_writable(path)
        if not self.length:
            raise ValueError("a video without frames cannot be saved")
        if suffix == ".gif":
            write_gif(path, self.frames, self.fps)
        else:
            write_video(path, self.frames, self.fps, (self.height, self.width), self.audio)

    def cut(self, start: int, stop: int | None = None) -> "Video":
        """Frames start..stop and their sound; they must lie inside, and `stop` is the end where not given."""
        stop = self.length if stop is None else stop
        if not 0 <= start <= stop <= self.length:
            raise ValueError(f"a cut must lie in 0..{self.length} frames, got {start}..{stop}")
        return Video(self.frames[start:stop], self.fps, self._sound_between(start, stop))

    def resize(self, height: int, width: int) -> "Video":
        """Antialiased (Lanczos), every frame to exactly this size."""
        if (height, width) == (self.height, self.width):
            return self
        frames = [Image(frame).resize(height, width).pixels for frame in self.frames]
        shape = (self.length, height, width, 3)
        return Video(np.stack(frames) if frames else np.zeros(shape, np.uint8), self.fps, self.audio)

    def with_audio(self, audio: Audio | None) -> "Video":
        """With other sound, cut or padded with silence to the pictures' length; None takes it away."""
        if audio is not None:
            audio = audio.fit(sample_at(self.length, self.fps, audio.rate))
        return Video(self.frames, self.fps, audio)

    def frame(self, index: int) -> Image:
        return Image(self.frames[index])

    def contact_sheet(self, columns: int = 4, count: int | None = None) -> Image:
        """`count` frames (all by default), evenly spread, in rows of `columns`; missing ones are white."""
        if columns < 1 or (count is not None and count < 1):
            raise ValueError(f"columns and count must be at least 1, got {columns} and {count}")
        if not self.length:
            raise ValueError("a video without frames has no contact sheet")
        count = self.length if count is None else min(count, self.length)
        picked = [self.frames[(2 * i + 1) * self.length // (2 * count)] for i in range(count)]
        rows = math.ceil(count / columns)
        sheet = np.full((rows * self.height, columns * self.width, 3), 255, np.uint8)
        for i, frame in enumerate(picked):
            top, left = i // columns * self.height, i % columns * self.width
            sheet[top : top + self.height, left : left + self.width] = frame
        return Image(sheet)

    def tensor(self) -> "Float[torch.Tensor, 'C F H W']":
        """float32 in [-1, 1]."""
        import torch

        return torch.from_numpy(self.frames.transpose(3, 0, 1, 2).astype(np.float32) / 127.5 - 1)

    def _sound_between(self, start: int, stop: int) -> Audio | None:
        if self.audio is None:
            return None
        begin, end = (sample_at(frame, self.fps, self.audio.rate) for frame in (start, stop))
        return self.audio.fit(max(end, self.audio.length)).cut(begin, end)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Video) or (self.fps, self.audio) != (other.fps, other.audio):
            return False
        return np.array_equal(self.frames, other.frames)

    def __hash__(self) -> int:
        return hash((self.fps, self.audio, self.frames.shape, self.frames.tobytes()))

    def __repr__(self) -> str:
        sound = f", {self.audio!r}" if self.audio is not None else ""
        return f"Video({self.width}x{self.height}, {self.length} frames at {self.fps} fps{sound})"

    def _repr_html_(self) -> str:
        if not self.length or self.height % 2 or self.width % 2:
            return f"<div>{self!r}</div>"
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "video.mp4"
            self.save(path)
            source = base64.b64encode(path.read_bytes()).decode()
        return f'<video controls loop src="data:video/mp4;base64,{source}"></video><div>{self!r}</div>'


def _joined_sound(parts: Sequence[Video]) -> Audio | None:
    """Every part's sound cut or padded to its pictures on the common clock, so that nothing drifts."""
    sounds = [part.audio for part in parts if part.audio is not None]
    if not sounds:
        return None
    rate, frame, pieces = max(sound.rate for sound in sounds), 0, []
    for part in parts:
        length = sample_at(frame + part.length, part.fps, rate) - sample_at(frame, part.fps, rate)
        pieces.append((part.audio.resample(rate) if part.audio is not None else Audio.silence(0, rate)).fit(length))
        frame += part.length
    return Audio.concatenate(pieces)
