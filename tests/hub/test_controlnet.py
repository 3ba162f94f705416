"""ControlNets against diffusers' on random weights, from its folders and from files under the original names."""

import re

import pytest
import torch
from safetensors.torch import save_file

from nexus.adapters.controlnet import ControlNet, ControlNetConfig, weighted
from nexus.hub.controlnet import load
from nexus.hub.source import Source
from nexus.models.diffusion.conditional_unet import ConditionalUNetConfig, Residuals
from nexus.models.diffusion.stable_diffusion import summed

diffusers = pytest.importorskip("diffusers")

SD_15 = {
    "block_out_channels": (8, 16),
    "norm_num_groups": 4,
    "layers_per_block": 1,
    "cross_attention_dim": 12,
    "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
    "attention_head_dim": 4,
    "conditioning_embedding_out_channels": (4, 8, 12),
}
SD_21 = SD_15 | {"attention_head_dim": (2, 4), "use_linear_projection": True}
XL = SD_21 | {
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"),
    "transformer_layers_per_block": (1, 2),
    "addition_embed_type": "text_time",
    "addition_time_embed_dim": 8,
    "projection_class_embeddings_input_dim": 10 + 6 * 8,
}
BGR = SD_15 | {"controlnet_conditioning_channel_order": "bgr"}
SHUFFLE = SD_15 | {"global_pool_conditions": True}
KINDS = {"sd-1.5": SD_15, "sd-2.1": SD_21, "xl": XL, "bgr": BGR, "shuffle": SHUFFLE}


def reference_of(settings, spread=0.15):
    """With weights that matter everywhere: zero convolutions would make any two alike."""
    torch.manual_seed(0)
    reference = diffusers.ControlNetModel(**settings).eval()
    with torch.no_grad():
        for parameter in reference.parameters():
            parameter.add_(spread * torch.randn_like(parameter))
    return reference


def assert_same(ours: Residuals, theirs):
    assert len(ours.skips) == len(theirs.down_block_res_samples)
    pairs = [*zip(ours.skips, theirs.down_block_res_samples, strict=True), (ours.middle, theirs.mid_block_res_sample)]
    for mine, other in pairs:
        assert other.std() > 0.01
        torch.testing.assert_close(mine, other, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("guess", [False, True])
def test_equals_the_reference(kind, guess, tmp_path):
    reference = reference_of(KINDS[kind])
    reference.save_pretrained(tmp_path)
    ours = load(Source("tiny", tmp_path)).eval()
    x, step, text, hint = (
        torch.randn(2, 4, 9, 14),
        torch.tensor([3, 871]),
        torch.randn(2, 7, 12),
        torch.rand(2, 3, 36, 56),
    )
    told, added = {}, None
    if kind == "xl":
        told = {"pooled": torch.randn(2, 10), "sizes": torch.tensor([[64, 48, 0, 4, 64, 48], [32, 32, 7, 0, 32, 40]])}
        added = {"text_embeds": told["pooled"], "time_ids": told["sizes"]}
    with torch.no_grad():
        theirs = reference(x, step, text, hint, conditioning_scale=0.7, added_cond_kwargs=added, guess_mode=guess)
        found = ours(x, step, text, ours.see(hint), **told)
        assert_same(weighted(found, 0.7, guess=guess and not ours.control.pools), theirs)
        again = ours(x, step, ours.hear(text), ours.see(hint.flip(0)), **told)
        assert (again.middle - found.middle).abs().max() > 1e-3


def original_names(state):
    """As lllyasviel's files name them (2 blocks a size), written out by hand."""
    inner = {"norm1": "in_layers.0", "conv1": "in_layers.2", "time_emb_proj": "emb_layers.1"}
    inner |= {"norm2": "out_layers.0", "conv2": "out_layers.3", "conv_shortcut": "skip_connection"}
    outer = {"time_embedding.linear_1": "time_embed.0", "time_embedding.linear_2": "time_embed.2"}
    outer |= {"conv_in": "input_blocks.0.0", "controlnet_mid_block": "middle_block_out.0"}
    outer |= {f"controlnet_down_blocks.{i}": f"zero_convs.{i}.0" for i in range(6)}
    hint = ["conv_in", *(f"blocks.{i}" for i in range(6)), "conv_out"]
    outer |= {f"controlnet_cond_embedding.{name}": f"input_hint_block.{2 * i}" for i, name in enumerate(hint)}
    blocks = {"mid_block.resnets.0": "middle_block.0", "mid_block.attentions.0": "middle_block.1"}
    blocks |= {"mid_block.resnets.1": "middle_block.2"}
    for i, (size, block) in enumerate(((0, 0), (0, 1), (1, 0), (1, 1))):
        blocks[f"down_blocks.{size}.resnets.{block}"] = f"input_blocks.{(1, 2, 4, 5)[i]}.0"
        blocks[f"down_blocks.{size}.attentions.{block}"] = f"input_blocks.{(1, 2, 4, 5)[i]}.1"
    out = {}
    for name, tensor in state.items():
        layer, half = name.rsplit(".", 1)
        layer = re.sub(r"^down_blocks\.0\.downsamplers\.0\.conv", "input_blocks.3.0.op", outer.get(layer, layer))
        block = next((old for old in blocks if layer.startswith(f"{old}.")), None)
        if block is not None:
            rest = layer.removeprefix(f"{block}.")
            layer = f"{blocks[block]}.{inner.get(rest, rest)}"
        out[f"{layer}.{half}"] = tensor
    return out


@pytest.mark.parametrize("whole", [False, True])
def test_files_under_the_original_names(whole, tmp_path):
    settings = {
        "block_out_channels": (32, 64),
        "cross_attention_dim": 768,
        "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
        "attention_head_dim": 8,
    }
    reference = reference_of(settings)
    original = original_names(reference.state_dict())
    from diffusers.loaders.single_file_utils import convert_controlnet_checkpoint

    back = convert_controlnet_checkpoint(dict(original), {"layers_per_block": 2})
    assert all(torch.equal(back[name], tensor) for name, tensor in reference.state_dict().items())
    if whole:
        beside = {"model.diffusion_model.out.2.bias": torch.zeros(4), "cond_stage_model.bias": torch.zeros(2)}
        torch.save({"state_dict": {f"control_model.{n}": t for n, t in original.items()} | beside}, tmp_path / "c.pth")
    else:
        save_file({name: tensor.contiguous() for name, tensor in original.items()}, tmp_path / "c.pth.safetensors")
    ours = load(Source("single", next(tmp_path.iterdir()))).eval()
    x, step, text, hint = torch.randn(1, 4, 4, 6), torch.tensor([400]), torch.randn(1, 7, 768), torch.rand(1, 3, 32, 48)
    with torch.no_grad():
        assert_same(ours(x, step, text, ours.see(hint)), reference(x, step, text, hint))


def test_a_fresh_one_adds_nothing_and_several_add_up():
    network = ConditionalUNetConfig(dims=(8, 8), n_layers=(1, 0), n_heads=(2, 2), norm_groups=4, text_dim=6)
    control = ControlNet(ControlNetConfig(network=network))
    x, step, text = torch.randn(1, 4, 4, 6), torch.tensor([1]), torch.randn(1, 3, 6)
    fresh = control(x, step, text, control.see(torch.rand(1, 3, 32, 48)))
    assert all((part == 0).all() for part in (*fresh.skips, fresh.middle))
    one = Residuals([torch.full((1, 1, 1, 1), 1.0), torch.full((1, 1, 1, 1), 2.0)], torch.full((1, 1, 1, 1), 3.0))
    sum_ = summed([weighted(one, 2), one, weighted(one, 1, guess=True)])
    expected = [2 + 1 + 0.1, 4 + 2 + 2 * 10**-0.5, 6 + 3 + 3]
    torch.testing.assert_close(torch.tensor([*map(float, sum_.skips), float(sum_.middle)]), torch.tensor(expected))


def test_official_sizes():
    """By the numbers of parameters of the reference with the settings published for 1.5 and XL."""
    xl = {
        "block_out_channels": (320, 640, 1280),
        "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        "cross_attention_dim": 2048,
        "transformer_layers_per_block": (1, 2, 10),
        "attention_head_dim": (5, 10, 20),
        "use_linear_projection": True,
        "addition_embed_type": "text_time",
        "addition_time_embed_dim": 256,
        "projection_class_embeddings_input_dim": 2816,
    }
    for config, settings in (
        (ConditionalUNetConfig(), {"cross_attention_dim": 768}),
        (ConditionalUNetConfig.sdxl(), xl),
    ):
        with torch.device("meta"):
            ours, theirs = ControlNet(ControlNetConfig(network=config)), diffusers.ControlNetModel(**settings)
        assert sum(p.numel() for p in ours.parameters()) == sum(p.numel() for p in theirs.parameters())


@pytest.mark.slow
def test_equals_the_reference_at_the_official_widths(tmp_path):
    """Two of four sizes of the ControlNets for 1.5, the hint as it is; 120 million parameters."""
    reference = reference_of(
        {
            "block_out_channels": (320, 640),
            "down_block_types": ("CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
            "cross_attention_dim": 768,
        },
        spread=0.02,
    )
    reference.save_pretrained(tmp_path)
    ours = load(Source("official", tmp_path)).eval()
    x, step, text, hint = (
        torch.randn(1, 4, 24, 32),
        torch.tensor([871]),
        torch.randn(1, 77, 768),
        torch.rand(1, 3, 192, 256),
    )
    with torch.no_grad():
        assert_same(ours(x, step, text, ours.see(hint)), reference(x, step, text, hint))


def test_bad_input_is_refused(tmp_path):
    network = ConditionalUNetConfig(dims=(8, 8), n_layers=(1, 0), n_heads=(2, 2), norm_groups=4, text_dim=6)
    control = ControlNet(ControlNetConfig(network=network))
    with pytest.raises(ValueError, match=r"multiples of 8, got \[36, 48\]"):
        control.see(torch.rand(1, 3, 36, 48))
    with pytest.raises(ValueError, match=r"\[32, 32\], got \[32, 48\]"):
        control(torch.zeros(1, 4, 4, 4), torch.tensor([1]), torch.zeros(1, 3, 6), control.see(torch.rand(1, 3, 32, 48)))
    with pytest.raises(ValueError, match="rgb or bgr"):
        ControlNetConfig(hint_order="gbr")
    save_file({"lora_unet_out_2.alpha": torch.ones(1)}, tmp_path / "x.safetensors")
    with pytest.raises(ValueError, match="no ControlNet"):
        load(Source("x", tmp_path / "x.safetensors"))
