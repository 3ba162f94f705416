"""Chains and residual chains: streams equal the whole, whatever the chunks."""

import pytest
import torch
from torch import nn

from nexus.nn.chain import Chain, Residual
from nexus.nn.conv import Conv1d, ConvTranspose1d


def network(causal: bool) -> Chain:
    torch.manual_seed(0)
    inner = Residual(nn.Tanh(), Conv1d(4, 4, 7, dilation=3, causal=causal), nn.ELU(), Conv1d(4, 4, 1, causal=causal))
    return Chain(
        Conv1d(1, 4, 7, causal=causal),
        Chain(inner, Conv1d(4, 4, 4, stride=2, causal=causal)),
        ConvTranspose1d(4, 3, 4, stride=2, causal=causal),
    ).eval()


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize(("length", "chunk"), [(2, 1), (40, 1), (61, 7), (60, 60)])
@torch.no_grad()
def test_streams_equal_the_whole(causal, length, chunk):
    layers, x = network(causal), torch.randn(2, 1, length)
    whole, state, parts = layers(x), None, []
    assert whole.std() > 1e-2
    chunks = x.split(chunk, dim=-1)
    for i, part in enumerate(chunks):
        y, state = layers.stream(part, state, last=i == len(chunks) - 1)
        parts.append(y)
    torch.testing.assert_close(torch.cat(parts, dim=-1), whole, atol=1e-6, rtol=0)


def test_residual_adds_its_input():
    x = torch.randn(1, 2, 9)
    torch.testing.assert_close(Residual(nn.ReLU(), nn.ReLU())(x), x + x.relu())
    torch.testing.assert_close(Chain(nn.ReLU(), nn.Tanh())(x), x.relu().tanh())
