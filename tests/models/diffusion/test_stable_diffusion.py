"""Stable Diffusion: whole pipelines against diffusers' on random weights, learning, and what it refuses."""

import numpy as np
import pytest
import torch
from references import randomised, tiny_clip, tiny_tokenizer, tiny_vae
from tiny_pipelines import BETAS, PROMPTS, UNET, XL_UNET, ours_of, rngs, theirs_of

import nexus
from nexus.media.image import Image
from nexus.models.diffusion.stable_diffusion import StableDiffusion

diffusers = pytest.importorskip("diffusers")
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # the reference's own
NEGATIVE = ["grey sea", "boat"]
DDIM = BETAS | {"clip_sample": False, "set_alpha_to_one": False}


def unet(**changes):
    return randomised(diffusers.UNet2DConditionModel(**(UNET | changes)))


def built(scheduler=None, **changes):
    """A pipeline of 1.5's form."""
    pipe = diffusers.StableDiffusionPipeline(
        vae=tiny_vae(scaling_factor=0.5),
        text_encoder=tiny_clip(16),
        tokenizer=tiny_tokenizer(True, 12, pad="</s>"),
        unet=unet(**changes),
        scheduler=scheduler or diffusers.DDIMScheduler(**DDIM),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipe.set_progress_bar_config(disable=True)
    return pipe


def built_xl(refiner=False, **changes):
    if refiner:
        changes |= {"projection_class_embeddings_input_dim": 10 + 5 * 8, "cross_attention_dim": 12}
    network = randomised(diffusers.UNet2DConditionModel(**(XL_UNET | changes)))
    scheduler = diffusers.EulerDiscreteScheduler(**BETAS, timestep_spacing="leading")
    kind = diffusers.StableDiffusionXLImg2ImgPipeline if refiner else diffusers.StableDiffusionXLPipeline
    score = {"requires_aesthetics_score": True} if refiner else {}
    pipe = kind(
        vae=tiny_vae(scaling_factor=0.5),
        text_encoder=None if refiner else tiny_clip(16),
        tokenizer=None if refiner else tiny_tokenizer(True, 12, pad="</s>"),
        text_encoder_2=tiny_clip(12, 10),
        tokenizer_2=tiny_tokenizer(True, 12),
        unet=network,
        scheduler=scheduler,
        force_zeros_for_empty_prompt=not refiner,
        add_watermarker=False,
        **score,
    )
    pipe.set_progress_bar_config(disable=True)
    return pipe


@pytest.fixture(scope="module")
def pipeline():
    return built()


@pytest.fixture(scope="module")
def folder(pipeline, tmp_path_factory):
    folder = tmp_path_factory.mktemp("sd")
    pipeline.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def model(folder):
    return nexus.load(folder, device="cpu")


def assert_same_pictures(ours, theirs):
    apart = float(np.abs(ours - theirs).max())
    assert theirs.std() > 0.02 and apart < 1e-3


def picture(seed=0, height=32, width=48):
    values = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image(values).resize(4, 6).resize(height, width)


def mask(height=32, width=48):
    pixels = np.zeros((height, width), np.uint8)
    pixels[5:23, 9:40] = 255
    return Image(pixels)


def test_a_pipeline_makes_the_pictures_of_the_reference(pipeline, model):
    theirs = theirs_of(pipeline, negative_prompt=NEGATIVE, height=32, width=48)
    assert isinstance(model, StableDiffusion) and model.config.size == (32, 32) and model.config.solver == "ddim"
    assert_same_pictures(ours_of(model, negative_prompt=NEGATIVE, height=32, width=48), theirs)
    assert np.abs(ours_of(model, height=32, width=48) - theirs).max() > 2e-3  # the negative prompt is heard
    assert_same_pictures(
        ours_of(model, "", guidance_scale=1), theirs_of(pipeline, "", guidance_scale=1, generator=rngs()[0])
    )


SCHEDULERS = {
    "ddim": ("DDIMScheduler", DDIM),
    "ddpm": ("DDPMScheduler", BETAS | {"clip_sample": False}),
    "euler": ("EulerDiscreteScheduler", BETAS),
    "euler-ancestral": ("EulerAncestralDiscreteScheduler", BETAS | {"timestep_spacing": "leading"}),
    "heun": ("HeunDiscreteScheduler", BETAS),
    "dpmpp-2m": ("DPMSolverMultistepScheduler", BETAS | {"timestep_spacing": "leading"}),
    "dpmpp-2m-sde": ("DPMSolverMultistepScheduler", BETAS | {"algorithm_type": "sde-dpmsolver++"}),
    "unipc": ("UniPCMultistepScheduler", BETAS),
    "lcm": ("LCMScheduler", BETAS | {"clip_sample": False, "set_alpha_to_one": True}),  # as LCM-LoRAs are sampled
    "karras": ("DPMSolverMultistepScheduler", BETAS | {"use_karras_sigmas": True}),
}


@pytest.mark.parametrize("name", SCHEDULERS)
def test_every_solver_equals_the_reference(name, pipeline, tmp_path):
    kind, settings = SCHEDULERS[name]
    pipe = diffusers.StableDiffusionPipeline(
        **(pipeline.components | {"scheduler": getattr(diffusers, kind)(**settings)}), requires_safety_checker=False
    )
    pipe.set_progress_bar_config(disable=True)
    pipe.save_pretrained(tmp_path)
    theirs = theirs_of(pipe, num_inference_steps=4)
    model = nexus.load(tmp_path, device="cpu")
    assert model.config.solver == ("dpmpp-2m" if name == "karras" else name)
    assert_same_pictures(ours_of(model, steps=4), theirs)


@pytest.mark.parametrize("rescaled", [False, True])
def test_velocity_and_zero_snr_equal_the_reference(rescaled, tmp_path):
    """2.1's form: linear projections, heads by level, v-prediction."""
    settings = DDIM | {"prediction_type": "v_prediction"}
    if rescaled:
        settings |= {"rescale_betas_zero_snr": True, "timestep_spacing": "trailing"}
    changes = {"use_linear_projection": True, "attention_head_dim": (2, 4)}
    pipe = built(diffusers.DDIMScheduler(**settings), **changes)
    pipe.save_pretrained(tmp_path)
    model = nexus.load(tmp_path, device="cpu")
    assert model.config.prediction == "velocity" and model.config.levels.zero_snr == rescaled
    assert_same_pictures(ours_of(model), theirs_of(pipe))


@pytest.mark.parametrize(("strength", "steps"), [(0.6, 5), (1.0, 3), (0.3, 7)])
def test_image_to_image_equals_the_reference(strength, steps, pipeline, model):
    pipe = diffusers.StableDiffusionImg2ImgPipeline(**pipeline.components, requires_safety_checker=False)
    pipe.set_progress_bar_config(disable=True)
    given = {"strength": strength, "num_inference_steps": steps}
    theirs = theirs_of(pipe, image=[picture()._picture()] * 2, **given)
    assert_same_pictures(ours_of(model, image=picture(), strength=strength, steps=steps), theirs)


@pytest.mark.parametrize("strength", [0.6, 1.0])
@pytest.mark.parametrize("channels", [4, 9])
def test_inpainting_equals_the_reference(strength, channels, pipeline, model, tmp_path):
    components = pipeline.components | ({"unet": unet(in_channels=9)} if channels == 9 else {})
    pipe = diffusers.StableDiffusionInpaintPipeline(**components, requires_safety_checker=False)
    pipe.set_progress_bar_config(disable=True)
    if channels == 9:
        pipe.save_pretrained(tmp_path)
        model = nexus.load(tmp_path, device="cpu")
    given = {"image": picture()._picture(), "mask_image": mask()._picture(), "height": 32, "width": 48}
    # One by one: theirs codes the picture of a whole batch with the first item's noise.
    theirs = [theirs_of(pipe, PROMPTS[i], strength=strength, generator=rngs()[i], **given) for i in range(2)]
    ours = ours_of(model, image=picture(), mask=mask(), strength=strength)
    assert_same_pictures(ours, np.concatenate(theirs))


def test_what_the_mask_keeps_is_kept(model):
    """The kept latents come out as they went in, whatever the solver (of those that draw noise, too)."""
    for solver in ("euler", "dpmpp-2m-sde", "unipc"):
        one, other = (latents_of(model, solver, seed) for seed in (1, 2))
        away = (one - other)[..., :, 5:]  # right of the mask; the codes of what is kept are drawn, narrowly
        assert away.abs().mean() < 0.5 * (one - other)[..., 1:3, 1:5].abs().mean()


def latents_of(model, solver, seed):
    latents = []
    hook = model.image_vae.decoder.register_forward_hook(lambda module, given, output: latents.append(given[0]))
    model.generate("a boat", image=picture(), mask=mask(), seed=seed, steps=3, solver=solver)
    hook.remove()
    return latents[0]


@pytest.mark.parametrize("negative", [None, NEGATIVE])
def test_xl_equals_the_reference(negative, tmp_path):
    pipe = built_xl()
    pipe.save_pretrained(tmp_path)
    model = nexus.load(tmp_path, device="cpu")
    assert model.config.solver == "euler" and model.config.zero_negative
    theirs = theirs_of(pipe, negative_prompt=negative, height=32, width=48)
    assert_same_pictures(ours_of(model, negative_prompt=negative, height=32, width=48), theirs)
    again = diffusers.StableDiffusionXLImg2ImgPipeline(**pipe.components, add_watermarker=False)
    again.set_progress_bar_config(disable=True)
    theirs = theirs_of(again, negative_prompt=negative, image=[picture()._picture()] * 2, strength=0.6)
    assert_same_pictures(ours_of(model, negative_prompt=negative, image=picture(), strength=0.6), theirs)


@pytest.mark.parametrize("strength", [0.6, 1.0])
@pytest.mark.parametrize("channels", [4, 9])
def test_xl_inpainting_equals_the_reference(channels, strength, tmp_path):
    pipe = built_xl(in_channels=channels)
    pipe.save_pretrained(tmp_path)
    model = nexus.load(tmp_path, device="cpu")
    assert model.config.inpaints == (channels == 9)
    again = diffusers.StableDiffusionXLInpaintPipeline(**pipe.components, add_watermarker=False)
    again.set_progress_bar_config(disable=True)
    given = {"image": picture()._picture(), "mask_image": mask()._picture(), "height": 32, "width": 48}
    theirs = [theirs_of(again, PROMPTS[i], strength=strength, generator=rngs()[i], **given) for i in range(2)]
    ours = ours_of(model, image=picture(), mask=mask(), strength=strength)
    assert_same_pictures(ours, np.concatenate(theirs))


@pytest.mark.parametrize("kind", ["zero-snr", "xl"])
def test_rescaled_guidance_equals_the_reference(kind, tmp_path):
    settings = DDIM | {"prediction_type": "v_prediction", "rescale_betas_zero_snr": True}
    pipe = built_xl() if kind == "xl" else built(diffusers.DDIMScheduler(**settings, timestep_spacing="trailing"))
    pipe.save_pretrained(tmp_path)
    model, given = nexus.load(tmp_path, device="cpu"), {"guidance_scale": 8.0, "guidance_rescale": 0.7}
    ours = ours_of(model, **given)
    assert_same_pictures(ours, theirs_of(pipe, **given))
    assert np.abs(ours_of(model, guidance_scale=8.0) - ours).max() > 1e-2
    with pytest.raises(ValueError, match=r"guidance_rescale must be from 0 to 1, got 1.5"):
        model.generate("a boat", guidance_rescale=1.5)
    with pytest.raises(ValueError, match="there is no guidance here"):
        model.generate("a boat", guidance_scale=1, guidance_rescale=0.5)


def test_the_refiner_equals_the_reference(tmp_path):
    pipe = built_xl(refiner=True)
    pipe.save_pretrained(tmp_path)
    model = nexus.load(tmp_path, device="cpu")
    theirs = theirs_of(pipe, negative_prompt=NEGATIVE, image=[picture()._picture()] * 2, strength=0.6)
    assert_same_pictures(ours_of(model, negative_prompt=NEGATIVE, image=picture(), strength=0.6), theirs)


def test_lcm_equals_the_reference(pipeline, tmp_path):
    parts = pipeline.components | {
        "unet": unet(time_cond_proj_dim=16),
        "scheduler": diffusers.LCMScheduler(**BETAS, clip_sample=False, set_alpha_to_one=True),
    }
    pipe = diffusers.LatentConsistencyModelPipeline(**parts, requires_safety_checker=False)
    pipe.set_progress_bar_config(disable=True)
    pipe.save_pretrained(tmp_path)
    model = nexus.load(tmp_path, device="cpu")
    assert (model.config.solver, model.config.steps, model.config.guidance_scale) == ("lcm", 4, 8.5)
    theirs = theirs_of(pipe, num_inference_steps=4, guidance_scale=8.5)
    ours = ours_of(model, steps=4, guidance_scale=8.5)
    assert_same_pictures(ours, theirs)
    assert np.abs(ours_of(model, steps=4, guidance_scale=2.0) - ours).max() > 2e-3  # the scale is told
    with pytest.raises(ValueError, match="this model is distilled"):
        model.generate("a boat", negative_prompt="grey")


def test_an_item_of_a_batch_equals_it_alone(model):
    both = model.generate(PROMPTS, steps=3, seed=7, solver="euler-ancestral")
    alone = model.generate(PROMPTS[1], steps=3, seed=8, solver="euler-ancestral")
    assert np.abs(both[1].pixels.astype(int) - alone.pixels.astype(int)).max() <= 1


@pytest.mark.parametrize("solver", ["dpmpp-2m", "heun", "ddpm"])
def test_cached_steps_ask_the_network_less(model, solver):
    asked = []
    hook = model.network.register_forward_pre_hook(lambda *_: asked.append(1))
    whole = model.generate(PROMPTS, steps=16, seed=7, solver=solver)
    all_of_them = len(asked)
    both = model.generate(PROMPTS, steps=16, seed=7, solver=solver, cache=0.5)
    hook.remove()
    assert all_of_them == (31 if solver == "heun" else 16) and 4 < len(asked) - all_of_them < 0.75 * all_of_them
    alone = model.generate(PROMPTS[1], steps=16, seed=8, solver=solver, cache=0.5)
    assert np.abs(both[1].pixels.astype(int) - alone.pixels.astype(int)).max() <= 1
    assert not np.array_equal(both[1].pixels, whole[1].pixels)


def test_long_and_weighted_prompts_are_read(model):
    long = " ".join(PROMPTS * 3)
    ours = ours_of(model, [long])
    assert np.abs(ours - ours_of(model, [long.removesuffix("whale") + "boat"])).max() > 1e-4  # read to its end
    assert np.abs(ours_of(model, ["a (red:1.5) boat"]) - ours_of(model, ["a red boat"])).max() > 1e-4
    text, summary = model.text_encoder([long, "a boat"])
    assert text.shape == (2, 3 * 12, 16) and summary.shape == (2, 16)
    halved, _ = model.text_encoder(["a (red:0.5) boat"])
    plain, empty = model.text_encoder(["a red boat"])[0], model.text_encoder([""])[0]
    torch.testing.assert_close(halved[:, 2], (plain + empty)[:, 2] / 2)
    torch.testing.assert_close(halved[:, 3:], plain[:, 3:])


def test_xl_reads_prompts_beyond_a_window_with_both_encoders(tmp_path):
    built_xl().save_pretrained(tmp_path)
    model, long = nexus.load(tmp_path, device="cpu"), " ".join(PROMPTS * 3)
    text, pooled = model.text_encoder([long, "a boat"])
    assert text.shape == (2, 3 * 12, 16 + 12) and pooled.shape == (2, 10)
    other, _ = model.text_encoder([long.removesuffix("whale") + "boat", "a boat"])
    for states, changed in zip(text[:1].split([16, 12], 2), other[:1].split([16, 12], 2), strict=True):
        assert torch.equal(states[:, :24], changed[:, :24]) and not torch.equal(states[:, 24:], changed[:, 24:])
    assert np.abs(ours_of(model, [long]) - ours_of(model, [long.removesuffix("whale") + "boat"])).max() > 1e-4


def test_progress_is_told_and_can_stop_it(model):
    seen = []
    model.generate("a boat", steps=3, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(1, 3), (2, 3), (3, 3)]

    def stop(done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        model.generate("a boat", steps=3, progress=stop)


def test_adapters_change_what_is_told(model):
    from dataclasses import replace

    from nexus.models.diffusion.conditional_unet import Residuals

    def control(said):
        def residuals(x_t, step):
            assert x_t.shape == (2, 4, 4, 4) and step.shape == (2,)
            skips = [torch.full((1, dim, 1, 1), 0.5) for dim in (8, 8, 8, 16)]
            return Residuals(skips, torch.full((1, 16, 1, 1), 0.5))

        return replace(said, residuals=(*said.residuals, residuals))

    plain, ours = ours_of(model, "a boat"), ours_of(model, "a boat", adapters=[control])
    assert np.abs(ours - plain).max() > 1e-3
    assert np.abs(ours_of(model, "a boat", adapters=[control, control]) - ours).max() > 1e-3


@pytest.mark.parametrize("kind", ["noise", "velocity", "xl", "inpainting"])
def test_the_loss_is_that_of_its_prediction_and_falls(kind):
    from nexus.models.diffusion.conditional_unet import ConditionalUNetConfig
    from nexus.models.diffusion.stable_diffusion import StableDiffusionConfig

    torch.manual_seed(0)
    network = ConditionalUNetConfig(
        dims=(8, 16),
        n_layers=(1, 0),
        n_heads=(2, 2),
        n_blocks=1,
        norm_groups=4,
        text_dim=6,
        in_channels=9 if kind == "inpainting" else 4,
        added_dim=10 + 48 if kind == "xl" else None,
        size_dim=8,
    )
    prediction = "velocity" if kind == "velocity" else "noise"
    model = StableDiffusion(StableDiffusionConfig(network=network, prediction=prediction, min_snr=5.0))
    batch = {"latents": torch.randn(4, 4, 8, 8), "text": torch.randn(4, 3, 6), "beside": torch.randn(4, 5, 8, 8)}
    batch |= {"pooled": torch.randn(4, 10), "sizes": torch.full((4, 6), 64.0)} if kind == "xl" else {}
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    losses = []
    for _ in range(15):
        optimizer.zero_grad()
        loss = model.loss(batch, torch.Generator().manual_seed(0))["loss"]
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.8 * losses[0]
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in model.parameters())


def test_what_cannot_be_is_refused(model, folder):
    cases = [
        (r"multiples of 8, got 32x33; nearest is 32x32", {"height": 33}),
        (r"steps must be from 1 to 999, got 0", {"steps": 0}),
        (r"steps must be from 1 to 999, got 5000", {"steps": 5000}),
        (r"solver must be one of .*nearest is dpmpp-2m", {"solver": "dpmpp-2n"}),
        (r"the mask must be of the image's size, 48x32, got 32x32", {"image": picture(), "mask": mask(32, 32)}),
        (r"give image too", {"mask": mask()}),
        (r"black everywhere", {"image": picture(), "mask": Image(np.zeros((32, 48), np.uint8))}),
        (r"keeps its size, 48x32; got 32x32", {"image": picture(), "mask": mask(), "height": 32, "width": 32}),
        (r"strength says how much of image is changed", {"strength": 0.5}),
        (r"guidance_scale must be a number from 0 to 100, such as 7.5, got nan", {"guidance_scale": float("nan")}),
        (r"strength must be above 0", {"image": picture(), "strength": 0}),
        (r"strength 0.1 leaves none of 5 steps; take at least 0.2", {"image": picture(), "strength": 0.1}),
        (r"negative_prompt must be one text or 1", {"negative_prompt": ["a", "b"]}),
    ]
    for message, settings in cases:
        with pytest.raises(ValueError, match=message):
            model.generate("a boat", **({"steps": 5} | settings))
    with pytest.raises(ValueError, match="one picture at least"):
        model.generate([])
    alone = nexus.load(folder / "unet", device="cpu")
    with pytest.raises(ValueError, match="network without image_vae and text_encoder"):
        alone.generate("a boat")


def test_a_text_encoder_that_is_not_there_is_named(folder, tmp_path):
    import shutil

    shutil.copytree(folder, tmp_path / "pipeline")
    shutil.rmtree(tmp_path / "pipeline/text_encoder")
    with pytest.raises(FileNotFoundError, match="text_encoder is missing; the folder holds model_index"):
        nexus.load(tmp_path / "pipeline", device="cpu")


@pytest.mark.slow
def test_a_pipeline_of_the_official_widths_equals_the_reference(tmp_path):
    """1.5's four sizes with one block each, CLIP-L with two layers of twelve, the whole autoencoder."""
    import transformers

    text = transformers.CLIPTextConfig(
        vocab_size=16, hidden_size=768, intermediate_size=3072, num_hidden_layers=2, num_attention_heads=12,
        bos_token_id=3, eos_token_id=1, pad_token_id=1,
    )  # fmt: skip
    network = diffusers.UNet2DConditionModel(cross_attention_dim=768, layers_per_block=1)
    decoder = diffusers.AutoencoderKL(
        block_out_channels=(128, 256, 512, 512),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        layers_per_block=2,
        scaling_factor=0.18215,
    )
    pipe = diffusers.StableDiffusionPipeline(
        vae=randomised(decoder, 0.02),
        text_encoder=randomised(transformers.CLIPTextModel(text), 0.02),
        tokenizer=tiny_tokenizer(True, 77, pad="</s>"),
        unet=randomised(network, 0.02),
        scheduler=diffusers.DDIMScheduler(**DDIM),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipe.set_progress_bar_config(disable=True)
    pipe.save_pretrained(tmp_path)
    theirs = theirs_of(pipe, height=64, width=96, num_inference_steps=3)
    del pipe, network
    model = nexus.load(tmp_path, device="cpu")
    assert [model.config.network.dims, model.config.size] == [(320, 640, 1280, 1280), (512, 512)]
    assert_same_pictures(ours_of(model, height=64, width=96, steps=3), theirs)
