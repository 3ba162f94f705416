"""A judge of spectrograms: whether patches of log-magnitudes are those of recordings.

PatchGAN's idea (arXiv:1611.07004, section 2.2.2) on one STFT, without phases: a generator of magnitudes learns from it
what harmonics look like where a regression would blur them.
Axes: B batch, F frequency bins, T frames, G strided bins.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm


class SpectrumDiscriminator(nn.Module):
    """Two-dimensional convolutions over natural log-magnitudes; each patch is told how high it lies."""

    def __init__(self, width: int = 16):
        super().__init__()
        wide = 2 * width
        self.layers = nn.ModuleList(
            weight_norm(layer)
            for layer in (
                nn.Conv2d(2, width, (3, 9), (1, 4), (1, 4)),
                nn.Conv2d(width, wide, (3, 7), (1, 2), (1, 3)),
                nn.Conv2d(wide, wide, (3, 5), (1, 2), (1, 2)),
                nn.Conv2d(wide, wide, (3, 5), (1, 2), (1, 2)),
                nn.Conv2d(wide, wide, 3, padding=1),
            )
        )
        self.out = weight_norm(nn.Conv2d(wide, 1, 3, padding=1))

    def forward(self, log_magnitudes: Float[Tensor, "B F T"]) -> tuple[Float[Tensor, "B 1 T G"], list[Tensor]]:
        spectra = (log_magnitudes.mT[:, None] + 3) / 3  # near zero mean and unit variance for speech
        height = torch.linspace(-1, 1, spectra.shape[-1], device=spectra.device, dtype=spectra.dtype)
        x = torch.cat([spectra, height.expand_as(spectra)], dim=1)
        features = []
        for layer in self.layers:
            x = F.leaky_relu(layer(x), 0.2)
            features.append(x)
        return self.out(x), features
