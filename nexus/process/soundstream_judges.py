"""SoundStream's two discriminators (arXiv:2107.03312, section III.D): of waveforms at three rates, and of one STFT.

Axes: B batch, C channels, L waveform samples, T frames, F frequency bins.
"""

from itertools import pairwise

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

from nexus.media.features import stft


class WaveDiscriminator(nn.Module):
    """MelGAN's (arXiv:1910.06711): grouped convolutions, each a quarter of the rate, over a waveform at half the rate
    `halvings` times."""

    def __init__(self, halvings: int, n_filters: int = 16):
        super().__init__()
        self.halvings = halvings
        widths = [n_filters * factor for factor in (1, 4, 16, 64, 64)]
        layers = [nn.Conv1d(1, n_filters, 15, padding=7)]
        for c_in, c_out in pairwise(widths):
            layers.append(nn.Conv1d(c_in, c_out, 41, stride=4, padding=20, groups=max(c_in // 4, 1)))
        layers.append(nn.Conv1d(widths[-1], widths[-1], 5, padding=2))
        self.layers = nn.ModuleList(weight_norm(layer) for layer in layers)
        self.out = weight_norm(nn.Conv1d(widths[-1], 1, 3, padding=1))

    def forward(self, waveform: Float[Tensor, "B 1 L"]) -> tuple[Float[Tensor, "B 1 T"], list[Tensor]]:
        x = waveform
        for _ in range(self.halvings):
            x = F.avg_pool1d(x, 4, 2, padding=1, count_include_pad=False)
        features = []
        for layer in self.layers:
            x = F.leaky_relu(layer(x), 0.2)
            features.append(x)
        return self.out(x), features


class ResidualUnit2d(nn.Module):
    """A 3 x 3 convolution and a strided one that widens, beside a strided shortcut."""

    def __init__(self, c_in: int, c_out: int, stride: tuple[int, int]):
        super().__init__()
        self.first = weight_norm(nn.Conv2d(c_in, c_in, 3, padding=1))
        self.second = weight_norm(nn.Conv2d(c_in, c_out, (stride[0] + 2, stride[1] + 2), stride, padding=1))
        self.shortcut = weight_norm(nn.Conv2d(c_in, c_out, 1, stride))

    def forward(self, x: Float[Tensor, "B C T F"]) -> Float[Tensor, "B D U G"]:
        y = self.second(F.leaky_relu(self.first(x), 0.2))
        return F.leaky_relu(y + self.shortcut(x)[..., : y.shape[2], : y.shape[3]], 0.2)


class SpectrumDiscriminator(nn.Module):
    """Residual units over the real and imaginary parts of an STFT; its logits are one row in time, an eighth as many
    as frames, so sound must be eight hops long."""

    def __init__(self, n_fft: int = 1024, n_filters: int = 32):
        super().__init__()
        if n_fft % 128:
            raise ValueError(f"n_fft must be a multiple of 128, to halve its bins six times, got {n_fft}")
        self.n_fft = n_fft
        self.first = weight_norm(nn.Conv2d(2, n_filters, 7, padding=3))
        widths = [n_filters * factor for factor in (1, 2, 4, 4, 8, 8, 16)]
        strides = [(1, 2), (2, 2)] * 3
        self.units = nn.ModuleList(
            ResidualUnit2d(c_in, c_out, stride)
            for c_in, c_out, stride in zip(widths, widths[1:], strides, strict=False)
        )
        self.out = weight_norm(nn.Conv2d(widths[-1], 1, (1, n_fft // 128)))

    def forward(self, waveform: Float[Tensor, "B 1 L"]) -> tuple[Float[Tensor, "B 1 T"], list[Tensor]]:
        with torch.autocast(waveform.device.type, enabled=False):
            spectrum = stft(waveform[:, 0].float(), self.n_fft, self.n_fft // 4, self.n_fft, self.n_fft // 2)
        x = rearrange(torch.view_as_real(spectrum[:, :-1]), "b f t r -> b r t f")  # without the highest bin: n_fft / 2
        # Contiguous, or PyTorch 2.13's strided convolutions write beyond their memory in the backward pass on a CPU.
        x = F.leaky_relu(self.first(x.contiguous()), 0.2)
        features = [x]
        for unit in self.units:
            x = unit(x)
            features.append(x)
        return self.out(x)[..., 0], features


def soundstream_judges(n_fft: int = 1024, stft_filters: int = 32, wave_filters: int = 16) -> list[nn.Module]:
    """The four members: an STFT's, and waveforms' at the full rate, a half and a quarter of it."""
    return [SpectrumDiscriminator(n_fft, stft_filters), *(WaveDiscriminator(h, wave_filters) for h in range(3))]
