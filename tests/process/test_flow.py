"""Flow matching against a Gaussian, whose velocity is known in closed form."""

import math
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nexus.process.flow import euler, flow_loss, heun, interpolate, last, logit_normal, midpoint, sway, uniform_times

MEAN, STD = 1.5, 0.4


def gaussian_velocity(x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
    """E[data - noise | x_t = x] for data ~ N(MEAN, STD^2) and standard normal noise."""
    t = t.reshape(-1, *[1] * (x.ndim - 1))
    variance = (1 - t) ** 2 + t**2 * STD**2
    return MEAN + (t * STD**2 - (1 - t)) / variance * (x - t * MEAN)


def transported(noise: torch.Tensor, t: float) -> torch.Tensor:
    """Where the exact ODE has taken the noise at time t: quantiles stay quantiles."""
    return t * MEAN + math.sqrt((1 - t) ** 2 + t**2 * STD**2) * noise


def error_slopes(sampler, field, noise, exact, until=1.0):
    errors = [
        (last(sampler(field, noise, until * uniform_times(steps).double())) - exact).abs().max().item()
        for steps in (32, 64, 128)
    ]
    assert errors[-1] < 0.02
    return [math.log2(coarse / fine) for coarse, fine in pairwise(errors)]


NOISE = torch.linspace(-2, 2, 9, dtype=torch.float64)[:, None]


@pytest.mark.parametrize(("sampler", "order"), [(euler, 1), (heun, 2)])
def test_samplers_transport_a_gaussian_at_their_order(sampler, order):
    slopes = error_slopes(sampler, gaussian_velocity, NOISE, transported(NOISE, 0.8), until=0.8)
    assert all(abs(slope - order) < 0.1 for slope in slopes), slopes


def test_midpoint_does_better_than_its_order_on_a_gaussian():
    """Its leading error term vanishes on this family; on a plain decay it is of second order."""
    slopes = error_slopes(midpoint, gaussian_velocity, NOISE, transported(NOISE, 0.8), until=0.8)
    assert all(slope > 1.9 for slope in slopes), slopes
    slopes = error_slopes(midpoint, lambda x, t: -x, NOISE, NOISE / math.e)
    assert all(abs(slope - 2) < 0.1 for slope in slopes), slopes


def test_samplers_yield_a_state_a_step_and_evaluate_as_often_as_they_say():
    for sampler, per_step in ((euler, 1), (midpoint, 2), (heun, 2)):
        calls = []

        def field(x, t, calls=calls):
            calls.append(t)
            assert t.shape == (3,)
            return -x

        states = list(sampler(field, torch.ones(3, 2), uniform_times(5)))
        assert len(states) == 5 and len(calls) == 5 * per_step


def test_loss_is_least_at_the_conditional_mean():
    rng = torch.Generator().manual_seed(0)
    noise = torch.randn(20000, 1, generator=rng)
    data = MEAN + STD * torch.randn(20000, 1, generator=rng)
    t = torch.rand(20000, generator=rng)
    best = flow_loss(gaussian_velocity, data, noise, t).mean()
    for wrong in (0.9, 1.1):
        assert flow_loss(lambda x, t, wrong=wrong: wrong * gaussian_velocity(x, t), data, noise, t).mean() > best
    exact = flow_loss(lambda x, t: data - noise, data, noise, t)
    assert exact.shape == (20000,) and exact.max() == 0


def test_loss_counts_only_where_asked():
    data, noise, t = torch.randn(2, 3, 5), torch.randn(2, 3, 5), torch.tensor([0.2, 0.7])
    where = torch.zeros(2, 1, 5, dtype=torch.bool)
    where[0, :, :2], where[1, :, 4:] = True, True
    loss = flow_loss(lambda x, t: torch.zeros_like(x), data, noise, t, where)
    target = (data - noise).square()
    torch.testing.assert_close(loss, torch.stack([target[0, :, :2].mean(), target[1, :, 4:].mean()]))


def test_path_ends_at_noise_and_data():
    noise, data = torch.randn(2, 4), torch.randn(2, 4)
    torch.testing.assert_close(interpolate(noise, data, torch.tensor([0.0, 1.0])), torch.stack([noise[0], data[1]]))


@given(coefficient=st.floats(-1, 1.75), steps=st.integers(1, 64))
@settings(max_examples=40, deadline=None)
def test_sway_keeps_ends_and_order(coefficient, steps):
    times = sway(uniform_times(steps), coefficient)
    assert abs(times[0]) < 1e-6 and abs(times[-1] - 1) < 1e-5
    assert (times.diff() > -1e-6).all()


def test_sway_below_zero_favours_noise():
    assert sway(torch.tensor([0.5]), -1.0) < 0.5 < sway(torch.tensor([0.5]), 1.0)
    torch.testing.assert_close(sway(torch.tensor([0.5]), -1.0), torch.tensor([1 - math.cos(math.pi / 4)]))


def test_logit_normal_median_follows_its_mean():
    times = logit_normal(4000, torch.Generator().manual_seed(0), mean=-1.0)
    assert times.min() > 0 and times.max() < 1
    assert abs(times.median() - torch.sigmoid(torch.tensor(-1.0))) < 0.02


def test_times_out_of_range_are_refused():
    with pytest.raises(ValueError, match="at least 1"):
        uniform_times(0)
    with pytest.raises(ValueError, match="sway"):
        sway(uniform_times(4), -1.5)
    with pytest.raises(ValueError, match="no step"):
        last(euler(lambda x, t: x, torch.ones(1, 1), torch.tensor([0.0])))
