"""Sound as semitones: how loud each sounds in a window, and sines that sound them again.

Sines plus the rest is spectral modelling synthesis (Serra and Smith, 1990; with learned amplitudes DDSP,
arXiv:2001.04643). Here the frequencies are fixed, equal temperament at A4 = 440 Hz, so that only amplitudes are coded
and the pitch of a held note is exact, however rough its code.
Axes: B batch, N windows, W window samples, S semitones, T frames, L waveform samples.
"""

import math
from dataclasses import dataclass
from functools import lru_cache

import torch
from jaxtyping import Float
from torch import Tensor, nn

LOWEST = 36  # MIDI pitch of the first semitone, C2: 65 Hz


def frequencies(n: int) -> Float[Tensor, " S"]:
    """Hz of `n` semitones from `LOWEST`, in double precision."""
    return 440 * 2 ** ((torch.arange(n, dtype=torch.float64) + LOWEST - 69) / 12)


@lru_cache(maxsize=8)
def analysis_tables(
    sample_rate: int, n_fft: int, n_tones: int, device: torch.device
) -> tuple[Float[Tensor, " W"], Float[Tensor, "F S"]]:
    """The window, and each semitone's share of a spectrum's energies.

    Kept beside the module, not in it: half precision would put them out of tune.
    """
    with torch.inference_mode(False):
        tones, bins = frequencies(n_tones), torch.arange(n_fft // 2 + 1) * sample_rate / n_fft
        # As wide as a quarter tone each way, but never narrower than the window's main lobe.
        width = (0.6 * tones * (2 ** (1 / 24) - 1)).clamp(min=0.9 * sample_rate / n_fft)
        filters = (-((bins[:, None] - tones) ** 2) / (2 * width**2)).exp()
        window = torch.hann_window(n_fft)
        lobe = 1.5  # energy of the main lobe, over that of its highest bin
        return (window * 2 / window.sum()).to(device), (filters / lobe).float().to(device)


class SemitoneAmplitudes(nn.Module):
    """Amplitudes of the sines nearest to each semitone, from Hann-windowed spectra."""

    def __init__(self, sample_rate: int, n_fft: int, n_tones: int):
        super().__init__()
        self.sizes = sample_rate, n_fft, n_tones

    def forward(self, windows: Float[Tensor, "B N W"]) -> Float[Tensor, "B S N"]:
        window, filters = analysis_tables(*self.sizes, windows.device)
        energy = torch.view_as_real(torch.fft.rfft(windows.float() * window)).square().sum(-1)
        return (energy @ filters + 1e-12).sqrt().mT


@dataclass
class TonesState:
    """The last frame's amplitudes, and how many frames came before the next."""

    amplitudes: Tensor
    n_frames: int


@lru_cache(maxsize=8)
def synthesis_tables(
    sample_rate: int, hop_length: int, n_tones: int, device: torch.device
) -> tuple[Float[Tensor, "waves H"], Float[Tensor, " S"], Float[Tensor, " S"]]:
    """The waves of a hop (cos, -sin, and both growing), cycles a sample, and first phases in cycles."""
    with torch.inference_mode(False):
        step = frequencies(n_tones) / sample_rate
        j = torch.arange(hop_length, dtype=torch.float64)
        angle = 2 * math.pi * step[:, None] * j
        waves = torch.cat([angle.cos(), -angle.sin()])
        # Phases by Schroeder's rule keep the sum of many sines from peaking.
        first = torch.arange(n_tones, dtype=torch.float64).square() / (2 * n_tones)
        return torch.cat([waves, waves * j / hop_length]).float().to(device), step.to(device), first.to(device)


class Tones(nn.Module):
    """Sines of fixed frequencies whose amplitudes go in straight lines from the middle of one frame to the next's.

    Within a line from a to a + d the samples are (a + d j / hop) cos(start + step j), for which a matrix product over
    cos, sin, j cos and j sin of step j suffices.
    """

    def __init__(self, sample_rate: int, hop_length: int, n_tones: int):
        super().__init__()
        self.sizes = sample_rate, hop_length, n_tones

    @property
    def hop_length(self) -> int:
        return self.sizes[1]

    def forward(self, amplitudes: Float[Tensor, "B S T"]) -> Float[Tensor, "B 1 L"]:
        return self.stream(amplitudes, None, last=True)[0]

    def stream(
        self, amplitudes: Float[Tensor, "B S T"], state: TonesState | None, last: bool = False
    ) -> tuple[Float[Tensor, "B 1 L"], TonesState | None]:
        """Samples up to the middle of the last frame; `last` gives the rest. No state: the start."""
        parts, n_before = [amplitudes], 0
        if state is not None:
            parts, n_before = [state.amplitudes, amplitudes], state.n_frames
        elif amplitudes.shape[-1]:
            parts = [amplitudes[..., :1], amplitudes]
        if last and sum(part.shape[-1] for part in parts):
            parts = [*parts, parts[-1][..., -1:] if amplitudes.shape[-1] else parts[0][..., -1:]]
        knots = torch.cat(parts, dim=-1).float()
        if knots.shape[-1] < 2:
            return knots.new_zeros(len(knots), 1, 0), state
        waveform = self._lines(knots, n_before)
        half = self.hop_length // 2
        start = half if n_before == 0 else 0
        waveform = waveform[:, None, start : waveform.shape[-1] - (half if last else 0)]
        return waveform, TonesState(knots[..., -1:], n_before + amplitudes.shape[-1])

    def _lines(self, knots: Float[Tensor, "B S T"], n_before: int) -> Float[Tensor, "B L"]:
        """One hop for each pair of neighbours; the first begins half a hop before frame `n_before`."""
        basis, step, first = synthesis_tables(*self.sizes, knots.device)
        a, d = knots[..., :-1], knots.diff(dim=-1)
        frame = torch.arange(n_before, n_before + a.shape[-1], device=knots.device, dtype=torch.float64)
        samples = frame * self.hop_length - self.hop_length // 2
        start = (first[:, None] + step[:, None] * samples).remainder(1).mul(2 * math.pi)
        cos, sin = start.cos().float(), start.sin().float()
        with torch.autocast(knots.device.type, enabled=False):
            lines = torch.cat([a * cos, a * sin, d * cos, d * sin], dim=1).mT @ basis
        return lines.flatten(1)
