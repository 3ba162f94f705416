import pytest

from nexus.training.recipe import OptimizerConfig
from nexus.training.schedule import learning_rate


def test_warm_up_then_half_a_cosine():
    config = OptimizerConfig(lr=1.0, warmup_steps=10, final_lr_fraction=0.1)
    assert learning_rate(0, 110, config) == pytest.approx(0.1)
    assert learning_rate(9, 110, config) == pytest.approx(1.0)
    assert learning_rate(10, 110, config) == pytest.approx(1.0)
    assert learning_rate(60, 110, config) == pytest.approx(0.55)
    assert learning_rate(110, 110, config) == pytest.approx(0.1)
    assert learning_rate(500, 110, config) == pytest.approx(0.1)


def test_constant():
    config = OptimizerConfig(lr=2.0, warmup_steps=0, schedule="constant")
    assert [learning_rate(step, 10, config) for step in (0, 5, 10)] == [2.0, 2.0, 2.0]
