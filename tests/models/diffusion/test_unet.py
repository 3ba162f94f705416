"""The U-Net against diffusers' on random weights, through the layout of its official weights."""

import pytest
import torch

from nexus.hub.source import Source
from nexus.hub.unet import load_unet
from nexus.models.diffusion.unet import UNet, UNetConfig

diffusers = pytest.importorskip("diffusers")

SMALL = {"block_out_channels": (8, 16, 24), "norm_num_groups": 4, "layers_per_block": 2, "in_channels": 3}
DDPM = SMALL | {
    "down_block_types": ("DownBlock2D", "AttnDownBlock2D", "DownBlock2D"),
    "up_block_types": ("UpBlock2D", "AttnUpBlock2D", "UpBlock2D"),
    "downsample_padding": 0,
    "flip_sin_to_cos": False,
    "freq_shift": 1,
    "norm_eps": 1e-6,
    "attention_head_dim": None,
}
DEFAULT = SMALL | {
    "down_block_types": ("DownBlock2D", "AttnDownBlock2D", "AttnDownBlock2D"),
    "up_block_types": ("AttnUpBlock2D", "AttnUpBlock2D", "UpBlock2D"),
    "attention_head_dim": 8,
}
ADM = SMALL | {
    "down_block_types": ("ResnetDownsampleBlock2D", "AttnDownBlock2D", "AttnDownBlock2D"),
    "up_block_types": ("AttnUpBlock2D", "AttnUpBlock2D", "ResnetUpsampleBlock2D"),
    "downsample_type": "resnet",
    "upsample_type": "resnet",
    "resnet_time_scale_shift": "scale_shift",
    "attn_norm_num_groups": 4,
    "attention_head_dim": 4,
    "num_class_embeds": 10,
}
KINDS = {"ddpm": DDPM, "default": DEFAULT, "adm": ADM}


def saved(settings, folder):
    """A reference with weights that matter everywhere, and its folder."""
    torch.manual_seed(0)
    reference = diffusers.UNet2DModel(**settings).eval()
    with torch.no_grad():
        for parameter in reference.parameters():
            parameter.add_(0.15 * torch.randn_like(parameter))
    reference.save_pretrained(folder)
    return reference


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [(16, 16), (8, 20)])
def test_equals_the_reference(kind, size, tmp_path):
    reference = saved(KINDS[kind], tmp_path)
    ours = load_unet(Source("tiny", tmp_path)).eval()
    x, step = torch.randn(2, 3, *size), torch.tensor([3, 871])
    label = torch.tensor([1, 7]) if kind == "adm" else None
    with torch.no_grad():
        theirs = reference(x, step, class_labels=label).sample
        assert theirs.std() > 0.1
        torch.testing.assert_close(ours(x, step, label), theirs, atol=1e-5, rtol=1e-4)
        assert (theirs - reference(x, step.flip(0), class_labels=label).sample).abs().max() > 1e-2


def test_old_names_of_attentions_are_known(tmp_path):
    """`google/ddpm-cifar10-32` and its like are stored with them."""
    reference = saved(DDPM, tmp_path / "new")
    old = {
        name.replace("to_q.", "query.")
        .replace("to_k.", "key.")
        .replace("to_v.", "value.")
        .replace("to_out.0.", "proj_attn."): tensor
        for name, tensor in reference.state_dict().items()
    }
    (tmp_path / "old").mkdir()
    (tmp_path / "old/config.json").write_text((tmp_path / "new/config.json").read_text())
    torch.save(old, tmp_path / "old/diffusion_pytorch_model.bin")
    x, step = torch.randn(1, 3, 8, 8), torch.tensor([500])
    with torch.no_grad():
        torch.testing.assert_close(
            load_unet(Source("old", tmp_path / "old")).eval()(x, step), reference(x, step).sample, atol=1e-5, rtol=1e-4
        )


@pytest.mark.slow
def test_equals_the_reference_at_the_official_width(tmp_path):
    """`google/ddpm-cifar10-32`: 35.7 million parameters."""
    settings = {
        "sample_size": 32,
        "block_out_channels": (128, 256, 256, 256),
        "down_block_types": ("DownBlock2D", "AttnDownBlock2D", "DownBlock2D", "DownBlock2D"),
        "up_block_types": ("UpBlock2D", "UpBlock2D", "AttnUpBlock2D", "UpBlock2D"),
        "downsample_padding": 0,
        "flip_sin_to_cos": False,
        "freq_shift": 1,
        "norm_eps": 1e-6,
        "attention_head_dim": None,
    }
    torch.manual_seed(0)
    reference = diffusers.UNet2DModel(**settings).eval()
    reference.save_pretrained(tmp_path)
    ours = load_unet(Source("ddpm", tmp_path)).eval()
    assert ours.config == UNetConfig() and sum(p.numel() for p in ours.parameters()) == 35_746_307
    x, step = torch.randn(2, 3, 32, 32), torch.tensor([10, 900])
    with torch.no_grad():
        theirs = reference(x, step).sample
        torch.testing.assert_close(ours(x, step), theirs, atol=1e-5, rtol=1e-4)


def test_another_architecture_is_refused_by_name(tmp_path):
    saved(DDPM | {"time_embedding_type": "fourier"}, tmp_path / "fourier")
    with pytest.raises(ValueError, match="time_embedding_type = 'fourier'"):
        load_unet(Source("fourier", tmp_path / "fourier"))
    uneven = DDPM | {"up_block_types": ("AttnUpBlock2D", "AttnUpBlock2D", "UpBlock2D")}
    saved(uneven, tmp_path / "uneven")
    with pytest.raises(ValueError, match="mirror"):
        load_unet(Source("uneven", tmp_path / "uneven"))


def test_bad_input_is_refused():
    network = UNet(UNetConfig(dims=(8, 8, 8), attention=(False,) * 3, norm_groups=4))
    with pytest.raises(ValueError, match=r"multiples of 4, got \[10, 16\]; nearest is \[8, 16\]"):
        network(torch.zeros(1, 3, 10, 16), torch.tensor([1]))
    with pytest.raises(ValueError, match="no classes"):
        network(torch.zeros(1, 3, 8, 16), torch.tensor([1]), torch.tensor([1]))
    with pytest.raises(ValueError, match="multiples of norm_groups"):
        UNetConfig(dims=(8, 10), attention=(False, False), norm_groups=4)
    with pytest.raises(ValueError, match="one entry"):
        UNetConfig(dims=(32, 64))
