"""Diffusion asked for classes: the formulas of both guidances, learning, independence of batches, refusals."""

import numpy as np
import pytest
import torch
from references import randomised
from tiny import BARS, bars, learnt, network

from nexus.models.diffusion.base_diffusion import BaseDiffusionConfig
from nexus.models.diffusion.conditional_diffusion import ConditionalDiffusion, ConditionalDiffusionConfig
from nexus.models.diffusion.noisy_classifier import NoisyClassifierConfig
from nexus.process.levels import Level


def tiny(n_classes=2, classifier=True, **settings):
    base = BaseDiffusionConfig(network=network(n_classes + 1), schedule="cosine", size=(8, 8), steps=10)
    judge = NoisyClassifierConfig(n_classes=n_classes, dims=(8, 16), norm_groups=4) if classifier else None
    torch.manual_seed(0)
    return ConditionalDiffusion(ConditionalDiffusionConfig(base=base, classifier=judge, **settings))


def test_guidance_without_a_classifier_is_the_formula():
    model, x, label = randomised(tiny()), torch.randn(2, 1, 8, 8), torch.tensor([0, 1])
    level, step = Level(0.8, 0.6, 300), torch.full((2,), 300)
    with torch.no_grad():
        cond, null = model(x, step, label), model(x, step, torch.tensor([2, 2]))
        assert (cond - null).abs().max() > 1e-2
        for scale in (0.0, 1.0, 3.0):
            wanted = ((x - 0.6 * (null + scale * (cond - null))) / 0.8).clamp(-1, 1)
            torch.testing.assert_close(model.estimate(label, scale)(x, level), wanted, atol=1e-5, rtol=1e-4)


def test_the_classifiers_gradient_moves_the_estimate():
    model, x, label = randomised(tiny()), 0.1 * torch.randn(2, 1, 8, 8), torch.tensor([0, 1])
    level = Level(0.99, 0.14, 40)
    moved = model.estimate(label, 1.0, 0.5)(x, level) - model.estimate(label, 1.0)(x, level)
    judge, noisy = model.classifier, x.clone().requires_grad_()
    assert judge is not None
    chosen = torch.log_softmax(judge(noisy, torch.full((2,), 40)), 1)[[0, 1], [0, 1]].sum()
    (gradient,) = torch.autograd.grad(chosen, noisy)
    inside = model.estimate(label, 1.0, 0.5)(x, level).abs() < 1
    inside &= model.estimate(label, 1.0)(x, level).abs() < 1
    assert gradient.abs().max() > 1e-3 and inside.float().mean() > 0.5
    torch.testing.assert_close(moved[inside], (0.5 * 0.14**2 / 0.99 * gradient)[inside], atol=1e-5, rtol=1e-3)


def test_students_are_taught_what_samplers_see():
    model, x, label = randomised(tiny()), torch.randn(2, 1, 8, 8), torch.tensor([0, 1])
    level = model.base.schedule.path(torch.tensor([400]))[0]
    with torch.no_grad():
        wanted = model.estimate(label, 2.0)(x, level)
        torch.testing.assert_close(model.at_steps(x, torch.full((2,), 400), label, 2.0), wanted, atol=1e-4, rtol=1e-4)
        sigma = torch.full((2,), level.ratio)
        found = model.at_noise_levels(x / level.alpha, sigma, label, 2.0)
        torch.testing.assert_close(found, wanted, atol=1e-3, rtol=1e-3)


def test_learns_classes_and_a_classifier_of_noise():
    model, losses = learnt(tiny(), 80)
    assert np.mean(losses[-10:]) < 0.4 * np.mean(losses[:5])
    for image, kind in zip(model.generate([0, 1, 0, 1], steps=10, seed=0), (0, 1, 0, 1), strict=True):
        assert np.corrcoef(image.pixels[..., 0].ravel(), BARS[kind].numpy().ravel())[0, 1] > 0.6
    assert model.loss(bars(200), torch.Generator().manual_seed(1))["right"] > 0.75


def test_a_picture_does_not_depend_on_its_batch():
    model = randomised(tiny())
    for solver in ("ddim", "euler-ancestral", "dpmpp-2m"):
        together = model.generate([0, 1], steps=3, solver=solver, seed=10)
        alone = model.generate(1, steps=3, solver=solver, seed=11)
        assert np.abs(together[1].pixels.astype(int) - alone.pixels).max() <= 1
        assert alone.pixels.std() > 1


def test_bad_input_is_refused():
    model = tiny(classifier=False)
    for settings, message in (
        ({"classes": [0, 2]}, "from 0 to 1, got 2"),
        ({"classes": []}, "got none"),
        ({"classes": 0, "steps": 0}, "from 1 to 1000"),
        ({"classes": 0, "solver": "eular"}, "nearest is euler"),
        ({"classes": 0, "classifier_scale": 1.0}, "no classifier"),
    ):
        with pytest.raises(ValueError, match=message):
            model.generate(**settings)
    with pytest.raises(ValueError, match="must know 2 classes"):
        ConditionalDiffusionConfig(
            base=BaseDiffusionConfig(network=network(3)), classifier=NoisyClassifierConfig(n_classes=3)
        )
    with pytest.raises(ValueError, match="drop"):
        tiny(drop=1.0)


def test_labels_are_left_out_in_the_share_that_was_asked_for():
    from nexus.models.diffusion.classes import dropped

    kept = dropped(torch.zeros(4000, dtype=torch.long), 7, 0.25, torch.Generator().manual_seed(0))
    assert set(kept.tolist()) == {0, 7} and (kept == 7).float().mean().item() == pytest.approx(0.25, abs=0.03)
