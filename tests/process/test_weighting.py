"""Loss weights against the papers' formulas, and that one weighting means the same for every prediction."""

import pytest
import torch

from nexus.process.diffusion import diffuse, diffusion_loss, target
from nexus.process.schedule import cosine
from nexus.process.weighting import in_units_of, min_snr, p2, snr

SCHEDULE = cosine()
STEPS = torch.tensor([1, 100, 400, 700, 990])


def test_snr_equals_the_reference():
    diffusers = pytest.importorskip("diffusers")
    from diffusers.training_utils import compute_snr

    reference = diffusers.DDPMScheduler(beta_schedule="squaredcos_cap_v2")
    torch.testing.assert_close(
        snr(SCHEDULE, STEPS), compute_snr(reference, STEPS).double(), rtol=2e-3, atol=1e-6
    )  # theirs is float32


def test_min_snr_is_the_papers():
    ratio = snr(SCHEDULE, STEPS)
    assert ratio[0] > 5 > ratio[-1]
    least = torch.minimum(ratio, torch.full_like(ratio, 5.0))
    torch.testing.assert_close(min_snr(SCHEDULE, STEPS, "noise"), least / ratio)
    torch.testing.assert_close(min_snr(SCHEDULE, STEPS, "velocity"), least / (ratio + 1))
    torch.testing.assert_close(min_snr(SCHEDULE, STEPS, "data"), least)


def test_p2_is_the_papers():
    ratio = snr(SCHEDULE, STEPS)
    torch.testing.assert_close(p2(SCHEDULE, STEPS, "noise", gamma=0.5, k=2), 1 / (2 + ratio) ** 0.5)


@pytest.mark.parametrize("weigh", [min_snr, p2])
def test_a_weighting_means_the_same_for_every_prediction(weigh, rng):
    """The same wrong estimate of the data costs the same, whatever the network predicts."""
    data, noise = torch.randn(5, 200, generator=rng).double(), torch.randn(5, 200, generator=rng).double()
    x_t = diffuse(SCHEDULE, data, noise, STEPS)
    alpha, sigma = SCHEDULE.alpha(STEPS)[:, None], SCHEDULE.sigma(STEPS)[:, None]
    wrong = data + torch.randn(5, 200, generator=rng)
    answers = {
        "data": wrong,
        "noise": (x_t - alpha * wrong) / sigma,
        "velocity": (alpha * x_t - wrong) / sigma,
    }
    losses = [
        weigh(SCHEDULE, STEPS, name)
        * diffusion_loss(lambda x, t, a=answer: a, SCHEDULE, data, noise, STEPS, name).double()
        for name, answer in answers.items()
    ]
    torch.testing.assert_close(losses[0], losses[1], rtol=1e-3, atol=1e-8)
    torch.testing.assert_close(losses[0], losses[2], rtol=1e-3, atol=1e-8)
    assert target(SCHEDULE, data, noise, STEPS, "data") is data


def test_flows_have_no_such_weights():
    with pytest.raises(ValueError, match="flows"):
        in_units_of("flow", torch.ones(2))
