"""Consistency models and LCMs where the ends of all paths are known, and what they refuse."""

import numpy as np
import pytest
import torch
from references import randomised
from tiny import learnt, network
from torch import nn

from nexus.models.diffusion.base_diffusion import BaseDiffusionConfig
from nexus.models.diffusion.conditional_diffusion import ConditionalDiffusion, ConditionalDiffusionConfig
from nexus.models.diffusion.consistency_model import ConsistencyModel, ConsistencyModelConfig, heun_step
from nexus.models.diffusion.lcm import LCM, LCMConfig
from nexus.process.consistency import latent_consistency_field
from nexus.process.diffusion import clipped, data_field
from nexus.process.guidance import guided_halves
from nexus.process.solvers import ddim

SPREAD, LEAST = 0.3, 0.002  # of Gaussian data around 0: every path is x scaled


def end(x, sigma):
    """Of the path through x: to the noise level LEAST."""
    return x * ((SPREAD**2 + LEAST**2) / (SPREAD**2 + sigma**2)).sqrt().reshape(-1, 1, 1, 1)


def teacher(x, sigma):
    return x * (SPREAD**2 / (SPREAD**2 + sigma**2)).reshape(-1, 1, 1, 1)


class Exact(nn.Module):
    """The network whose consistency function is exact, or off by a factor."""

    def __init__(self, off=1.0):
        super().__init__()
        self.off = nn.Parameter(torch.tensor(off))

    def forward(self, x, time, label=None):
        sigma = (time / 250).exp()
        total = (sigma**2 + 0.25).reshape(-1, 1, 1, 1).sqrt()
        noisy, spread = x * total, sigma.reshape(-1, 1, 1, 1)
        skip, out = 0.25 / ((spread - LEAST) ** 2 + 0.25), (spread - LEAST) * 0.5 / total
        return self.off * (end(noisy, sigma) - skip * noisy) / out


def model_of(net):
    model = ConsistencyModel(ConsistencyModelConfig(network=network(None), size=(8, 8)))
    model.network = net
    return model


def test_the_ends_of_gaussian_paths_are_exact():
    model, sigma = model_of(Exact()), torch.tensor([0.01, 1.0, 80.0])
    x = torch.randn(3, 1, 8, 8) * sigma.reshape(-1, 1, 1, 1)
    torch.testing.assert_close(model(x, sigma), end(x, sigma), atol=1e-5, rtol=1e-4)


def test_heuns_step_stays_on_the_path():
    """Its error falls with the cube of the step: an eighth when halved (Euler's: a quarter)."""
    errors = []
    for to in (0.8, 0.9):
        x, high, low = (torch.ones(shape, dtype=torch.float64) for shape in ((1, 1, 1, 1), (1,), (1,)))
        low = low * to
        exact = x * ((SPREAD**2 + low**2) / (SPREAD**2 + 1)).sqrt()
        errors.append((heun_step(teacher, x, high, low) - exact).abs().item())
    assert 1e-5 < errors[0] < 1e-2 and errors[1] < errors[0] / 6


def test_distillation_is_least_at_the_exact_function():
    batch = {"image": SPREAD * torch.randn(64, 1, 8, 8)}

    def loss(off):
        return model_of(Exact(off)).loss(batch, torch.Generator().manual_seed(0), teacher=teacher, n_levels=80)["loss"]

    assert loss(1.0) < 0.2 * loss(0.9) and loss(1.0) < 0.2 * loss(1.1)


def test_training_alone_pulls_neighbouring_states_together():
    """At the data's own noise both states are one picture's; a network that ignores x has nothing left to learn."""
    config = ConsistencyModelConfig(network=network(2), size=(8, 8))
    torch.manual_seed(0)
    _, losses = learnt(ConsistencyModel(config), 60, lr=4e-3, n_levels=11)
    assert np.mean(losses[-10:]) < 0.8 * np.mean(losses[:5])


def test_sampling_tells_progress_and_does_not_depend_on_the_batch():
    torch.manual_seed(0)
    model = randomised(ConsistencyModel(ConsistencyModelConfig(network=network(3), size=(8, 8))))
    seen = []
    together = model.generate([0, 2], steps=2, seed=10, progress=lambda done, total: seen.append((done, total)))
    alone = model.generate(2, steps=2, seed=11)
    assert seen == [(1, 2), (2, 2)] and alone.pixels.std() > 1
    assert np.abs(together[1].pixels.astype(int) - alone.pixels).max() <= 1
    for settings, message in (
        ({}, "needs classes, numbers from 0 to 2"),
        ({"classes": 3}, "from 0 to 2"),
        ({"classes": 0, "steps": 41}, "from 1 to 40"),
        ({"classes": 0, "at": (22, 0)}, "rising numbers from 0 to 39"),
        ({"classes": 0, "at": (0, 22), "steps": 2}, "give steps, or"),
    ):
        with pytest.raises(ValueError, match=message):
            model.generate(**settings)


def pair():
    """A teacher that was randomised and a student that starts as it does."""
    base = BaseDiffusionConfig(network=network(3), schedule="cosine", size=(8, 8))
    torch.manual_seed(0)
    tutor = randomised(ConditionalDiffusion(ConditionalDiffusionConfig(base=base)))
    student = LCM(LCMConfig(teacher=tutor.config, guidance_dim=8))
    student.network.load_state_dict(tutor.network.state_dict())
    return tutor, student


def test_an_lcm_starts_as_its_teacher_whatever_the_scale_and_then_hears_it():
    tutor, student = pair()
    x, step, label = torch.randn(2, 1, 8, 8), torch.tensor([19, 999]), torch.tensor([0, 1])
    low, high = torch.tensor([1.0, 1.0]), torch.tensor([6.0, 6.0])
    with torch.no_grad():
        torch.testing.assert_close(student(x, step, label, low), tutor(x, step, label))
        torch.testing.assert_close(student(x, step, label, high), tutor(x, step, label))
        nn.init.normal_(student.guidance.weight)
        assert (student(x, step, label, low) - student(x, step, label, high)).abs().max() > 1e-2


def test_an_lcms_ends_are_those_its_sampler_sees_and_the_identity_at_step_0():
    _, student = pair()
    x, label, scale = torch.randn(2, 1, 8, 8), torch.tensor([0, 1]), torch.tensor([2.0, 2.0])
    with torch.no_grad():
        torch.testing.assert_close(student.end(x, torch.zeros(2, dtype=torch.long), label, scale), x)
        field = data_field(lambda x, step: student(x, step, label, scale), "noise")
        level = student.schedule.path(torch.tensor([519]))[0]
        wanted = latent_consistency_field(clipped(field))(x, level)
        found = student.end(x, torch.full((2,), 519), label, scale)
        torch.testing.assert_close(found, wanted, atol=1e-4, rtol=1e-4)


def test_the_teachers_step_is_ddims_under_guidance_each_item_at_its_own():
    tutor, _ = pair()
    x, label = torch.randn(2, 1, 8, 8), torch.tensor([0, 1])
    high, low, scale = torch.tensor([519, 99]), torch.tensor([499, 79]), torch.tensor([2.0, 5.0])
    with torch.no_grad():
        found = LCM.ddim_step(tutor, x, high, low, label, scale)
        for i in range(2):
            path = tutor.base.schedule.path(torch.stack([high[i], low[i]]))
            network = guided_halves(tutor.halves(label[i : i + 1]), float(scale[i]))
            (wanted,) = ddim(clipped(data_field(network, "noise")), x[i : i + 1], path)
            torch.testing.assert_close(found[i : i + 1], wanted, atol=1e-4, rtol=1e-4)


def test_an_lcm_compares_states_twenty_steps_apart_of_which_the_lower_is_held(monkeypatch):
    tutor, student = pair()
    seen, end_of = [], LCM.end

    def spied(self, x_t, step, label, scale):
        ends = end_of(self, x_t, step, label, scale)
        seen.append((x_t, step, scale, ends.requires_grad))
        return ends

    monkeypatch.setattr(LCM, "end", spied)
    student.loss({"image": torch.randn(32, 1, 8, 8), "label": torch.arange(32) % 2}, teacher=tutor)
    (lower, low, scale, held), (upper, high, same, free) = seen
    assert free and not held and torch.equal(scale, same)
    assert (high % 20 == 19).all() and torch.equal(low, (high - 20).clamp(min=0)) and len(high.unique()) > 5
    with torch.no_grad():
        wanted = LCM.ddim_step(tutor, upper, high, low, torch.arange(32) % 2, scale)
    torch.testing.assert_close(lower, wanted)


def test_an_lcm_learns_from_its_teacher():
    tutor, student = pair()
    student, losses = learnt(student, 30, lr=4e-3, teacher=tutor)
    assert np.mean(losses[-5:]) < 0.8 * np.mean(losses[:5])
    assert student.guidance.weight.abs().max() > 1e-4
    together = student.generate([0, 1], steps=2, seed=10)
    alone = student.generate(1, steps=2, seed=11)
    assert np.abs(together[1].pixels.astype(int) - alone.pixels).max() <= 1
    for settings, message in (
        ({"guidance_scale": 9.0}, "from 1 to 6, which were distilled"),
        ({"steps": 51}, "from 1 to 50"),
        ({"classes": 2}, "from 0 to 1"),
    ):
        with pytest.raises(ValueError, match=message):
            student.generate(**{"classes": 0, **settings})
    with pytest.raises(ValueError, match="guidance_range"):
        LCMConfig(guidance_range=(0.5, 2.0))
