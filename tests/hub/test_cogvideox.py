"""Official layouts written by diffusers, loaded by us, and equal to the reference (fp32, 1e-5)."""

import json

import pytest
import torch

from nexus.hub import cogvideox
from nexus.hub.source import Source

diffusers = pytest.importorskip("diffusers")

TRANSFORMER = dict(
    num_attention_heads=2,
    attention_head_dim=16,
    in_channels=4,
    out_channels=4,
    time_embed_dim=8,
    text_embed_dim=24,
    num_layers=2,
    sample_width=8,
    sample_height=8,
    sample_frames=9,
    patch_size=2,
    max_text_seq_length=5,
)
VAE = dict(
    down_block_types=("CogVideoXDownBlock3D",) * 4,
    up_block_types=("CogVideoXUpBlock3D",) * 4,
    block_out_channels=(8, 8, 16, 16),
    latent_channels=4,
    layers_per_block=1,
    norm_num_groups=2,
)


def redraw(module: torch.nn.Module, std: float = 0.1) -> None:
    rng = torch.Generator().manual_seed(1)
    for parameter in module.parameters():
        parameter.data = torch.randn(parameter.shape, generator=rng) * std


@pytest.mark.parametrize("rope", [False, True], ids=["2B", "5B"])
def test_transformer_equals_the_reference(tmp_path, rng, rope):
    reference = diffusers.CogVideoXTransformer3DModel(**TRANSFORMER, use_rotary_positional_embeddings=rope).eval()
    redraw(reference)
    reference.save_pretrained(tmp_path)
    model = cogvideox.load(Source("tiny", tmp_path)).eval()
    x, text = torch.randn(2, 4, 3, 8, 8, generator=rng), torch.randn(2, 5, 24, generator=rng)
    step = torch.tensor([999, 3])
    rotation = None
    if rope:
        from diffusers.models.embeddings import get_3d_rotary_pos_embed

        rotation = get_3d_rotary_pos_embed(16, ((0, 0), (4, 4)), (4, 4), 3)
    with torch.no_grad():
        expected = reference(x.transpose(1, 2), text, step, image_rotary_emb=rotation).sample.transpose(1, 2)
        result = model(x, step, text)
    assert expected.std() > 1e-3 and (expected[0] - expected[1]).abs().max() > 1e-2
    torch.testing.assert_close(result, expected, atol=1e-5, rtol=1e-4)


def test_rope_stretches_over_other_grids_as_the_pipeline_does(tmp_path):
    from diffusers.models.embeddings import get_3d_rotary_pos_embed
    from diffusers.pipelines.cogvideo.pipeline_cogvideox import get_resize_crop_region_for_grid

    reference = diffusers.CogVideoXTransformer3DModel(**TRANSFORMER, use_rotary_positional_embeddings=True)
    reference.save_pretrained(tmp_path)
    network = cogvideox.load(Source("tiny", tmp_path)).network
    for grid in ((3, 6), (6, 3), (4, 4)):
        crops = get_resize_crop_region_for_grid(grid, 4, 4)
        expected = get_3d_rotary_pos_embed(16, crops, grid, 2)
        for ours, theirs in zip(network.rotation(2, *grid), expected, strict=True):
            torch.testing.assert_close(ours.repeat_interleave(2, dim=-1), theirs, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("frames", [1, 8, 9, 13, 17])
def test_vae_equals_the_reference_chunk_by_chunk(tmp_path, rng, frames):
    reference = diffusers.AutoencoderKLCogVideoX(**VAE).eval()
    redraw(reference, 0.2)
    reference.save_pretrained(tmp_path)
    vae = cogvideox.load(Source("tiny", tmp_path)).eval()
    video = torch.randn(2, 3, frames, 16, 24, generator=rng)
    with torch.no_grad():
        expected = reference.encode(video).latent_dist
        latents = vae.encode(video)
        latent = torch.randn(expected.mean.shape, generator=rng)
        decoded, result = reference.decode(latent).sample, vae.decode(latent)
    assert expected.mean.std() > 1e-3 and decoded.std() > 1e-3
    torch.testing.assert_close(latents.mean, expected.mean, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(latents.log_variance, expected.logvar, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(result, decoded, atol=1e-5, rtol=1e-4)


def test_a_missing_tensor_is_named(tmp_path):
    from safetensors.torch import load_file, save_file

    diffusers.CogVideoXTransformer3DModel(**TRANSFORMER).save_pretrained(tmp_path)
    file = tmp_path / "diffusion_pytorch_model.safetensors"
    state = load_file(file)
    del state["transformer_blocks.1.attn1.to_k.bias"]
    save_file(state, file)
    with pytest.raises(ValueError, match=r"blocks\.1\.attn\.qkv\.bias"):
        cogvideox.load(Source("tiny", tmp_path))


def test_another_architecture_is_refused(tmp_path):
    diffusers.CogVideoXTransformer3DModel(**TRANSFORMER).save_pretrained(tmp_path)
    raw = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(raw | {"patch_size_t": 2}))
    with pytest.raises(ValueError, match="patch_size_t = 2 is another architecture"):
        cogvideox.load(Source("tiny", tmp_path))
