"""Adversarial training of codecs and vocoders: discriminators over time-frequency and over periods, and their losses.

Papers: EnCodec (arXiv:2210.13438) for the multi-scale STFT discriminator and the balancer, HiFi-GAN
(arXiv:2010.05646) for the multi-period discriminator, feature matching and least squares.
Axes: B batch, C channels, L waveform samples, T frames, F frequency bins.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

from nexus.media.features import stft


class Judgement(NamedTuple):
    """What discriminators say: logits and inner features, one entry a scale or period (higher: more real)."""

    logits: list[Tensor]
    features: list[list[Tensor]]


@dataclass(frozen=True, kw_only=True)
class STFTDiscriminatorConfig:
    """EnCodec's is the default; hops are a quarter of the windows."""

    channels: int = 1
    n_ffts: tuple[int, ...] = (2048, 1024, 512, 256, 128)
    n_filters: int = 32
    dilations: tuple[int, ...] = (1, 2, 4)  # over time, one layer each, every one halving the frequencies


class STFTDiscriminator(nn.Module):
    """Two-dimensional convolutions over the real and imaginary parts of one STFT."""

    def __init__(self, config: STFTDiscriminatorConfig, n_fft: int):
        super().__init__()
        self.n_fft = n_fft
        n = config.n_filters
        layers = [nn.Conv2d(2 * config.channels, n, (3, 9), padding=(1, 4))]
        layers += [nn.Conv2d(n, n, (3, 9), (1, 2), (d, 4), (d, 1)) for d in config.dilations]
        layers += [nn.Conv2d(n, n, (3, 3), padding=(1, 1))]
        self.layers = nn.ModuleList(weight_norm(layer) for layer in layers)
        self.out = weight_norm(nn.Conv2d(n, 1, (3, 3), padding=(1, 1)))

    def forward(self, waveform: Float[Tensor, "B C L"]) -> tuple[Float[Tensor, "B 1 T F"], list[Tensor]]:
        with torch.autocast(waveform.device.type, enabled=False):
            flat = waveform.float().flatten(0, 1)
            spectrum = stft(flat, self.n_fft, self.n_fft // 4, self.n_fft, self.n_fft // 2)
            scaled = torch.view_as_real(spectrum) / (self.n_fft * 0.375) ** 0.5  # sum of squares of the Hann window
        x = rearrange(scaled, "(b c) f t r -> b (c r) t f", c=waveform.shape[1])
        features = []
        for layer in self.layers:
            x = F.leaky_relu(layer(x), 0.2)
            features.append(x)
        return self.out(x), features


class PeriodDiscriminator(nn.Module):
    """Two-dimensional convolutions over a waveform folded into rows of `period` samples."""

    def __init__(self, period: int, widths: tuple[int, ...], channels: int = 1):
        super().__init__()
        self.period = period
        pairs = list(zip((channels, *widths), widths, strict=False))
        strides = [3] * (len(pairs) - 1) + [1]
        self.layers = nn.ModuleList(
            weight_norm(nn.Conv2d(c_in, c_out, (5, 1), (stride, 1), (2, 0)))
            for (c_in, c_out), stride in zip(pairs, strides, strict=True)
        )
        self.out = weight_norm(nn.Conv2d(widths[-1], 1, (3, 1), padding=(1, 0)))

    def forward(self, waveform: Float[Tensor, "B C L"]) -> tuple[Float[Tensor, "B 1 T P"], list[Tensor]]:
        x = F.pad(waveform, (0, -waveform.shape[-1] % self.period), mode="reflect")
        x = rearrange(x, "b c (t p) -> b c t p", p=self.period)
        features = []
        for layer in self.layers:
            x = F.leaky_relu(layer(x), 0.1)
            features.append(x)
        return self.out(x), features


class Discriminators(nn.Module):
    """Several discriminators asked about one waveform."""

    def __init__(self, *members: nn.Module):
        super().__init__()
        self.members = nn.ModuleList(members)

    def forward(self, waveform: Float[Tensor, "B C L"]) -> Judgement:
        logits, features = zip(*(member(waveform) for member in self.members), strict=True)
        return Judgement(list(logits), list(features))


def multi_scale_stft(config: STFTDiscriminatorConfig) -> list[nn.Module]:
    """One STFT discriminator a window length (EnCodec, section 3.4)."""
    return [STFTDiscriminator(config, n_fft) for n_fft in config.n_ffts]


def multi_period(
    periods: tuple[int, ...] = (2, 3, 5, 7, 11), widths: tuple[int, ...] = (32, 128, 512, 1024, 1024)
) -> list[nn.Module]:
    """One discriminator a period (HiFi-GAN, section 2.3)."""
    return [PeriodDiscriminator(period, widths) for period in periods]


def discriminator_hinge(real: Judgement, fake: Judgement) -> Float[Tensor, ""]:
    """max(0, 1 - D(x)) + max(0, 1 + D(x')), mean over discriminators."""
    terms = [F.relu(1 - r).mean() + F.relu(1 + f).mean() for r, f in zip(real.logits, fake.logits, strict=True)]
    return torch.stack(terms).mean()


def generator_hinge(fake: Judgement) -> Float[Tensor, ""]:
    """max(0, 1 - D(x')), mean over discriminators."""
    return torch.stack([F.relu(1 - f).mean() for f in fake.logits]).mean()


def discriminator_least_squares(real: Judgement, fake: Judgement) -> Float[Tensor, ""]:
    """(1 - D(x))^2 + D(x')^2, mean over discriminators."""
    terms = [(1 - r).square().mean() + f.square().mean() for r, f in zip(real.logits, fake.logits, strict=True)]
    return torch.stack(terms).mean()


def generator_least_squares(fake: Judgement) -> Float[Tensor, ""]:
    """(1 - D(x'))^2, mean over discriminators."""
    return torch.stack([(1 - f).square().mean() for f in fake.logits]).mean()


def feature_matching(real: Judgement, fake: Judgement) -> Float[Tensor, ""]:
    """Mean L1 distance of features, each layer's relative to its mean magnitude on real sound (EnCodec, eq. 2)."""
    terms = [
        (f - r.detach()).abs().mean() / r.detach().abs().mean().clamp(min=1e-6)
        for layers_r, layers_f in zip(real.features, fake.features, strict=True)
        for r, f in zip(layers_r, layers_f, strict=True)
    ]
    return torch.stack(terms).mean()


class Balancer(nn.Module):
    """Weights losses of one output by the size of their gradients with respect to it (EnCodec, eq. 3).

    Gradient i is scaled to `weight_i / sum(weights)` of `total_norm`, by a moving average of its norm; the sum is
    what the generator sees, however large or small the losses themselves are.
    """

    def __init__(self, weights: Mapping[str, float], *, total_norm: float = 1.0, ema_decay: float = 0.999):
        super().__init__()
        if not weights or min(weights.values()) <= 0:
            raise ValueError(f"weights must be positive, got {dict(weights)}")
        self.weights, self.total_norm, self.ema_decay = dict(weights), total_norm, ema_decay
        for name in self.weights:
            self.register_buffer(f"norm_{name}", torch.zeros(()))
            self.register_buffer(f"count_{name}", torch.zeros(()))

    def forward(self, losses: Mapping[str, Tensor], output: Tensor) -> Float[Tensor, ""]:
        """A scalar whose gradient with respect to `output` is the balanced sum; its value means nothing.

        Losses with a weight of their own may be absent (a discriminator that is not trained yet). Where gradients
        are off, as in validation, it is the weighted sum.
        """
        unknown = sorted(set(losses) - set(self.weights))
        if unknown:
            raise ValueError(f"no weight for loss {unknown[0]!r}; there are {', '.join(self.weights)}")
        if not torch.is_grad_enabled():
            return torch.stack([self.weights[name] * loss for name, loss in losses.items()]).sum()
        share = self.total_norm / sum(self.weights[name] for name in losses)
        total = torch.zeros_like(output)
        for name, loss in losses.items():
            (gradient,) = torch.autograd.grad(loss, output, retain_graph=True)
            norm = self._average(name, gradient.flatten(1).norm(dim=1).mean())
            total += gradient * (share * self.weights[name] / norm.clamp(min=1e-12))
        return (output * total.detach()).sum()

    @torch.no_grad()
    def _average(self, name: str, norm: Tensor) -> Tensor:
        """Moving average without bias towards its start at zero."""
        mean, count = getattr(self, f"norm_{name}"), getattr(self, f"count_{name}")
        count.mul_(self.ema_decay).add_(1)
        mean.add_((norm - mean) / count)
        return mean.clone()
