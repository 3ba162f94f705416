"""A sound from magnitudes alone: the fast Griffin-Lim algorithm (Perraudin, Balazs and Søndergaard, 2013).

Short-time spectra overlap, so few phases fit given magnitudes. Each iteration takes the spectrum of the sound that the
present phases give, goes on in the direction of the last change, and puts the magnitudes back. Phases start at random,
the same for the same frame every time, so that a sound depends on its magnitudes alone.
Axes: B batch, F frequency bins, T frames, L = T hop waveform samples.
"""

import math
from dataclasses import dataclass
from functools import lru_cache

import torch
import torch.nn.functional as F
from jaxtyping import Complex, Float
from torch import Tensor, nn

from nexus.nn.spectrum import InverseSTFT

PERIOD = 64  # frames after which the first phases come again


def check_windows(n_fft: int, hop_length: int) -> None:
    """Raises ValueError for windows that can't be searched."""
    if n_fft % 2 or hop_length % 2 or hop_length > n_fft // 2:
        raise ValueError(
            f"n_fft and hop_length must be even, n_fft at least twice hop_length, got {n_fft} and {hop_length}"
        )


@dataclass
class SearchState:
    """Magnitudes that later samples still depend on, the number of the first of them, and how many frames are out."""

    magnitudes: Tensor
    first: int = 0
    done: int = 0


class PhaseSearch(nn.Module):
    """`magnitudes` of Hann windows, `hop_length` apart, to the sound that has nearly these."""

    window: Tensor

    def __init__(self, n_fft: int, hop_length: int, n_iterations: int, momentum: float = 0.99):
        super().__init__()
        self.n_fft, self.hop_length = n_fft, hop_length
        self.n_iterations, self.momentum = n_iterations, momentum
        self.inverse = InverseSTFT(n_fft, hop_length, "same")
        self.register_buffer("window", torch.hann_window(n_fft), persistent=False)

    @property
    def look_ahead(self) -> int:
        """Frames after its own that a sample depends on; an iteration reaches all windows that overlap."""
        overlapping = -(-(self.n_fft - 1) // self.hop_length) - 1  # a Hann window's first sample is zero
        return self.n_iterations * overlapping - (-self.inverse.cut // self.hop_length)

    def forward(self, magnitudes: Float[Tensor, "B F T"], first: int = 0) -> Float[Tensor, "B 1 L"]:
        """`first` is the number of the first frame, as a stream counts."""
        if magnitudes.shape[-1] == 0:
            return magnitudes.new_zeros(len(magnitudes), 1, 0)
        with torch.autocast(magnitudes.device.type, enabled=False):
            magnitudes = magnitudes.to(torch.promote_types(magnitudes.dtype, torch.float32))
            spectrum = magnitudes * self._first_phases(first, magnitudes.shape[-1]).to(magnitudes.device)
            before = torch.zeros_like(spectrum)
            for i in range(self.n_iterations):
                now = self.spectrum(self.inverse(spectrum))
                ahead = now if i == 0 else now + self.momentum * (now - before)
                spectrum, before = magnitudes * ahead / (ahead.abs() + 1e-8), now
            return self.inverse(spectrum)[:, None]

    def stream(
        self, magnitudes: Float[Tensor, "B F T"], state: SearchState | None, last: bool = False
    ) -> tuple[Float[Tensor, "B 1 L"], SearchState]:
        """Samples that no later frame changes; `last` gives the rest. Each call searches anew around what it gives."""
        state = state or SearchState(magnitudes[..., :0])
        known = torch.cat([state.magnitudes, magnitudes], dim=-1)
        n_frames = state.first + known.shape[-1]
        done = n_frames if last else max(n_frames - self.look_ahead, state.done)
        if done == state.done:
            return magnitudes.new_zeros(len(magnitudes), 1, 0), SearchState(known, state.first, done)
        waveform = self(known, state.first)
        start, stop = ((frame - state.first) * self.hop_length for frame in (state.done, done))
        dropped = max(done - self.look_ahead - state.first, 0)
        return waveform[..., start:stop], SearchState(known[..., dropped:].clone(), state.first + dropped, done)

    def spectrum(self, waveform: Float[Tensor, "B L"]) -> Complex[Tensor, "B F T"]:
        cut = self.inverse.cut
        windows = F.pad(waveform, (cut, cut)).unfold(-1, self.n_fft, self.hop_length)
        return torch.fft.rfft(windows * self.window.to(windows)).mT

    def _first_phases(self, first: int, n_frames: int) -> Complex[Tensor, "F T"]:
        frames = torch.arange(first, first + n_frames) % PERIOD
        return _random_phases(self.n_fft // 2 + 1)[:, frames]


@lru_cache(maxsize=8)
def _random_phases(n_bins: int) -> Complex[Tensor, "F _"]:
    with torch.inference_mode(False):
        angles = torch.rand(n_bins, PERIOD, generator=torch.Generator().manual_seed(0)) * 2 * math.pi
        return torch.polar(torch.ones_like(angles), angles)
