"""How DAC is judged (arXiv:2306.06546, section 3.4): complex STFTs of three windows, each in five bands, beside periods
of the waveform, all on sound without offset and at one level. The losses are those of `nexus.process.least_squares`.

Deviation: periods are padded only where a row is not full (`nexus.process.adversarial.multi_period`).
Axes: B batch, L waveform samples, T frames, F frequency bins.
"""

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

from nexus.media.features import stft
from nexus.process.adversarial import Discriminators, Judgement, multi_period

BANDS = (0.0, 0.1, 0.25, 0.5, 0.75, 1.0)  # their edges, of half the sample rate
PEAK = 0.8


class BandDiscriminator(nn.Module):
    """Two-dimensional convolutions over the real and imaginary parts of one STFT, other ones for every band."""

    def __init__(self, n_fft: int, n_filters: int = 32, bands: tuple[float, ...] = BANDS):
        super().__init__()
        if list(bands) != sorted(bands) or bands[0] < 0 or bands[-1] > 1 or len(bands) < 2:
            raise ValueError(f"bands are their edges, rising from 0 to 1, got {bands}")
        self.n_fft = n_fft
        self.edges = [int(edge * (n_fft // 2 + 1)) for edge in bands]
        self.bands = nn.ModuleList(band_layers(n_filters) for _ in bands[1:])
        self.out = weight_norm(nn.Conv2d(n_filters, 1, 3, padding=1))

    def forward(self, waveform: Float[Tensor, "B 1 L"]) -> tuple[Float[Tensor, "B 1 T F"], list[Tensor]]:
        hop_length = self.n_fft // 4
        edge = (self.n_fft - hop_length) // 2
        padded = F.pad(waveform, (edge, edge + -waveform.shape[-1] % hop_length), mode="reflect")[:, 0]
        with torch.autocast(waveform.device.type, enabled=False):
            spectrum = stft(padded.float(), self.n_fft, hop_length, self.n_fft, 0)
        x = rearrange(torch.view_as_real(spectrum), "b f t r -> b r t f")
        features, ends = [], []
        for layers, low, high in zip(self.bands, self.edges, self.edges[1:], strict=False):
            band = x[..., low:high].contiguous()
            for layer in layers:  # type: ignore[attr-defined]
                band = F.leaky_relu(layer(band), 0.1)
                features.append(band)
            ends.append(band)
        return self.out(torch.cat(ends, dim=-1)), features


def band_layers(n: int) -> nn.ModuleList:
    """From real and imaginary parts to `n` channels, an eighth of the bins."""
    layers = [nn.Conv2d(2, n, (3, 9), padding=(1, 4))]
    layers += [nn.Conv2d(n, n, (3, 9), (1, 2), (1, 4)) for _ in range(3)]
    layers += [nn.Conv2d(n, n, 3, padding=1)]
    return nn.ModuleList(weight_norm(layer) for layer in layers)


class Levelled(Discriminators):
    """Discriminators that hear sound without its mean and at one peak."""

    def forward(self, waveform: Float[Tensor, "B 1 L"]) -> Judgement:
        centred = waveform - waveform.mean(dim=-1, keepdim=True)
        return super().forward(PEAK * centred / (centred.abs().amax(dim=-1, keepdim=True) + 1e-9))


def dac_judges(
    n_ffts: tuple[int, ...] = (2048, 1024, 512),
    periods: tuple[int, ...] = (2, 3, 5, 7, 11),
    n_filters: int = 32,
    widths: tuple[int, ...] = (32, 128, 512, 1024, 1024),
) -> Levelled:
    return Levelled(*multi_period(periods, widths), *(BandDiscriminator(n_fft, n_filters) for n_fft in n_ffts))
