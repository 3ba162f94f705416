"""DAC's recipe takes steps, with and without discriminators, and exports what loads."""

import dataclasses

import numpy as np
import torch

import nexus
from nexus.codecs.dac import Dac
from nexus.recipes import dac_tiny
from nexus.training.loop import train
from nexus.training.recipe import LoopConfig


def test_dac(tmp_path):
    rng = np.random.default_rng(0)
    for name in ("speech", "music", "sound"):
        np.save(tmp_path / f"{name}-train-16000.npy", rng.normal(0, 3000, 40000).astype(np.int16))
    small = {"encoder_dim": 2, "decoder_dim": 16, "latent_dim": 8, "n_codebooks": 2, "codebook_size": 8}
    recipe = dataclasses.replace(
        dac_tiny.recipe,
        loop=LoopConfig(steps=2, precision="fp32", log_every=1, save_every=2, sample_every=0, validate_every=0),
        model=dataclasses.replace(dac_tiny.tiny(), **small),
        cache=str(tmp_path),
        batch_size=3,
        length=3200,
        adversarial=dac_tiny.DacJudges(
            start=1, items=2, length=1024, n_ffts=(128,), n_filters=2, periods=(2,), widths=(2, 3)
        ),
    )
    figures = []
    train(recipe, tmp_path / "run", on_log=lambda step, values: figures.append(values))
    first, second = figures
    assert first["discriminators/loss"] == 0 and "model/adversarial" not in first
    assert second["discriminators/loss"] > 0 and second["model/adversarial"] > 0 and second["model/features"] > 0
    assert first["model/perplexity"] >= 1
    model = nexus.load(tmp_path / "run" / "weights")
    assert isinstance(model, Dac)
    assert model.decode(model.encode(torch.randn(1, 1, 700)), 700).shape == (1, 1, 700)
