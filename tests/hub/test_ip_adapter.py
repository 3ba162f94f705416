"""IP-Adapters against diffusers' `load_ip_adapter` on random weights, through files laid out as h94/IP-Adapter's."""

from dataclasses import dataclass

import numpy as np
import PIL.Image
import pytest
import torch
from safetensors.torch import save_file

from nexus.hub.conditional_unet import load_conditional_unet
from nexus.hub.ip_adapter import load_ip_adapter
from nexus.hub.source import Source
from nexus.media.image import Image

diffusers = pytest.importorskip("diffusers")
transformers = pytest.importorskip("transformers")

SD_15 = {
    "block_out_channels": (8, 16),
    "norm_num_groups": 4,
    "layers_per_block": 1,
    "cross_attention_dim": 12,
    "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
    "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"),
    "attention_head_dim": 4,
}
WIDTHS = [8, 8, 8, 16]  # of the cross-attentions as files count them: down, up, the middle


@dataclass(frozen=True)
class Sizes:
    text: int = 12
    vision: int = 16
    embedded: int = 10
    hidden: int = 20  # the resampler's
    heads: int = 2  # the resampler's, of 64 channels
    spread: float = 0.3


TINY, OFFICIAL = Sizes(), Sizes(text=768, vision=1280, embedded=1024, hidden=768, heads=12, spread=0.03)


def made(folder, sizes=TINY, **changes):
    """A U-Net and a vision encoder with weights that matter everywhere."""
    torch.manual_seed(0)
    unet = diffusers.UNet2DConditionModel(**(SD_15 | changes)).eval()
    n = {"hidden_size": sizes.vision, "intermediate_size": 24, "num_hidden_layers": 3, "num_attention_heads": 2}
    config = transformers.CLIPVisionConfig(image_size=28, patch_size=7, projection_dim=sizes.embedded, **n)
    vision = transformers.CLIPVisionModelWithProjection(config).eval()
    with torch.no_grad():
        for parameter in (*unet.parameters(), *vision.parameters()):
            parameter.add_(sizes.spread / 2 * torch.randn_like(parameter))
    unet.save_pretrained(folder / "unet")
    vision.save_pretrained(folder / "models/image_encoder")
    return unet


def drawn(sizes, shapes):
    torch.manual_seed(1)
    return {name: sizes.spread * torch.randn(shape) for name, shape in shapes.items()}


def projection(kind, sizes=TINY):
    """The image_proj half of a file, by its published names."""
    text, vision, hidden, inner = sizes.text, sizes.vision, sizes.hidden, 64 * sizes.heads
    if kind == "plain":
        shapes = {"proj.weight": (4 * text, sizes.embedded), "proj.bias": (4 * text,)}
        return drawn(sizes, shapes | {"norm.weight": (text,), "norm.bias": (text,)})
    if kind == "full":
        shapes = {"proj.0.weight": (vision, vision), "proj.0.bias": (vision,), "proj.2.weight": (text, vision)}
        return drawn(sizes, shapes | {"proj.2.bias": (text,), "proj.3.weight": (text,), "proj.3.bias": (text,)})
    shapes = {"latents": (1, 5, hidden), "proj_in.weight": (hidden, vision), "proj_in.bias": (hidden,)}
    shapes |= {"proj_out.weight": (text, hidden), "proj_out.bias": (text,)}
    shapes |= {"norm_out.weight": (text,), "norm_out.bias": (text,)}
    for i in range(4):
        for norm in (f"layers.{i}.0.norm1", f"layers.{i}.0.norm2", f"layers.{i}.1.0"):
            shapes |= {f"{norm}.weight": (hidden,), f"{norm}.bias": (hidden,)}
        shapes |= {f"layers.{i}.0.to_q.weight": (inner, hidden), f"layers.{i}.0.to_kv.weight": (2 * inner, hidden)}
        shapes |= {f"layers.{i}.0.to_out.weight": (hidden, inner)}
        shapes |= {f"layers.{i}.1.1.weight": (4 * hidden, hidden), f"layers.{i}.1.3.weight": (hidden, 4 * hidden)}
    return drawn(sizes, shapes)


def halves(kind, widths=WIDTHS, sizes=TINY):
    attention = {
        f"{2 * i + 1}.to_{part}_ip.weight": sizes.spread * torch.randn(width, sizes.text)
        for i, width in enumerate(widths)
        for part in "kv"
    }
    return {"image_proj": projection(kind, sizes), "ip_adapter": attention}


def write(path, content):
    if path.suffix == ".bin":
        torch.save(content, path)
    else:
        save_file({f"{half}.{name}": tensor for half in content for name, tensor in content[half].items()}, path)


def picture(height=40, width=33):
    return Image(np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8))


@pytest.mark.parametrize(
    ("kind", "suffix"), [("plain", ".bin"), ("plain", ".safetensors"), ("plus", ".safetensors"), ("full", ".bin")]
)
def test_equals_the_reference(kind, suffix, tmp_path):
    assert_equals_the_reference(kind, suffix, tmp_path, made(tmp_path), halves(kind))


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["plain", "plus"])
def test_equals_the_reference_at_the_official_widths(kind, tmp_path):
    """Two of four sizes of Stable Diffusion 1.5, whole projections and resamplers."""
    more = {
        "block_out_channels": (320, 640),
        "norm_num_groups": 32,
        "cross_attention_dim": 768,
        "attention_head_dim": 8,
    }
    unet = made(tmp_path, OFFICIAL, **more)
    content = halves(kind, [320, 320, 320, 640], OFFICIAL)
    assert_equals_the_reference(kind, ".safetensors", tmp_path, unet, content, OFFICIAL)


def assert_equals_the_reference(kind, suffix, tmp_path, unet, content, sizes=TINY):
    """What is seen, the tokens, and the prediction of a batch of a picture and nothing."""
    write(tmp_path / f"models/ip-adapter_sd15{suffix}", content)
    ours = load_conditional_unet(Source("tiny", tmp_path / "unet")).eval()
    adapter = load_ip_adapter(tmp_path / f"models/ip-adapter_sd15{suffix}", ours)

    parts = dict.fromkeys(["vae", "text_encoder", "tokenizer", "safety_checker", "feature_extractor"])
    scheduler = diffusers.DDIMScheduler(steps_offset=1, clip_sample=False)
    pipe = diffusers.StableDiffusionPipeline(unet=unet, scheduler=scheduler, requires_safety_checker=False, **parts)
    pipe.load_ip_adapter(tmp_path, subfolder="models", weight_name=f"ip-adapter_sd15{suffix}")
    pipe.set_ip_adapter_scale(0.6)
    pil = PIL.Image.fromarray(picture().pixels)
    hidden = adapter.project.reads_hidden
    assert hidden == (kind != "plain")
    (embeds,) = pipe.prepare_ip_adapter_image_embeds([pil], None, "cpu", 1, True)  # nothing, then the picture
    seen = torch.cat([adapter.encoder.nothing(hidden=hidden), adapter.encoder([picture()], hidden=hidden)])
    torch.testing.assert_close(seen, embeds.flatten(0, 1), atol=1e-5, rtol=1e-4)

    x, step, text = torch.randn(2, 4, 9, 12), torch.tensor([3, 871]), torch.randn(2, 7, sizes.text)
    with torch.no_grad():
        theirs = unet(x, step, text, added_cond_kwargs={"image_embeds": [embeds]}).sample
        told = adapter.tell(ours.hear(text), adapter.project(seen), 0.6)
        assert theirs.std() > 0.1 and (theirs - ours(x, step, text)).abs().max() > 0.01
        torch.testing.assert_close(ours(x, step, told), theirs, atol=2e-5, rtol=1e-4)
        # The weight counts, and at 0 the text alone is heard.
        nothing = adapter.tell(ours.hear(text), adapter.project(seen), 0)
        torch.testing.assert_close(ours(x, step, nothing), ours(x, step, text), atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("size", [(40, 33), (28, 60), (20, 21), (29, 28)])
def test_pictures_are_cut_as_the_reference_cuts_them(size, tmp_path):
    from nexus.hub.clip_vision import pixels_of

    pil = PIL.Image.fromarray(picture(*size).pixels)
    theirs = transformers.CLIPImageProcessorPil(size=28, crop_size=28)(pil, return_tensors="pt").pixel_values[0]
    torch.testing.assert_close(pixels_of(picture(*size), 28), theirs, atol=1e-5, rtol=1e-5)


def test_other_bases_and_other_files_are_refused(tmp_path):
    made(tmp_path)
    ours = load_conditional_unet(Source("tiny", tmp_path / "unet"))
    path = tmp_path / "models/ip-adapter.safetensors"

    def refused(content, match, error=ValueError):
        write(path, content)
        with pytest.raises(error, match=match):
            load_ip_adapter(path, ours)

    refused(
        halves("plain", [8, 8, 16, 16]),
        r"another base: keys and values of cross-attention 3 are \[16, 12\], its are \[32, 12\]",
    )
    refused(halves("plain", WIDTHS[1:]), "speaks to 3 cross-attentions, this one has 4")
    refused({"unet": {"a": torch.zeros(1)}, "text": {"b": torch.zeros(1)}}, "no IP-Adapter")
    content = halves("plain")
    refused(
        content | {"image_proj": content["image_proj"] | {"proj.bias": torch.full((48,), torch.nan)}},
        "proj.bias holds NaN",
    )
    refused(content | {"image_proj": {"proj.0.weight": torch.zeros(2, 2), "proj.2.bias": torch.zeros(2)}}, "FaceID")
    refused(
        content | {"ip_adapter": content["ip_adapter"] | {"1.to_q_lora.down.weight": torch.zeros(2, 8)}}, "not known"
    )
    wide = {"proj.weight": torch.zeros(48, 30), "proj.bias": torch.zeros(48), "norm.weight": torch.ones(12)}
    refused(
        content | {"image_proj": wide | {"norm.bias": torch.zeros(12)}},
        "vision encoder with projection_dim 30",
        FileNotFoundError,
    )
    with pytest.raises(ValueError, match=r"give one of its files: models/ip-adapter.safetensors"):
        load_ip_adapter(tmp_path, ours)
