"""Noise schedules: what they leave of the signal, and which of their steps a sampler visits."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nexus.process import schedule as schedules
from nexus.process.schedule import (
    NoiseSchedule,
    cosine,
    from_betas,
    laplace,
    leading,
    linear,
    linspace,
    scaled_linear,
    shift_snr,
    sigmoid,
    trailing,
    without_last,
    zero_terminal_snr,
)

EVERY_STEP = torch.arange(1000)


BETAS = {
    linear: np.linspace(1e-4, 0.02, 1000),
    scaled_linear: np.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2,
}


@pytest.mark.parametrize("make", BETAS)
def test_marginals_are_those_of_the_chain_of_small_steps(make):
    """x_t = sqrt(1 - beta_t) x_{t-1} + sqrt(beta_t) noise, its mean and variance followed step by step."""
    schedule = make()
    mean, variance = 1.0, 0.0
    for step, beta in enumerate(BETAS[make]):
        mean, variance = mean * (1 - beta) ** 0.5, variance * (1 - beta) + beta
        if step in (0, 1, 500, 999):
            assert schedule.alpha(torch.tensor(step)).item() == pytest.approx(mean, rel=1e-9)
            assert schedule.sigma(torch.tensor(step)).item() == pytest.approx(variance**0.5, rel=1e-9)


def test_betas_make_a_schedule():
    schedule = from_betas(torch.tensor([0.1, 0.3]))
    assert schedule.signal.dtype == torch.float64 and schedule.n_steps == 2
    assert schedule.signal.tolist() == pytest.approx([0.9, 0.63])


def test_cosine_follows_its_formula_until_its_cap():
    schedule = cosine(1000)
    t = torch.arange(1, 1001, dtype=torch.float64) / 1000
    exact = (torch.cos((t + 0.008) / 1.008 * math.pi / 2) / math.cos(0.008 / 1.008 * math.pi / 2)) ** 2
    torch.testing.assert_close(schedule.signal[:-1], exact[:-1], rtol=1e-6, atol=1e-9)
    assert exact[-1] < 1e-12 < schedule.signal[-1], "the cap leaves some signal in the last step"
    assert 1 - (schedule.signal[-1] / schedule.signal[-2]).item() == pytest.approx(0.999)


@pytest.mark.parametrize(
    ("ours", "theirs"), [(linear, "linear"), (scaled_linear, "scaled_linear"), (cosine, "squaredcos_cap_v2")]
)
def test_schedules_equal_the_reference(ours, theirs):
    diffusers = pytest.importorskip("diffusers")
    settings_of = {"linear": (1e-4, 0.02), "scaled_linear": (0.00085, 0.012)}.get(theirs, (1e-4, 0.02))
    reference = diffusers.DDIMScheduler(beta_schedule=theirs, beta_start=settings_of[0], beta_end=settings_of[1])
    torch.testing.assert_close(ours().signal.float(), reference.alphas_cumprod, rtol=2e-4, atol=1e-6)


@pytest.mark.parametrize("make", [linear, scaled_linear, cosine])
def test_zero_terminal_snr_ends_in_pure_noise_and_begins_as_before(make):
    before, after = make(), zero_terminal_snr(make())
    assert after.signal[-1] == 0 and after.sigma(torch.tensor(999)) == 1
    torch.testing.assert_close(after.signal[0], before.signal[0], rtol=1e-12, atol=0)
    assert (after.signal[1:] < before.signal[1:]).all()


def test_zero_terminal_snr_equals_the_reference():
    ddim = pytest.importorskip("diffusers.schedulers.scheduling_ddim")
    betas = torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64)
    expected = (1 - ddim.rescale_zero_terminal_snr(betas)).cumprod(0)
    torch.testing.assert_close(zero_terminal_snr(linear()).signal, expected, rtol=1e-6, atol=1e-9)


def test_shift_divides_the_signal_to_noise_ratio():
    def snr(schedule):
        return schedule.signal / (1 - schedule.signal)

    torch.testing.assert_close(snr(shift_snr(linear(), 3.0)), snr(linear()) / 3)
    assert torch.equal(shift_snr(linear(), 1.0).signal, linear().signal)


def test_step_minus_one_is_the_data():
    schedule, step = linear(), torch.tensor([[-1, 0], [999, -1]])
    assert torch.equal(schedule.alpha(step) == 1, step < 0)
    assert torch.equal(schedule.sigma(step) == 0, step < 0)
    total = schedule.alpha(EVERY_STEP) ** 2 + schedule.sigma(EVERY_STEP) ** 2
    torch.testing.assert_close(total, torch.ones(1000, dtype=torch.float64))


@pytest.mark.parametrize("signal", [[0.5, 0.5], [0.5, 0.9], [1.1, 0.5], [0.5, -0.1], [0.5, float("nan")]])
def test_a_schedule_that_does_not_fall_from_1_to_0_is_refused(signal):
    with pytest.raises(ValueError, match="must fall"):
        NoiseSchedule(torch.tensor(signal, dtype=torch.float64))


@given(n_steps=st.integers(1, 1200), data=st.data())
@settings(max_examples=60, deadline=None)
def test_spacings_fall_within_the_schedule_and_end_at_the_data(n_steps, data):
    steps = data.draw(st.integers(1, n_steps))
    for spacing in (trailing, leading, linspace):
        times = spacing(n_steps, steps)
        assert len(times) == steps + 1 and times[-1] == -1
        assert times[0] < n_steps and (times.diff() < 0).all(), spacing
    assert trailing(n_steps, steps)[0] == n_steps - 1
    assert linspace(n_steps, steps)[0] == n_steps - 1
    assert leading(n_steps, steps)[-2] == 0


@pytest.mark.parametrize("steps", [2, 7, 20, 50, 333, 1000])
@pytest.mark.parametrize("spacing", ["trailing", "leading", "linspace"])
def test_spacings_equal_the_reference(spacing, steps):
    diffusers = pytest.importorskip("diffusers")
    reference = diffusers.DDIMScheduler(timestep_spacing=spacing)
    reference.set_timesteps(steps)
    expected = np.asarray(reference.timesteps)[:steps]  # its floating-point range may run one step too far
    np.testing.assert_array_equal(getattr(schedules, spacing)(1000, steps)[:-1], expected)


def test_impossible_spacings_are_refused():
    for steps in (0, -1, 1001):
        for spacing in (trailing, leading, linspace):
            with pytest.raises(ValueError, match="from 1 to 1000"):
                spacing(1000, steps)
    assert leading(1000, 50, offset=1)[0] == 981
    with pytest.raises(ValueError, match="offset"):
        leading(1000, 1000, offset=1)


@pytest.mark.parametrize(("ours", "name"), [(sigmoid, "sigmoid"), (laplace, "laplace")])
def test_other_schedules_equal_the_reference(ours, name):
    diffusers = pytest.importorskip("diffusers")
    reference = diffusers.DDPMScheduler(beta_schedule=name).alphas_cumprod
    torch.testing.assert_close(ours().signal.float(), reference, atol=2e-5, rtol=2e-3)


def test_multistep_spacing_leaves_out_the_lowest_step():
    assert without_last(linspace(1000, 4)).tolist() == [999, 666, 333, -1]
    with pytest.raises(ValueError, match="one more"):
        without_last(linspace(1000, 1))


def test_steps_and_ratios_are_each_others_inverse():
    schedule = cosine()
    step = torch.tensor([0.0, 3.0, 250.5, 999.0], dtype=torch.float64)
    alpha, sigma = schedule.between(step)
    torch.testing.assert_close(alpha**2 + sigma**2, torch.ones(4, dtype=torch.float64))
    whole = torch.tensor([0, 3, 999])
    torch.testing.assert_close(alpha[[0, 1, 3]], schedule.alpha(whole))
    torch.testing.assert_close(schedule.step_of(sigma / alpha), step, atol=1e-6, rtol=0)
    beyond = torch.tensor([1e-9, 1e9], dtype=torch.float64)
    assert schedule.step_of(beyond).tolist() == [0, 999]
