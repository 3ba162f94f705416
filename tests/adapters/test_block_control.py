"""Whole tiny pipelines of SD3, FLUX and PixArt with ControlNets: diffusers' pictures from the same noise."""

import numpy as np
import PIL.Image
import pytest
import test_flux
import test_flux_controlnet
import test_sd3_controlnet
import test_stable_diffusion_3
import tiny_pipelines
import torch
from references import painted, randomised

import nexus
from nexus.adapters.block_control import BlockControl
from nexus.hub.adapters import load_control
from nexus.media.image import Image

diffusers = pytest.importorskip("diffusers")

pytestmark = [
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),  # the references' own
    pytest.mark.filterwarnings("ignore:.FluxPosEmbed. is deprecated:FutureWarning"),
]
PROMPTS = test_stable_diffusion_3.PROMPTS
SIZE = {"height": 32, "width": 48}


def picture(seed=0, height=32, width=48):
    values = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image(values).resize(4, 6).resize(height, width)


def pil(image):
    return PIL.Image.fromarray(image.pixels)


def quiet(pipe):
    pipe.set_progress_bar_config(disable=True)
    return pipe


def rngs():
    return [torch.Generator().manual_seed(5 + i) for i in range(2)]


def assert_same_pictures(ours, theirs, plain):
    """And that the adapter matters."""
    assert theirs.std() > 0.02 and np.abs(ours - theirs).max() < 1e-3, np.abs(ours - theirs).max()
    assert np.abs(theirs - plain).max() > 5e-3, np.abs(theirs - plain).max()


@pytest.fixture(scope="module")
def sd3(tmp_path_factory):
    pipe, folder = test_stable_diffusion_3.build(), tmp_path_factory.mktemp("sd3")
    pipe.save_pretrained(folder)
    return pipe, nexus.load(folder, device="cpu")


@pytest.fixture(scope="module")
def flux(tmp_path_factory):
    pipe, folder = test_flux.build(guided=True), tmp_path_factory.mktemp("flux")
    pipe.save_pretrained(folder)
    return pipe, nexus.load(folder, device="cpu")


@pytest.fixture(scope="module")
def controls(tmp_path_factory):
    """Folders of ControlNets for those pipelines."""
    folder = tmp_path_factory.mktemp("controls")
    sizes = dict(sample_size=4, in_channels=16, joint_attention_dim=32, pooled_projection_dim=18)
    for i, kind in enumerate(("instantx", "for-3.5-medium", "3.5-large")):
        own = {n: v for n, v in sizes.items() if n not in test_sd3_controlnet.KINDS[kind]}
        network = test_sd3_controlnet.control_of(kind, **own)
        redrawn(network, i).save_pretrained(folder / kind)
    for i, kind in enumerate(("single", "union", "xlabs")):
        redrawn(test_flux_controlnet.control_of(kind), i).save_pretrained(folder / kind)
    return folder


def redrawn(network, seed):
    torch.manual_seed(seed)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return network


def sd3_pipeline(pipe, networks):
    parts = {n: part for n, part in pipe.components.items() if n not in ("image_encoder", "feature_extractor")}
    return quiet(diffusers.StableDiffusion3ControlNetPipeline(**parts, controlnet=networks))


SD3 = {"num_inference_steps": 5, "guidance_scale": 4.0, "output_type": "np"} | SIZE
OURS = {"steps": 5, "seed": 5} | SIZE


@pytest.fixture
def likeliest(monkeypatch):
    """diffusers draws the latents of SD3's control pictures from the global generator; here they are the likeliest."""
    distribution = diffusers.models.autoencoders.vae.DiagonalGaussianDistribution
    monkeypatch.setattr(distribution, "sample", lambda self, generator=None: self.mode())


@pytest.mark.parametrize("kind", ["instantx", "for-3.5-medium", "3.5-large"])
def test_a_controlnet_of_sd3(kind, sd3, controls, likeliest):
    pipe, model = sd3
    network = diffusers.SD3ControlNetModel.from_pretrained(controls / kind)
    part = {"control_guidance_start": 0.2, "control_guidance_end": 0.8, "controlnet_conditioning_scale": 0.7}
    theirs = sd3_pipeline(pipe, network)(PROMPTS, control_image=pil(picture()), generator=rngs(), **part, **SD3).images
    control = load_control(controls / kind, model, picture(), start=0.2, end=0.8, weight=0.7)
    plain = painted(model, PROMPTS, guidance_scale=4, **OURS)[0]
    assert_same_pictures(painted(model, PROMPTS, guidance_scale=4, adapters=[control], **OURS)[0], theirs, plain)
    longer = painted(model, PROMPTS, guidance_scale=4, adapters=[BlockControl(control.network, picture())], **OURS)[0]
    assert np.abs(theirs - longer).max() > 5e-3


def test_several_controlnets_of_sd3_each_with_a_picture_for_each_prompt(sd3, controls, likeliest):
    """Both of one kind: the reference shifts all latents as the first one wants it."""
    pipe, model = sd3
    kinds = ("instantx", "for-3.5-medium")
    networks = [diffusers.SD3ControlNetModel.from_pretrained(controls / kind) for kind in kinds]
    seen = [[picture(0), picture(1)], [picture(2), picture(3)]]
    theirs = sd3_pipeline(pipe, networks)(
        PROMPTS,
        control_image=[torch.stack([p.tensor() for p in pictures]) for pictures in seen],
        controlnet_conditioning_scale=[0.7, -0.4],
        control_guidance_start=[0.0, 0.4],
        control_guidance_end=[0.8, 1.0],
        generator=rngs(),
        **SD3,
    ).images
    adapters = [
        load_control(controls / kinds[0], model, seen[0], weight=0.7, end=0.8),
        load_control(controls / kinds[1], model, seen[1], weight=-0.4, start=0.4),
    ]
    plain = painted(model, PROMPTS, guidance_scale=4, **OURS)[0]
    assert_same_pictures(painted(model, PROMPTS, guidance_scale=4, adapters=adapters, **OURS)[0], theirs, plain)


def test_wide_pictures_of_3_5_large_canny(sd3, controls, likeliest, tmp_path):
    """As the official model card prepares them: 255 times as wide, around a half."""
    pipe, model = sd3
    folder = tmp_path / "stable-diffusion-3.5-large-controlnet-canny"
    network = diffusers.SD3ControlNetModel.from_pretrained(controls / "3.5-large")
    network.save_pretrained(folder)
    shown = torch.stack([picture().tensor() / 2 + 0.5] * 2) * 255 * 0.5 + 0.5
    theirs = sd3_pipeline(pipe, network)(PROMPTS, control_image=shown, generator=rngs(), **SD3).images
    ours = painted(model, PROMPTS, guidance_scale=4, adapters=[load_control(folder, model, picture())], **OURS)[0]
    usual = load_control(controls / "3.5-large", model, picture())
    plain = painted(model, PROMPTS, guidance_scale=4, adapters=[usual], **OURS)[0]
    assert_same_pictures(ours, theirs, plain)


def flux_pipeline(pipe, networks):
    parts = {n: part for n, part in pipe.components.items() if n not in ("image_encoder", "feature_extractor")}
    return quiet(diffusers.FluxControlNetPipeline(**parts, controlnet=networks))


FLUX = {"num_inference_steps": 4, "guidance_scale": 2.5, "output_type": "np", "max_sequence_length": 512} | SIZE
OUR_FLUX = {"steps": 4, "guidance_scale": 2.5, "seed": 5} | SIZE


@pytest.mark.parametrize("kind", ["single", "union", "xlabs"])
def test_a_controlnet_of_flux(kind, flux, controls):
    """Whose pictures' latents are drawn before the noise, as there."""
    pipe, model = flux
    network = diffusers.FluxControlNetModel.from_pretrained(controls / kind)
    mode = {"control_mode": 1} if kind == "union" else {}
    part = {"control_guidance_start": 0.25, "control_guidance_end": 0.75, "controlnet_conditioning_scale": 0.7}
    theirs = flux_pipeline(pipe, network)(
        PROMPTS, control_image=pil(picture()), generator=rngs(), **mode, **part, **FLUX
    ).images
    more = {"mode": "tile"} if kind == "union" else {}
    control = load_control(controls / kind, model, picture(), start=0.25, end=0.75, weight=0.7, **more)
    plain = painted(model, PROMPTS, adapters=[BlockControl(control.network, picture(), 0.0, **more)], **OUR_FLUX)[0]
    assert_same_pictures(painted(model, PROMPTS, adapters=[control], **OUR_FLUX)[0], theirs, plain)


def test_several_controlnets_of_flux(flux, controls):
    pipe, model = flux
    network = diffusers.FluxControlNetModel.from_pretrained(controls / "union")
    networks = diffusers.FluxMultiControlNetModel([network, network])
    theirs = flux_pipeline(pipe, networks)(
        PROMPTS,
        control_image=[pil(picture(0)), pil(picture(1))],
        control_mode=[2, 0],
        controlnet_conditioning_scale=[0.7, 0.4],
        control_guidance_end=[0.8, 1.0],
        control_guidance_start=[0.0, 0.25],
        generator=rngs(),
        **FLUX,
    ).images
    first = load_control(controls / "union", model, picture(0), weight=0.7, end=0.8, mode="depth")
    second = BlockControl(first.network, picture(1), 0.4, start=0.25, mode=0)
    plain = painted(model, PROMPTS, **OUR_FLUX)[0]
    assert_same_pictures(painted(model, PROMPTS, adapters=[first, second], **OUR_FLUX)[0], theirs, plain)


def test_item_by_item_a_batch_is_the_same(flux, controls):
    _, model = flux
    control = load_control(controls / "single", model, picture())
    given = {"steps": 3, "adapters": [control]} | SIZE
    together, alone = model.generate(PROMPTS, seed=10, **given), model.generate(PROMPTS[1], seed=11, **given)
    assert np.abs(together[1].pixels.astype(int) - alone.pixels).max() <= 1


def test_what_does_not_fit_is_refused_before_the_first_step(sd3, flux, controls, tmp_path):
    (_, sd3_model), (_, flux_model) = sd3, flux

    def refused(match, model, adapters, **settings):
        steps = []
        with pytest.raises(ValueError, match=match):
            model.generate(PROMPTS, adapters=adapters, progress=lambda *step: steps.append(step), **(SIZE | settings))
        assert not steps

    control = load_control(controls / "instantx", sd3_model, picture())
    refused("of the size that is painted, 32x32, got 48x32", sd3_model, [control], width=32)
    refused("one picture, or 2 of them", sd3_model, [BlockControl(control.network, [picture()] * 3)])
    refused(r"another base: Stable Diffusion 3 or 3\.5, this is a FluxTransformer", flux_model, [control])
    other = load_control(controls / "single", flux_model, picture())
    refused(r"another base: FLUX\.1, this is a MMDiT", sd3_model, [other])
    wide = randomised(diffusers.SD3ControlNetModel(**(test_sd3_controlnet.SETTINGS | {"caption_projection_dim": 16})))
    wide.save_pretrained(tmp_path)
    other = load_control(tmp_path, sd3_model, picture())
    refused("another base: its in_channels is 4, that of this MMDiT is 16", sd3_model, [other])
    with pytest.raises(ValueError, match="leave mode out"):
        load_control(controls / "instantx", sd3_model, picture(), mode="depth")
    with pytest.raises(ValueError, match=r"one of canny, tile, .*, got 'edges'"):
        load_control(controls / "union", flux_model, picture(), mode="edges")
    with pytest.raises(ValueError, match=r"has modes 0 to 2 .*; say which"):
        load_control(controls / "union", flux_model, picture())
    with pytest.raises(ValueError, match="finite number"):
        BlockControl(control.network, picture(), float("nan"))
    with pytest.raises(ValueError, match="guess mode is for Stable Diffusion's own ControlNets"):
        load_control(controls / "instantx", sd3_model, picture(), guess=True)
    sizes = {n: v for n, v in tiny_pipelines.UNET.items() if n not in ("up_block_types", "sample_size")}
    diffusers.ControlNetModel(**sizes).save_pretrained(tmp_path / "unet")
    with pytest.raises(ValueError, match="another base: Stable Diffusion 1, 2 or XL, this model is a Flux"):
        load_control(tmp_path / "unet", flux_model, picture())
