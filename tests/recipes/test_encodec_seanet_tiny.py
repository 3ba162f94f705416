"""EnCodec by the paper's losses: balanced, with judges that join and pause, going on where it stopped."""

import dataclasses

import numpy as np
import pytest
import torch

import nexus
from nexus.codecs.encodec import Encodec, EncodecConfig
from nexus.codecs.seanet import SEANetConfig
from nexus.nn.quantize import QuantizerConfig
from nexus.process.adversarial import Balancer
from nexus.recipes import encodec_seanet_tiny as module
from nexus.training.loop import train
from nexus.training.recipe import LoopConfig


@pytest.fixture
def recipe(tmp_path):
    rng = np.random.default_rng(0)
    for name in ("speech", "music", "sound"):
        np.save(tmp_path / f"{name}-train-24000.npy", rng.normal(0, 3000, 30000).astype(np.int16))
    return dataclasses.replace(
        module.recipe,
        loop=LoopConfig(steps=3, log_every=1, save_every=2, sample_every=0, validate_every=0),
        model=EncodecConfig(
            seanet=SEANetConfig(n_filters=2, n_lstm_layers=1),
            quantizer=QuantizerConfig(n_codebooks=3, codebook_size=8, dim=4),
        ),
        cache=str(tmp_path),
        batch_size=3,
        length=3200,
        adversarial=module.EncodecJudges(start=1, items=2, length=1024, n_ffts=(128,), n_filters=2),
    )


def test_steps(recipe, tmp_path):
    figures = []
    train(recipe, tmp_path / "run", on_log=lambda step, values: figures.append(values))
    # Judges join in the second step, and learn in two of three.
    assert [values["discriminators/loss"] > 0 for values in figures] == [False, True, False]
    assert ["model/adversarial" in values for values in figures] == [False, True, True]
    for values in figures:
        assert 1 <= values["model/perplexity"] <= values["model/used"] <= 8
        assert values["model/mel"] > 0 and values["model/waveform"] > 0
    codec = nexus.load(tmp_path / "run" / "weights")
    assert isinstance(codec, Encodec)
    assert codec.decode(codec.encode(torch.randn(1, 1, 700)), 700).shape == (1, 1, 700)


def test_gradients_have_the_shares_of_their_weights(recipe):
    torch.manual_seed(0)
    networks = recipe.networks()
    assert isinstance(networks["balancer"], Balancer)
    output = torch.randn(2, 1, 800, requires_grad=True)
    losses = {"waveform": output.abs().mean(), "mel": 1000 * output.square().mean(), "commitment": torch.tensor(0.5)}
    (gradient,) = torch.autograd.grad(recipe.total(networks, output, losses), output)
    alone = [torch.autograd.grad(losses[name], output, retain_graph=True)[0] for name in ("waveform", "mel")]
    sizes = [part.flatten(1).norm(dim=1).mean() for part in alone]
    # Of a gradient of size 1, the mel distance has ten parts of eleven, however large it is.
    torch.testing.assert_close(gradient, (alone[0] / sizes[0] + 10 * alone[1] / sizes[1]) / 11)


def test_the_balancer_is_part_of_a_run(recipe, tmp_path):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    train(recipe, whole)
    train(dataclasses.replace(recipe, loop=dataclasses.replace(recipe.loop, steps=2)), parts)
    train(recipe, parts)
    first, second = (nexus.load(folder / "weights").state_dict() for folder in (whole, parts))
    assert first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)
