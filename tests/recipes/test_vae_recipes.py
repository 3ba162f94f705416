"""Recipes of VAEs take steps, report collapse, and export what loads and generates."""

import dataclasses

import nexus
from nexus.metrics.posterior import posterior_report
from nexus.models.vae.beta_vae import BetaVAE
from nexus.models.vae.vae import VAE
from nexus.recipes import digits_beta_vae, digits_vae
from nexus.training.loop import train
from nexus.training.recipe import LoopConfig, override

QUICK = LoopConfig(
    steps=2, ema_decay=0.5, log_every=1, save_every=2, sample_every=2, validate_every=2, validation_batches=1
)


def trained(recipe, folder):
    figures = []
    train(dataclasses.replace(recipe, loop=QUICK), folder, on_log=lambda step, values: figures.append(values))
    return nexus.load(folder / "weights", device="cpu"), figures


def test_vae(tmp_path):
    recipe = override(
        digits_vae.recipe,
        ["model.coder.kind=mlp", "model.coder.dims=24", "model.likelihood=bernoulli", "model.warm_up_steps=4"],
    )
    model, figures = trained(recipe, tmp_path)
    assert type(model) is VAE and model.config == recipe.model
    assert figures[0]["loss"] == figures[0]["distortion"] and figures[1]["loss"] > figures[1]["distortion"]  # warm-up
    assert figures[2]["valid/iwae"] > -figures[2]["valid/loss"] and 0 <= figures[2]["valid/active"] <= 16
    assert len(model.generate(3, seed=0)) == 3
    assert {p.stem for p in (tmp_path / "samples/step-000002").iterdir()} == {"digits", "reconstruction", "traversal"}


def test_beta_vae(tmp_path):
    model, figures = trained(digits_beta_vae.recipe, tmp_path)
    assert type(model) is BetaVAE and model.config.beta == 4
    assert figures[0]["loss"] > figures[0]["distortion"] + 2 * figures[0]["kl"]
    report = posterior_report(model, digits_vae.digits("valid").image)
    assert report.n_active == figures[-1]["valid/active"]
