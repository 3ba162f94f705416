"""Where layers of the reference are in ours: names and rows, against the weights that official loaders put there."""

import importlib

import pytest
import torch

from nexus.hub.lora_layers import lookup, places
from nexus.hub.original_unet import to_diffusers
from nexus.hub.source import Source
from nexus.hub.tensors import rename

diffusers = pytest.importorskip("diffusers")

UNET = {
    "block_out_channels": (8, 16, 16),
    "norm_num_groups": 4,
    "layers_per_block": 2,
    "cross_attention_dim": 12,
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
    "attention_head_dim": (2, 4, 4),
    "transformer_layers_per_block": (1, 1, 2),
    "time_cond_proj_dim": 16,
}
XL = UNET | {
    "use_linear_projection": True,
    "addition_embed_type": "text_time",
    "addition_time_embed_dim": 8,
    "projection_class_embeddings_input_dim": 10 + 6 * 8,
}
HEADS = {"num_attention_heads": 2, "attention_head_dim": 8, "in_channels": 4, "num_layers": 2, "sample_size": 8}
SD3 = HEADS | {
    "patch_size": 2,
    "joint_attention_dim": 24,
    "caption_projection_dim": 16,
    "pooled_projection_dim": 20,
    "out_channels": 4,
    "pos_embed_max_size": 12,
    "qk_norm": "rms_norm",
    "dual_attention_layers": (0,),
}
FLUX = {
    "in_channels": 16,
    "num_layers": 2,
    "num_single_layers": 2,
    "attention_head_dim": 16,
    "num_attention_heads": 2,
    "joint_attention_dim": 24,
    "pooled_projection_dim": 20,
    "axes_dims_rope": (4, 6, 6),
    "guidance_embeds": True,
}
PIXART = HEADS | {"out_channels": 8, "patch_size": 2, "cross_attention_dim": 16, "caption_channels": 20}
PIXART |= {"use_additional_conditions": False}
KINDS = {
    "unet": ("UNet2DConditionModel", UNET, "conditional_unet.load_conditional_unet"),
    "xl": ("UNet2DConditionModel", XL, "conditional_unet.load_conditional_unet"),
    "sd3": ("SD3Transformer2DModel", SD3, "mmdit.load_folder"),
    "flux": ("FluxTransformer2DModel", FLUX, "flux_transformer.load_folder"),
    "pixart": ("PixArtTransformer2DModel", PIXART, "pixart.load_transformer"),
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_layer_has_its_place(kind, tmp_path):
    class_name, settings, loader = KINDS[kind]
    torch.manual_seed(0)
    reference = getattr(diffusers, class_name)(**settings)
    reference.save_pretrained(tmp_path)
    module, function = loader.split(".")
    network = getattr(importlib.import_module(f"nexus.hub.{module}"), function)(Source("tiny", tmp_path))
    layers = {n: m for n, m in reference.named_modules() if isinstance(m, torch.nn.Linear | torch.nn.Conv2d)}
    found = places(network)
    # Two vectors that stand the other way round there.
    swapped = {"norm_out.linear", f"transformer_blocks.{settings.get('num_layers', 0) - 1}.norm1_context.linear"}
    assert layers.keys() - found.keys() == (
        swapped if kind == "sd3" else {"norm_out.linear"} if kind == "flux" else set()
    )
    assert not found.keys() - layers.keys()
    for name, place in found.items():
        weight = network.get_submodule(place.layer).weight[place.first_row : place.stop_row]
        assert torch.equal(weight, layers[name].weight.view_as(weight)), name
    spelled = lookup(network)
    assert all(spelled[name.replace(".", "_")] == place for name, place in found.items())


@pytest.mark.parametrize("preset", ["sd_15", "sdxl"])
def test_every_layer_of_the_official_networks_has_its_place(preset):
    """By names and rows, without weights."""
    from nexus.models.diffusion.conditional_unet import ConditionalUNet, ConditionalUNetConfig

    xl = {
        "block_out_channels": (320, 640, 1280),
        "down_block_types": XL["down_block_types"],
        "up_block_types": XL["up_block_types"],
        "cross_attention_dim": 2048,
        "transformer_layers_per_block": (1, 2, 10),
        "attention_head_dim": (5, 10, 20),
        "use_linear_projection": True,
        "addition_embed_type": "text_time",
        "addition_time_embed_dim": 256,
        "projection_class_embeddings_input_dim": 2816,
    }
    with torch.device("meta"):
        if preset == "sd_15":
            network = ConditionalUNet(ConditionalUNetConfig())
            reference = diffusers.UNet2DConditionModel(cross_attention_dim=768)
        else:
            network, reference = ConditionalUNet(ConditionalUNetConfig.sdxl()), diffusers.UNet2DConditionModel(**xl)
    layers = {n: m for n, m in reference.named_modules() if isinstance(m, torch.nn.Linear | torch.nn.Conv2d)}
    found = places(network)
    assert found.keys() == layers.keys()
    assert all(place.stop_row - place.first_row == len(layers[name].weight) for name, place in found.items())
    assert len(lookup(network)) >= len(layers)


@pytest.mark.parametrize("kind", ["mmdit", "flux_transformer"])
def test_first_names_of_transformers_are_those_that_their_loaders_read(kind):
    """As `lora_unet_double_blocks_0_img_attn_qkv`."""
    from nexus.models.diffusion import flux_transformer, mmdit

    with torch.device("meta"):
        network = {
            "mmdit": lambda: mmdit.MMDiT(mmdit.MMDiTConfig(n_layers=2, n_dual_layers=1)),
            "flux_transformer": lambda: flux_transformer.FluxTransformer(
                flux_transformer.FluxTransformerConfig(n_double_layers=1, n_single_layers=1, guidance=True)
            ),
        }[kind]()
    from nexus.hub.lora_layers import _ORIGINALS, _renamed

    rules, reads = _ORIGINALS[type(network).__name__], importlib.import_module(f"nexus.hub.{kind}").ORIGINAL
    layers = [name for name, layer in network.named_modules() if isinstance(layer, torch.nn.Linear)]
    originals = {f"{_renamed(name, rules)}.weight": torch.zeros(()) for name in layers}
    assert len(originals) == len(layers)
    assert list(rename(originals, reads)) == [f"{name}.weight" for name in layers]
    spelled = lookup(network)
    for name, original in zip(layers, originals, strict=True):
        assert spelled[original.removesuffix(".weight").replace(".", "_")].layer == name


def test_original_names_of_unets_with_dots_and_with_underscores():
    for original, name in {
        "input_blocks.0.0": "conv_in",
        "input_blocks.1.0.in_layers.2": "down_blocks.0.resnets.0.conv1",
        "input_blocks.1.0.in_layers.0": "down_blocks.0.resnets.0.norm1",
        "input_blocks.3.0.op": "down_blocks.0.downsamplers.0.conv",
        "input_blocks.4.1.proj_in": "down_blocks.1.attentions.0.proj_in",
        "input_blocks.11.0.skip_connection": "down_blocks.3.resnets.1.conv_shortcut",
        "middle_block.1.norm": "mid_block.attentions.0.norm",
        "middle_block.2.emb_layers.1": "mid_block.resnets.1.time_emb_proj",
        "output_blocks.2.1.conv": "up_blocks.0.upsamplers.0.conv",
        "output_blocks.5.2.conv": "up_blocks.1.upsamplers.0.conv",
        "output_blocks.5.1.proj_out": "up_blocks.1.attentions.2.proj_out",
        "output_blocks.11.0.out_layers.3": "up_blocks.3.resnets.2.conv2",
        "out.0": "conv_norm_out",
        "out.2": "conv_out",
        "time_embed.2": "time_embedding.linear_2",
        "label_emb.0.0": "add_embedding.linear_1",
        "to_out.2": "to_out.2",
    }.items():
        assert to_diffusers(original) == name
        assert to_diffusers(f"{original}.weight") == f"{name}.weight"
        mangled = to_diffusers(original.replace(".", "_"))
        assert mangled.replace(".", "_") == name.replace(".", "_")
