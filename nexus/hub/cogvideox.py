"""CogVideoX's official weights: a diffusers pipeline folder (`transformer/`, `vae/`, `text_encoder/`, `tokenizer/`)."""

from typing import Any

import torch

from nexus.codecs.cogvideox_vae import CogVideoXVAE, CogVideoXVAEConfig
from nexus.hub.source import Source, read_json
from nexus.hub.tensors import State, load_strict, read_tensors, rename
from nexus.models.video.cogvideox import CogVideoX, CogVideoXConfig
from nexus.models.video.cogvideox_transformer import TransformerConfig
from nexus.text.encoders import TextEncoder, from_folder

_TRANSFORMER = (
    (r"^patch_embed\.proj\.", "video_in."),
    (r"^patch_embed\.text_proj\.", "text_in."),
    (r"^time_embedding\.linear_1\.", "time_embed.0."),
    (r"^time_embedding\.linear_2\.", "time_embed.2."),
    (r"^transformer_blocks\.", "blocks."),
    (r"\.attn1\.norm_q\.", ".attn.q_norm."),
    (r"\.attn1\.norm_k\.", ".attn.k_norm."),
    (r"\.attn1\.to_out\.0\.", ".attn.out."),
    (r"\.attn1\.", ".attn."),
    (r"\.ff\.net\.0\.proj\.", ".ff.0."),
    (r"\.ff\.net\.2\.", ".ff.2."),
    (r"(norm1|norm2|norm_out)\.linear\.", r"\1.modulation."),
)
# Settings that our classes have built in; another value is another network.
_FIXED_TRANSFORMER = {
    "activation_fn": "gelu-approximate",
    "timestep_activation_fn": "silu",
    "attention_bias": True,
    "flip_sin_to_cos": True,
    "freq_shift": 0,
    "norm_eps": 1e-5,
    "norm_elementwise_affine": True,
    "patch_bias": True,
    "patch_size_t": None,
    "ofs_embed_dim": None,
    "temporal_interpolation_scale": 1.0,
    "use_learned_positional_embeddings": False,
}
_FIXED_VAE = {
    "act_fn": "silu",
    "in_channels": 3,
    "out_channels": 3,
    "norm_eps": 1e-6,
    "use_quant_conv": False,
    "use_post_quant_conv": False,
    "latents_mean": None,
    "latents_std": None,
}


def recognise(source: Source) -> bool:
    """A whole pipeline, or its `vae/` or `transformer/` folder alone."""
    return source.config.get("_class_name") in {
        "CogVideoXPipeline",
        "CogVideoXTransformer3DModel",
        "AutoencoderKLCogVideoX",
    }


def kind(source: Source) -> str:
    return (CogVideoXVAE if source.config["_class_name"] == "AutoencoderKLCogVideoX" else CogVideoX).__name__


def load(source: Source) -> CogVideoX | CogVideoXVAE:
    if source.config["_class_name"] == "AutoencoderKLCogVideoX":
        return load_vae(source)
    if source.config["_class_name"] == "CogVideoXTransformer3DModel":
        return load_transformer(source, snr_shift=3.0, latent_scale=1.15258426)
    vae = load_vae(source.part("vae"))
    scheduler = read_json(source.part("scheduler/scheduler_config.json").path)
    model = load_transformer(
        source.part("transformer"),
        snr_shift=float(scheduler.get("snr_shift_scale", 3.0)),
        latent_scale=vae.config.scaling_factor,
    )
    model.vae = vae
    model.text_encoder = text_encoder(source.part("text_encoder"), source.part("tokenizer"))
    return model


def text_encoder(encoder: Source, tokenizer: Source) -> TextEncoder:
    """T5 as CogVideoX was trained with it: 226 tokens, padding read as words are."""
    return from_folder(encoder.path, tokenizer=tokenizer.path, max_tokens=226, pad_to=226, read_padding=True)


def load_vae(source: Source) -> CogVideoXVAE:
    raw = source.config
    _refuse(raw, _FIXED_VAE, source.name)
    config = CogVideoXVAEConfig(
        block_out_channels=tuple(raw["block_out_channels"]),
        layers_per_block=raw["layers_per_block"],
        latent_channels=raw["latent_channels"],
        norm_num_groups=raw["norm_num_groups"],
        temporal_compression_ratio=int(raw["temporal_compression_ratio"]),
        scaling_factor=raw["scaling_factor"],
    )
    vae = CogVideoXVAE(config)
    load_strict(vae, read_tensors(source), source.name)
    return vae


def load_transformer(source: Source, *, snr_shift: float, latent_scale: float) -> CogVideoX:
    raw = source.config
    _refuse(raw, _FIXED_TRANSFORMER, source.name)
    network = TransformerConfig(
        n_layers=raw["num_layers"],
        n_heads=raw["num_attention_heads"],
        head_dim=raw["attention_head_dim"],
        in_channels=raw["in_channels"],
        text_dim=raw["text_embed_dim"],
        time_dim=raw["time_embed_dim"],
        patch_size=raw["patch_size"],
        positions="rope" if raw["use_rotary_positional_embeddings"] else "sincos",
        sample_size=(raw["sample_height"], raw["sample_width"]),
        spatial_interpolation=raw["spatial_interpolation_scale"],
    )
    config = CogVideoXConfig(
        network=network,
        snr_shift=snr_shift,
        latent_scale=latent_scale,
        frames=raw["sample_frames"],
        max_frames=raw["sample_frames"],
        size=(raw["sample_height"] * 8, raw["sample_width"] * 8),
    )
    model = CogVideoX(config)
    load_strict(model.network, convert(rename(read_tensors(source), _TRANSFORMER)), source.name)
    return model


def convert(state: State) -> State:
    """Puts the query, key and value projections of each block into one."""
    fused = dict(state)
    for name in state:
        if name.endswith(("attn.to_q.weight", "attn.to_q.bias")):
            parts = [name.replace("to_q", part) for part in ("to_q", "to_k", "to_v")]
            if all(part in fused for part in parts):
                fused[name.replace("to_q", "qkv")] = torch.cat([fused.pop(part) for part in parts])
    return {name: tensor for name, tensor in fused.items() if not name.endswith("pos_embedding")}


def _refuse(raw: dict[str, Any], fixed: dict[str, Any], where: str) -> None:
    for name, value in fixed.items():
        if raw.get(name, value) != value:
            raise ValueError(
                f"{where}/config.json: {name} = {raw[name]!r} is another architecture (1.5 or image-to-video?); "
                f"known are CogVideoX-2b and 5b with {name} = {value!r}"
            )
