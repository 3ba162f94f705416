"""The recipes of the small video model and its codec, on a handful of clips."""

from dataclasses import replace

import pytest
import torch

from nexus.data.remade_video import remade_latents
from nexus.data.storybook import cache_clips
from nexus.hub import native
from nexus.hub.source import Source
from nexus.recipes.cogvideox_tiny import CogVideoXTiny
from nexus.recipes.video_decoder_tiny import VideoDecoderTiny
from nexus.recipes.video_vae_tiny import VideoVAETiny
from nexus.training.loop import train
from nexus.training.recipe import LoopConfig

pytestmark = pytest.mark.emoji


@pytest.fixture(scope="module")
def vae_recipe(tmp_path_factory):
    folder = str(tmp_path_factory.mktemp("clips"))
    recipe = VideoVAETiny(cache=folder, clips=5, fitted_clips=4, batch_size=1)
    for split, n in (("train", 5), ("valid", 3)):
        cache_clips(folder, n, split, nouns=recipe.nouns, frames=17)
    return recipe


@pytest.fixture(scope="module")
def vae_folder(vae_recipe, tmp_path_factory):
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("vae")
    vae_recipe.export(vae_recipe.networks()["model"], folder)
    return folder


def test_only_the_decoder_learns(vae_recipe):
    torch.manual_seed(0)
    networks = vae_recipe.networks()
    losses = vae_recipe.loss(networks, vae_recipe.dataset("train")[0], torch.Generator())
    losses["loss"].backward()
    vae = networks["model"]
    assert losses["loss"].isfinite() and losses["psnr"] > 3
    assert all(p.grad is None for p in vae.encoder.parameters())
    assert vae.decoder.conv_in.conv.weight.grad.abs().max() > 0


@pytest.fixture(scope="module")
def recipe(vae_recipe, vae_folder):
    return CogVideoXTiny(
        cache=vae_recipe.cache,
        vae=str(vae_folder),
        nouns=vae_recipe.nouns,
        clips=5,
        still_steps=1,
        still_share=0.0,
        stills_per_batch=6,
        clips_per_batch=3,
        drop_text=0.5,
        dim=32,
        n_layers=1,
    )


def test_stills_come_before_clips_and_batches_repeat(recipe):
    stills, clips = (recipe.dataset("train")[i] for i in (0, 1))
    assert stills["latents"].shape == (6, 16, 1, 16, 16) and clips["latents"].shape == (3, 16, 5, 16, 16)
    assert clips["text"].shape[:2] == clips["text_mask"].shape and clips["text"].shape[2] == 384
    again = recipe.dataset("train")[1]
    assert all(torch.equal(clips[key], again[key]) for key in clips)
    assert recipe.dataset("valid")[0]["latents"].shape[2] == 5
    numbers = [len(replace(recipe, clips=n).dataset("train").encoded["latents"]) for n in (5, 2)]
    assert 0 < numbers[1] < numbers[0] <= 5, "as many as are asked for, whatever the cache holds"


def test_captions_are_dropped_for_guidance(recipe):
    lengths = recipe.dataset("train")[0]["text_mask"].sum(1)
    shortest = lengths.min()
    assert 0 < int((lengths == shortest).sum()) < 6  # an empty prompt has its two marks only
    assert int(shortest) == 2
    kept = replace(recipe, drop_text=0.0).dataset("train")[0]["text_mask"].sum(1)
    assert int(kept.min()) > 4


def test_more_is_learnt_where_noise_is_strong(recipe):
    places = [replace(recipe, noise_shift=shift).dataset("train")[0]["place"] for shift in (1.0, 3.0)]
    even, shifted = places
    assert [int(p * 6) for p in even] == list(range(6))  # one in each sixth of the schedule
    torch.testing.assert_close(shifted, 3 * even / (1 + 2 * even))
    assert shifted.dtype == torch.float32 and shifted.min() >= 0 and shifted.max() < 1
    assert "place" not in recipe.dataset("valid")[0]
    with pytest.raises(ValueError, match="noise_shift must be above 0"):
        replace(recipe, noise_shift=0.0)


def test_training_starts_from_zero_and_exports_what_generates(recipe, tmp_path):
    torch.manual_seed(0)
    model = recipe.networks()["model"]
    batch = recipe.dataset("train")[1]
    assert not model(batch["latents"], torch.tensor([1, 2, 3]), batch["text"]).any()
    loss = model.loss(batch, torch.Generator().manual_seed(0))["loss"]
    loss.backward()
    assert loss.isfinite() and model.network.proj_out.weight.grad.abs().max() > 0
    recipe.export(model, tmp_path)
    loaded = native.load(Source("here", tmp_path)).eval()
    video = loaded.generate("a boat on the sea", frames=9, steps=1, seed=0)
    assert video.frames.shape == (9, 64, 64, 3)


def test_both_go_on_from_weights(vae_recipe, vae_folder, recipe, tmp_path):
    vae = replace(vae_recipe, start=str(vae_folder)).networks()["model"]
    learnt = native.load(Source("here", vae_folder)).float()
    assert all(torch.equal(a, b) for a, b in zip(vae.parameters(), learnt.parameters(), strict=True))
    assert {p.requires_grad for p in vae.encoder.parameters()} == {False}
    assert {p.requires_grad for p in vae.decoder.parameters()} == {True}

    model, batch = recipe.networks()["model"].eval(), recipe.dataset("valid")[0]
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    recipe.export(model, tmp_path)
    small = native.load(Source("here", tmp_path)).float().eval()
    again = replace(recipe, start=str(tmp_path)).networks()["model"].eval()
    assert [p.shape for p in again.parameters()] == [p.shape for p in model.parameters()]
    arguments = (batch["latents"], torch.tensor([5, 400, 900]), batch["text"], batch["text_mask"])
    with torch.no_grad():
        torch.testing.assert_close(again(*arguments), small(*arguments), rtol=1e-3, atol=1e-4)
    deeper = replace(recipe, start=str(tmp_path), n_layers=3).networks()["model"].eval()
    assert len(deeper.network.blocks) == 3
    with torch.no_grad():
        torch.testing.assert_close(deeper(*arguments), again(*arguments), rtol=1e-5, atol=1e-5)
    deeper.loss(batch, torch.Generator().manual_seed(0))["loss"].backward()
    assert all(block.norm2.modulation.weight.grad.abs().max() > 0 for block in deeper.network.blocks)
    with pytest.raises(ValueError, match=str(tmp_path)):
        replace(recipe, start=str(tmp_path), dim=64).networks()
    with pytest.raises(ValueError, match="at least the 1 "):
        replace(recipe, start=str(tmp_path), n_layers=0).networks()
    with pytest.raises(ValueError, match=str(vae_folder)):
        replace(recipe, start=str(vae_folder)).networks()


def test_clips_are_learnt_whole(vae_recipe):
    """The chunk of nine frames and those of eight that follow are decoded otherwise: both are to be seen."""
    assert vae_recipe.dataset("train")[0]["video"].shape[2] == 17


@pytest.fixture(scope="module")
def maker_folder(recipe, tmp_path_factory):
    """A model of video whose weights mean nothing, but which is not zero."""
    torch.manual_seed(1)
    model, folder = recipe.networks()["model"], tmp_path_factory.mktemp("maker")
    torch.nn.init.normal_(model.network.proj_out.weight, std=0.02)
    recipe.export(model, folder)
    return folder


def test_what_is_made_again_is_in_step_with_the_clip(recipe, maker_folder, monkeypatch):
    model = native.load(Source("here", maker_folder)).float().eval()
    latents = recipe.dataset("valid")[0]["latents"]
    captions = ["a boat", "a house", "a cat"]
    made = remade_latents(model, latents, captions, seed=4)
    assert made.shape == latents.shape and made.isfinite().all()
    assert torch.equal(made, remade_latents(model, latents, captions, seed=4))
    assert (made - latents).abs().mean() > 0.1
    # A network that knows the clip takes all of the noise away again.
    schedule, spreads = model.schedule, []

    def knowing(x_t, step, text, mask):
        half = len(x_t) // 2
        alpha, sigma = (part(step[:1]).item() for part in (schedule.alpha, schedule.sigma))
        noise = (x_t[:half] - alpha * latents) / sigma
        spreads.append(noise.std().item())
        return (alpha * noise - sigma * latents).repeat(2, 1, 1, 1, 1)

    monkeypatch.setattr(model.network, "forward", knowing)
    torch.testing.assert_close(remade_latents(model, latents, captions), latents, atol=1e-3, rtol=1e-3)
    assert spreads[0] == pytest.approx(1, abs=0.05), "noise of the level at which it begins"


def test_a_decoder_learns_on_what_a_model_makes(vae_recipe, vae_folder, maker_folder, tmp_path):
    recipe = VideoDecoderTiny(
        loop=LoopConfig(steps=2, sample_every=2, validate_every=2, validation_batches=1, save_every=0),
        cache=str(tmp_path / "cache"),
        start=str(vae_folder),
        maker=str(maker_folder),
        nouns=vae_recipe.nouns,
        clips=6,
        valid_clips=6,
        batch_size=2,
    )
    batch = recipe.dataset("train")[0]
    encoded, made = batch["latents"]
    assert batch["video"].shape == (2, 3, 17, 64, 64) and encoded.shape == (16, 5, 16, 16)
    vae = native.load(Source("here", vae_folder)).float().eval()
    with torch.no_grad():
        torch.testing.assert_close(encoded, vae.encode(batch["video"][:1]).mean[0], atol=2e-2, rtol=1e-2)
    assert not torch.equal(made, encoded)
    train(recipe, tmp_path / "run")
    learnt = native.load(Source("here", tmp_path / "run" / "weights"))
    assert all(torch.equal(a, b) for a, b in zip(learnt.encoder.parameters(), vae.encoder.parameters(), strict=True))
    assert any(
        not torch.equal(a, b) for a, b in zip(learnt.decoder.parameters(), vae.decoder.parameters(), strict=True)
    )
    model = recipe.networks()["model"]
    torch.nn.init.ones_(model.decoder.conv_in.conv.weight)
    before = vae.decoder.conv_in.conv.weight
    for share in (0.25, 1.0):
        replace(recipe, share=share).export(model, tmp_path / "exported")
        weight = native.load(Source("here", tmp_path / "exported")).decoder.conv_in.conv.weight.float()
        torch.testing.assert_close(weight, (1 - share) * before + share, atol=2e-3, rtol=0)
    assert bool((model.decoder.conv_in.conv.weight == 1).all()), "what trains on is left as it is"
    with pytest.raises(ValueError, match="goes on from CogVideoX's autoencoder"):
        replace(recipe, start=str(maker_folder)).networks()
    for wrong, said in (({"batch_size": 3}, "must be even"), ({"share": 1.5}, "share must be")):
        with pytest.raises(ValueError, match=said):
            replace(recipe, **wrong)
    with pytest.raises(ValueError, match="latents are made by a CogVideoX"):
        replace(recipe, maker=str(vae_folder)).dataset("train")
