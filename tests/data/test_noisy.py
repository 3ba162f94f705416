"""Noise behind sounds: what is mixed, what is asked for, and that a batch is a function of its index."""

import numpy as np
import torch

from nexus.data.noisy import NoisyCrops
from nexus.data.waveforms import RandomCrops


def crops(amplitude: int, seed: int) -> RandomCrops:
    source = (np.random.default_rng(seed).normal(0, amplitude, 5000)).astype(np.int16)
    return RandomCrops([source], length=100, batch_size=64, seed=seed)


def test_mixtures_targets_and_switches():
    clean, noise = crops(3000, 0), crops(3000, 1)
    batch = NoisyCrops(clean, noise, seed=0)[3]
    x, waveform, target, denoise = clean[3]["waveform"], batch["waveform"], batch["target"], batch["denoise"]
    noisy = ~torch.isclose(waveform, x, atol=1e-6).flatten(1).all(1)
    assert 16 < noisy.sum() < 48
    assert 16 < denoise.sum() < 48
    assert (noisy & denoise).any() and (noisy & ~denoise).any()
    assert torch.equal(target[~denoise], waveform[~denoise])
    loud = waveform.abs().amax((1, 2)) > 0.98
    torch.testing.assert_close(target[denoise & ~loud], x[denoise & ~loud])
    assert waveform.abs().max() <= 0.991
    assert batch["step"].item() == 3


def test_a_batch_is_a_function_of_its_index():
    one, other = (NoisyCrops(crops(3000, 0), crops(3000, 1), seed=5) for _ in range(2))
    torch.testing.assert_close(one[7], other[7], atol=0, rtol=0)
    assert not torch.equal(one[7]["waveform"], one[8]["waveform"])
