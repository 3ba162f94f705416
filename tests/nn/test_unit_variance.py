import pytest
import torch
from torch import nn

from nexus.nn.chain import Chain, Residual
from nexus.nn.conv import Conv1d, ConvTranspose1d
from nexus.nn.unit_variance import keep_variance


@pytest.mark.parametrize("weight_norm", [False, True])
def test_signals_keep_their_size(weight_norm):
    torch.manual_seed(0)
    norm = {"weight_norm": weight_norm}
    inner = Conv1d(8, 8, 3, **norm)
    shrinking = Chain(
        Conv1d(1, 8, 7, **norm),
        Residual(nn.LeakyReLU(), inner),
        Conv1d(8, 16, 4, stride=2, **norm),
        nn.LeakyReLU(),
        ConvTranspose1d(16, 8, 4, stride=2, **norm),
        Conv1d(8, 3, 3, **norm),
    )
    x, size = 0.01 * torch.randn(4, 1, 500), inner.conv.weight.square().mean()
    assert shrinking(x)[..., 20:].std() < 0.05
    y = keep_variance(shrinking, x)
    assert y.square().mean() == pytest.approx(1, rel=1e-4)
    torch.testing.assert_close(shrinking(x), y, atol=1e-4, rtol=1e-4)  # hooks are gone, weights have it
    assert inner.conv.weight.square().mean() == size
    assert not any(b.any() for n, b in shrinking.named_parameters() if n.endswith("bias"))
    shrinking(x).sum().backward()
    assert all(p.grad is not None for p in shrinking.parameters())
