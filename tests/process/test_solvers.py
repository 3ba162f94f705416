"""Solvers against the reference step by step, and against Gaussian data, whose posterior mean is known."""

import math
from functools import partial
from itertools import pairwise

import pytest
import torch

from nexus.process.diffusion import data_field
from nexus.process.flow import last
from nexus.process.noise import gaussian, generators
from nexus.process.schedule import (
    cosine,
    leading,
    linear,
    scaled_linear,
    shift_snr,
    trailing,
    zero_terminal_snr,
)
from nexus.process.solvers import consistency, ddim, ddpm, dpmpp_2m, heun
from nexus.process.unipc import unipc

SHAPE = (3, 4, 5)
NAMES = {"noise": "epsilon", "velocity": "v_prediction", "data": "sample"}
MEAN, STD = 1.5, 0.4


def network(x, t):
    """Any smooth function of the state and the step."""
    return torch.tanh(x.roll(1, dims=-1) + 0.3 * x + t.reshape(-1, *[1] * (x.ndim - 1)) / 1000)


def reference_states(scheduler, steps, noise, drawn=None, **kwargs):
    """The reference's state after each step; `drawn` holds the noise it is to use."""
    scheduler.set_timesteps(steps)
    x, states = noise, []
    for i, t in enumerate(scheduler.timesteps):
        extra = kwargs if drawn is None else kwargs | {"variance_noise": drawn[i]}
        x = scheduler.step(network(x, t.expand(len(x))), t, x, **extra).prev_sample
        states.append(x)
    return states


def assert_same_states(ours, theirs):
    ours = list(ours)
    assert len(ours) == len(theirs)
    for step, (a, b) in enumerate(zip(ours, theirs, strict=True)):
        assert b.std() > 1e-3
        scale = max(1.0, b.abs().max().item())  # noise predictions near pure noise make estimates in the hundreds
        torch.testing.assert_close(a, b, atol=1e-5 * scale, rtol=1e-5, msg=lambda m, step=step: f"step {step}: {m}")


def draws(seed, count, batch=2):
    """The noise a solver draws from `generators(seed, batch)`, step after step."""
    rngs = generators(seed, batch)
    return [gaussian(SHAPE, rngs) for _ in range(count)]


@pytest.fixture
def noise():
    return gaussian(SHAPE, generators(0, 2))


@pytest.mark.parametrize("prediction", NAMES)
@pytest.mark.parametrize("spacing", [trailing, leading])
@pytest.mark.parametrize("steps", [1, 4, 25])
def test_ddim_equals_the_reference(noise, prediction, spacing, steps):
    diffusers = pytest.importorskip("diffusers")
    reference = diffusers.DDIMScheduler(
        clip_sample=False, prediction_type=NAMES[prediction], timestep_spacing=spacing.__name__
    )
    expected = reference_states(reference, steps, noise)
    field = data_field(network, prediction)
    assert_same_states(ddim(field, noise, linear().path(spacing(1000, steps))), expected)


@pytest.mark.parametrize("eta", [0.3, 1.0])
def test_ddim_with_fresh_noise_equals_the_reference(noise, eta):
    diffusers = pytest.importorskip("diffusers")
    reference = diffusers.DDIMScheduler(clip_sample=False, timestep_spacing="trailing")
    expected = reference_states(reference, 5, noise, drawn=draws(7, 5), eta=eta)
    field = data_field(network, "noise")
    ours = ddim(field, noise, linear().path(trailing(1000, 5)), eta=eta, rngs=generators(7, 2))
    assert_same_states(ours, expected)
    assert (expected[-1] - reference_states(reference, 5, noise)[-1]).abs().max() > 0.1


@pytest.mark.parametrize("prediction", NAMES)
def test_ddpm_equals_the_reference(noise, prediction, monkeypatch):
    diffusers = pytest.importorskip("diffusers")
    from diffusers.schedulers import scheduling_ddpm

    drawn = iter(draws(7, 5))
    monkeypatch.setattr(scheduling_ddpm, "randn_tensor", lambda *_, **__: next(drawn))
    reference = diffusers.DDPMScheduler(
        clip_sample=False, prediction_type=NAMES[prediction], variance_type="fixed_small", timestep_spacing="trailing"
    )
    expected = reference_states(reference, 5, noise)
    field = data_field(network, prediction)
    assert_same_states(ddpm(field, noise, linear().path(trailing(1000, 5)), rngs=generators(7, 2)), expected)


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # the reference's own
@pytest.mark.parametrize("prediction", NAMES)
@pytest.mark.parametrize("steps", [1, 2, 7, 20])
def test_dpmpp_2m_equals_the_reference(noise, prediction, steps):
    diffusers = pytest.importorskip("diffusers")
    reference = diffusers.DPMSolverMultistepScheduler(
        algorithm_type="dpmsolver++",
        solver_order=2,
        final_sigmas_type="zero",
        timestep_spacing="trailing",
        prediction_type=NAMES[prediction],
    )
    expected = reference_states(reference, steps, noise)
    field = data_field(network, prediction)
    assert_same_states(dpmpp_2m(field, noise, linear().path(trailing(1000, steps))), expected)


@pytest.mark.parametrize("shift", [3.0, 1.0])
def test_cogvideox_sampling_equals_the_reference(noise, shift):
    diffusers = pytest.importorskip("diffusers")
    reference = diffusers.CogVideoXDDIMScheduler(
        beta_schedule="scaled_linear",
        snr_shift_scale=shift,
        rescale_betas_zero_snr=True,
        prediction_type="v_prediction",
        timestep_spacing="trailing",
        clip_sample=False,
    )
    schedule = zero_terminal_snr(shift_snr(scaled_linear(), shift))
    torch.testing.assert_close(schedule.signal, reference.alphas_cumprod)
    for steps in (5, 8):
        field = data_field(network, "velocity")
        expected = reference_states(reference, steps, noise)
        assert_same_states(ddim(field, noise, schedule.path(trailing(1000, steps))), expected)


# --- Gaussian data -------------------------------------------------------------------------------------------------


def posterior_mean(x, level):
    """E[data | x] for data ~ N(MEAN, STD^2)."""
    alpha, sigma = level.alpha, level.sigma
    return MEAN + alpha * STD**2 / (alpha**2 * STD**2 + sigma**2) * (x - alpha * MEAN)


def transported(level, z):
    """Where the exact ODE takes quantile z: x is Gaussian at every level, and quantiles stay quantiles."""
    return level.alpha * MEAN + math.hypot(level.alpha * STD, level.sigma) * z


Z = torch.linspace(-2, 2, 9, dtype=torch.float64)[None]


@pytest.mark.parametrize(
    ("solver", "order"), [(ddim, 1), (dpmpp_2m, 2), (heun, 2), (unipc, 2), (partial(unipc, order=1), 2)]
)
def test_solvers_follow_the_exact_path_at_their_order(solver, order):
    schedule = linear(4000, 2.5e-5, 0.005)
    errors = []
    for steps in (32, 64, 128):
        path = schedule.path(torch.arange(3999, 798, -3200 // steps))
        start, exact = (transported(path[i], Z) for i in (0, -1))
        errors.append((last(solver(posterior_mean, start, path)) - exact).abs().max().item())
    assert errors[-1] < 0.01
    slopes = [math.log2(coarse / fine) for coarse, fine in pairwise(errors)]
    assert all(abs(slope - order) < 0.15 for slope in slopes), (slopes, errors)


@pytest.mark.parametrize(
    "schedule", [linear(), cosine(), zero_terminal_snr(linear())], ids=["linear", "cosine", "zero"]
)
@pytest.mark.parametrize(("solver", "tolerance"), [(ddim, 0.02), (dpmpp_2m, 0.01), (unipc, 0.01)])
def test_solvers_reach_the_data(schedule, solver, tolerance):
    """Quantiles of the noise come out as quantiles of the data, so mean and deviation do."""
    x = last(solver(posterior_mean, Z, schedule.path(trailing(1000, 200))))
    torch.testing.assert_close(x, MEAN + STD * Z, atol=tolerance, rtol=0)


@pytest.mark.parametrize("schedule", [cosine(), zero_terminal_snr(linear())], ids=["cosine", "zero"])
@pytest.mark.parametrize(
    "solver",
    [ddpm, partial(ddpm, variance="large"), partial(ddim, eta=1.0), partial(ddim, eta=0.5), dpmpp_2m],
    ids=["ddpm", "large variance", "eta1", "eta0.5", "sde"],
)
def test_solvers_that_draw_noise_reach_the_data(schedule, solver):
    rngs = generators(1, 1)
    noise = gaussian((20_000,), rngs, dtype=torch.float64)
    x = last(solver(posterior_mean, noise, schedule.path(trailing(1000, 1000)), rngs=rngs))
    assert x.mean().item() == pytest.approx(MEAN, abs=0.01)
    assert x.std().item() == pytest.approx(STD, rel=0.02)


def test_ddim_at_eta_1_is_ddpm(noise):
    path = linear().path(trailing(1000, 7))
    field = data_field(network, "noise")
    ours = ddim(field, noise, path, eta=1.0, rngs=generators(3, 2))
    assert_same_states(ours, list(ddpm(field, noise, path, rngs=generators(3, 2))))


# --- What a consumer can count on ----------------------------------------------------------------------------------

SOLVERS = {
    "ddim": lambda *args, rngs: ddim(*args),
    "ddim eta 0.5": partial(ddim, eta=0.5),
    "ddpm": ddpm,
    "dpmpp_2m": lambda *args, rngs: dpmpp_2m(*args),
    "sde-dpmpp_2m": dpmpp_2m,
    "unipc": lambda *args, rngs: unipc(*args),
    "heun": lambda *args, rngs: heun(*args),
    "consistency": consistency,
}


@pytest.mark.parametrize("solver", SOLVERS.values(), ids=SOLVERS)
def test_an_item_alone_equals_it_in_a_batch(solver):
    path = zero_terminal_snr(linear()).path(leading(1000, 5))
    field = data_field(network, "velocity")

    def sample(seed, n):
        rngs = generators(seed, n)
        return last(solver(field, gaussian(SHAPE, rngs), path, rngs=rngs))

    together = sample(10, 3)
    for i in range(3):
        torch.testing.assert_close(together[i : i + 1], sample(10 + i, 1), atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("solver", SOLVERS.values(), ids=SOLVERS)
def test_a_consumer_sees_every_state_and_can_stop(solver):
    seen = []

    def field(x, level):
        seen.append(level)
        return network(x, level.times(x))

    path = linear().path(trailing(1000, 5))
    states = solver(field, gaussian(SHAPE, generators(0, 2)), path, rngs=generators(0, 2))
    assert not seen, "nothing is computed before it is asked for"
    for done, state in enumerate(states, 1):
        assert state.shape == (2, *SHAPE) and state.dtype == torch.float32
        assert seen[0] == path[0] and done <= len(seen) <= 2 * done
        if done == 2:
            break
    states.close()
    assert set(seen) <= set(path[:3])


@pytest.mark.parametrize("solver", SOLVERS.values(), ids=SOLVERS)
def test_the_last_state_is_the_last_estimate_of_the_data(solver):
    answers = []

    def field(x, level):
        answers.append(network(x, level.times(x)))
        return answers[-1]

    rngs = generators(0, 2)
    x = last(solver(field, gaussian(SHAPE, rngs), linear().path(trailing(1000, 4)), rngs=rngs))
    torch.testing.assert_close(x, answers[-1])


def test_drawing_noise_without_generators_is_refused_before_the_first_step(noise):
    def field(x, level):
        raise AssertionError("the field was called")

    with pytest.raises(ValueError, match="rngs"):
        next(ddim(field, noise, linear().path(trailing(1000, 4)), eta=0.5))
