"""How NeMo's codecs are judged (arXiv:2406.05298, section 2.3): periods of the waveform, and every band of three STFTs
by a judge of its own. The losses are least squares, means over judges (`nexus.process.least_squares`).

Deviation: Hann windows are periodic, as everywhere in Nexus.
Axes: B batch, L waveform samples, T frames, F frequency bins.
"""

from itertools import pairwise

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

from nexus.media.features import stft
from nexus.process.adversarial import Discriminators, multi_period
from nexus.process.dac_judges import BANDS, band_layers

MIN_BINS = 17  # the last strided layer reflects four


def reflect(network: nn.Module) -> None:
    """Lets convolutions pad with their input reflected, which is as published, and not with zeros."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            module.padding_mode = "reflect"


class BandJudge(nn.Module):
    """Two-dimensional convolutions over the real and imaginary parts of the bins between two shares of an STFT."""

    def __init__(self, n_fft: int, low: float, high: float, n_filters: int = 32):
        super().__init__()
        n_bins = n_fft // 2 + 1
        self.n_fft, self.low, self.high = n_fft, int(low * n_bins), int(high * n_bins)
        if self.high - self.low < MIN_BINS:
            raise ValueError(
                f"a band needs {MIN_BINS} bins, to be halved three times; {low:g} to {high:g} of n_fft {n_fft} has "
                f"{self.high - self.low}; 512 is the least n_fft for the published bands"
            )
        self.layers = band_layers(n_filters)
        self.out = weight_norm(nn.Conv2d(n_filters, 1, 3, padding=1))
        reflect(self)

    def forward(self, waveform: Float[Tensor, "B 1 L"]) -> tuple[Float[Tensor, "B 1 T F"], list[Tensor]]:
        with torch.autocast(waveform.device.type, enabled=False):
            spectrum = stft(waveform[:, 0].float(), self.n_fft, self.n_fft // 4, self.n_fft, self.n_fft // 2)
        band = torch.view_as_real(spectrum[:, self.low : self.high]) / self.n_fft**0.5
        x, features = rearrange(band, "b f t r -> b r t f").contiguous(), []
        for layer in self.layers:
            x = F.leaky_relu(layer(x), 0.1)
            features.append(x)
        return self.out(x), features


def fsq_judges(
    n_ffts: tuple[int, ...] = (512, 1024, 2048),
    periods: tuple[int, ...] = (2, 3, 5, 7, 11),
    n_filters: int = 32,
    widths: tuple[int, ...] = (32, 128, 512, 1024, 1024),
) -> Discriminators:
    bands = [BandJudge(n_fft, *edges, n_filters) for n_fft in n_ffts for edges in pairwise(BANDS)]
    judges = Discriminators(*multi_period(periods, widths), *bands)
    reflect(judges)
    return judges
