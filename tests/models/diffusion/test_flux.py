"""FLUX: whole pipelines against diffusers' on random weights, guidance it is told, what it refuses."""

import numpy as np
import pytest
import torch
from references import painted, tiny_clip, tiny_t5, tiny_tokenizer, tiny_vae
from safetensors.torch import save_file
from test_flux_transformer import original_state, reference
from test_stable_diffusion_3 import PROMPTS, assert_same_pictures, hole, picture, rngs

import nexus
from nexus.models.diffusion.flux import Flux, FluxConfig
from nexus.models.diffusion.flux_transformer import FluxTransformerConfig
from nexus.process.flow_levels import FlowLevels

diffusers = pytest.importorskip("diffusers")


def build(guided):
    scheduler = (
        diffusers.FlowMatchEulerDiscreteScheduler(shift=3.0, use_dynamic_shifting=True)
        if guided
        else diffusers.FlowMatchEulerDiscreteScheduler(shift=1.0)
    )
    pipe = diffusers.FluxPipeline(
        scheduler=scheduler,
        vae=tiny_vae(latent_channels=4, scaling_factor=0.8, shift_factor=0.1, use_quant_conv=False),
        text_encoder=tiny_clip(20),
        tokenizer=tiny_tokenizer(True, 12),
        text_encoder_2=tiny_t5(24),
        tokenizer_2=tiny_tokenizer(False, 512),
        transformer=reference(guidance_embeds=guided),
    )
    pipe.vae.register_to_config(use_post_quant_conv=False)
    pipe.vae.post_quant_conv = None
    pipe.set_progress_bar_config(disable=True)
    return pipe


@pytest.fixture(scope="module", params=[True, False], ids=["dev", "schnell"])
def both(request, tmp_path_factory):
    """A pipeline and its folder."""
    pipe, folder = build(request.param), tmp_path_factory.mktemp("flux")
    pipe.save_pretrained(folder)
    return pipe, folder


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    made = {}
    for guided in (True, False):
        made[guided] = tmp_path_factory.mktemp("flux")
        build(guided).save_pretrained(made[guided])
    return made


def told(pipe, scale):
    guided = pipe.transformer.config.guidance_embeds
    return {"guidance_scale": scale} if guided else {}, {"max_sequence_length": 512 if guided else 256}


def test_a_pipeline_makes_the_pictures_of_the_reference(both):
    pipe, folder = both
    guidance, length = told(pipe, 2.5)
    settings = dict(num_inference_steps=4, height=32, width=48, generator=rngs(), output_type="np")
    theirs = pipe(PROMPTS, **settings, **guidance, **length).images
    model = nexus.load(folder, device="cpu")
    assert isinstance(model, Flux) and model.config.steps == (28 if guidance else 4)
    ours, images = painted(model, PROMPTS, steps=4, height=32, width=48, seed=5, **guidance)
    assert_same_pictures(ours, theirs)
    assert np.abs(images[1].pixels / 255 - theirs[1]).max() < 0.5 / 255 + 1e-3
    if guidance:
        other, _ = painted(model, PROMPTS, steps=4, height=32, width=48, seed=5, guidance_scale=8)
        assert np.abs(other - theirs).max() > 2e-3  # what it is told is heard


def test_image_to_image_equals_the_reference(both):
    pipe, folder = both
    image_pipe = diffusers.FluxImg2ImgPipeline(
        **{n: c for n, c in pipe.components.items() if "image" not in n and n != "feature_extractor"}
    )
    image_pipe.set_progress_bar_config(disable=True)
    guidance, length = told(pipe, 3.5)
    settings = dict(num_inference_steps=5, height=32, width=32, strength=0.6, generator=rngs(), output_type="np")
    theirs = image_pipe(PROMPTS, image=[picture()._picture()] * 2, **settings, **guidance, **length).images
    model = nexus.load(folder, device="cpu")
    given = dict(image=picture(), strength=0.6, steps=5, seed=5)
    assert_same_pictures(painted(model, PROMPTS, **given, **guidance)[0], theirs)


def test_inpainting_equals_the_reference(both):
    pipe, folder = both
    parts = {name: part for name, part in pipe.components.items() if name not in ("image_encoder", "feature_extractor")}
    inpaint = diffusers.FluxInpaintPipeline(**parts)
    inpaint.set_progress_bar_config(disable=True)
    guidance, length = told(pipe, 3.5)
    settings = dict(num_inference_steps=5, height=32, width=32, strength=0.6, generator=rngs(), output_type="np")
    shown = dict(image=[picture()._picture()] * 2, mask_image=[hole()._picture()] * 2)
    theirs = inpaint(PROMPTS, **shown, **settings, **guidance, **length).images
    model = nexus.load(folder, device="cpu")
    given = dict(image=picture(), mask=hole(), strength=0.6, steps=5, seed=5)
    assert_same_pictures(painted(model, PROMPTS, **given, **guidance)[0], theirs)


@pytest.mark.parametrize("guided", [True, False], ids=["dev", "schnell"])
@pytest.mark.parametrize("prefix", ["", "model.diffusion_model."])
def test_black_forest_labs_file_is_known(guided, prefix, tmp_path):
    state = original_state(reference(guidance_embeds=guided, attention_head_dim=32, axes_dims_rope=(4, 14, 14)))
    save_file({prefix + n: t for n, t in state.items()}, tmp_path / "flux1.safetensors")
    model = nexus.load(tmp_path / "flux1.safetensors", device="cpu")
    assert (
        model.info.kind == "Flux" and model.config.levels == (FluxConfig() if guided else FluxConfig.schnell()).levels
    )
    with pytest.raises(ValueError, match="Flux is a network without image_vae and text_encoder"):
        model.generate("a boat")


@pytest.mark.parametrize("solver", ["dpmpp-2m", "euler-ancestral", "unipc"])
def test_a_picture_does_not_depend_on_its_batch(folders, solver):
    model = nexus.load(folders[True], device="cpu")
    given = dict(steps=3, solver=solver, height=32, width=16)
    together, alone = model.generate(PROMPTS, seed=10, **given), model.generate(PROMPTS[1], seed=11, **given)
    assert np.abs(together[1].pixels.astype(int) - alone.pixels).max() <= 1 and alone.pixels.std() > 1


def test_cached_steps_ask_the_network_less(folders):
    model, asked = nexus.load(folders[True], device="cpu"), []
    model.network.register_forward_pre_hook(lambda *_: asked.append(1))
    model.generate(PROMPTS, steps=20, seed=10, cache=0.5, height=32, width=16)
    assert 4 < len(asked) < 15


def test_learns_which_latents_a_text_has():
    sizes = dict(n_double_layers=1, n_single_layers=1, n_heads=2, head_dim=16, in_channels=4, out_channels=4)
    network = FluxTransformerConfig(**sizes, text_dim=8, summary_dim=6, rope_dims=(4, 6, 6))
    torch.manual_seed(0)
    model = Flux(FluxConfig(network=network, levels=FlowLevels(shift=1.0)))
    rng = torch.Generator().manual_seed(3)
    data, text = torch.randn(1, 4, 4, 4, generator=rng), torch.randn(2, 3, 8, generator=rng)
    batch = {"latents": torch.cat([data, -data] * 8), "text": text.repeat(8, 1, 1), "summary": torch.zeros(16, 6)}
    optimizer, losses = torch.optim.AdamW(model.parameters(), lr=3e-3), []
    for _ in range(40):
        loss = model.loss(batch, rng)["loss"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert np.mean(losses[-10:]) < 0.7 * np.mean(losses[:5])


@pytest.mark.parametrize(
    ("guided", "prompt", "settings", "message"),
    [
        (True, "", {}, "the prompt is empty"),
        (True, "a boat", {"negative_prompt": "sea"}, "this model is distilled: .* a negative_prompt"),
        (
            False,
            "a boat",
            {"guidance_scale": 3.5},
            "guidance is learnt into this distilled model: leave guidance_scale out, got 3.5",
        ),
        (True, "a boat", {"height": 40}, "multiples of 16, got 1024x40; nearest is 1024x32"),
        (True, "a boat", {"steps": 0}, "from 1 to 1000"),
        (True, "a boat", {"solver": "ddpm"}, "solver must be one of euler"),
    ],
)
def test_bad_input_is_refused_before_work(folders, guided, prompt, settings, message):
    with pytest.raises(ValueError, match=message):
        nexus.load(folders[guided], device="cpu").generate(prompt, **settings)
