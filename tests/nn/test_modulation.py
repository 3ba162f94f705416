"""Adaptive layer norm: its arithmetic, and blocks that start as nothing."""

import torch
import torch.nn.functional as F

from nexus.nn.modulation import AdaptiveNorm, Modulation, modulate


def test_modulation_is_the_formula(rng):
    x, shift, scale = (torch.randn(2, n, 6, generator=rng) for n in (5, 1, 1))
    expected = F.layer_norm(x, (6,), eps=1e-3) * (1 + scale) + shift
    torch.testing.assert_close(modulate(x, shift, scale, eps=1e-3), expected)


def test_vectors_are_zero_at_first_and_follow_the_item(rng):
    modulation, vector = Modulation(6, 3, in_dim=4), torch.randn(2, 4, generator=rng)
    assert all(part.shape == (2, 1, 6) and not part.any() for part in modulation(vector))
    torch.nn.init.normal_(modulation.linear.weight, generator=rng)
    expected = F.silu(vector) @ modulation.linear.weight.T
    torch.testing.assert_close(torch.cat(modulation(vector), dim=-1)[:, 0], expected)


def test_the_output_norm_shifts_before_it_scales(rng):
    norm, x, vector = AdaptiveNorm(6), torch.randn(2, 5, 6, generator=rng), torch.zeros(2, 6)
    with torch.no_grad():
        norm.modulation.linear.bias.copy_(torch.arange(12.0))
    expected = F.layer_norm(x, (6,), eps=1e-6) * (1 + torch.arange(6.0, 12.0)) + torch.arange(6.0)
    torch.testing.assert_close(norm(x, vector), expected, atol=1e-5, rtol=1e-5)
