"""How HiFi-GAN (arXiv:2010.05646) and BigVGAN (arXiv:2206.04658) are judged: waveforms at several rates, magnitudes of
several STFTs. The third kind, over periods, is `nexus.process.adversarial.multi_period`; the losses are those of
`nexus.process.least_squares`.
Axes: B batch, L waveform samples, T frames, F frequency bins.
"""

from itertools import pairwise

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm, weight_norm

RESOLUTIONS = ((1024, 120, 600), (2048, 240, 1200), (512, 50, 240))  # n_fft, hop and window lengths (BigVGAN, 3.4)


class ScaleDiscriminator(nn.Module):
    """Grouped convolutions over a waveform that is averaged to half its rate `halvings` times (HiFi-GAN, section 2.3).

    Weights are bounded by their largest singular value at the full rate, and normed elsewhere.
    """

    def __init__(self, halvings: int, width: int = 128):
        super().__init__()
        self.halvings = halvings
        norm = weight_norm if halvings else spectral_norm
        widths = [width * factor for factor in (1, 1, 2, 4, 8, 8)]
        layers = [nn.Conv1d(1, width, 15, padding=7)]
        for (c_in, c_out), stride, groups in zip(pairwise(widths), (2, 2, 4, 4, 1), (4, 16, 16, 16, 16), strict=True):
            layers.append(nn.Conv1d(c_in, c_out, 41, stride, 20, groups=groups))
        layers.append(nn.Conv1d(widths[-1], widths[-1], 5, padding=2))
        self.layers = nn.ModuleList(norm(layer) for layer in layers)
        self.out = norm(nn.Conv1d(widths[-1], 1, 3, padding=1))

    def forward(self, waveform: Float[Tensor, "B 1 L"]) -> tuple[Float[Tensor, "B 1 T"], list[Tensor]]:
        x = waveform
        for _ in range(self.halvings):
            x = F.avg_pool1d(x, 4, 2, padding=2)
        return _judge(x, self.layers, self.out)


class ResolutionDiscriminator(nn.Module):
    """Two-dimensional convolutions over the magnitudes of one STFT (UnivNet, arXiv:2106.07889, section 2.2)."""

    window: Tensor

    def __init__(self, n_fft: int, hop_length: int, win_length: int, width: int = 32):
        super().__init__()
        self.n_fft, self.hop_length = n_fft, hop_length
        # Rectangular, as in the code of both papers.
        self.register_buffer("window", torch.ones(win_length), persistent=False)
        layers = [nn.Conv2d(1, width, (3, 9), padding=(1, 4))]
        layers += [nn.Conv2d(width, width, (3, 9), (1, 2), (1, 4)) for _ in range(3)]
        layers += [nn.Conv2d(width, width, (3, 3), padding=(1, 1))]
        self.layers = nn.ModuleList(weight_norm(layer) for layer in layers)
        self.out = weight_norm(nn.Conv2d(width, 1, (3, 3), padding=(1, 1)))

    def forward(self, waveform: Float[Tensor, "B 1 L"]) -> tuple[Float[Tensor, "B 1 F T"], list[Tensor]]:
        pad = (self.n_fft - self.hop_length) // 2
        with torch.autocast(waveform.device.type, enabled=False):
            x = F.pad(waveform.float(), (pad, pad), mode="reflect")[:, 0]
            size = len(self.window)
            spectrum = torch.stft(
                x, self.n_fft, self.hop_length, size, self.window.float(), center=False, return_complex=True
            )
        return _judge(spectrum.abs()[:, None], self.layers, self.out)


def _judge(x: Tensor, layers: nn.ModuleList, out: nn.Module) -> tuple[Tensor, list[Tensor]]:
    features = []
    for layer in layers:
        x = F.leaky_relu(layer(x), 0.1)
        features.append(x)
    return out(x), features


def multi_scale(n_scales: int = 3, width: int = 128) -> list[nn.Module]:
    """One discriminator each for the full rate, its half, its quarter … (HiFi-GAN)."""
    return [ScaleDiscriminator(halvings, width) for halvings in range(n_scales)]


def multi_resolution(resolutions: tuple[tuple[int, int, int], ...] = RESOLUTIONS, width: int = 32) -> list[nn.Module]:
    """One discriminator each for (n_fft, hop_length, win_length) (BigVGAN)."""
    return [ResolutionDiscriminator(*resolution, width) for resolution in resolutions]
