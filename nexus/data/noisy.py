"""Sounds with others behind them, and which of them a codec is asked to clean (SoundStream, arXiv:2107.03312, III.F).

Axes: B batch, L waveform samples.
"""

import numpy as np
import torch
from torch import Tensor

from nexus.data.waveforms import RandomCrops


class NoisyCrops:
    """Batches {"waveform", "target": [B, 1, L], "denoise": bool [B], "step": [1]}.

    Half of the items, by chance, have noise behind them, `gain_range` dB against full scale of the noise's own crop;
    half are to be cleaned: their target is without it. Others are to be kept as they are.
    """

    def __init__(
        self, clean: RandomCrops, noise: RandomCrops, *, seed: int, gain_range: tuple[float, float] = (-30.0, 0.0)
    ):
        self.clean, self.noise, self.seed, self.gain_range = clean, noise, seed, gain_range

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        batch = self.clean[index]
        clean, noise = batch["waveform"], self.noise[index]["waveform"]
        rng = np.random.default_rng((self.seed, index, 1))
        gain = 10 ** (rng.uniform(*self.gain_range, len(clean)) / 20) * rng.integers(2, size=len(clean))
        mixed = clean + torch.from_numpy(gain).float()[:, None, None] * noise
        denoise = torch.from_numpy(rng.integers(2, size=len(clean)).astype(bool))
        # Both are turned down alike where the sum would clip.
        peak = mixed.abs().amax((1, 2), keepdim=True).clamp(min=0.99) / 0.99
        target = torch.where(denoise[:, None, None], clean, mixed)
        return {"waveform": mixed / peak, "target": target / peak, "denoise": denoise, "step": batch["step"]}
