"""FACodec's recipe on a corpus of two voices: losses fall, and what is saved is the codec alone."""

import dataclasses
import gzip
import json

import numpy as np
import pytest
import soundfile
import torch

import nexus
from nexus.codecs.facodec import FACodec
from nexus.recipes import facodec_tiny as module
from nexus.training.loop import train
from nexus.training.recipe import LoopConfig

UNITS = [4, 20, 20, 20, 4]  # pause, ɑ, s, u, pause


@pytest.fixture
def recipe(tmp_path):
    (tmp_path / "manifests").mkdir()
    rows = []
    for speaker, pitch in (("a", 110.0), ("b", 210.0)):
        n = np.array(UNITS) * 600
        t = np.arange(n[1]) / 24000
        low, high = (0.2 * np.sin(2 * np.pi * pitch * k * t) for k in (1, 4))
        hiss = 0.1 * np.random.default_rng(0).standard_normal(n[2])
        samples = np.concatenate([np.zeros(n[0]), low + high, hiss, low, np.zeros(n[4])])
        soundfile.write(tmp_path / f"{speaker}.flac", samples, 24000)
        rows.append(
            {"id": speaker, "speaker": speaker, "text": "", "phonemes": "ɑsu", "phoneme_set": "misaki-us",
             "durations": UNITS, "offset": 0, "num_samples": len(samples), "sample_rate": 24000,
             "path": f"{speaker}.flac"}
        )  # fmt: skip
    with gzip.open(tmp_path / "manifests" / "train.jsonl.gz", "wt") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)
    small = {"encoder_dim": 4, "decoder_dim": 16, "dim": 16, "codebook_size": 32, "n_layers": 1, "hidden_dim": 16}
    small["detail_dropout"] = 0.0  # a run as short as this one would see its noise
    return dataclasses.replace(
        module.recipe,
        loop=LoopConfig(steps=14, log_every=1, save_every=0, sample_every=0, validate_every=0, ema_decay=0.0),
        optimizer=dataclasses.replace(module.recipe.optimizer, lr=2e-3, warmup_steps=0, schedule="constant"),
        model=dataclasses.replace(module.tiny(), **small),
        corpus=str(tmp_path),
        batch_size=4,
        length=2400,
        adversarial=module.DacJudges(
            start=13, items=2, length=1024, n_ffts=(128,), n_filters=2, periods=(2,), widths=(2, 3)
        ),
    )


def test_losses_fall(recipe, tmp_path):
    figures = []
    train(recipe, tmp_path / "run", on_log=lambda step, values: figures.append(values))
    for name in ("mel", "phones"):  # these voices' pitch does not move
        first, last = (np.mean([row[f"model/{name}"] for row in rows]) for rows in (figures[:4], figures[-4:]))
        assert last < 0.9 * first, name
    assert all(f"model/{name}" in figures[0] for name in ("detail_pitch", "detail_phones", "speaker", "perplexity"))
    assert "model/adversarial" not in figures[-2] and figures[-1]["model/adversarial"] > 0
    codec = nexus.load(tmp_path / "run" / "weights")
    assert isinstance(codec, FACodec)  # without its predictors
    x = 0.1 * torch.randn(1, 1, 700)
    assert codec.decode(codec.encode(x), codec.timbre(x), 700).shape == x.shape


def test_latents_start_at_the_size_of_the_codebooks(recipe):
    """Where they are hundreds of times smaller, a bias of a few steps is all that a codebook sees."""
    torch.manual_seed(0)
    codec, batch = recipe.build().codec, recipe.dataset("train")[0]
    latent = codec.encoder(batch["waveform"])
    assert 0.3 < latent.std() < 5
    assert 0.1 < codec.content.codebooks[0].proj_in(latent).std() < 5


def test_every_part_learns(recipe):
    torch.manual_seed(0)
    model, batch = recipe.build(), recipe.dataset("train")[0]
    _, losses = recipe.reconstruct(model, batch, torch.Generator().manual_seed(0))
    losses["loss"].backward()
    assert not [name for name, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
