"""Alias-free activations (BigVGAN, arXiv:2206.04658, section 3.3; StyleGAN 3, arXiv:2106.12423).

A pointwise activation makes harmonics above half the sample rate, which fold back as noise. At twice the rate they
have room, and the low-pass filter on the way back removes them. Both filters run as matrix products: a block of BLOCK
samples is a row, the filter a banded matrix.

Axes: B batch, D channels, T samples, U samples out of a stream's step, K filter taps.
"""

import math
from functools import cache

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from nexus.nn.conv import pad

N_TAPS = 12
HALF_WIDTH = 0.3  # of the transition band, in sample rates (of the doubled one)
# Kaiser's formula for the stop band in dB, taken as BigVGAN does for half the taps.
ATTENUATION = 2.285 * (N_TAPS // 2 - 1) * math.pi * 4 * HALF_WIDTH + 7.95
BETA = 0.1102 * (ATTENUATION - 8.7)
REACH = 5  # input samples on either side that an output depends on
BLOCK = 16


def half_band() -> Float[Tensor, " K"]:
    """Low-pass filter at half of Nyquist, a sinc under a Kaiser window, of unit sum; float64."""
    time = torch.arange(N_TAPS, dtype=torch.float64) - (N_TAPS - 1) / 2
    taps = torch.kaiser_window(N_TAPS, periodic=False, beta=BETA, dtype=torch.float64) * torch.sinc(time / 2)
    return taps / taps.sum()


@cache
def _bands() -> tuple[Tensor, Tensor]:
    """What a block and its surroundings are multiplied with, up [BLOCK + 6, 2 BLOCK] and down [2 BLOCK + 10, BLOCK]."""
    with torch.device("cpu"), torch.inference_mode(False), torch.no_grad():
        taps = F.pad(half_band(), (1, 1)).float()  # zero where there is no such tap
        i, o = torch.arange(BLOCK + 6)[:, None], torch.arange(2 * BLOCK)
        up = 2 * taps[(o - 2 * i + N_TAPS).clamp(0, N_TAPS + 1)]
        i, o = torch.arange(2 * BLOCK + 10)[:, None], torch.arange(BLOCK)
        return up, taps[(i - 2 * o + 1).clamp(0, N_TAPS + 1)]


def _filtered(x: Float[Tensor, "B D L"], band: Float[Tensor, "I O"], step: int) -> Float[Tensor, "B D T"]:
    """Blocks of I samples, `step` apart, times the band; beyond its ends x stays at its last value."""
    before = (len(band) - step) // 2
    after = before + -x.shape[-1] % step
    if torch.is_grad_enabled():
        return _filtered_apart(_lengthened(x, before, after + step - 2 * before), band, step)
    # A step's channels stay side by side, see `nexus.nn.layout`.
    blocks = pad(x, before, after, "replicate").mT.unfold(1, len(band), step).mT  # [B, N, I, D]
    return (band.mT @ blocks).flatten(1, 2).mT


def _filtered_apart(x: Float[Tensor, "B D L"], band: Float[Tensor, "I O"], step: int) -> Float[Tensor, "B D T"]:
    """The same of L = (N + 1) step samples: of blocks that do not overlap, whose gradients take half the time."""
    own, next_one = band[:step], F.pad(band[step:], (0, 0, 0, 2 * step - len(band)))
    blocks = x.unflatten(-1, (-1, step)) @ torch.cat([own, next_one], dim=1)  # [B, D, N + 1, 2 O]
    begun, ended = blocks.chunk(2, dim=-1)
    return (begun[:, :, :-1] + ended[:, :, 1:]).flatten(2)


def _lengthened(x: Float[Tensor, "B D T"], left: int, right: int) -> Float[Tensor, "B D L"]:
    """`pad` by the last values, whose gradients torch gathers slowly."""
    return torch.cat([x[..., :1].expand(-1, -1, left), x, x[..., -1:].expand(-1, -1, right)], dim=-1)


class AliasFree(nn.Module):
    """`activation`, pointwise on [B, D, T], at twice the rate; beyond its ends a signal stays at its last value."""

    look_ahead = REACH
    up: Tensor
    down: Tensor

    def __init__(self, activation: nn.Module):
        super().__init__()
        self.activation = activation
        for name, band in zip(("up", "down"), _bands(), strict=True):
            self.register_buffer(name, band, persistent=False)

    def forward(self, x: Float[Tensor, "B D T"]) -> Float[Tensor, "B D T"]:
        length = x.shape[-1]
        if length == 0:
            return x
        x = self.activation(_filtered(x, self.up, BLOCK)[..., : 2 * length])
        return _filtered(x, self.down, 2 * BLOCK)[..., :length]

    def stream(
        self, x: Float[Tensor, "B D T"], state: tuple[Tensor, int] | None, last: bool = False
    ) -> tuple[Float[Tensor, "B D U"], tuple[Tensor, int]]:
        """`forward` of the samples whose surroundings are complete; `last` gives the rest. No state: the start."""
        buffer, done = (x, 0) if state is None else (torch.cat([state[0], x], dim=-1), state[1])
        stop = buffer.shape[-1] if last else max(buffer.shape[-1] - REACH, done)
        y = self(buffer)[..., done:stop] if stop > done else x[..., :0]
        start = max(stop - REACH, 0)
        return y, (buffer[..., start:], stop - start)
