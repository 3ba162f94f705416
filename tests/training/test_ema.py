import pytest
import torch
from torch import nn

from nexus.training.ema import EMA


def test_average_by_hand():
    layer = nn.Linear(1, 1, bias=False)
    nn.init.constant_(layer.weight, 1.0)
    ema, expected = EMA(layer, 0.5), 1.0
    for step, value in enumerate((2.0, 4.0, -3.0)):
        nn.init.constant_(layer.weight, value)
        ema.update(step)
        decay = min(0.5, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * value
    assert ema.state_dict()["weight"].item() == pytest.approx(expected, rel=1e-6)


def test_long_run_uses_the_full_decay():
    layer = nn.Linear(1, 1, bias=False)
    ema = EMA(layer, 0.9)
    nn.init.constant_(layer.weight, 1.0)
    ema.average["weight"].zero_()
    ema.update(1000)
    assert ema.average["weight"].item() == pytest.approx(0.1, rel=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_applied_and_back_again(dtype):
    layer = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2)).to(dtype)
    layer[0].bias.requires_grad_(False)
    ema = EMA(layer, 0.9)
    before = {name: value.clone() for name, value in layer.state_dict().items()}
    ema.average = {name: torch.full_like(value, 7.0) for name, value in ema.average.items()}
    assert all(value.dtype == torch.float32 for value in ema.average.values())
    with pytest.raises(RuntimeError), ema.applied() as module:
        assert (module[0].weight == 7).all() and module[0].weight.dtype == dtype
        assert torch.equal(module[0].bias, before["0.bias"])  # frozen: its own
        raise RuntimeError
    assert all(torch.equal(value, before[name]) for name, value in layer.state_dict().items())


def test_bad_decay():
    with pytest.raises(ValueError, match=r"ema_decay 1\.0"):
        EMA(nn.Linear(1, 1), 1.0)
