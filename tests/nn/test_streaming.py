"""Rows and sums of layers: streams equal the whole, and wait for as long as they say."""

from fractions import Fraction

import pytest
import torch
from torch import nn

from nexus.nn.conv import Conv1d, ConvTranspose1d
from nexus.nn.streaming import Chain, Scale, Sum, look_ahead, residual


def network(pad_mode: str, causal: bool) -> Chain:
    torch.manual_seed(0)
    options = {"pad_mode": pad_mode, "causal": causal}
    return Chain(
        Conv1d(1, 4, 7, **options),
        Sum(*[Chain(nn.ELU(), Conv1d(4, 4, k, dilation=d, **options)) for k, d in ((3, 1), (5, 3), (1, 1))]),
        Scale(0.5),
        Chain(Conv1d(4, 4, 6, stride=3, **options), residual(nn.Tanh(), Conv1d(4, 4, 3, **options))),
        ConvTranspose1d(4, 2, 6, stride=3, causal=causal),
        Conv1d(2, 1, 3, **options),
    ).eval()


@pytest.mark.parametrize("pad_mode", ["reflect", "constant"])
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize(("length", "chunk"), [(31, 1), (61, 7), (60, 60), (2, 1)])
@torch.no_grad()
def test_streams_equal_the_whole(pad_mode, causal, length, chunk):
    layers, x = network(pad_mode, causal), torch.randn(2, 1, length)
    whole, state, parts = layers(x), None, []
    assert whole.std() > 1e-2
    chunks = x.split(chunk, dim=-1)
    for i, part in enumerate(chunks):
        y, state = layers.stream(part, state, last=i == len(chunks) - 1)
        parts.append(y)
    torch.testing.assert_close(torch.cat(parts, dim=-1), whole, atol=1e-6, rtol=0)


@torch.no_grad()
def test_look_ahead_is_how_far_the_output_sees():
    layers = network("constant", causal=False)
    # 3 + (5 - 1) * 3 / 2 + 1; then at a third of the rate 1 and 2 / 3; then 1
    assert look_ahead(layers) == 3 + 6 + 1 + 3 * (1 + Fraction(2, 3)) + 1
    assert look_ahead(network("constant", causal=True)) == 0
    x = torch.randn(1, 1, 90)
    changed = x.clone()
    changed[..., 60:] += 1
    first = int((layers(changed) != layers(x))[0, 0].nonzero()[0])
    # An output of the strided layer serves three samples, so the exact reach varies by up to two.
    assert abs(60 - look_ahead(layers) - first) <= 2


def test_a_sum_adds():
    x = torch.randn(1, 2, 5)
    torch.testing.assert_close(Sum(nn.Identity(), Scale(2.0), Scale(-0.5))(x), 2.5 * x)
    torch.testing.assert_close(residual(Scale(2.0))(x), 3 * x)
