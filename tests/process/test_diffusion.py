"""Diffusing data, what a network should answer, and its estimate of the data."""

from typing import get_args

import pytest
import torch

from nexus.process.diffusion import Prediction, data_field, diffuse, diffusion_loss, target
from nexus.process.schedule import linear, zero_terminal_snr

PREDICTIONS = get_args(Prediction)
SCHEDULE = linear()


@pytest.fixture
def batch(rng):
    data, noise = torch.randn(3, 2, 5, generator=rng), torch.randn(3, 2, 5, generator=rng)
    return data, noise, torch.tensor([0, 400, 999])


def test_diffused_data_has_the_marginal_of_each_step(rng):
    step = torch.tensor([10, 300, 900])
    data = torch.full((3, 40_000), 2.0)
    x_t = diffuse(SCHEDULE, data, torch.randn(data.shape, generator=rng), step)
    torch.testing.assert_close(x_t.mean(dim=1).double(), 2 * SCHEDULE.alpha(step), atol=0.02, rtol=0)
    torch.testing.assert_close(x_t.std(dim=1).double(), SCHEDULE.sigma(step), atol=0, rtol=0.02)


def test_diffusing_and_velocity_equal_the_reference(batch):
    diffusers = pytest.importorskip("diffusers")
    reference = diffusers.DDPMScheduler()
    torch.testing.assert_close(diffuse(SCHEDULE, *batch), reference.add_noise(*batch), atol=1e-5, rtol=1e-5)
    velocity = target(SCHEDULE, *batch, "velocity")
    torch.testing.assert_close(velocity, reference.get_velocity(*batch), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_the_right_answer_gives_the_data_back_and_no_loss(batch, prediction):
    data, noise, step = batch[0].double(), batch[1].double(), batch[2]
    answer, x_t = target(SCHEDULE, data, noise, step, prediction), diffuse(SCHEDULE, data, noise, step)
    for i, level in enumerate(SCHEDULE.path(step)):
        estimate = data_field(lambda x, t, i=i: answer[i : i + 1], prediction)(x_t[i : i + 1], level)
        torch.testing.assert_close(estimate, data[i : i + 1])
    assert diffusion_loss(lambda x, t: answer, SCHEDULE, data, noise, step, prediction).abs().max() == 0


@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_loss_is_the_mean_square_of_each_item(batch, prediction):
    data, noise, step = batch
    seen = []

    def field(x_t, t):
        seen.append((x_t, t))
        return target(SCHEDULE, data, noise, step, prediction) + torch.tensor([0.0, 1.0, 2.0])[:, None, None]

    loss = diffusion_loss(field, SCHEDULE, data, noise, step, prediction)
    torch.testing.assert_close(loss, torch.tensor([0.0, 1.0, 4.0]))
    torch.testing.assert_close(seen[0][0], diffuse(SCHEDULE, data, noise, step))
    assert seen[0][1] is step


@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_loss_is_least_at_the_posterior_mean(rng, prediction):
    """For standard normal data every E[. | x_t] is known: alpha x, sigma x, and a velocity of 0."""
    data, noise = torch.randn(1, 50_000, generator=rng), torch.randn(1, 50_000, generator=rng)
    step = torch.tensor([300])
    alpha, sigma = float(SCHEDULE.alpha(step)), float(SCHEDULE.sigma(step))
    best = {"noise": sigma, "velocity": 0.0, "data": alpha, "flow": sigma - alpha}[prediction]

    def loss(factor):
        return diffusion_loss(lambda x, t: factor * x, SCHEDULE, data, noise, step, prediction).item()

    assert loss(best) < min(loss(best + 0.05), loss(best - 0.05))


def test_pure_noise_gives_velocity_its_data_and_noise_predictions_none(batch):
    schedule = zero_terminal_snr(linear())
    data, noise, step = batch[0], batch[1], torch.full((3,), 999)
    x_t = diffuse(schedule, data, noise, step)
    assert torch.equal(x_t, noise)
    (level,) = schedule.path(step[:1])
    torch.testing.assert_close(data_field(lambda x, t: -data, "velocity")(x_t, level), data)
    with pytest.raises(ValueError, match="velocity"):
        data_field(lambda x, t: x, "noise")(x_t, level)
