"""Adaptive layer norm: its arithmetic, and blocks that start as nothing."""

import torch
import torch.nn.functional as F

from nexus.nn.modulation import AdaptiveNorm, Modulation, last_layer, low_rank, modulate, projection, shrink, widen


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


def test_the_nearest_of_low_rank_is_exact_where_inputs_span_no_more():
    torch.manual_seed(0)
    layer = torch.nn.Linear(16, 40)
    inputs = torch.randn(200, 3) @ torch.randn(3, 16)
    assert torch.allclose(low_rank(layer, inputs, 3)(inputs), layer(inputs), atol=1e-4)
    errors = [(low_rank(layer, torch.randn(500, 16), rank)(inputs) - layer(inputs)).norm() for rank in (2, 8, 16)]
    assert errors[0] > errors[1] > 100 * errors[2]


def test_shrunk_modulations_have_the_names_of_a_network_of_that_rank():
    class Block(torch.nn.Module):
        def __init__(self, rank=None):
            super().__init__()
            self.modulation = projection(8, 24, rank)
            torch.nn.init.zeros_(last_layer(self.modulation).weight)

    blocks, small = torch.nn.ModuleList([Block(), Block()]), torch.nn.ModuleList([Block(2), Block(2)])
    shrink(blocks, torch.randn(30, 8), 2)
    small.load_state_dict(blocks.state_dict())
    assert small[0].modulation[0].weight.shape == (2, 8) and not last_layer(Block(2).modulation).weight.any()


def test_widened_modulations_compute_what_those_of_low_rank_do():
    class Block(torch.nn.Module):
        def __init__(self, rank):
            super().__init__()
            self.modulation = projection(8, 24, rank)

    small, whole = torch.nn.ModuleList([Block(2), Block(None)]), torch.nn.ModuleList([Block(None), Block(None)])
    x, before = torch.randn(5, 8), [block.modulation for block in small]
    expected = [modulation(x) for modulation in before]
    widen(small)
    whole.load_state_dict(small.state_dict())
    for block, wanted in zip(whole, expected, strict=True):
        assert isinstance(block.modulation, torch.nn.Linear)
        torch.testing.assert_close(block.modulation(x), wanted)
