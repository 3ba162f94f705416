"""Adversarial losses at known answers, the balancer by hand, discriminators that can tell and be told."""

import pytest
import torch
from torch import nn

from nexus.process.adversarial import (
    Balancer,
    Discriminators,
    Judgement,
    STFTDiscriminatorConfig,
    discriminator_hinge,
    discriminator_least_squares,
    feature_matching,
    generator_hinge,
    generator_least_squares,
    multi_period,
    multi_scale_stft,
)
from nexus.process.spectral import mel_distance, stft_distance

STFT = STFTDiscriminatorConfig(n_ffts=(64, 32), n_filters=3)


def judges() -> Discriminators:
    torch.manual_seed(0)
    return Discriminators(*multi_scale_stft(STFT), *multi_period((2, 3), (3, 4, 5)))


def says(*logits: float) -> Judgement:
    return Judgement([torch.full((2, 1, 3, 3), value) for value in logits], [])


@pytest.mark.parametrize("length", [200, 301])
def test_judgements(length):
    result = judges()(torch.randn(2, 1, length))
    assert len(result.logits) == len(result.features) == 4
    assert all(logits.shape[:2] == (2, 1) for logits in result.logits)
    assert [len(features) for features in result.features] == [5, 5, 3, 3]


def test_every_parameter_gets_a_gradient():
    network = judges()
    sum(logits.square().mean() for logits in network(torch.randn(2, 1, 301)).logits).backward()
    assert not [n for n, p in network.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]


def test_losses_at_known_answers():
    assert discriminator_hinge(says(2.0, 1.0), says(-1.0, -3.0)) == 0
    assert discriminator_hinge(says(0.0), says(0.5)) == 2.5
    assert generator_hinge(says(1.0, 5.0)) == 0
    assert generator_hinge(says(-1.0, 1.0)) == 1
    assert discriminator_least_squares(says(1.0), says(0.0)) == 0
    assert discriminator_least_squares(says(0.0), says(2.0)) == 5
    assert generator_least_squares(says(1.0)) == 0
    assert generator_least_squares(says(3.0)) == 4


def test_feature_matching():
    real = Judgement([], [[torch.full((2, 2), 4.0), torch.full((2, 2), -2.0)]])
    fake = Judgement([], [[torch.full((2, 2), 5.0), torch.full((2, 2), -3.0)]])
    assert feature_matching(real, real) == 0
    assert feature_matching(real, fake) == pytest.approx((1 / 4 + 1 / 2) / 2)


def test_balancer_by_hand():
    balancer = Balancer({"a": 1.0, "b": 3.0}, ema_decay=0.5)
    output = torch.tensor([[3.0, 4.0]], requires_grad=True)
    # Gradients: of a (6, 8), norm 10; of b (0, 2), norm 2. Shares of the total norm: 1/4 and 3/4.
    losses = {"a": output.square().sum(), "b": 2 * output[0, 1]}
    (gradient,) = torch.autograd.grad(balancer(losses, output), output)
    torch.testing.assert_close(gradient, torch.tensor([[0.25 * 0.6, 0.25 * 0.8 + 0.75]]))
    # Second step, b ten times as steep: its averaged norm is (0.5 * 2 + 20) / 1.5 = 14.
    losses = {"a": output.square().sum(), "b": 20 * output[0, 1]}
    (gradient,) = torch.autograd.grad(balancer(losses, output), output)
    torch.testing.assert_close(gradient, torch.tensor([[0.15, 0.2 + 0.75 * 20 / 14]]))


def test_balancer_reaches_the_network_and_does_without_absent_losses():
    layer, balancer = nn.Linear(3, 3), Balancer({"a": 1.0, "b": 1.0})
    output = layer(torch.randn(2, 3))
    balancer({"a": output.square().mean()}, output).backward()
    assert layer.weight.grad is not None
    assert layer.weight.grad.abs().sum() > 0
    with torch.no_grad():
        assert balancer({"a": torch.tensor(2.0)}, output) == 2
    with pytest.raises(ValueError, match="no weight for loss 'c'"):
        balancer({"c": output.mean()}, output)
    with pytest.raises(ValueError, match="positive"):
        Balancer({"a": 0.0})


def test_discriminators_learn_to_tell_noise_from_tones():
    network, t = judges(), torch.arange(400) / 40
    optimizer, rng = torch.optim.AdamW(network.parameters(), lr=5e-3), torch.Generator().manual_seed(0)
    for _ in range(25):
        real = torch.sin(t * (1 + 4 * torch.rand(8, 1, 1, generator=rng)))
        loss = discriminator_hinge(network(real), network(torch.randn(8, 1, 400, generator=rng)))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss < 1


@pytest.mark.parametrize(
    "distance",
    [lambda a, b: mel_distance(a, b, 24000, ((256, 20), (64, 8))), lambda a, b: stft_distance(a, b, (256, 64))],
)
def test_spectral_distances(distance):
    x, noise = torch.randn(2, 1, 1000), torch.randn(2, 1, 1000)
    assert distance(x, x) == 0
    assert 0 < distance(x + 0.01 * noise, x) < distance(x + 0.5 * noise, x)
    y = x.clone().requires_grad_()
    distance(0.5 * y, x).backward()
    assert y.grad is not None
    assert y.grad.isfinite().all()
    silence = torch.zeros(1, 1, 1000, requires_grad=True)
    distance(silence, x[:1]).backward()
    assert silence.grad is not None
    assert silence.grad.isfinite().all()
