"""Inverse short-time Fourier transform with overlap-add, whole or as a stream.

Axes: B batch, F frequency bins, T frames, L waveform samples.
"""

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Complex, Float
from torch import Tensor, nn


@dataclass
class OverlapState:
    """Sums that later frames still add to, and how many samples of the padded signal came before them."""

    signal: Tensor
    envelope: Tensor
    position: int = 0


class InverseSTFT(nn.Module):
    """Waveform of a Hann-windowed spectrogram, normalised by the sum of squared windows.

    Padding "center" cuts n_fft / 2 samples at both ends, L = (T - 1) hop; "same" cuts (n_fft - hop) / 2, L = T hop.
    """

    window: Tensor

    def __init__(self, n_fft: int, hop_length: int, padding: Literal["center", "same"]):
        super().__init__()
        self.n_fft, self.hop_length = n_fft, hop_length
        self.cut = n_fft // 2 if padding == "center" else (n_fft - hop_length) // 2
        self.register_buffer("window", torch.hann_window(n_fft), persistent=False)

    def forward(self, spectrum: Complex[Tensor, "B F T"]) -> Float[Tensor, "B L"]:
        signal, envelope = self._overlap(spectrum)
        stop = signal.shape[-1] - self.cut
        return signal[..., self.cut : stop] / envelope[..., self.cut : stop]

    def stream(
        self, spectrum: Complex[Tensor, "B F T"], state: OverlapState | None, last: bool = False
    ) -> tuple[Float[Tensor, "B L"], OverlapState]:
        """Samples that no later frame reaches; `last` gives the rest."""
        if spectrum.shape[-1]:
            signal, envelope = self._overlap(spectrum)
        else:
            signal, envelope = spectrum.real.new_zeros(spectrum.shape[0], 0), spectrum.real.new_zeros(0)
        position = 0
        if state is not None:
            position = state.position
            signal, envelope = _add(state.signal, signal), _add(state.envelope, envelope)
        done = spectrum.shape[-1] * self.hop_length
        stop = max(signal.shape[-1] - self.cut, 0) if last else done
        start = min(max(self.cut - position, 0), stop)
        waveform = signal[..., start:stop] / envelope[..., start:stop]
        return waveform, OverlapState(signal[..., done:], envelope[..., done:], position + done)

    def _overlap(self, spectrum: Tensor) -> tuple[Tensor, Tensor]:
        """Overlap-added frames [B, (T - 1) hop + n_fft] and squared windows, before cutting."""
        with torch.autocast(spectrum.device.type, enabled=False):
            frames = torch.fft.irfft(spectrum, self.n_fft, dim=1) * self.window[:, None]
            squares = self.window.square()[None, :, None].expand(1, -1, spectrum.shape[-1])
            return self._add_frames(frames), self._add_frames(squares)[0]

    def _add_frames(self, frames: Tensor) -> Tensor:
        length = (frames.shape[-1] - 1) * self.hop_length + self.n_fft
        return F.fold(frames, (1, length), (1, self.n_fft), stride=(1, self.hop_length))[:, 0, 0]


def _add(a: Tensor, b: Tensor) -> Tensor:
    """Sum of two signals that start together, as long as the longer one."""
    length = max(a.shape[-1], b.shape[-1])
    return F.pad(a, (0, length - a.shape[-1])) + F.pad(b, (0, length - b.shape[-1]))
