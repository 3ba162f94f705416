"""Whole tiny pipelines with ControlNets, IP-Adapters and LoRAs: diffusers' pictures from the same noise."""

import copy

import numpy as np
import PIL.Image
import pytest
import torch
from references import randomised
from tiny_pipelines import PROMPTS, UNET, XL_UNET, ours_of, parts, pipeline, theirs_of

import nexus
from nexus.adapters.control import Control
from nexus.adapters.lora import LoRA, LoRAConfig
from nexus.hub.adapters import add_lora, load_control, load_picture_prompt, networks_of, remove_loras
from nexus.hub.lora import save_lora
from nexus.media.image import Image

diffusers = pytest.importorskip("diffusers")
pytest.importorskip("peft")
transformers = pytest.importorskip("transformers")

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # the reference's own
HINT = {"conditioning_embedding_out_channels": (4, 8, 8, 12)}


@pytest.fixture(scope="module")
def sd(tmp_path_factory):
    """The reference's parts and our model of the same weights."""
    made, folder = parts(), tmp_path_factory.mktemp("sd")
    pipeline("StableDiffusionPipeline", made).save_pretrained(folder)
    return made, nexus.load(folder, device="cpu")


@pytest.fixture(scope="module")
def xl(tmp_path_factory):
    made, folder = parts(xl=True), tmp_path_factory.mktemp("xl")
    pipeline("StableDiffusionXLPipeline", made, add_watermarker=False).save_pretrained(folder)
    return made, nexus.load(folder, device="cpu")


@pytest.fixture(scope="module")
def controls(tmp_path_factory):
    """Folders of two ControlNets for 1.5 and one for XL."""
    folder = tmp_path_factory.mktemp("controls")
    for i, name in enumerate(("depth", "pose", "xl")):
        settings = {
            n: v for n, v in (XL_UNET if name == "xl" else UNET).items() if n not in ("up_block_types", "sample_size")
        }
        network = diffusers.ControlNetModel(**settings, **HINT)
        torch.manual_seed(i)
        with torch.no_grad():
            for parameter in network.parameters():
                parameter.add_(0.1 * torch.randn_like(parameter))
        network.save_pretrained(folder / name)
    return folder


def picture(seed=0, height=32, width=48):
    values = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image(values).resize(4, 6).resize(height, width)


def pil(image):
    return PIL.Image.fromarray(image.pixels)


def assert_same_pictures(ours, theirs, plain):
    """And that the adapter matters."""
    assert theirs.std() > 0.02 and np.abs(ours - theirs).max() < 1e-3, np.abs(ours - theirs).max()
    assert np.abs(theirs - plain).max() > 5e-3, np.abs(theirs - plain).max()


SIZE = {"height": 32, "width": 48}
CASES = {
    "whole": ({"weight": 0.8}, {"controlnet_conditioning_scale": 0.8}),
    "part": ({"start": 0.2, "end": 0.6}, {"control_guidance_start": 0.2, "control_guidance_end": 0.6}),
    "guess": ({"guess": True}, {"guess_mode": True, "controlnet_conditioning_scale": 1.0}),
}


@pytest.mark.parametrize("case", CASES)
def test_a_controlnet(case, sd, controls):
    made, model = sd
    ours_settings, theirs_settings = CASES[case]
    network = diffusers.ControlNetModel.from_pretrained(controls / "depth")
    pipe = pipeline("StableDiffusionControlNetPipeline", made, controlnet=network)
    theirs = theirs_of(pipe, image=pil(picture()), **theirs_settings, **SIZE)
    control = load_control(controls / "depth", model, picture(), **ours_settings)
    plain = ours_of(model, **SIZE)
    assert_same_pictures(ours_of(model, adapters=[control], **SIZE), theirs, plain)
    if case == "part":
        assert np.abs(theirs - ours_of(model, adapters=[Control(control.network, picture())], **SIZE)).max() > 5e-3


def test_several_controlnets_each_with_a_picture_for_each_prompt(sd, controls):
    made, model = sd
    networks = [diffusers.ControlNetModel.from_pretrained(controls / name) for name in ("depth", "pose")]
    pipe = pipeline("StableDiffusionControlNetPipeline", made, controlnet=networks)
    seen = [[picture(0), picture(1)], [picture(2), picture(3)]]
    theirs = theirs_of(
        pipe,
        image=[torch.stack([p.tensor() / 2 + 0.5 for p in pictures]) for pictures in seen],
        controlnet_conditioning_scale=[0.7, -0.4],
        control_guidance_start=[0.0, 0.4],
        control_guidance_end=[0.8, 1.0],
        **SIZE,
    )
    adapters = [
        load_control(controls / "depth", model, seen[0], weight=0.7, end=0.8),
        load_control(controls / "pose", model, seen[1], weight=-0.4, start=0.4),
    ]
    assert_same_pictures(ours_of(model, adapters=adapters, **SIZE), theirs, ours_of(model, **SIZE))


@pytest.mark.parametrize("guess", [False, True])
def test_a_controlnet_of_xl(guess, xl, controls):
    made, model = xl
    network = diffusers.ControlNetModel.from_pretrained(controls / "xl")
    pipe = pipeline("StableDiffusionXLControlNetPipeline", made, controlnet=network, add_watermarker=False)
    theirs = theirs_of(pipe, image=pil(picture()), guess_mode=guess, controlnet_conditioning_scale=0.9, **SIZE)
    control = load_control(controls / "xl", model, picture(), weight=0.9, guess=guess)
    assert_same_pictures(ours_of(model, adapters=[control], **SIZE), theirs, ours_of(model, **SIZE))


def ip_adapter(folder, plus=False):
    """h94's layout, for 1.5."""
    sizes = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 3, "num_attention_heads": 2}
    config = transformers.CLIPVisionConfig(image_size=28, patch_size=7, projection_dim=10, **sizes)
    randomised(transformers.CLIPVisionModelWithProjection(config)).save_pretrained(folder / "models/image_encoder")
    torch.manual_seed(4)
    shapes = {"proj.weight": (64, 10), "proj.bias": (64,), "norm.weight": (16,), "norm.bias": (16,)}
    halves = {"image_proj": {name: 0.3 * torch.randn(shape) for name, shape in shapes.items()}, "ip_adapter": {}}
    for i, width in enumerate((8, 8, 8, 16)):  # down, up, the middle
        for part in "kv":
            halves["ip_adapter"][f"{2 * i + 1}.to_{part}_ip.weight"] = 0.5 * torch.randn(width, 16)
    torch.save(halves, folder / "models/ip-adapter_sd15.bin")
    return folder / "models/ip-adapter_sd15.bin"


def test_an_ip_adapter_alone_and_with_a_controlnet(sd, controls, tmp_path):
    made, model = sd
    path = ip_adapter(tmp_path)
    prompted = load_picture_prompt(path, model, picture(7, 40, 33), weight=0.7)
    control = load_control(controls / "depth", model, picture(), weight=0.8)
    plain = ours_of(model, **SIZE)
    own = made | {"unet": copy.deepcopy(made["unet"])}
    network = diffusers.ControlNetModel.from_pretrained(controls / "depth")
    pipe = pipeline("StableDiffusionPipeline", own)
    pipe.load_ip_adapter(tmp_path, subfolder="models", weight_name=path.name)
    pipe.set_ip_adapter_scale(0.7)
    theirs = theirs_of(pipe, ip_adapter_image=pil(picture(7, 40, 33)), **SIZE)
    assert_same_pictures(ours_of(model, adapters=[prompted], **SIZE), theirs, plain)
    both = pipeline("StableDiffusionControlNetPipeline", pipe.components | {"controlnet": network})
    theirs = theirs_of(
        both,
        ip_adapter_image=pil(picture(7, 40, 33)),
        image=pil(picture()),
        controlnet_conditioning_scale=0.8,
        **SIZE,
    )
    assert_same_pictures(ours_of(model, adapters=[prompted, control], **SIZE), theirs, plain)


@pytest.mark.filterwarnings("ignore:Already found a `peft_config`")
def test_loras_of_the_network_and_the_text_encoder(sd, tmp_path):
    """Two on top of one another; taken out, the picture is the plain one to the bit."""
    made, model = sd
    networks, generator = networks_of(model), torch.Generator().manual_seed(3)
    assert list(networks) == ["network", "text_encoder"]
    plain = ours_of(model, **SIZE)
    own = made | {part: copy.deepcopy(made[part]) for part in ("unet", "text_encoder")}
    pipe = pipeline("StableDiffusionPipeline", own)
    for name in ("first", "second"):
        targets = LoRAConfig(rank=2, alpha=1, targets=("attn", "attention"))
        loras = {part: LoRA.fresh(network, targets, generator) for part, network in networks.items()}
        for change in (change for lora in loras.values() for change in lora):
            change.up.data.copy_(0.3 * torch.randn(change.up.shape, generator=generator))
        save_lora(tmp_path / f"{name}.safetensors", loras, networks)
        pipe.load_lora_weights(tmp_path, weight_name=f"{name}.safetensors", adapter_name=name)
    pipe.set_adapters(["first", "second"], [0.8, 0.5])
    theirs = theirs_of(pipe, **SIZE)
    add_lora(model, tmp_path / "first.safetensors", 0.8)
    add_lora(model, tmp_path / "second.safetensors", 0.5)
    ours = ours_of(model, **SIZE)
    remove_loras(model)
    assert_same_pictures(ours, theirs, plain)
    assert np.array_equal(ours_of(model, **SIZE), plain)


def test_bad_input_is_refused_before_the_first_step(sd, xl, controls, tmp_path):
    _, model = sd
    control = load_control(controls / "depth", model, picture())

    def refused(match, adapters, **settings):
        steps = []
        with pytest.raises(ValueError, match=match):
            model.generate(PROMPTS, adapters=adapters, progress=lambda *step: steps.append(step), **(SIZE | settings))
        assert not steps

    refused(r"of the size that is painted, 32x32, got 48x32", [control], width=32)
    refused("one picture, or 2 of them, one a prompt, got 3", [Control(control.network, [picture()] * 3)])
    other = load_control(controls / "xl", xl[1], picture())
    refused(r"another base: its cross-attention 0 has keys and values of \[32, 28\], the base has \[16, 16\]", [other])
    prompted = load_picture_prompt(ip_adapter(tmp_path), model, [picture()] * 3)
    refused("one picture, or 2 of them", [prompted])
    with pytest.raises(ValueError, match=r"within 0 to 1, got 0\.6 to 0\.5"):
        Control(control.network, picture(), start=0.6, end=0.5)
    with pytest.raises(ValueError, match="finite number"):
        Control(control.network, picture(), weight=float("nan"))
