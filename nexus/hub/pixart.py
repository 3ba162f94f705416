"""PixArt's official weights: a diffusers pipeline folder (Alpha or Sigma), or its transformer alone."""

from typing import Any

import torch

from nexus.hub import image_vae
from nexus.hub.diffusers_config import refuse_others
from nexus.hub.source import Source, read_json
from nexus.hub.tensors import State, load_strict, read_tensors, rename
from nexus.models.diffusion.learnt_sizes import knows_shapes
from nexus.models.diffusion.pixart_alpha import PixArt, PixArtConfig
from nexus.models.diffusion.pixart_transformer import PixArtTransformer, PixArtTransformerConfig
from nexus.text.encoders import from_folder

TRANSFORMER = (
    (r"^pos_embed\.proj\.", "patches_in.proj."),
    (r"^caption_projection\.linear_1\.", "text_in.0."),
    (r"^caption_projection\.linear_2\.", "text_in.2."),
    (r"^adaln_single\.emb\.timestep_embedder\.linear_1\.", "time_embed.mlp.0."),
    (r"^adaln_single\.emb\.timestep_embedder\.linear_2\.", "time_embed.mlp.2."),
    (r"^adaln_single\.emb\.resolution_embedder\.linear_1\.", "size_embed.mlp.0."),
    (r"^adaln_single\.emb\.resolution_embedder\.linear_2\.", "size_embed.mlp.2."),
    (r"^adaln_single\.emb\.aspect_ratio_embedder\.linear_1\.", "aspect_embed.mlp.0."),
    (r"^adaln_single\.emb\.aspect_ratio_embedder\.linear_2\.", "aspect_embed.mlp.2."),
    (r"^adaln_single\.linear\.", "modulation."),
    (r"^transformer_blocks\.", "blocks."),
    (r"scale_shift_table$", "table"),
    (r"\.attn1\.to_out\.0\.", ".attn.out."),
    (r"\.attn1\.", ".attn."),
    (r"\.attn2\.to_out\.0\.", ".text_attn.out."),
    (r"\.attn2\.to_q\.", ".text_attn.q."),
    (r"\.attn2\.", ".text_attn."),
    (r"\.ff\.net\.0\.proj\.", ".ff.0."),
    (r"\.ff\.net\.2\.", ".ff.2."),
)
# Settings that our class has built in; another value is another network.
_FIXED = {
    "activation_fn": "gelu-approximate",
    "attention_bias": True,
    "attention_type": "default",
    "dropout": 0.0,
    "norm_elementwise_affine": False,
    "norm_eps": 1e-6,
    "norm_type": "ada_norm_single",
}
_SCHEDULER = {
    "_class_name": "DPMSolverMultistepScheduler",
    "algorithm_type": "dpmsolver++",
    "beta_end": 0.02,
    "beta_schedule": "linear",
    "beta_start": 0.0001,
    "num_train_timesteps": 1000,
    "prediction_type": "epsilon",
    "solver_order": 2,
    "solver_type": "midpoint",
    "thresholding": False,
    "timestep_spacing": "linspace",
    "trained_betas": None,
    "use_karras_sigmas": False,
}
# Tokens that the text encoder read in training.
_MAX_TOKENS = {"PixArtAlphaPipeline": 120, "PixArtSigmaPipeline": 300}


def recognise(source: Source) -> bool:
    """A whole pipeline, or its `transformer/` folder alone."""
    return source.config.get("_class_name") in {*_MAX_TOKENS, "PixArtTransformer2DModel"}


def kind(source: Source) -> str:
    return PixArt.__name__


def load(source: Source) -> PixArt:
    """A pipeline ready to generate; of a transformer alone, one without autoencoder and text encoder."""
    whole = source.config["_class_name"] in _MAX_TOKENS
    network = load_transformer(source.part("transformer") if whole else source)
    side = 8 * network.config.sample_size
    model = PixArt(PixArtConfig(network=network.config, size=(side, side), learnt_shapes=knows_shapes(side)))
    model.network = network
    if whole:
        scheduler = source.part("scheduler/scheduler_config.json")
        refuse_others(read_json(scheduler.path), _SCHEDULER, scheduler.name)
        model.image_vae = image_vae.load(source.part("vae"))
        n = _MAX_TOKENS[source.config["_class_name"]]
        encoder, tokenizer = source.part("text_encoder").path, source.part("tokenizer").path
        model.text_encoder = from_folder(encoder, tokenizer=tokenizer, max_tokens=n, pad_to=n)
    return model


def load_transformer(source: Source) -> PixArtTransformer:
    """The network of a folder with `config.json` and weights.

    Raises:
        ValueError: settings of another architecture, or tensors that do not fit.
    """
    refuse_others(source.config, _FIXED, source.name)
    network = PixArtTransformer(read_config(source.config, source.name))
    load_strict(network, fuse(rename(read_tensors(source), TRANSFORMER)), source.name)
    return network


def read_config(raw: dict[str, Any], where: str) -> PixArtTransformerConfig:
    if raw.get("caption_channels") is None:
        raise ValueError(f"{where}/config.json: caption_channels is missing: PixArt reads text through a projection")
    n_heads, head_dim = raw["num_attention_heads"], raw["attention_head_dim"]
    if raw.get("cross_attention_dim") not in (None, n_heads * head_dim):
        raise ValueError(f"{where}/config.json: cross_attention_dim must be {n_heads * head_dim}, the network's width")
    sample_size, scale, sized = raw["sample_size"], raw.get("interpolation_scale"), raw.get("use_additional_conditions")
    return PixArtTransformerConfig(
        n_layers=raw["num_layers"],
        n_heads=n_heads,
        head_dim=head_dim,
        in_channels=raw["in_channels"],
        out_channels=raw.get("out_channels") or raw["in_channels"],
        text_dim=raw["caption_channels"],
        patch_size=raw["patch_size"],
        sample_size=sample_size,
        position_scale=float(max(sample_size // 64, 1) if scale is None else scale),
        size_conditions=sample_size == 128 if sized is None else sized,
    )


def fuse(state: State) -> State:
    """One projection for queries, keys and values of patches, one for keys and values of text; places are computed."""
    fused = {name: tensor for name, tensor in state.items() if name != "pos_embed.pos_embed"}
    if (patches := fused.get("patches_in.proj.weight")) is not None:
        fused["patches_in.proj.weight"] = patches.flatten(1)
    for name in state:
        head, _, tail = name.rpartition(".to_k.")
        parts = ("to_q", "to_k", "to_v") if head.endswith(".attn") else ("to_k", "to_v")
        names = [f"{head}.{part}.{tail}" for part in parts]
        if head and all(part in fused for part in names):
            fused[f"{head}.{'qkv' if len(parts) == 3 else 'kv'}.{tail}"] = torch.cat([fused.pop(n) for n in names])
    return fused
