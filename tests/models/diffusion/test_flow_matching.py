"""Flows: guidance's formula, learning, and what reflow does where all of it is known in closed form."""

import numpy as np
import pytest
import torch
from references import randomised
from tiny import BARS, learnt, network

from nexus.models.diffusion.flow_matching import FlowMatching, FlowMatchingConfig
from nexus.models.diffusion.rectified_flow import RectifiedFlow, RectifiedFlowConfig, coupled, straightness
from nexus.process.flow import euler, interpolate, last, uniform_times


def tiny(**settings):
    torch.manual_seed(0)
    return FlowMatching(FlowMatchingConfig(network=network(3), size=(8, 8), steps=8, **settings))


def test_guidance_is_the_formula():
    model, x, label = randomised(tiny()), torch.randn(2, 1, 8, 8), torch.tensor([0, 1])
    t = torch.tensor([0.3, 0.3])
    with torch.no_grad():
        cond, null = model(x, t, label), model(x, t, torch.tensor([2, 2]))
        assert (cond - null).abs().max() > 1e-2
        torch.testing.assert_close(model.field(label, 1.0)(x, t), cond)
        torch.testing.assert_close(model.field(label, 3.0)(x, t), null + 3 * (cond - null), atol=1e-5, rtol=1e-4)


def test_learns_classes():
    model, losses = learnt(tiny(times="logit-normal"), 60)
    assert np.mean(losses[-10:]) < 0.5 * np.mean(losses[:5])
    for image, kind in zip(model.generate([0, 1, 0, 1], seed=0), (0, 1, 0, 1), strict=True):
        assert np.corrcoef(image.pixels[..., 0].ravel(), BARS[kind].numpy().ravel())[0, 1] > 0.8


@pytest.mark.parametrize("solver", ["euler", "midpoint", "heun"])
def test_a_picture_does_not_depend_on_its_batch(solver):
    model = randomised(tiny())
    together = model.generate([0, 1], steps=3, solver=solver, seed=10)
    alone = model.generate(1, steps=3, solver=solver, seed=11)
    assert np.abs(together[1].pixels.astype(int) - alone.pixels).max() <= 1 and alone.pixels.std() > 1


# Noise N(0, 1), data N(2, 0.25), drawn independently: the velocity and the path of every particle are known.
MEAN, SPREAD = 2.0, 0.5


def independent(x, t):
    """E[data - noise | x_t = x]."""
    t = t[:, None]
    variance = (1 - t) ** 2 + (t * SPREAD) ** 2
    return MEAN + (t * SPREAD**2 - (1 - t)) / variance * (x - t * MEAN)


def reflowed(x, t):
    """Of the pairs that it makes, data = MEAN + SPREAD * noise: E[data - noise | x_t = x]."""
    t = t[:, None]
    noise = (x - t * MEAN) / (1 - t + t * SPREAD)
    return MEAN + (SPREAD - 1) * noise


def test_a_flow_of_independent_pairs_bends_and_its_reflow_does_not():
    noise = torch.linspace(-2, 2, 41)[:, None]
    ends = last(euler(independent, noise, uniform_times(2000)))
    torch.testing.assert_close(ends, MEAN + SPREAD * noise, atol=2e-3, rtol=0)
    assert straightness(independent, noise, 200).mean() > 1e-2
    assert straightness(reflowed, noise, 200).max() < 1e-8
    # Straight paths at even speed: one Euler step is all that it takes.
    torch.testing.assert_close(last(euler(reflowed, noise, uniform_times(1))), MEAN + SPREAD * noise)
    # Its pairs' own lines have this velocity, so that it is what the loss of reflow learns.
    t = torch.rand(41)
    on_line = interpolate(noise, MEAN + SPREAD * noise, t)
    torch.testing.assert_close(reflowed(on_line, t), MEAN + (SPREAD - 1) * noise, atol=1e-4, rtol=1e-4)


def test_pairs_are_what_the_flow_makes_of_noise():
    model, label = randomised(tiny()), torch.tensor([0, 1])
    noise = torch.randn(2, 1, 8, 8)
    pairs = coupled(model, noise, label, steps=3, guidance_scale=2.0)
    alone = coupled(model, noise[1:], label[1:], steps=3, guidance_scale=2.0)
    assert pairs.std() > 0.1
    torch.testing.assert_close(pairs[1:], alone, atol=1e-4, rtol=1e-4)


def test_reflow_needs_pairs():
    model = RectifiedFlow(RectifiedFlowConfig(network=network(3), size=(8, 8), drop=0.0))
    batch = {"image": torch.zeros(2, 1, 8, 8), "label": torch.tensor([0, 1])}
    with pytest.raises(ValueError, match="give the noise"):
        model.loss(batch)
    # Each picture keeps its own noise: where both are equal, nothing moves.
    torch.nn.init.zeros_(model.network.conv_out.weight)
    torch.nn.init.zeros_(model.network.conv_out.bias)
    assert model.loss(batch | {"noise": batch["image"]})["loss"] == 0


def test_bad_input_is_refused():
    for settings, message in (
        ({"classes": 2}, "from 0 to 1"),
        ({"classes": 0, "solver": "ddim"}, "euler, midpoint, heun"),
        ({"classes": 0, "steps": 0}, "from 1 to 1000, got 0"),
    ):
        with pytest.raises(ValueError, match=message):
            tiny().generate(**settings)
    with pytest.raises(ValueError, match="multiples of 2"):
        FlowMatchingConfig(network=network(3), size=(9, 8))
    with pytest.raises(ValueError, match="says nothing"):
        FlowMatchingConfig(network=network(None))
