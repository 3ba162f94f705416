"""The original release's files, written here from a tiny diffusers model's weights, load as diffusers' folder does."""

import random
import re

import numpy as np
import pytest
import torch

import nexus
from nexus.hub import cogvideox, cogvideox_sat
from nexus.hub.source import Source
from nexus.models.video.cogvideox import CogVideoXConfig

diffusers = pytest.importorskip("diffusers")

LAYERS, HEADS, HEAD_DIM, TEXT_TOKENS = 2, 2, 16, 5
TRANSFORMER = dict(
    num_attention_heads=HEADS,
    attention_head_dim=HEAD_DIM,
    in_channels=4,
    out_channels=4,
    time_embed_dim=8,
    text_embed_dim=24,
    num_layers=LAYERS,
    sample_width=8,
    sample_height=12,
    sample_frames=9,
    patch_size=2,
    max_text_seq_length=TEXT_TOKENS,
)
VAE = dict(
    down_block_types=("CogVideoXDownBlock3D",) * 4,
    up_block_types=("CogVideoXUpBlock3D",) * 4,
    block_out_channels=(32, 32, 64, 64),
    latent_channels=4,
    layers_per_block=1,
    norm_num_groups=32,
)
T5 = dict(vocab_size=40, d_model=24, d_kv=4, d_ff=8, num_layers=1, num_heads=2)

PREFIX = "model.diffusion_model."
ONCE = {
    "patch_embed.proj": "mixins.patch_embed.proj",
    "patch_embed.text_proj": "mixins.patch_embed.text_proj",
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "norm_final": "transformer.final_layernorm",
    "norm_out.norm": "mixins.final_layer.norm_final",
    "norm_out.linear": "mixins.final_layer.adaLN_modulation.1",
    "proj_out": "mixins.final_layer.linear",
}
IN_LAYER = {
    "norm1.norm": "input_layernorm",
    "norm2.norm": "post_attention_layernorm",
    "attn1.to_out.0": "attention.dense",
    "ff.net.0.proj": "mlp.dense_h_to_4h",
    "ff.net.2": "mlp.dense_4h_to_h",
}


def redrawn(module: torch.nn.Module, std: float) -> torch.nn.Module:
    rng = torch.Generator().manual_seed(1)
    for parameter in module.parameters():
        parameter.data = torch.randn(parameter.shape, generator=rng) * std
    return module.eval()


def sat_transformer(model: torch.nn.Module, rope: bool) -> dict[str, torch.Tensor]:
    """The transformer's tensors as the original code names, fuses and orders them."""
    theirs = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
    state = {}
    for kind in ("weight", "bias"):
        for name, original in ONCE.items():
            state[f"{original}.{kind}"] = theirs.pop(f"{name}.{kind}")
        for i in range(LAYERS):
            block = f"transformer_blocks.{i}"
            for name, original in IN_LAYER.items():
                state[f"transformer.layers.{i}.{original}.{kind}"] = theirs.pop(f"{block}.{name}.{kind}")
            state[f"transformer.layers.{i}.attention.query_key_value.{kind}"] = torch.cat(
                [theirs.pop(f"{block}.attn1.to_{part}.{kind}") for part in "qkv"]
            )
            for part, original in (("q", "query"), ("k", "key")):
                name = f"mixins.adaln_layer.{original}_layernorm_list.{i}.{kind}"
                state[name] = theirs.pop(f"{block}.attn1.norm_{part}.{kind}")
            # shift, scale, gate of video at attention; of video at the feed-forward; of text at both
            norm1, norm2 = (theirs.pop(f"{block}.{norm}.linear.{kind}").chunk(6) for norm in ("norm1", "norm2"))
            parts = (*norm1[:3], *norm2[:3], *norm1[3:], *norm2[3:])
            state[f"mixins.adaln_layer.adaLN_modulations.{i}.1.{kind}"] = torch.cat(parts)
    assert not theirs
    if rope:
        state["transformer.position_embeddings.weight"] = torch.zeros(64, HEADS * HEAD_DIM)
        angles = rotary_angles(frames=3, rows=6, columns=4)
        state["mixins.pos_embed.freqs_sin"] = angles.sin().bfloat16()
        state["mixins.pos_embed.freqs_cos"] = angles.cos().bfloat16()
    return {PREFIX + name: tensor for name, tensor in state.items()}


def rotary_angles(frames: int, rows: int, columns: int) -> torch.Tensor:
    """Place times frequency, each twice; a quarter of the channels for time, three eighths for rows and columns."""
    parts = []
    for axis, (size, dim) in enumerate(zip((frames, rows, columns), (4, 6, 6), strict=True)):
        frequencies = 10000.0 ** -(torch.arange(0, dim, 2) / dim)
        angles = torch.outer(torch.arange(size).float(), frequencies).repeat_interleave(2, dim=1)
        shape = [1, 1, 1, dim]
        shape[axis] = size
        parts.append(angles.view(shape).expand(frames, rows, columns, dim))
    return torch.cat(parts, dim=-1).reshape(-1, HEAD_DIM)


def sat_vae(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    """The autoencoder's tensors under the original names, with a loss's beside them."""
    state = {"loss.perceptual_loss.lin0.model.1.weight": torch.ones(1)}
    for name, tensor in model.state_dict().items():
        if up := re.match(r"decoder\.up_blocks\.(\d)\.(.*)", name):
            name = f"decoder.up.{3 - int(up[1])}.{up[2]}"
        name = name.replace("down_blocks.", "down.").replace("samplers.0.", "sample.")
        name = name.replace("mid_block.resnets.0", "mid.block_1").replace("mid_block.resnets.1", "mid.block_2")
        state[name.replace("resnets.", "block.").replace("conv_shortcut", "nin_shortcut")] = tensor
    return state


def write(folder, transformer=None, vae=None, step: int = 1000):
    """A release's folder, as training code saves it: with the step and the states of random generators."""
    place = folder / "transformer" / str(step)
    place.mkdir(parents=True)
    (folder / "transformer" / "latest").write_text(f"{step}\n")
    states = {"random_rng_state": random.Random(0).getstate(), "np_rng_state": np.random.RandomState(0).get_state()}
    torch.save({"module": transformer, "iteration": step, **states}, place / "mp_rank_00_model_states.pt")
    if vae is not None:
        (folder / "vae").mkdir()
        torch.save({"state_dict": vae}, folder / "vae" / "3d-vae.pt")
    return folder


def tiny(rope: bool) -> torch.nn.Module:
    return redrawn(diffusers.CogVideoXTransformer3DModel(**TRANSFORMER, use_rotary_positional_embeddings=rope), 0.1)


@pytest.mark.parametrize("rope", [False, True], ids=["2B", "5B"])
def test_transformer_equals_the_one_of_diffusers_layout(tmp_path, rng, rope):
    reference = tiny(rope)
    reference.save_pretrained(tmp_path / "diffusers")
    expected = cogvideox.load(Source("tiny", tmp_path / "diffusers")).eval()
    folder = write(tmp_path / "sat", sat_transformer(reference, rope))
    model = nexus.load(folder / "transformer" / "1000" / "mp_rank_00_model_states.pt")
    x, text = torch.randn(2, 4, 3, 12, 8, generator=rng), torch.randn(2, TEXT_TOKENS, 24, generator=rng)
    step = torch.tensor([999, 3])
    with torch.no_grad():
        result, wanted = model(x, step, text), expected(x, step, text)
    assert wanted.std() > 1e-3
    torch.testing.assert_close(result, wanted, atol=1e-5, rtol=1e-4)
    assert model.config.network.positions == ("rope" if rope else "sincos")
    assert (model.config.snr_shift, model.config.latent_scale) == ((1.0, 0.7) if rope else (3.0, 1.15258426))
    if rope:
        assert model.config.network == expected.config.network
        assert (model.config.frames, model.config.size) == (expected.config.frames, expected.config.size)


def test_vae_equals_the_one_of_diffusers_layout(tmp_path, rng):
    reference = redrawn(diffusers.AutoencoderKLCogVideoX(**VAE), 0.1)
    reference.save_pretrained(tmp_path / "diffusers")
    expected = cogvideox.load(Source("tiny", tmp_path / "diffusers")).eval()
    write(tmp_path / "sat", {}, sat_vae(reference))
    vae = nexus.load(tmp_path / "sat" / "vae" / "3d-vae.pt")
    assert vae.config == expected.config
    video = torch.randn(1, 3, 9, 16, 24, generator=rng)
    with torch.no_grad():
        latents, wanted = vae.encode(video), expected.encode(video)
        decoded, drawn = vae.decode(wanted.mean), expected.decode(wanted.mean)
    assert wanted.mean.std() > 1e-3 and drawn.std() > 1e-3
    torch.testing.assert_close(latents.mean, wanted.mean, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(latents.log_variance, wanted.log_variance, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(decoded, drawn, atol=1e-5, rtol=1e-4)


def test_a_whole_release(tmp_path):
    """Transformer, autoencoder and text encoder; `latest` says which of two checkpoints."""
    transformers = pytest.importorskip("transformers")
    reference = tiny(rope=True)
    vae = sat_vae(redrawn(diffusers.AutoencoderKLCogVideoX(**VAE), 0.1))
    folder = write(tmp_path, sat_transformer(reference, rope=True), vae, step=1)
    with pytest.raises(FileNotFoundError, match=r"text encoder is missing.*t5-v1_1-xxl"):
        nexus.load(folder)
    words = folder / "t5-v1_1-xxl"
    transformers.T5EncoderModel(transformers.T5Config(**T5)).save_pretrained(words)
    tokens = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -1.0), ("a", -1.0), ("b", -1.0)]
    transformers.T5Tokenizer(vocab=tokens, extra_ids=0).save_pretrained(words)
    older = folder / "transformer" / "1000"
    older.mkdir()
    (older / "mp_rank_00_model_states.pt").write_bytes(b"not read")
    model = nexus.load(folder)
    assert model.info.kind == "CogVideoX"
    assert model.vae.config.scaling_factor == model.config.latent_scale == 0.7
    assert model.text_encoder(["a b"])[0].shape == (1, 226, 24)
    (folder / "transformer" / "latest").unlink()
    with pytest.raises(ValueError, match="1000/mp_rank_00_model_states"):
        nexus.load(folder)
    (folder / "vae" / "3d-vae.pt").unlink()
    with pytest.raises(FileNotFoundError, match=r"3d-vae\.pt is missing"):
        nexus.load(folder)


def test_official_sizes_are_known_without_tables():
    """The 2B's file holds no positions, and a later save of the 5B need not."""

    def shapes(n_layers, dim):
        state = {f"blocks.{i}.attn.q_norm.weight": torch.empty(64, device="meta") for i in range(n_layers)}
        sizes = {
            "video_in.weight": (dim, 16, 2, 2),
            "text_in.weight": (dim, 4096),
            "time_embed.0.weight": (512, dim),
            "proj_out.weight": (64, dim),
        }
        return state | {name: torch.empty(size, device="meta") for name, size in sizes.items()}

    assert cogvideox_sat.transformer_config(shapes(30, 1920), "x") == CogVideoXConfig()
    assert cogvideox_sat.transformer_config(shapes(42, 3072), "x") == CogVideoXConfig.cogvideox_5b()


@pytest.mark.parametrize("grid", [(13, 30, 45), (3, 6, 4), (1, 2, 3), (2, 1, 3), (2, 3, 1), (1, 1, 1)])
def test_the_grid_is_read_from_the_table(grid):
    assert cogvideox_sat.rotary_grid(rotary_angles(*grid).sin().half()) == grid


LOST = "transformer.layers.1.attention.query_key_value.bias"
SHORT = "mixins.adaln_layer.query_layernorm_list.1.weight"


def test_missing_misshapen_and_unknown_tensors_are_named(tmp_path):
    good = sat_transformer(tiny(rope=False), rope=False)

    def file(i, **changes):
        state = {name: tensor for name, tensor in {**good, **changes}.items() if tensor is not None}
        return write(tmp_path / str(i), state) / "transformer" / "1000" / "mp_rank_00_model_states.pt"

    with pytest.raises(ValueError, match=r"1 missing: blocks\.1\.attn\.qkv\.bias$"):
        nexus.load(file(0, **{PREFIX + LOST: None}))
    with pytest.raises(ValueError, match=r"blocks\.1\.attn\.q_norm\.weight is \[3\], expected \[16\]"):
        nexus.load(file(1, **{PREFIX + SHORT: torch.ones(3)}))
    with pytest.raises(ValueError, match=r"1 unexpected: mixins\.surprise$"):
        nexus.load(file(2, **{PREFIX + "mixins.surprise": torch.ones(3)}))
    with pytest.raises(ValueError, match=r"video_in\.weight .* is missing"):
        nexus.load(file(3, **{PREFIX + "mixins.patch_embed.proj.weight": None}))
    for i, patches in enumerate((torch.ones(32, 32), torch.ones(32, 8, 2, 2)), 4):  # 1.5; image-to-video
        with pytest.raises(ValueError, match="another architecture"):
            nexus.load(file(i, **{PREFIX + "mixins.patch_embed.proj.weight": patches}))


def test_missing_and_misshapen_tensors_of_the_vae_are_named(tmp_path):
    state = sat_vae(diffusers.AutoencoderKLCogVideoX(**VAE))
    state.pop("decoder.up.0.block.1.conv2.conv.bias")
    state["encoder.mid.block_2.conv1.conv.bias"] = torch.ones(3)
    write(tmp_path, {}, state)
    with pytest.raises(ValueError, match=r"missing: decoder\.up_blocks\.3\.resnets\.1\.conv2.*mid_block.*is \[3\]"):
        nexus.load(tmp_path / "vae" / "3d-vae.pt")


class Exploit:
    def __reduce__(self):
        return (print, ("executed",))


def test_a_pickle_that_wants_to_execute_code_is_refused(tmp_path, capsys):
    write(tmp_path, {"evil": Exploit()})
    with pytest.raises(ValueError, match=r"mp_rank_00_model_states\.pt: refused"):
        nexus.load(tmp_path / "transformer" / "1000" / "mp_rank_00_model_states.pt")
    assert "executed" not in capsys.readouterr().out
