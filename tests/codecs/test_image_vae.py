"""The image autoencoder against diffusers' on random weights, through the layouts of its official weights."""

import json

import pytest
import torch
from safetensors.torch import load_file

import nexus
from nexus.codecs.banded import decode_banded
from nexus.codecs.image_vae import ImageVAE, ImageVAEConfig

diffusers = pytest.importorskip("diffusers")

SMALL = {
    "block_out_channels": (8, 16, 24),
    "down_block_types": ("DownEncoderBlock2D",) * 3,
    "up_block_types": ("UpDecoderBlock2D",) * 3,
    "norm_num_groups": 4,
    "layers_per_block": 2,
}
SD = SMALL | {"latent_channels": 4}
FLUX = SMALL | {
    "latent_channels": 16,
    "use_quant_conv": False,
    "use_post_quant_conv": False,
    "scaling_factor": 0.3611,
    "shift_factor": 0.1159,
}


def saved(settings, folder):
    """A reference with weights that matter everywhere, and its folder."""
    torch.manual_seed(0)
    reference = diffusers.AutoencoderKL(**settings).eval()
    with torch.no_grad():
        for parameter in reference.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    reference.save_pretrained(folder)
    return reference


@pytest.mark.parametrize("settings", [SD, FLUX], ids=["sd", "flux"])
@pytest.mark.parametrize("size", [(32, 24), (20, 36)])
def test_equals_the_reference(settings, size, tmp_path):
    reference = saved(settings, tmp_path)
    ours = nexus.load(tmp_path, device="cpu")
    assert isinstance(ours, ImageVAE) and ours.config.spatial_compression_ratio == 4
    image, latent = torch.rand(2, 3, *size) * 2 - 1, torch.randn(2, settings["latent_channels"], 5, 7)
    with torch.no_grad():
        theirs, coded = reference.encode(image).latent_dist, ours.encode(image)
        assert theirs.mean.std() > 0.1 and theirs.logvar.std() > 0.1
        torch.testing.assert_close(coded.mean, theirs.mean, atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(coded.log_variance, theirs.logvar, atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(coded.kl() * coded.mean[0].numel(), theirs.kl().mean(), atol=1e-3, rtol=1e-4)
        picture = reference.decode(latent).sample
        assert picture.std() > 0.1
        torch.testing.assert_close(ours.decode(latent), picture, atol=1e-5, rtol=1e-4)
    scale, shift = ours.config.scaling_factor, ours.config.shift_factor
    torch.testing.assert_close(ours.scaled(latent), (latent - shift) * scale)
    torch.testing.assert_close(ours.unscaled(ours.scaled(latent)), latent)
    assert shift == (settings.get("shift_factor") or 0.0)


def test_old_names_of_attentions_are_known(tmp_path):
    """`runwayml/stable-diffusion-v1-5` and its like are stored with them, some as convolutions."""
    reference = saved(SD, tmp_path / "new")
    old = {
        name.replace("to_q.", "query.")
        .replace("to_k.", "key.")
        .replace("to_v.", "value.")
        .replace("to_out.0.", "proj_attn."): tensor
        for name, tensor in load_file(tmp_path / "new/diffusion_pytorch_model.safetensors").items()
    }
    linear = [name for name in old if "proj_attn.weight" in name or "query.weight" in name]
    assert len(linear) == 4
    old |= {name: old[name][:, :, None, None] for name in old if ".attentions.0." in name and old[name].ndim == 2}
    (tmp_path / "old").mkdir()
    (tmp_path / "old/config.json").write_text((tmp_path / "new/config.json").read_text())
    torch.save(old, tmp_path / "old/diffusion_pytorch_model.bin")
    latent = torch.randn(1, 4, 6, 5)
    with torch.no_grad():
        picture = nexus.load(tmp_path / "old", device="cpu").decode(latent)
        torch.testing.assert_close(picture, reference.decode(latent).sample, atol=1e-5, rtol=1e-4)


def test_presets_are_the_official_configurations():
    """By the numbers of their parameters; the quant convolutions are the difference."""
    with torch.device("meta"):
        counts = [sum(p.numel() for p in ImageVAE(c).parameters()) for c in (ImageVAEConfig(), ImageVAEConfig.flux())]
    assert counts == [83_653_863, 83_819_683]


def test_wrong_input_is_refused(tmp_path):
    with pytest.raises(ValueError, match="multiples of norm_groups"):
        ImageVAEConfig(dims=(8, 10), norm_groups=4)
    vae = ImageVAE(ImageVAEConfig(dims=(8, 8), norm_groups=4))
    with pytest.raises(ValueError, match=r"multiples of 2, got \[7, 8\]; nearest is \[8, 8\]"):
        vae.encode(torch.zeros(1, 3, 7, 8))
    for message, change in (
        ("latents_mean", {"latents_mean": [0.1]}),
        ("AttnDownEncoderBlock2D", {"down_block_types": ["AttnDownEncoderBlock2D"] * 3}),
        ("mirror", {"use_quant_conv": False}),
    ):
        config = {"_class_name": "AutoencoderKL"} | SD | change
        (tmp_path / "config.json").write_text(json.dumps(config))
        with pytest.raises(ValueError, match=message):
            nexus.load(tmp_path, device="cpu")


@pytest.mark.slow
def test_equals_the_reference_at_the_official_width(tmp_path):
    """Stable Diffusion's: 83.7 million parameters; and in bands."""
    torch.manual_seed(0)
    reference = diffusers.AutoencoderKL(
        block_out_channels=(128, 256, 512, 512),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        layers_per_block=2,
    ).eval()
    reference.save_pretrained(tmp_path)
    ours = nexus.load(tmp_path, device="cpu")
    assert ours.config == ImageVAEConfig()
    image, latent = torch.rand(1, 3, 64, 96) * 2 - 1, torch.randn(1, 4, 12, 9)
    with torch.no_grad():
        coded, theirs = ours.encode(image), reference.encode(image).latent_dist
        torch.testing.assert_close(coded.mean, theirs.mean, atol=1e-5, rtol=1e-4)
        picture = reference.decode(latent).sample
        assert picture.std() > 0.05
        torch.testing.assert_close(ours.decode(latent), picture, atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(decode_banded(ours, latent), picture, atol=1e-5, rtol=1e-4)
