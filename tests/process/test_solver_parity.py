"""Every solver and spacing against diffusers' scheduler of that name, state by state on the same network.

Those schedulers keep `data + ratio * noise` where ours keep the variance: their states are compared after scaling.
"""

import math
from functools import partial
from itertools import pairwise

import pytest
import torch

from nexus.process.consistency import consistency_field, latent_consistency_field, lcm_steps
from nexus.process.diffusion import clipped, data_field, dynamically_clipped
from nexus.process.edm import edm_field
from nexus.process.levels import DATA, Level, exploding, exponential, flow_sigmas, karras, shift_for, shifted, straight
from nexus.process.named import SOLVERS
from nexus.process.noise import gaussian, generators
from nexus.process.schedule import leading, linear, linspace, scaled_linear, trailing, without_last, zero_terminal_snr
from nexus.process.solvers import consistency, ddim, ddpm, dpmpp_2m, heun
from nexus.process.unipc import unipc

diffusers = pytest.importorskip("diffusers")
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # the reference's own

SHAPE = (3, 4, 5)
NAMES = {"noise": "epsilon", "velocity": "v_prediction", "data": "sample", "flow": "flow_prediction"}
BETAS = {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012}
SCHEDULE = scaled_linear()
STEPS = [1, 2, 3, 7, 20]


def network(x, t):
    """Any smooth function of the state and the time."""
    return torch.tanh(x.roll(1, dims=-1) + 0.3 * x + t.reshape(-1, *[1] * (x.ndim - 1)).float() / 1000)


def draws(seed, count, batch=2):
    rngs = generators(seed, batch)
    return [gaussian(SHAPE, rngs) for _ in range(count)]


def reference_states(scheduler, x, monkeypatch=None, drawn=(), timesteps=None):
    """The states after each step, as the scheduler keeps them; `drawn` is the noise it is given, in order."""
    given = iter(drawn)
    if monkeypatch is not None:
        module = __import__(type(scheduler).__module__, fromlist=["randn_tensor"])
        monkeypatch.setattr(module, "randn_tensor", lambda *_, **__: next(given))
    states = []
    for t in scheduler.timesteps if timesteps is None else timesteps:
        shown = scheduler.scale_model_input(x, t) if hasattr(scheduler, "scale_model_input") else x
        x = scheduler.step(network(shown, t.expand(len(x))), t, x).prev_sample
        states.append(x)
    return states


def assert_same(ours, theirs, path):
    """`theirs` in units in which the data keeps its size."""
    ours = list(ours)
    assert len(ours) == len(theirs) == len(path) - 1
    for step, (a, b, level) in enumerate(zip(ours, theirs, path[1:], strict=True)):
        b = level.alpha * b
        assert b.std() > 1e-3
        scale = max(1.0, b.abs().max().item())
        torch.testing.assert_close(a, b, atol=2e-5 * scale, rtol=2e-5, msg=lambda m, s=step: f"step {s}: {m}")


def kept(states, path):
    """Of schedulers that keep the variance, or straight paths: divided, so that `assert_same` gives them back."""
    return [state / level.alpha for state, level in zip(states, path[1:], strict=True)]


@pytest.fixture
def noise():
    return gaussian(SHAPE, generators(0, 2))


def spaced(spacing, steps):
    return {"trailing": trailing, "leading": partial(leading, offset=1), "linspace": fractional}[spacing](1000, steps)


def fractional(n_steps, steps):
    """Euler's and Heun's linspace does not round."""
    return torch.cat([torch.linspace(n_steps - 1, 0, steps, dtype=torch.float32).double(), torch.tensor([-1.0])])


@pytest.mark.parametrize("prediction", ["noise", "velocity"])
@pytest.mark.parametrize("spacing", ["trailing", "leading", "linspace"])
@pytest.mark.parametrize("steps", STEPS)
def test_euler(noise, prediction, spacing, steps):
    if spacing == "linspace" and steps == 1:
        pytest.skip("a single step of theirs is the first, 0, of which there is nothing to be denoised")
    reference = diffusers.EulerDiscreteScheduler(
        **BETAS, prediction_type=NAMES[prediction], timestep_spacing=spacing, steps_offset=1
    )
    reference.set_timesteps(steps)
    path = SCHEDULE.path(spaced(spacing, steps))
    theirs = reference_states(reference, noise / path[0].alpha)
    assert_same(ddim(data_field(network, prediction), noise, path), theirs, path)


@pytest.mark.parametrize("steps", STEPS)
def test_euler_ancestral(noise, steps, monkeypatch):
    reference = diffusers.EulerAncestralDiscreteScheduler(**BETAS, timestep_spacing="trailing")
    reference.set_timesteps(steps)
    path = SCHEDULE.path(trailing(1000, steps))
    theirs = reference_states(reference, noise / path[0].alpha, monkeypatch, draws(7, steps))
    ours = ddim(data_field(network, "noise"), noise, path, eta=1.0, rngs=generators(7, 2))
    assert_same(ours, theirs, path)


@pytest.mark.parametrize("way", ["karras", "exponential"])
@pytest.mark.parametrize("steps", [2, 7, 20])
def test_euler_over_other_spacings(noise, way, steps):
    reference = diffusers.EulerDiscreteScheduler(**BETAS, **{f"use_{way}_sigmas": True})
    reference.set_timesteps(steps)
    spread = {"karras": karras, "exponential": exponential}[way]
    path = SCHEDULE.path_of(spread(SCHEDULE.ratios[-1].item(), SCHEDULE.ratios[0].item(), steps))
    torch.testing.assert_close(
        torch.tensor([level.ratio for level in path]), reference.sigmas, atol=1e-6, rtol=1e-4, check_dtype=False
    )
    theirs = reference_states(reference, noise / path[0].alpha)
    assert_same(ddim(data_field(network, "noise"), noise, path), theirs, path)


@pytest.mark.parametrize("prediction", ["noise", "velocity"])
@pytest.mark.parametrize("steps", STEPS)
def test_heun(noise, prediction, steps):
    reference = diffusers.HeunDiscreteScheduler(**BETAS, prediction_type=NAMES[prediction], timestep_spacing="trailing")
    reference.set_timesteps(steps)
    path = SCHEDULE.path(trailing(1000, steps))
    theirs = reference_states(reference, noise / path[0].alpha)[1::2] if steps > 1 else []
    theirs.append(reference_states_last(reference, steps, noise / path[0].alpha))
    assert_same(heun(data_field(network, prediction), noise, path), theirs, path)


def reference_states_last(reference, steps, x):
    """Heun's last step is one of Euler's, alone."""
    reference.set_timesteps(steps)
    return reference_states(reference, x)[-1]


@pytest.mark.parametrize("spacing", ["trailing", "leading", "linspace"])
@pytest.mark.parametrize("steps", [1, 2, 3, 7, 16])
@pytest.mark.parametrize("order", [1, 2, 3])
def test_unipc(noise, spacing, steps, order):
    reference = diffusers.UniPCMultistepScheduler(**BETAS, solver_order=order, timestep_spacing=spacing)
    reference.set_timesteps(steps)
    path = SCHEDULE.path(multistep_spacing(spacing, steps))
    theirs = kept(reference_states(reference, noise), path)
    assert_same(unipc(data_field(network, "noise"), noise, path, order=order), theirs, path)


def multistep_spacing(spacing, steps):
    """Multistep schedulers space one step more, and leave out step 0; but for trailing."""
    if spacing == "trailing":
        return trailing(1000, steps)
    return without_last({"leading": leading, "linspace": linspace}[spacing](1000, steps + 1))


@pytest.mark.parametrize("steps", [2, 7])
def test_unipc_on_straight_paths(noise, steps):
    reference = diffusers.UniPCMultistepScheduler(
        prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=3.0, solver_order=2
    )
    reference.set_timesteps(steps)
    path = straight(reference.sigmas[:-1].double().tolist())
    path = [level._replace(time=int(t)) for level, t in zip(path, [*reference.timesteps, 0], strict=True)]
    states = reference_states(reference, noise)
    assert_same(unipc(data_field(network, "flow"), noise, path), kept(states, path), path)


@pytest.mark.parametrize("spacing", ["leading", "linspace"])
@pytest.mark.parametrize("final", ["zero", "sigma_min"])
@pytest.mark.parametrize("steps", [1, 7, 14, 20])
def test_dpmpp_2m_ends_as_the_reference_does(noise, spacing, final, steps):
    reference = diffusers.DPMSolverMultistepScheduler(**BETAS, timestep_spacing=spacing, final_sigmas_type=final)
    reference.set_timesteps(steps)
    path = SCHEDULE.path(multistep_spacing(spacing, steps))
    if final == "sigma_min":
        path[-1] = SCHEDULE.path(torch.tensor([0]))[0]
    theirs = kept(reference_states(reference, noise), path)
    assert_same(dpmpp_2m(data_field(network, "noise"), noise, path), theirs, path)


@pytest.mark.parametrize("prediction", ["noise", "velocity", "data"])
@pytest.mark.parametrize("steps", [1, 2, 7, 20])
def test_sde_dpmpp_2m(noise, prediction, steps, monkeypatch):
    reference = diffusers.DPMSolverMultistepScheduler(
        **BETAS, algorithm_type="sde-dpmsolver++", timestep_spacing="trailing", prediction_type=NAMES[prediction]
    )
    reference.set_timesteps(steps)
    path = SCHEDULE.path(trailing(1000, steps))
    theirs = kept(reference_states(reference, noise, monkeypatch, draws(7, steps)), path)
    assert_same(dpmpp_2m(data_field(network, prediction), noise, path, rngs=generators(7, 2)), theirs, path)


@pytest.mark.parametrize("steps", [2, 7, 20])
def test_dpmpp_2m_over_karras_levels(noise, steps):
    reference = diffusers.DPMSolverMultistepScheduler(**BETAS, use_karras_sigmas=True)
    reference.set_timesteps(steps)
    ratios = karras(SCHEDULE.ratios[-1].item(), SCHEDULE.ratios[0].item(), steps)
    path = SCHEDULE.path_of(ratios, whole_steps=True)
    assert [level.time for level in path[:-1]] == reference.timesteps.tolist()
    theirs = kept(reference_states(reference, noise), path)
    assert_same(dpmpp_2m(data_field(network, "noise"), noise, path), theirs, path)


@pytest.mark.parametrize("variance", ["small", "large"])
def test_ddpm_clips_and_draws_as_the_reference(noise, variance, monkeypatch):
    reference = diffusers.DDPMScheduler(variance_type=f"fixed_{variance}", timestep_spacing="trailing")
    reference.set_timesteps(6)
    path = linear().path(trailing(1000, 6))
    theirs = kept(reference_states(reference, noise, monkeypatch, draws(7, 6)), path)
    field = clipped(data_field(network, "noise"))
    ours = list(ddpm(field, noise, path, rngs=generators(7, 2), variance=variance))
    # Theirs adds the large variance to the data too, where the last step is not step 0.
    assert_same(ours[:-1], theirs[:-1], path[:-1])


def test_dynamic_thresholds_equal_the_reference(noise):
    reference = diffusers.DDPMScheduler(thresholding=True, dynamic_thresholding_ratio=0.9, sample_max_value=1.5)
    estimate = dynamically_clipped(lambda x, level: x, 0.9, 1.5)(2 * noise, DATA)
    torch.testing.assert_close(estimate, reference._threshold_sample(2 * noise))
    assert estimate.abs().max() == 1


@pytest.mark.parametrize("steps", [1, 2, 4, 8])
def test_lcm(noise, steps, monkeypatch):
    reference = diffusers.LCMScheduler(**BETAS)
    reference.set_timesteps(steps)
    assert lcm_steps(1000, steps)[:-1].tolist() == reference.timesteps.tolist()
    path = SCHEDULE.path(lcm_steps(1000, steps))
    theirs = kept(reference_states(reference, noise, monkeypatch, draws(7, steps)), path)
    field = latent_consistency_field(data_field(network, "noise"))
    assert_same(consistency(field, noise, path, rngs=generators(7, 2)), theirs, path)


def test_lcm_steps_of_a_part_equal_the_reference():
    reference = diffusers.LCMScheduler(**BETAS)
    reference.set_timesteps(4, strength=0.5)
    assert lcm_steps(1000, 4, strength=0.5)[:-1].tolist() == reference.timesteps.tolist()
    with pytest.raises(ValueError, match=r"leaves 25 of the 50 steps .* and 26 are asked for; take at least 0\.52"):
        lcm_steps(1000, 26, strength=0.5)


@pytest.mark.parametrize("steps", [1, 2, 5])
def test_consistency_models(noise, steps, monkeypatch):
    reference = diffusers.CMStochasticIterativeScheduler()
    reference.set_timesteps(steps)
    path = exploding(reference.sigmas[:-1].double().tolist())
    start = noise * path[0].sigma
    drawn = draws(7, steps) if steps > 1 else [noise]
    theirs = reference_states(reference, start, monkeypatch, drawn)
    ours = consistency(clipped(consistency_field(network)), start, path, rngs=generators(7, 2), least=0.002)
    assert_same(ours, theirs, path)


@pytest.mark.parametrize("shift", [1.0, 3.0])
@pytest.mark.parametrize("steps", STEPS)
def test_euler_on_straight_paths(noise, shift, steps):
    reference = diffusers.FlowMatchEulerDiscreteScheduler(shift=shift)
    reference.set_timesteps(sigmas=flow_sigmas(steps))
    path = straight(shifted(flow_sigmas(steps), shift))
    torch.testing.assert_close(
        torch.tensor([level.sigma for level in path]), reference.sigmas, atol=1e-6, rtol=0, check_dtype=False
    )
    theirs = kept(reference_states(reference, noise), path)
    assert_same(ddim(data_field(network, "flow"), noise, path), theirs, path)


@pytest.mark.parametrize("shift", [1.0, 3.0])
@pytest.mark.parametrize("steps", STEPS)
def test_heun_on_straight_paths(noise, shift, steps):
    reference = diffusers.FlowMatchHeunDiscreteScheduler(shift=shift)
    reference.set_timesteps(steps)
    sigmas = reference.sigmas.double().unique(sorted=True).flip(0)
    assert len(sigmas) == steps + 1 and sigmas[0] == 1
    path = straight(sigmas[:-1].tolist())
    states = reference_states(reference, noise)
    theirs = kept([*states[1:-1:2], states[-1]], path)
    assert_same(SOLVERS["heun"](data_field(network, "flow"), noise, path, []), theirs, path)


def test_flux_shift_equals_the_reference():
    from diffusers.pipelines.flux.pipeline_flux import calculate_shift

    for n_tokens in (256, 1024, 4096):
        assert shift_for(n_tokens) == pytest.approx(math.exp(calculate_shift(n_tokens)))


@pytest.mark.parametrize("steps", [1, 3, 12, 18])
@pytest.mark.parametrize("second_order", [False, True], ids=["euler", "dpmpp_2m"])
def test_edm(noise, steps, second_order):
    name = "EDMDPMSolverMultistepScheduler" if second_order else "EDMEulerScheduler"
    reference = getattr(diffusers, name)()
    reference.set_timesteps(steps)
    path = exploding(karras(80.0, 0.002, steps))
    start = 80 * noise
    theirs = reference_states(reference, start)
    assert_same((dpmpp_2m if second_order else ddim)(edm_field(network), start, path), theirs, path)


@pytest.mark.parametrize("solver", ["dpmpp_2m", "unipc", "euler", "ddim"])
def test_starting_midway(noise, solver):
    """Image-to-image: the rest of a path from a noised picture, as the reference's `set_begin_index` has it."""
    name = {
        "dpmpp_2m": "DPMSolverMultistepScheduler",
        "unipc": "UniPCMultistepScheduler",
        "euler": "EulerDiscreteScheduler",
        "ddim": "DDIMScheduler",
    }
    more = {"clip_sample": False} if solver == "ddim" else {}
    reference = getattr(diffusers, name[solver])(**BETAS, timestep_spacing="trailing", **more)
    reference.set_timesteps(20)
    if solver != "ddim":  # which keeps no count
        reference.set_begin_index(12)
    path = SCHEDULE.path(trailing(1000, 20))[12:]
    picture = torch.linspace(-1, 1, 60).reshape(1, *SHAPE).expand(2, *SHAPE)
    start = path[0].alpha * picture + path[0].sigma * noise
    field = data_field(network, "noise")
    if solver == "euler":
        theirs = reference_states(reference, start / path[0].alpha, timesteps=reference.timesteps[12:])
        assert_same(ddim(field, start, path), theirs, path)
        return
    theirs = kept(reference_states(reference, start, timesteps=reference.timesteps[12:]), path)
    assert_same({"dpmpp_2m": dpmpp_2m, "unipc": unipc, "ddim": ddim}[solver](field, start, path), theirs, path)


def test_a_single_level_is_what_schedules_say():
    path = zero_terminal_snr(SCHEDULE).path(torch.tensor([999, 400, -1]))
    assert path[0][:2] == (0.0, 1.0) and path[0].half_log_snr == -math.inf and path[0].ratio == math.inf
    assert path[-1] == DATA and DATA.half_log_snr == math.inf
    assert all(level.alpha**2 + level.sigma**2 == pytest.approx(1) for level in path)
    assert isinstance(path[1], Level) and path[1].times(torch.zeros(3, 2)).tolist() == [400] * 3


def test_karras_and_exponential_levels():
    levels = karras(80, 0.002, 18)
    assert levels[0] == pytest.approx(80) and levels[-1] == pytest.approx(0.002)
    roots = [level ** (1 / 7) for level in levels]
    assert all(a - b == pytest.approx(roots[0] - roots[1]) for a, b in pairwise(roots))
    logs = [math.log(level) for level in exponential(80, 0.002, 5)]
    assert all(a - b == pytest.approx(logs[0] - logs[1]) for a, b in pairwise(logs))
    with pytest.raises(ValueError, match="fall"):
        karras(0.002, 80, 5)
    with pytest.raises(ValueError, match="steps"):
        exponential(80, 0.002, 0)
