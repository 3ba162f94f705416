"""Least squares and feature matching, worked by hand."""

import pytest
import torch

from nexus.process.adversarial import Judgement
from nexus.process.least_squares import discriminator_sum, feature_mean, feature_sum, generator_sum, with_logits

REAL = Judgement([torch.tensor([1.0]), torch.tensor([0.5])], [[torch.zeros(3), torch.ones(2)], []])
FAKE = Judgement([torch.tensor([0.0]), torch.tensor([1.0])], [[torch.ones(3), torch.tensor([1.0, 2.0])], []])


def test_sums_over_judges():
    assert discriminator_sum(REAL, FAKE) == 0 + 0 + 0.25 + 1
    assert generator_sum(FAKE) == 1 + 0
    assert generator_sum(REAL) == 0 + 0.25


def test_features_over_layers_and_judges():
    real, fake = with_logits(REAL), with_logits(FAKE)
    assert feature_sum(REAL._replace(features=REAL.features[:1]), FAKE._replace(features=FAKE.features[:1])) == 1.5
    assert feature_sum(real, fake) == 1 + 0.5 + 1 + 0.5
    assert feature_mean(real, fake).item() == pytest.approx(((1 + 0.5 + 1) / 3 + 0.5) / 2)
    assert feature_sum(real, real) == feature_mean(real, real) == 0


def test_only_the_fake_learns_from_features():
    real, fake = (Judgement([torch.ones(1)], [[torch.full((2,), x, requires_grad=True)]]) for x in (1.0, 3.0))
    feature_sum(real, fake).backward()
    assert real.features[0][0].grad is None
    assert fake.features[0][0].grad.tolist() == pytest.approx([0.5, 0.5])
