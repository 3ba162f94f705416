"""DiT's official networks, in the authors' file and in diffusers' folder."""

import re

from nexus.hub.diffusers_config import refuse_others
from nexus.hub.source import Source
from nexus.hub.tensors import State, drop, join, load_strict, read_tensors, rename
from nexus.models.diffusion.dit_transformer import DiTTransformer, DiTTransformerConfig

_DIFFUSERS = (
    (r"^pos_embed\.proj\.", "patches_in.proj."),
    (r"^transformer_blocks\.0\.norm1\.emb\.timestep_embedder\.linear_1\.", "time_embed.mlp.0."),
    (r"^transformer_blocks\.0\.norm1\.emb\.timestep_embedder\.linear_2\.", "time_embed.mlp.2."),
    (r"^transformer_blocks\.0\.norm1\.emb\.class_embedder\.embedding_table\.", "class_embed."),
    (r"^transformer_blocks\.", "blocks."),
    (r"\.norm1\.linear\.", ".modulation.linear."),
    (r"\.attn1\.to_out\.0\.", ".attn.out."),
    (r"\.attn1\.", ".attn.heads."),
    (r"\.ff\.net\.0\.proj\.", ".ff.0."),
    (r"\.ff\.net\.2\.", ".ff.2."),
    (r"^proj_out_1\.", "norm_out.modulation.linear."),
    (r"^proj_out_2\.", "proj_out."),
)
_ORIGINAL = (
    (r"^x_embedder\.", "patches_in."),
    (r"^t_embedder\.", "time_embed."),
    (r"^y_embedder\.embedding_table\.", "class_embed."),
    (r"\.attn\.qkv\.", ".attn.heads.qkv."),
    (r"\.attn\.proj\.", ".attn.out."),
    (r"\.mlp\.fc1\.", ".ff.0."),
    (r"\.mlp\.fc2\.", ".ff.2."),
    (r"adaLN_modulation\.1\.", "modulation.linear."),
    (r"^final_layer\.modulation\.", "norm_out.modulation."),
    (r"^final_layer\.linear\.", "proj_out."),
)
_BUILT_IN = {
    "activation_fn": "gelu-approximate",
    "attention_bias": True,
    "dropout": 0.0,
    "norm_elementwise_affine": False,
    "norm_type": "ada_norm_zero",
    "upcast_attention": False,
}
_COPIES = r"^transformer_blocks\.(\d+)\.norm1\.emb\."  # theirs keep the embeddings of step and class in every block
HEAD_DIMS = {1152: 72}  # of XL; the authors' other sizes have 64


def is_original(names: State | set[str]) -> bool:
    """Whether tensors of these names are the authors' DiT."""
    return {"x_embedder.proj.weight", "y_embedder.embedding_table.weight", "blocks.0.attn.qkv.weight"} <= set(names)


def load_folder(source: Source) -> DiTTransformer:
    """The network of diffusers' folder with `config.json` and weights.

    Raises:
        ValueError: settings of another architecture, or tensors that do not fit.
    """
    raw = source.config
    refuse_others(raw, _BUILT_IN, source.name)
    config = DiTTransformerConfig(
        n_layers=raw["num_layers"],
        n_heads=raw["num_attention_heads"],
        head_dim=raw["attention_head_dim"],
        in_channels=raw["in_channels"],
        out_channels=raw.get("out_channels") or raw["in_channels"],
        patch_size=raw["patch_size"],
        sample_size=raw["sample_size"],
        n_classes=raw["num_embeds_ada_norm"],
        ff_norm_eps=raw.get("norm_eps", 1e-5),
        time_shift=1.0,
    )
    network = DiTTransformer(config)
    state = rename(one_embedding(read_tensors(source), source.name), _DIFFUSERS)
    load_strict(network, _flat(join(state, ("to_q", "to_k", "to_v"), "qkv")), source.name)
    return network


def load_original(state: State, where: str) -> DiTTransformer:
    """The network of the authors' file (`DiT-XL-2-256x256.pt`), whose sizes are read off its tensors."""
    dim, channels, patch, _ = state["x_embedder.proj.weight"].shape
    n_layers = 1 + max(int(match[1]) for name in state if (match := re.match(r"blocks\.(\d+)\.", name)))
    config = DiTTransformerConfig(
        n_layers=n_layers,
        n_heads=dim // HEAD_DIMS.get(dim, 64),
        head_dim=HEAD_DIMS.get(dim, 64),
        in_channels=channels,
        out_channels=len(state["final_layer.linear.bias"]) // patch**2,
        patch_size=patch,
        sample_size=round(state["pos_embed"].shape[1] ** 0.5) * patch,
        n_classes=len(state["y_embedder.embedding_table.weight"]) - 1,
    )
    network = DiTTransformer(config)
    load_strict(network, _flat(rename(drop(state, "^pos_embed$"), _ORIGINAL)), where)
    return network


def one_embedding(state: State, where: str) -> State:
    """Without the copies of the embeddings in blocks after the first.

    Raises:
        ValueError: copies that differ, which would be another network.
    """
    for name, tensor in state.items():
        match = re.match(_COPIES, name)
        if match and not tensor.equal(state[name.replace(f".{match[1]}.", ".0.", 1)]):
            raise ValueError(f"{where}: {name} differs from that of the first block; DiT has one for all")
    return {
        name: tensor
        for name, tensor in drop(state, r"^pos_embed\.pos_embed$").items()
        if not ((match := re.match(_COPIES, name)) and match[1] != "0")
    }


def _flat(state: State) -> State:
    """The convolution over patches as the layer that it is."""
    return {n: t.flatten(1) if n == "patches_in.proj.weight" else t for n, t in state.items()}
