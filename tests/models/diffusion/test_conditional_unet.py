"""Stable Diffusion's U-Nets against diffusers' on random weights, through the layout of the official weights."""

import json

import pytest
import torch

from nexus.hub.conditional_unet import load_conditional_unet
from nexus.hub.source import Source
from nexus.models.diffusion.conditional_unet import ConditionalUNet, ConditionalUNetConfig, Residuals

diffusers = pytest.importorskip("diffusers")

SMALL = {"block_out_channels": (8, 16, 24), "norm_num_groups": 4, "layers_per_block": 2, "cross_attention_dim": 12}
SD_15 = SMALL | {
    "down_block_types": ("CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"),
    "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
    "attention_head_dim": 4,
}
SD_21 = SD_15 | {"attention_head_dim": (2, 4, 3), "use_linear_projection": True, "upcast_attention": True}
XL = SMALL | {
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
    "attention_head_dim": (2, 4, 6),
    "use_linear_projection": True,
    "transformer_layers_per_block": (1, 2, 3),
    "addition_embed_type": "text_time",
    "addition_time_embed_dim": 8,
    "projection_class_embeddings_input_dim": 10 + 6 * 8,
}
LCM = SD_15 | {"time_cond_proj_dim": 16}
INPAINTING = SD_15 | {"in_channels": 9, "layers_per_block": 1}
KINDS = {"sd-1.5": SD_15, "sd-2.1": SD_21, "xl": XL, "lcm": LCM, "inpainting": INPAINTING}


def saved(settings, folder):
    """A reference with weights that matter everywhere, and its folder."""
    torch.manual_seed(0)
    reference = diffusers.UNet2DConditionModel(**settings).eval()
    with torch.no_grad():
        for parameter in reference.parameters():
            parameter.add_(0.15 * torch.randn_like(parameter))
    reference.save_pretrained(folder)
    return reference


def told(kind):
    """What that kind is told, as the reference takes it and as ours does."""
    if kind == "xl":
        pooled, sizes = torch.randn(2, 10), torch.tensor([[64, 48, 0, 4, 64, 48], [32, 32, 7, 0, 32, 40]])
        return {"added_cond_kwargs": {"text_embeds": pooled, "time_ids": sizes}}, {"pooled": pooled, "sizes": sizes}
    if kind == "lcm":
        scale = torch.tensor([7.5, 1.3])
        embedding = diffusers.LatentConsistencyModelPipeline.get_guidance_scale_embedding(None, scale - 1, 16)
        return {"timestep_cond": embedding}, {"guidance": scale}
    return {}, {}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [(16, 12), (9, 14)])
def test_equals_the_reference(kind, size, tmp_path):
    reference = saved(KINDS[kind], tmp_path)
    ours = load_conditional_unet(Source("tiny", tmp_path)).eval()
    x, step = torch.randn(2, ours.config.in_channels, *size), torch.tensor([3, 871])
    text = torch.randn(2, 7, 12)
    theirs_told, ours_told = told(kind)
    with torch.no_grad():
        theirs = reference(x, step, text, **theirs_told).sample
        assert theirs.std() > 0.1
        atol = 1e-4 if kind == "lcm" else 1e-5  # thousands of radians, which fp32 knows to 1e-3
        torch.testing.assert_close(ours(x, step, text, **ours_told), theirs, atol=atol, rtol=1e-4)
        torch.testing.assert_close(ours(x, step, ours.hear(text), **ours_told), theirs, atol=atol, rtol=1e-4)
        for other in (reference(x, step.flip(0), text, **theirs_told), reference(x, step, text.flip(0), **theirs_told)):
            assert (theirs - other.sample).abs().max() > 1e-2
        if ours_told:
            flipped = {name: value.flip(0) for name, value in ours_told.items()}
            assert (theirs - ours(x, step, text, **flipped)).abs().max() > 1e-3


def test_residuals_of_a_controlnet_equal_the_reference(tmp_path):
    reference = saved(SD_15, tmp_path)
    ours = load_conditional_unet(Source("tiny", tmp_path)).eval()
    x, step, text = torch.randn(2, 4, 10, 12), torch.tensor([3, 871]), torch.randn(2, 7, 12)
    with torch.no_grad():
        time = ours.conditions(step, None, None, None)
        skips, middle = ours.contract(ours.conv_in(x), time, ours.hear(text))
        added = Residuals([torch.randn_like(skip) for skip in skips], torch.randn_like(middle))
        theirs = reference(
            x,
            step,
            text,
            down_block_additional_residuals=tuple(added.skips),
            mid_block_additional_residual=added.middle,
        ).sample
        torch.testing.assert_close(ours(x, step, text, residuals=added), theirs, atol=1e-5, rtol=1e-4)
        assert (theirs - ours(x, step, text)).abs().max() > 0.1


def test_sources_beside_the_text_are_added_by_their_weight(tmp_path):
    """The same text again at weight 1, and a first one of weight 0, change nothing but who is heard."""
    saved(SD_15, tmp_path)
    ours = load_conditional_unet(Source("tiny", tmp_path)).eval()
    x, step, text = torch.randn(1, 4, 8, 8), torch.tensor([500]), torch.randn(1, 7, 12)
    with torch.no_grad():
        twice = ours.hear(torch.randn(1, 5, 12))
        for attention, heard in ours.hear(text).items():
            (other,), (same,) = twice[attention], heard
            weighted = [(other, 0.0), (same, 0.25), (same, 0.75)]
            twice[attention] = [source._replace(weight=weight) for source, weight in weighted]
        torch.testing.assert_close(ours(x, step, twice), ours(x, step, text), atol=1e-5, rtol=1e-4)


def test_presets_are_the_official_configurations():
    """By the numbers of their parameters."""
    with torch.device("meta"):
        counts = [
            sum(p.numel() for p in ConditionalUNet(config).parameters())
            for config in (
                ConditionalUNetConfig(),
                ConditionalUNetConfig.sd_21(),
                ConditionalUNetConfig.sdxl(),
                ConditionalUNetConfig(guidance_dim=256),
            )
        ]
    assert counts == [859_520_964, 865_910_724, 2_567_463_684, 859_520_964 + 256 * 320]


def test_another_architecture_is_refused_by_name(tmp_path):
    cases = {
        "num_class_embeds = 10": SD_15 | {"num_class_embeds": 10},
        "must mirror": SD_15 | {"up_block_types": ("CrossAttnUpBlock2D", "UpBlock2D", "CrossAttnUpBlock2D")},
        "same at every size": SD_15 | {"cross_attention_dim": (12, 12, 16)},
        "SimpleCrossAttnDownBlock2D": SD_15 | {"down_block_types": ("SimpleCrossAttnDownBlock2D",) * 3},
    }
    for i, (message, settings) in enumerate(cases.items()):
        folder = tmp_path / str(i)
        folder.mkdir()
        (folder / "config.json").write_text(json.dumps(settings))
        with pytest.raises(ValueError, match=message):
            load_conditional_unet(Source("other", folder))


def test_bad_input_is_refused():
    network = ConditionalUNet(
        ConditionalUNetConfig(dims=(8, 8), n_layers=(1, 0), n_heads=(2, 2), norm_groups=4, text_dim=6, added_dim=20)
    )
    x, step, text = torch.zeros(1, 4, 8, 8), torch.tensor([1]), torch.zeros(1, 3, 6)
    with pytest.raises(ValueError, match="must be told pooled text"):
        network(x, step, text)
    with pytest.raises(ValueError, match="knows no guidance scale"):
        network(x, step, text, pooled=torch.zeros(1, 4), sizes=torch.zeros(1, 2), guidance=torch.ones(1))
    with pytest.raises(ValueError, match="multiples of norm_groups"):
        ConditionalUNetConfig(dims=(8, 10), n_layers=(0, 0), n_heads=(1, 1), norm_groups=4)
    with pytest.raises(ValueError, match="cut into 3 heads"):
        ConditionalUNetConfig(dims=(8, 8), n_layers=(1, 0), n_heads=(3, 1), norm_groups=4)
    with pytest.raises(ValueError, match="one entry"):
        ConditionalUNetConfig(dims=(32, 64))


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["sd-1.5", "xl"])
def test_equals_the_reference_at_official_widths(kind, tmp_path):
    """The two largest of the official sizes: all of them would not fit a small machine."""
    settings = {
        "sd-1.5": {
            "block_out_channels": (320, 640),
            "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
            "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"),
            "cross_attention_dim": 768,
            "attention_head_dim": 8,
        },
        "xl": {
            "block_out_channels": (320, 640),
            "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"),
            "up_block_types": ("CrossAttnUpBlock2D", "UpBlock2D"),
            "cross_attention_dim": 2048,
            "attention_head_dim": (5, 10),
            "transformer_layers_per_block": (1, 2),
            "use_linear_projection": True,
            "addition_embed_type": "text_time",
            "addition_time_embed_dim": 256,
            "projection_class_embeddings_input_dim": 2816,
        },
    }[kind]
    torch.manual_seed(0)
    reference = diffusers.UNet2DConditionModel(**settings).eval()
    reference.save_pretrained(tmp_path)
    ours = load_conditional_unet(Source(kind, tmp_path)).eval()
    x, step, text = torch.randn(2, 4, 32, 24), torch.tensor([10, 900]), torch.randn(2, 77, ours.config.text_dim)
    pooled, sizes = torch.randn(2, 1280), torch.tensor([[1024.0, 1024, 0, 0, 1024, 1024]] * 2)
    theirs_told, ours_told = (
        ({"added_cond_kwargs": {"text_embeds": pooled, "time_ids": sizes}}, {"pooled": pooled, "sizes": sizes})
        if kind == "xl"
        else ({}, {})
    )
    with torch.no_grad():
        theirs = reference(x, step, text, **theirs_told).sample
        assert theirs.std() > 0.1
        torch.testing.assert_close(ours(x, step, text, **ours_told), theirs, atol=1e-5, rtol=1e-4)
