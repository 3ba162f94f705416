"""The noise levels of SD3's and FLUX' schedulers, against diffusers'."""

import pytest
import torch

from nexus.process.flow_levels import FlowLevels

diffusers = pytest.importorskip("diffusers")


def assert_same(path, scheduler):
    sigmas = torch.tensor([level.sigma for level in path])
    torch.testing.assert_close(sigmas, scheduler.sigmas, atol=1e-6, rtol=1e-5)
    times = torch.tensor([float(level.time) for level in path[:-1]])
    torch.testing.assert_close(times, scheduler.timesteps, atol=1e-3, rtol=1e-5)


@pytest.mark.parametrize("shift", [1.0, 3.0])
@pytest.mark.parametrize("steps", [1, 2, 7, 28])
def test_one_shift_for_all_sizes(shift, steps):
    scheduler = diffusers.FlowMatchEulerDiscreteScheduler(shift=shift)
    scheduler.set_timesteps(steps)
    assert_same(FlowLevels(shift=shift).path(steps, 4096), scheduler)


@pytest.mark.parametrize("n_tokens", [256, 1024, 5000])
@pytest.mark.parametrize("own_least", [True, False])
def test_a_shift_that_grows_with_the_size(n_tokens, own_least):
    from diffusers.pipelines.flux.pipeline_flux import calculate_shift

    scheduler = diffusers.FlowMatchEulerDiscreteScheduler(shift=3.0, use_dynamic_shifting=True)
    sigmas = None if own_least else torch.linspace(1, 1 / 7, 7).tolist()
    scheduler.set_timesteps(7, sigmas=sigmas, mu=calculate_shift(n_tokens))
    levels = FlowLevels(shift=3.0, growth=(0.5, 1.15))
    assert_same(levels.path(7, n_tokens, None if own_least else 1 / 7), scheduler)


def test_what_cannot_be_is_refused():
    with pytest.raises(ValueError, match="shift must be above 0"):
        FlowLevels(shift=0.0)
    with pytest.raises(ValueError, match="from 1 to 1000"):
        FlowLevels().path(0, 256)
