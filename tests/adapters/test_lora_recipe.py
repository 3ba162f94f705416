"""The recipe of LoRAs on a tiny model of each kind: its loss is the published one, it learns, and others read it."""

import copy
import dataclasses

import numpy as np
import pytest
import torch
from references import painted
from tiny_folders import KINDS, Folders

import nexus
from nexus.data.captioned import CaptionedPictures, middle
from nexus.hub.adapters import add_lora
from nexus.media.image import Image
from nexus.recipes.image_lora import recipe
from nexus.training.loop import Run, train
from nexus.training.recipe import LoopConfig, OptimizerConfig, override

diffusers = pytest.importorskip("diffusers")
peft = pytest.importorskip("peft")
pytestmark = [
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),  # the references' own
    pytest.mark.filterwarnings("ignore:.FluxPosEmbed. is deprecated:FutureWarning"),
]
PROMPTS = ["a red boat on the sea", "a big grey whale"]
CAPTIONS = ["a red boat", "a big grey whale", "the sea", ""]


LEARNING = [kind for kind in KINDS if kind not in ("dit", "lcm", "consistency")]


@pytest.fixture(scope="module")
def bases(tmp_path_factory):
    return Folders(tmp_path_factory)


def pictures(folder, n=3):
    folder.mkdir()
    for i, words in enumerate(CAPTIONS[:n]):
        values = np.random.default_rng(i).integers(0, 256, (5, 4, 3), dtype=np.uint8)
        Image(values).resize(50, 40).save(folder / f"{i}.png")
        (folder / f"{i}.txt").write_text(f"{words}\n")
    return folder


def settings_of(base, folder, **others):
    return dataclasses.replace(
        recipe,
        loop=LoopConfig(steps=12, log_every=6, save_every=12, sample_every=0, validate_every=0, ema_decay=0.0),
        optimizer=OptimizerConfig(lr=3e-2, schedule="constant", warmup_steps=0),
        base=str(base),
        pictures=str(pictures(folder / "pictures")),
        size=32,
        batch_size=4,
        drop_text=0.3,
        rank=4,
        alpha=4.0,
        **others,
    )


def their_loss(pipe, batch, rng):
    """As diffusers' networks, encoders and schedulers have it, from the numbers that ours draws."""
    network = pipe.unet if hasattr(pipe, "unet") else pipe.transformer
    captions = [CAPTIONS[i] for i in batch["caption"]]
    distribution, scaling = pipe.vae.encode(batch["image"]).latent_dist, pipe.vae.config.scaling_factor
    coded = distribution.mean + distribution.std * torch.randn(distribution.mean.shape, generator=rng)
    latents = (coded - (getattr(pipe.vae.config, "shift_factor", None) or 0)) * scaling
    n, kind = len(captions), type(pipe).__name__
    if kind in ("StableDiffusion3Pipeline", "FluxPipeline"):
        noise = torch.randn(latents.shape, generator=rng)
        shift = 3.0 if kind == "StableDiffusion3Pipeline" else flux_shift(pipe)
        sigma = torch.sigmoid(torch.randn(n, generator=rng))
        sigma = shift * sigma / (1 + (shift - 1) * sigma)
        level = sigma[:, None, None, None]
        noisy, target = (1 - level) * latents + level * noise, noise - latents
        answer = flow_answer(pipe, network, noisy, sigma, captions)
        return (answer - target).square().mean()
    ddpm = diffusers.DDPMScheduler.from_config(pipe.scheduler.config)

    def steps():
        return ((torch.arange(n) + torch.rand(n, generator=rng)) / n * 1000).long()

    if kind.startswith("PixArt"):
        noise, step = torch.randn(latents.shape, generator=rng), steps()
        text, mask, *_ = pipe.encode_prompt(captions, do_classifier_free_guidance=False, clean_caption=False)
        added = {"resolution": torch.tensor([[32.0, 32.0]] * n), "aspect_ratio": torch.tensor([[1.0]] * n)}
        added = added if network.use_additional_conditions else {"resolution": None, "aspect_ratio": None}
        noisy = ddpm.add_noise(latents, noise, step)
        answer = network(
            noisy,
            encoder_hidden_states=text,
            encoder_attention_mask=mask,
            timestep=step,
            added_cond_kwargs=added,
        ).sample.chunk(2, dim=1)[0]
        return (answer - noise).square().mean()
    step, noise = steps(), torch.randn(latents.shape, generator=rng)
    given = {}
    if kind == "StableDiffusionXLPipeline":
        text, _, pooled, _ = pipe.encode_prompt(captions, do_classifier_free_guidance=False)
        heard = torch.tensor([bool(caption) for caption in captions]).float()  # XL drops to zeros
        text, pooled = text * heard[:, None, None], pooled * heard[:, None]
        sizes = torch.tensor([[32.0, 32, 0, 0, 32, 32]] * n)
        given["added_cond_kwargs"] = {"text_embeds": pooled, "time_ids": sizes}
    else:
        text, _ = pipe.encode_prompt(captions, "cpu", 1, False)
    velocity = pipe.scheduler.config.prediction_type == "v_prediction"
    target = ddpm.get_velocity(latents, noise, step) if velocity else noise
    answer = network(ddpm.add_noise(latents, noise, step), step, encoder_hidden_states=text, **given).sample
    return (answer - target).square().mean()


def flux_shift(pipe):
    """FLUX's, of the four patches of a picture of 32 pixels."""
    if not pipe.scheduler.config.use_dynamic_shifting:
        return 1.0
    return float(np.exp(0.5 + (1.15 - 0.5) * (4 - 256) / (4096 - 256)))


def flow_answer(pipe, network, noisy, sigma, captions):
    n = len(captions)
    if type(pipe).__name__ == "StableDiffusion3Pipeline":
        text, _, pooled, _ = pipe.encode_prompt(captions, None, None, do_classifier_free_guidance=False)
        return network(noisy, timestep=1000 * sigma, encoder_hidden_states=text, pooled_projections=pooled).sample
    length = 512 if network.config.guidance_embeds else 256
    text, pooled, text_ids = pipe.encode_prompt(captions, None, max_sequence_length=length)
    packed = pipe._pack_latents(noisy, n, noisy.shape[1], 4, 4)
    answer = network(
        packed,
        timestep=sigma,
        guidance=torch.ones(n) if network.config.guidance_embeds else None,
        encoder_hidden_states=text,
        pooled_projections=pooled,
        txt_ids=text_ids,
        img_ids=pipe._prepare_latent_image_ids(n, 2, 2, "cpu", torch.float32),
    ).sample
    return pipe._unpack_latents(answer, 32, 32, pipe.vae_scale_factor)


@pytest.mark.parametrize("kind", LEARNING)
def test_the_loss_is_that_of_the_reference(kind, bases, tmp_path):
    pipe, folder = bases(kind)
    settings = settings_of(folder, tmp_path)
    networks, batch = settings.networks(), settings.data()[1]
    assert 3 in batch["caption"] and not set(batch["caption"].tolist()) <= {3}  # words, and none
    with torch.no_grad():
        ours = settings.loss(networks, batch, torch.Generator().manual_seed(7))["loss"]
        theirs = their_loss(pipe, batch, torch.Generator().manual_seed(7))
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=0)


@pytest.mark.parametrize("kind", ["noise", "xl", "sd3", "flux-dev", "pixart-sigma"])
def test_a_lora_is_learned_and_read_by_the_reference(kind, bases, tmp_path):
    pipe, folder = bases(kind)
    settings = settings_of(folder, tmp_path)
    weights = train(settings, tmp_path / "run")
    networks, data = settings.networks(), settings.data()

    def error():
        with torch.no_grad():
            return sum(settings.loss(networks, data[i], torch.Generator().manual_seed(i))["loss"] for i in range(4))

    before = error()
    add_lora(networks["model"].base, weights)
    assert error() < 0.95 * before

    model = nexus.load(folder, device="cpu")
    given = {"steps": 2, "guidance_scale": 4.0, "seed": 5, "height": 32, "width": 32}
    given |= {"resolution_binning": False} if "pixart" in kind else {}
    plain = painted(model, PROMPTS, **given)[0]
    add_lora(model, weights)
    ours, theirs = painted(model, PROMPTS, **given)[0], theirs_with(pipe, kind, weights)
    assert np.abs(theirs - plain).max() > 5e-3 and np.abs(ours - theirs).max() < 1e-3


def theirs_with(pipe, kind, weights):
    """Pictures of a copy of the pipeline with the LoRA."""
    networks = {"unet", "transformer"} & set(pipe.components)
    pipe = type(pipe)(**(pipe.components | {name: copy.deepcopy(getattr(pipe, name)) for name in networks}))
    pipe.set_progress_bar_config(disable=True)
    more = {"flux-dev": {"max_sequence_length": 512}, "sd3": {"max_sequence_length": 256}}.get(kind, {})
    if "pixart" in kind:
        pipe.transformer = peft.PeftModel.from_pretrained(pipe.transformer, weights)
        more = {"use_resolution_binning": False, "clean_caption": False}
    else:
        pipe.load_lora_weights(weights)
    rngs = [torch.Generator().manual_seed(5 + i) for i in range(2)]
    size = {"height": 32, "width": 32, "num_inference_steps": 2, "guidance_scale": 4.0}
    return pipe(PROMPTS, generator=rngs, output_type="np", **size, **more).images


@pytest.mark.parametrize("kind", ["noise", "sd3", "flux-dev", "pixart-sigma"])
def test_half_precision_and_recomputed_blocks(kind, bases, tmp_path):
    """The base is held in half precision, the LoRA in single; gradients are what they were, but for rounding."""
    few = ["loop.steps=1", "loop.sample_every=1", "optimizer.lr=0"]
    settings, gradients = override(settings_of(bases(kind)[1], tmp_path), few), []
    for precision in ("fp32", "bf16"):
        more = [f"loop.precision={precision}", f"loop.gradient_checkpointing={precision == 'bf16'}"]
        run = Run(override(settings, more), tmp_path / precision)
        lora, base = run.networks["model"].lora, run.networks["model"].base
        assert {p.dtype for p in lora.parameters()} == {torch.float32}
        assert next(base.network.parameters()).dtype == (torch.float32 if precision == "fp32" else torch.bfloat16)
        objective = run.turns.objectives[0]
        rng = torch.Generator().manual_seed(0)
        run.turns.losses(objective, run.recipe.dataset("train")[0], rng)["loss"].backward()
        gradients.append(torch.cat([change.up.grad.flatten() for change in lora]))
        run.networks["model"].zero_grad()
    cosine = torch.nn.functional.cosine_similarity(*gradients, dim=0)
    assert gradients[0].abs().max() > 1e-3 and cosine > 0.98
    train(override(settings, ["loop.precision=bf16"]), tmp_path / "bf16")
    assert (tmp_path / "bf16/samples/step-000001/sample.png").is_file()


def test_bases_that_cannot_learn_so_are_refused(bases, tmp_path):
    settings = settings_of(bases("noise")[1], tmp_path)
    with pytest.raises(ValueError, match=r"multiples of 8, got 31x31; nearest is 32x32"):
        dataclasses.replace(settings, size=31).networks()
    with pytest.raises(ValueError, match=r"FLUX or PixArt; .*dit is a DiT"):
        dataclasses.replace(settings, base=str(bases("dit")[1])).networks()
    with pytest.raises(ValueError, match=r"nexus/image-tiny-lcm is distilled to few steps"):
        dataclasses.replace(settings, base="nexus/image-tiny-lcm").networks()
    with pytest.raises(ValueError, match="no pictures"):  # before the base is read
        dataclasses.replace(settings, base="nothing", pictures=str(tmp_path / "none")).networks()


def test_pictures_come_with_their_words(tmp_path):
    data = CaptionedPictures(pictures(tmp_path / "p"), 16, 64, drop_text=0.5)
    assert data.captions == CAPTIONS
    batch = data[7]
    assert batch["image"].shape == (64, 3, 16, 16) and torch.equal(batch["image"], data[7]["image"])
    assert set(batch["caption"].tolist()) == {0, 1, 2, 3} and 0.2 < (batch["caption"] == 3).float().mean() < 0.8
    wide = Image(np.arange(4 * 8 * 3, dtype=np.uint8).reshape(4, 8, 3))
    assert middle(wide, 4) == Image(wide.pixels[:, 2:6])
    (tmp_path / "p/1.txt").unlink()
    with pytest.raises(ValueError, match=r"1\.png has no words"):
        CaptionedPictures(tmp_path / "p", 16, 2)[0]
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="no pictures; put PNG or JPEG"):
        CaptionedPictures(tmp_path / "empty", 16, 2)[0]
