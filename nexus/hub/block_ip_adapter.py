"""IP-Adapters of transformers: InstantX' file for Stable Diffusion 3.5, XLabs' for FLUX; with their encoders."""

from pathlib import Path

import torch

from nexus.adapters.block_ip_adapter import FluxIPAdapter, PictureAttention, SD3IPAdapter, TimedResampler
from nexus.adapters.ip_adapter import Projection, ResamplerConfig
from nexus.hub.clip_vision import load_picture_encoder
from nexus.hub.ip_adapter import RESAMPLER, checked_halves, read_halves
from nexus.hub.siglip_vision import load_siglip
from nexus.hub.source import Source, find, read_json
from nexus.hub.tensors import State, join, load_strict, rename
from nexus.models.diffusion.flux_transformer import FluxTransformer
from nexus.models.diffusion.mmdit import MMDiT

_XLABS = (
    (r"^ip_adapter_proj_model\.", "image_proj."),
    (r"^double_blocks\.(\d+)\.processor\.ip_adapter_double_stream_(k|v)_proj\.", r"ip_adapter.\1.to_\2_ip."),
)
_INSTANTX = (
    *RESAMPLER,
    (r"^project\.layers\.(\d+)\.2\.1\.", r"project.layers.\1.modulation."),
    (r"^project\.time_embedding\.linear_1\.", "project.time_embed.mlp.0."),
    (r"^project\.time_embedding\.linear_2\.", "project.time_embed.mlp.2."),
    (r"^ip_adapter\.(\d+)\.norm_ip\.linear\.", r"blocks.\1.norm.modulation.linear."),
    (r"^ip_adapter\.(\d+)\.norm_ip_k\.", r"blocks.\1.token_norm."),
    (r"^ip_adapter\.(\d+)\.norm_(q|k)\.", r"blocks.\1.\2_norm."),
    (r"^ip_adapter\.(\d+)\.kv\.", r"blocks.\1.kv."),
)
_HEAD_DIM = 64  # of the resampler's heads
_SIGLIP, _CLIP = "google/siglip-so400m-patch14-384", "openai/clip-vit-large-patch14"


def load_block_ip_adapter(
    path: str | Path, network: MMDiT | FluxTransformer, encoder: str | Path | None = None
) -> SD3IPAdapter | FluxIPAdapter:
    """An adapter for `network`; `encoder` is the folder of its vision encoder, by default `image_encoder` beside the
    file, or else the official one of the hub.

    Raises:
        ValueError: an adapter for another base, or of a kind that is not known.
        FileNotFoundError: no file, or no vision encoder.
    """
    source = find(path)
    state = checked_halves(rename(read_halves(source), _XLABS), source.name)
    state = join(state, ("to_k_ip", "to_v_ip"), "kv")
    timed = "image_proj.time_embedding.linear_1.weight" in state
    if timed != isinstance(network, MMDiT) or (not timed and "image_proj.proj.weight" not in state):
        made_for = "Stable Diffusion 3.5" if timed else "FLUX.1, or Stable Diffusion 1, 2 or XL"
        raise ValueError(f"{source.name} is for another base: {made_for}, this is a {type(network).__name__}")
    adapter = _timed(state) if timed else _flux(state)
    adapter.check(network, source.name)
    own = {name.replace("image_proj.", "project.", 1): tensor for name, tensor in state.items()}
    rules = _INSTANTX if timed else ((r"^ip_adapter\.(\d+)\.kv\.", r"kv.\1."),)
    load_strict(adapter, rename(own, rules), source.name)
    adapter.encoder = _encoder(source, adapter, encoder)
    return adapter.eval().requires_grad_(False)


def _timed(state: State) -> SD3IPAdapter:
    def shape(name: str) -> torch.Size:
        return state[name].shape

    dim, vision_dim = shape("image_proj.proj_in.weight")
    config = ResamplerConfig(
        vision_dim=vision_dim,
        dim=dim,
        n_layers=_count(state, "image_proj.layers."),
        n_heads=shape("image_proj.layers.0.0.to_q.weight")[0] // _HEAD_DIM,
        head_dim=_HEAD_DIM,
        n_tokens=shape("image_proj.latents")[1],
        text_dim=shape("image_proj.proj_out.weight")[0],
        hidden_dim=shape("image_proj.layers.0.1.1.weight")[0],
    )
    project = TimedResampler(config, shape("image_proj.time_embedding.linear_1.weight")[1])
    width, head_dim = shape("ip_adapter.0.kv.weight")[0] // 2, len(state["ip_adapter.0.norm_q.weight"])
    attentions = [PictureAttention(width, head_dim, config.text_dim, dim) for _ in range(_count(state, "ip_adapter."))]
    return SD3IPAdapter(project, attentions)


def _flux(state: State) -> FluxIPAdapter:
    rows, vision_dim = state["image_proj.proj.weight"].shape
    text_dim = len(state["image_proj.norm.weight"])
    shapes = [state[f"ip_adapter.{i}.kv.weight"].shape for i in range(_count(state, "ip_adapter."))]
    return FluxIPAdapter(Projection(vision_dim, text_dim, rows // text_dim), [(n_in, dim // 2) for dim, n_in in shapes])


def _count(state: State, stem: str) -> int:
    return len({name.removeprefix(stem).split(".")[0] for name in state if name.startswith(stem)})


def _encoder(source: Source, adapter: SD3IPAdapter | FluxIPAdapter, given: str | Path | None):
    siglip, width = isinstance(adapter, SD3IPAdapter), adapter.project.vision_dim
    official, key = (_SIGLIP, "hidden_size") if siglip else (_CLIP, "projection_dim")
    beside = source.path.parent / "image_encoder"
    folder = Path(given) if given is not None else beside if beside.is_dir() else None
    try:
        folder = find(official).path if folder is None else folder
    except (ValueError, FileNotFoundError) as error:
        raise FileNotFoundError(
            f"{source.name}: no vision encoder in {beside}, and {official} is not here ({error}); put its folder there"
        ) from None
    raw = read_json(folder / "config.json")
    found = {**raw.get("vision_config", {}), **raw}.get(key)
    if found != width:
        raise ValueError(f"{folder}: a vision encoder with {key} {width} is wanted ({official}), this has {found}")
    return (load_siglip if siglip else load_picture_encoder)(folder)
