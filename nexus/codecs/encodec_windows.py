"""EnCodec at 48 kHz (arXiv:2210.13438): windows of a second, each at its own loudness, faded into one another.

A codec that normalises over a whole layer can't be causal, so sound is cut into overlapping windows. Each is divided
by its root mean square, which is sent along as its scale, and coded alone; decoded windows are added under triangles.
Official weights: `facebook/encodec_48khz` (MIT).
Axes: B batch, C channels, L waveform samples, K codebooks, T frames of all windows in turn, W windows.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from nexus.codecs.codec import Codec
from nexus.codecs.encodec import Encodec, EncodecConfig, EncodecOutput
from nexus.codecs.seanet import SEANetConfig
from nexus.nn.checkpoint import save_folder
from nexus.nn.quantize import QuantizerConfig

_TOGETHER = 8  # windows in one batch: what hours of sound need stays small


def _stereo() -> EncodecConfig:
    return EncodecConfig(
        sample_rate=48000,
        channels=2,
        seanet=SEANetConfig(causal=False, weight_norm=False, group_norm=True),
        quantizer=QuantizerConfig(n_codebooks=16),
    )


@dataclass(frozen=True, kw_only=True)
class WindowedEncodecConfig:
    codec: EncodecConfig = field(default_factory=_stereo)
    window_length: int = 48000  # samples
    stride: int = 47520  # samples between the starts of windows

    def __post_init__(self):
        if not 0 < self.stride <= self.window_length:
            raise ValueError(f"stride must be 1 to window_length {self.window_length}, got {self.stride}")

    @staticmethod
    def encodec_48khz() -> "WindowedEncodecConfig":
        """Stereo, 150 Hz, 3 to 24 kbps."""
        return WindowedEncodecConfig()


class WindowedCodes(NamedTuple):
    """Codes of windows, one after another, their scales, and how many samples they stand for."""

    codes: Int[Tensor, "B K T"]
    scales: Float[Tensor, "B W"]
    length: int


class WindowedEncodec(Codec):
    def __init__(self, config: WindowedEncodecConfig):
        super().__init__()
        self.config = config
        self.codec = Encodec(config.codec)

    @property
    def sample_rate(self) -> int:
        return self.codec.sample_rate

    @property
    def hop_length(self) -> int:
        return self.codec.hop_length

    @property
    def frame_rate(self) -> float:
        """Of one window; the overlap adds its share to the whole."""
        return self.codec.frame_rate

    @property
    def codebook_size(self) -> int:
        return self.codec.codebook_size

    @property
    def n_codebooks(self) -> int:
        return self.codec.n_codebooks

    @property
    def channels(self) -> int:
        return self.codec.channels

    def bitrate_of(self, n_codebooks: int) -> float:
        """With the overlap of windows and their scales."""
        stride, window = self.config.stride, self.config.window_length
        return self.codec.bitrate_of(n_codebooks) * window / stride + 32 * self.sample_rate / stride

    def codebooks_at(self, bandwidth: float) -> int:
        """How many codebooks fit into `bandwidth` kbps."""
        return self.codec.codebooks_at(bandwidth)

    def window_lengths(self, length: int) -> list[int]:
        """Samples in each window of a waveform; the last ones are shorter."""
        return [min(self.config.window_length, length - start) for start in range(0, length, self.config.stride)]

    def window_frames(self, length: int) -> list[int]:
        """Frames of codes in each window of a waveform."""
        return [-(-window // self.hop_length) for window in self.window_lengths(length)]

    def forward(
        self,
        waveform: Float[Tensor, "B C L"],
        n_codebooks: int | None = None,
        generator: torch.Generator | None = None,
    ) -> EncodecOutput:
        """Reconstructs crops of at most one window, for training.

        Raises:
            ValueError: longer crops; their windows are coded by `encode`.
        """
        if waveform.shape[-1] > self.config.window_length:
            raise ValueError(
                f"training crops are at most {self.config.window_length} samples, got {waveform.shape[-1]}"
            )
        normal, scale = normalised(waveform)
        result = self.codec(normal, n_codebooks, generator)
        return EncodecOutput(result.waveform * scale, result.codes, result.commitment, result.perplexity)

    @torch.inference_mode()
    def encode(
        self, waveform: Float[Tensor, "B C L"], bandwidth: float | None = None, n_codebooks: int | None = None
    ) -> WindowedCodes:
        """Codes and scales; `bandwidth` (kbps) or `n_codebooks` as for `Encodec.encode`."""
        self.check_waveform(waveform)
        lengths = self.window_lengths(waveform.shape[-1])
        codes, scales = [], []
        for run in _runs(lengths):
            starts = [w * self.config.stride for w in run]
            windows = torch.stack([waveform[..., start : start + lengths[run[0]]] for start in starts], dim=1)
            normal, scale = normalised(windows.flatten(0, 1))
            codes += self.codec.encode(normal, bandwidth, n_codebooks).unflatten(0, (-1, len(run))).unbind(1)
            scales.append(scale.view(-1, len(run)))
        return WindowedCodes(torch.cat(codes, dim=-1), torch.cat(scales, dim=1), waveform.shape[-1])

    @torch.inference_mode()
    def decode(self, coded: WindowedCodes) -> Float[Tensor, "B C L"]:
        """The waveform, of `coded.length` samples.

        Raises:
            ValueError: codes or scales that are not of so many samples.
        """
        frames = self._checked_frames(coded)
        parts, faded, waveform = coded.codes.split(frames, dim=-1), OverlapAdd(self.config.stride), []
        for run in _runs(frames):
            together = torch.stack([parts[w] for w in run], dim=1)  # [B, W, K, T]
            windows = self.codec.decode(together.flatten(0, 1)).unflatten(0, (-1, len(run)))
            scaled = windows * coded.scales[:, run.start : run.stop, None, None]
            waveform += [faded.add(window) for window in scaled.unbind(1)]
        return torch.cat([*waveform, faded.rest()], dim=-1)[..., : coded.length]

    def _checked_frames(self, coded: WindowedCodes) -> list[int]:
        frames = self.window_frames(coded.length)
        if not frames:
            raise ValueError(f"length must be at least one sample, got {coded.length}")
        if coded.codes.shape[-1] != sum(frames) or coded.scales.shape[-1] != len(frames):
            raise ValueError(
                f"{coded.length} samples are {len(frames)} windows of {sum(frames)} frames together, got "
                f"{coded.scales.shape[-1]} scales and {coded.codes.shape[-1]} frames"
            )
        return frames

    @contextmanager
    def streaming(self) -> Iterator["WindowedStream"]:
        """`with codec.streaming() as s: s.encode(chunk) ... s.decode(window) ...`: look-ahead is a whole window."""
        with torch.inference_mode():
            yield WindowedStream(self)

    def save(self, folder: str | Path, dtype: torch.dtype | None = None) -> None:
        save_folder(self, folder, kind="encodec-windows", config=self.config, dtype=dtype)


class WindowedStream:
    """Encodes and decodes window by window; the two directions are independent."""

    def __init__(self, codec: WindowedEncodec):
        self.codec = codec
        self._waiting: Tensor | None = None
        self._faded = OverlapAdd(codec.config.stride)

    def encode(
        self,
        chunk: Float[Tensor, "B C L"],
        *,
        bandwidth: float | None = None,
        n_codebooks: int | None = None,
        last: bool = False,
    ) -> list[WindowedCodes]:
        """The windows that are complete with this chunk, of any length; maybe none yet."""
        self.codec.check_samples(chunk)
        config = self.codec.config
        waiting = chunk if self._waiting is None else torch.cat([self._waiting, chunk], dim=-1)
        done = []
        while waiting.shape[-1] >= (1 if last else config.window_length):
            window = waiting[..., : config.window_length]
            normal, scale = normalised(window)
            codes = self.codec.codec.encode(normal, bandwidth, n_codebooks)
            done.append(WindowedCodes(codes, scale[..., 0], window.shape[-1]))
            waiting = waiting[..., config.stride :]
        self._waiting = waiting
        return done

    def decode(self, window: WindowedCodes, *, last: bool = False) -> Float[Tensor, "B C L"]:
        """Samples that no later window changes. Together they may be longer than what was encoded: cut them."""
        waveform = self.codec.codec.decode(window.codes) * window.scales[..., None]
        done = self._faded.add(waveform)
        return torch.cat([done, self._faded.rest()], dim=-1) if last else done


def normalised(waveform: Float[Tensor, "B C L"]) -> tuple[Float[Tensor, "B C L"], Float[Tensor, "B 1 1"]]:
    """The waveform over the root mean square of its channels' mean, and that."""
    scale = waveform.mean(1, keepdim=True).square().mean(2, keepdim=True).sqrt() + 1e-8
    return waveform / scale, scale


class OverlapAdd:
    """Adds windows, `stride` apart, under triangles as long as the first; one that stands alone stays as it is."""

    def __init__(self, stride: int):
        self.stride = stride
        self._weights: Tensor | None = None
        self._dtype = torch.float32
        self._sum = self._total = torch.zeros(0)

    def add(self, window: Float[Tensor, "B C L"]) -> Float[Tensor, "B C S"]:
        """Samples up to the start of the next window."""
        n = window.shape[-1]
        if self._weights is None:
            precise = torch.promote_types(window.dtype, torch.float32)  # the least weights are next to nothing
            t = torch.linspace(0, 1, n + 2, device=window.device, dtype=precise)[1:-1]
            self._weights, self._dtype = 0.5 - (t - 0.5).abs(), window.dtype
            self._sum, self._total = window[..., :0].to(precise), self._weights[:0]
        missing = max(n - len(self._total), 0)
        self._sum, self._total = F.pad(self._sum, (0, missing)), F.pad(self._total, (0, missing))
        self._sum[..., :n] += self._weights[:n] * window
        self._total[:n] += self._weights[:n]
        done = self.rest()[..., : self.stride]
        self._sum, self._total = self._sum[..., self.stride :], self._total[self.stride :]
        return done

    def rest(self) -> Float[Tensor, "B C S"]:
        """Samples from there on, of the windows so far."""
        return (self._sum / self._total).to(self._dtype)


def _runs(sizes: list[int]) -> Iterator[range]:
    """Indices of neighbours of equal size, a few at a time."""
    start = 0
    while start < len(sizes):
        stop = start + 1
        while stop < min(len(sizes), start + _TOGETHER) and sizes[stop] == sizes[start]:
            stop += 1
        yield range(start, stop)
        start = stop
