"""IP-Adapter's official files (`ip-adapter_sd15.bin`, `.safetensors`) and the vision encoder that lies beside them."""

from pathlib import Path

import torch
from torch import Tensor

from nexus.adapters.ip_adapter import FullProjection, IPAdapter, Projection, Resampler, ResamplerConfig
from nexus.hub.clip_vision import PictureEncoder, load_picture_encoder
from nexus.hub.source import Source, find, read_json
from nexus.hub.tensors import State, load_strict, read_pickle, read_tensors, rename
from nexus.models.diffusion.conditional_unet import Contraction

RESAMPLER = (
    (r"^project\.latents$", "project.tokens"),
    (r"^project\.layers\.(\d+)\.0\.norm1\.", r"project.layers.\1.norm_seen."),
    (r"^project\.layers\.(\d+)\.0\.norm2\.", r"project.layers.\1.norm."),
    (r"^project\.layers\.(\d+)\.0\.to_(q|kv|out)\.", r"project.layers.\1.\2."),
    (r"^project\.layers\.(\d+)\.1\.", r"project.layers.\1.ff."),
)
Project = Projection | FullProjection | Resampler
_HEAD_DIM = 64  # of the resampler's heads, in all official files
_ENCODERS = ("image_encoder", "../models/image_encoder", "../sdxl_models/image_encoder")  # from the file's folder


def load_ip_adapter(path: str | Path, network: Contraction, encoder: str | Path | None = None) -> IPAdapter:
    """An adapter for `network`; `encoder` is a folder of CLIP's vision encoder, by default the one beside the file.

    Raises:
        ValueError: an adapter for another base (the first layer that differs is named) or of a kind that is not known.
        FileNotFoundError: no file, or no vision encoder of the right width.
    """
    source = find(path)
    state = checked_halves(read_halves(source), source.name)
    project, kv = _projection(state, source.name), _keys_and_values(state, source.name)
    order = _order(network)
    if len(kv) != len(order):
        raise ValueError(
            f"{source.name} is for another base: it speaks to {len(kv)} cross-attentions, this one has {len(order)}"
        )
    ordered = dict(zip(order, kv, strict=True))
    adapter = IPAdapter(project, [(ordered[i].shape[1], len(ordered[i]) // 2) for i in range(len(order))])
    own = {f"project.{name.removeprefix('image_proj.')}": state[name] for name in state if "image_proj." in name}
    own = rename(own, RESAMPLER) | {f"kv.{place}.weight": weight for place, weight in ordered.items()}
    adapter.check(network.cross_attentions(), source.name)
    load_strict(adapter, own, source.name)
    adapter.encoder = _encoder(source, project, encoder)
    return adapter.eval().requires_grad_(False)


def read_halves(source: Source) -> State:
    """All tensors, names with dots; pickles hold a dictionary for each half.

    Raises:
        ValueError: a folder, whose files are named.
    """
    if source.is_folder:
        files = sorted(str(p.relative_to(source.path)) for p in source.path.rglob("*ip*adapter*") if p.is_file())
        held = f"give one of its files: {', '.join(files)}" if files else "and holds no IP-Adapter's file"
        raise ValueError(f"{source.name} is a folder; {held}")
    if source.path.suffix == ".safetensors":
        return read_tensors(source)
    content = read_pickle(source.path)
    halves = content if isinstance(content, dict) else {}
    return {
        f"{half}.{name}": tensor
        for half, tensors in halves.items()
        if isinstance(tensors, dict)
        for name, tensor in tensors.items()
    }


def checked_halves(state: State, where: str) -> State:
    """Raises ValueError where they are no IP-Adapter's, or hold NaN."""
    if not all(any(name.startswith(half) for name in state) for half in ("image_proj.", "ip_adapter.")):
        raise ValueError(f"{where}: no IP-Adapter, image_proj and ip_adapter are expected; is it a LoRA?")
    broken = next((name for name, tensor in state.items() if not tensor.isfinite().all()), None)
    if broken is not None:
        raise ValueError(f"{where}: {broken} holds NaN or infinity")
    return state


def _projection(state: State, where: str) -> Project:
    """The kind that its tensors show, with their sizes."""

    def shape(name: str) -> torch.Size:
        return state[f"image_proj.{name}"].shape

    names = {name.removeprefix("image_proj.") for name in state if name.startswith("image_proj.")}
    if names & {"perceiver_resampler.proj_in.weight", "proj.2.bias"} and "proj.3.weight" not in names:
        raise ValueError(f"{where}: FaceID adapters see by a face recogniser, which is not here; take another adapter")
    if "proj.weight" in names:
        text_dim = shape("norm.weight")[0]
        return Projection(shape("proj.weight")[1], text_dim, shape("proj.weight")[0] // text_dim)
    if "proj.3.weight" in names:
        return FullProjection(shape("proj.0.weight")[1], shape("proj.3.weight")[0])
    if "latents" not in names:
        raise ValueError(f"{where}: image_proj of a kind that is not known (it has {', '.join(sorted(names)[:3])} …)")
    config = ResamplerConfig(
        vision_dim=shape("proj_in.weight")[1],
        dim=shape("latents")[2],
        n_layers=1 + max(int(name.split(".")[1]) for name in names if name.startswith("layers.")),
        n_heads=shape("layers.0.0.to_q.weight")[0] // _HEAD_DIM,
        head_dim=_HEAD_DIM,
        n_tokens=shape("latents")[1],
        text_dim=shape("proj_out.weight")[0],
        hidden_dim=shape("layers.0.1.1.weight")[0],
    )
    return Resampler(config)


def _keys_and_values(state: State, where: str) -> list[Tensor]:
    """One weight for each cross-attention, by the numbers that they have in the file."""
    numbers = sorted({int(name.split(".")[1]) for name in state if name.startswith("ip_adapter.")})
    known = {f"ip_adapter.{i}.to_{part}_ip.weight" for i in numbers for part in "kv"}
    other = next((name for name in state if name.startswith("ip_adapter.") and name not in known), None)
    missing = next((name for name in sorted(known) if name not in state), None)
    if other is not None or missing is not None:
        raise ValueError(f"{where}: {f'{other} is not known' if other else f'{missing} is missing'}")
    return [torch.cat([state[f"ip_adapter.{i}.to_{part}_ip.weight"] for part in "kv"]) for i in numbers]


def _order(network: Contraction) -> list[int]:
    """Where in our order each cross-attention of a file is: files have down, up and the middle."""
    attentions = list(network.cross_attentions())
    names = {module: name for name, module in network.named_modules()}
    ranks = [("down", "up", "middle").index(names[attention].split(".")[0]) for attention in attentions]
    return sorted(range(len(ranks)), key=lambda i: (ranks[i], i))


def _encoder(source: Source, project: Project, given: str | Path | None) -> PictureEncoder:
    width = "hidden_size" if project.reads_hidden else "projection_dim"
    folders = [Path(given)] if given is not None else [source.path.parent / name for name in _ENCODERS]
    for folder in folders:
        config = folder / "config.json"
        if config.is_file() and read_json(config).get(width) == project.vision_dim:
            return load_picture_encoder(folder)
    raise FileNotFoundError(
        f"{source.name}: no CLIP vision encoder with {width} {project.vision_dim} in {', '.join(map(str, folders))}; "
        "it comes with the adapter's repository (h94/IP-Adapter: models/image_encoder)"
    )
