"""Layers side by side: streams equal the whole, and wait for as long as `needed` says."""

import pytest
import torch
from torch import nn

from nexus.nn.branches import Mean
from nexus.nn.chain import Chain, Residual
from nexus.nn.conv import Conv1d, ConvTranspose1d
from nexus.nn.look_ahead import needed


def network(pad_mode: str, causal: bool) -> Chain:
    torch.manual_seed(0)
    options = {"pad_mode": pad_mode, "causal": causal}
    return Chain(
        Conv1d(1, 4, 7, **options),
        Mean(*[Chain(nn.ELU(), Conv1d(4, 4, k, dilation=d, **options)) for k, d in ((3, 1), (5, 3), (1, 1))]),
        Chain(Conv1d(4, 4, 6, stride=3, **options), Residual(nn.Tanh(), Conv1d(4, 4, 3, **options))),
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
    assert whole.std() > 1e-3
    chunks = x.split(chunk, dim=-1)
    for i, part in enumerate(chunks):
        y, state = layers.stream(part, state, last=i == len(chunks) - 1)
        parts.append(y)
    torch.testing.assert_close(torch.cat(parts, dim=-1), whole, atol=1e-6, rtol=0)


@pytest.mark.parametrize("causal", [False, True])
@torch.no_grad()
def test_needed_is_how_far_the_output_sees(causal):
    layers, x = network("constant", causal), torch.randn(1, 1, 120)
    for n in range(60, 66):
        seen = needed(layers, n)
        changed, beyond = x.clone(), x.clone()
        changed[..., seen - 1] += 1
        beyond[..., seen:] += 1
        assert torch.equal(layers(beyond)[..., :n], layers(x)[..., :n])
        assert not torch.equal(layers(changed)[..., :n], layers(x)[..., :n])
    # From the last layer back: 63 + 1, 22 windows of which the last overlaps, + 1, thrice as many + 1, + 6, + 3
    assert needed(layers, 63) == (63 if causal else 79)


@torch.no_grad()
def test_a_stream_gives_what_has_all_it_needs():
    layers, state, given = network("constant", causal=False), None, 0
    for heard in range(1, 90):
        y, state = layers.stream(torch.randn(1, 1, 1), state)
        given += y.shape[-1]
        assert given == max((n for n in range(1, 90) if needed(layers, n) <= heard), default=0)


def test_mean_by_hand():
    x = torch.randn(1, 2, 5)
    torch.testing.assert_close(Mean(nn.Identity(), nn.ReLU(), nn.Identity())(x), (2 * x + x.relu()) / 3)
