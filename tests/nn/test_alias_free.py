"""Alias-free activations against scipy's filter design, the theory of sampling, and BigVGAN's own layer."""

import pytest
import torch
from scipy import signal
from torch import nn

from nexus.nn.alias_free import REACH, AliasFree, half_band
from nexus.nn.snake import Snake, SnakeBeta


class FourthPower(nn.Module):
    def forward(self, x):
        return x**4


def test_the_filter_is_scipys_kaiser_design():
    beta = signal.kaiser_beta(signal.kaiser_atten(6, 4 * 0.3))
    expected = signal.firwin(12, 0.5, window=("kaiser", beta))
    torch.testing.assert_close(half_band(), torch.from_numpy(expected), atol=1e-9, rtol=0)


@pytest.mark.parametrize("cycles", [3, 40, 100])
def test_a_sine_below_a_quarter_of_the_rate_passes_unchanged(cycles):
    t = torch.arange(1000) / 1000
    x = torch.sin(2 * torch.pi * cycles * t + 0.3).expand(2, 3, -1)
    y = AliasFree(nn.Identity())(x)
    assert (y - x)[..., 2 * REACH : -2 * REACH].abs().max() < 1e-2


def test_a_constant_passes_to_its_very_ends():
    x = torch.full((1, 2, 37), 0.7)
    torch.testing.assert_close(AliasFree(nn.Identity())(x), x)


def test_harmonics_beyond_nyquist_are_gone_where_a_bare_activation_folds_them_back():
    t = torch.arange(1000) / 1000
    x = torch.sin(2 * torch.pi * 200 * t)[None, None]  # its fourth power sounds at 0, 400 and 800, which folds to 200

    def folded(y: torch.Tensor) -> float:
        return (2 * (y * torch.exp(-2j * torch.pi * 200 * t))[0, 0, 100:900].mean()).abs().item()

    assert folded(FourthPower()(x)) == pytest.approx(1 / 8, abs=1e-4)
    assert folded(AliasFree(FourthPower())(x)) < 1 / 400


@pytest.mark.parametrize("length", [1, 5, 16, 33, 100])
def test_with_and_without_gradients_it_is_the_same(length):
    layer, x = AliasFree(SnakeBeta(3)), torch.randn(2, 3, length)
    with torch.no_grad():
        expected = layer(x)
    y = layer(x.requires_grad_())
    torch.testing.assert_close(y, expected, atol=1e-6, rtol=1e-5)
    weight = torch.randn_like(y)
    (gradient,) = torch.autograd.grad((y * weight).sum(), x)
    aside = torch.randn_like(x)
    with torch.no_grad():
        slope = ((layer.double()(x.double() + 1e-5 * aside) - layer(x.double() - 1e-5 * aside)) * weight).sum() / 2e-5
    torch.testing.assert_close((gradient * aside).sum().double(), slope, atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("length", [1, 2, 15, 16, 33])
def test_outputs_reach_as_far_as_said(length):
    layer = AliasFree(SnakeBeta(2))
    x = torch.randn(1, 2, length, requires_grad=True)
    place = length // 2
    layer(x)[0, :, place].sum().backward()
    assert x.grad is not None
    touched = x.grad[0, 0].nonzero()[:, 0].tolist()
    assert touched == list(range(max(place - REACH, 0), min(place + REACH + 1, length)))


@pytest.mark.parametrize("length", [1, 9, 50])
@pytest.mark.parametrize("chunk", [1, 4, 50])
def test_streams_equal_the_whole(length, chunk):
    torch.manual_seed(0)
    layer, x = AliasFree(SnakeBeta(3)), torch.randn(2, 3, length)
    state, parts = None, []
    chunks = x.split(chunk, dim=-1)
    for i, part in enumerate(chunks):
        y, state = layer.stream(part, state, last=i == len(chunks) - 1)
        parts.append(y)
        assert state[0].shape[-1] <= 2 * REACH + chunk
    torch.testing.assert_close(torch.cat(parts, dim=-1), layer(x), atol=1e-5, rtol=0)


@pytest.mark.parametrize("length", [1, 7, 16, 131])
def test_equal_to_bigvgan(bigvgan, length):
    theirs = bigvgan.act.Activation1d(bigvgan.activations.SnakeBeta(5, alpha_logscale=True))
    ours = AliasFree(SnakeBeta(5))
    torch.manual_seed(0)
    with torch.no_grad():
        for name in ("alpha", "beta"):
            values = torch.randn(5)
            getattr(theirs.act, name).copy_(values)
            getattr(ours.activation, name).copy_(values)
    x = torch.randn(2, 5, length)
    assert ours(x).std() > 0.1
    torch.testing.assert_close(ours(x), theirs(x), atol=1e-5, rtol=1e-5)


def test_equal_to_bigvgan_with_snake(bigvgan):
    theirs, ours = bigvgan.act.Activation1d(bigvgan.activations.Snake(5)), AliasFree(Snake(5))
    with torch.no_grad():
        theirs.act.alpha.copy_(torch.linspace(0.5, 2, 5))
        ours.activation.alpha.copy_(theirs.act.alpha[None, :, None])
    x = torch.randn(2, 5, 40)
    torch.testing.assert_close(ours(x), theirs(x), atol=1e-5, rtol=1e-5)
