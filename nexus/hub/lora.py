"""LoRA files to and from our networks: each layer of a file is looked up, and refused where the base is another."""

import json
import re
from collections.abc import Mapping
from pathlib import Path

from safetensors.torch import save_file
from torch import Tensor, nn

from nexus.adapters.lora import LoRA, LowRank
from nexus.hub.lora_files import FileLayer, read_lora
from nexus.hub.lora_layers import Place, lookup, places, prefix
from nexus.hub.original_unet import to_diffusers
from nexus.hub.tensors import State
from nexus.models.diffusion.conditional_unet import ConditionalUNet

Networks = Mapping[str, nn.Module]  # "network", and "text_encoder", "text_encoder_2" where there are any


def load_lora(path: str | Path, networks: Networks) -> dict[str, LoRA]:
    """Reads a LoRA (PEFT, diffusers, kohya) for these networks; those that it does not concern are left out.

    Raises:
        ValueError: a LoRA for another base, with the first layer that differs; or no LoRA at all.
        FileNotFoundError: nothing there.
    """
    known = {part: lookup(network) for part, network in networks.items()}
    found: dict[str, list[LowRank]] = {}
    for layer in read_lora(path):
        part, place = _find(layer, known, networks, str(path))
        found.setdefault(part, []).append(_fit(layer, place, networks[part], str(path)))
    loras = {part: LoRA(changes) for part, changes in found.items()}
    for part, lora in loras.items():
        lora.check(networks[part], str(path))
    return loras


def save_lora(path: str | Path, loras: Mapping[str, LoRA], networks: Networks) -> None:
    """Writes a file as diffusers' `load_lora_weights` reads it; scales are folded into `up`, so that all read it alike.

    Raises:
        ValueError: a network that diffusers does not know.
    """
    state: State = {}
    for part, lora in loras.items():
        before = prefix(networks[part])
        if before is None:
            raise ValueError(f"diffusers has no {type(networks[part]).__name__}; save_peft keeps our names")
        before = part if part.startswith("text_encoder") else before
        for name, down, up, scale in _reference_layers(lora, networks[part]):
            state[f"{before}.{name}.lora_A.weight"] = down
            state[f"{before}.{name}.lora_B.weight"] = (scale * up.float()).to(up.dtype)
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    save_file({name: tensor.cpu().contiguous().clone() for name, tensor in state.items()}, path, {"format": "pt"})


def save_peft(folder: str | Path, lora: LoRA, network: nn.Module) -> None:
    """Writes a folder of PEFT, under the reference's names of layers, or ours where there is none."""
    state: State = {}
    ranks: dict[str, int] = {}
    alphas: dict[str, float] = {}
    for name, down, up, scale in _reference_layers(lora, network):
        state[f"base_model.model.{name}.lora_A.weight"] = down.cpu().contiguous().clone()
        state[f"base_model.model.{name}.lora_B.weight"] = up.cpu().contiguous().clone()
        ranks[name], alphas[name] = len(down), scale * len(down)
    first = next(iter(ranks))
    config = {
        "peft_type": "LORA",
        "r": ranks[first],
        "lora_alpha": alphas[first],
        "target_modules": list(ranks),
        "rank_pattern": {f"^{name}": rank for name, rank in ranks.items() if rank != ranks[first]},
        "alpha_pattern": {f"^{name}": alpha for name, alpha in alphas.items() if alpha != alphas[first]},
        "bias": "none",
        "inference_mode": True,
    }
    Path(folder).mkdir(parents=True, exist_ok=True)
    save_file(state, Path(folder) / "adapter_model.safetensors", {"format": "pt"})
    (Path(folder) / "adapter_config.json").write_text(json.dumps(config, indent=2) + "\n")


def _find(layer: FileLayer, known: dict[str, dict[str, Place]], networks: Networks, where: str) -> tuple[str, Place]:
    spellings = [name.replace(".", "_") for name in (layer.name, to_diffusers(layer.name))]
    parts = [layer.part] if layer.part is not None else list(networks)
    if parts == ["text_encoder_3"] and "text_encoder_3" not in networks:
        parts = ["text_encoder_2"]  # kohya's scripts count T5 as the third of FLUX too, which has no second CLIP
    for part in parts:
        place = next((known[part][name] for name in spellings if name in known.get(part, {})), None)
        if place is not None:
            return part, place
    if layer.part is not None and layer.part not in networks:
        raise ValueError(f"{where} is for another base: it changes a {layer.part}, there is {', '.join(networks)}")
    base = " or ".join(type(networks[part]).__name__ for part in parts)
    raise ValueError(f"{where} is for another base: layer {layer.name!r} is not in this {base}")


def _fit(layer: FileLayer, place: Place, network: nn.Module, where: str) -> LowRank:
    """In the shape of our layer: convolutions of one pixel or over patches are linear layers, or the other way."""
    weight: Tensor = network.get_submodule(place.layer).weight  # type: ignore[assignment]
    rows, down = place.stop_row - place.first_row, layer.down
    if down.ndim != weight.ndim and down[0].numel() == weight[0].numel():
        down = down.reshape(len(down), *weight.shape[1:])
    if down.shape[1:] != weight.shape[1:] or len(layer.up) != rows:
        raise ValueError(
            f"{where} is for another base: layer {layer.name!r} changes a weight of "
            f"{[len(layer.up), *down.shape[1:]]}, this {type(network).__name__} has {[rows, *weight.shape[1:]]}"
        )
    return LowRank(place.layer, down.clone(), layer.up.clone(), scale=layer.scale, first_row=place.first_row)


def _reference_layers(lora: LoRA, network: nn.Module) -> list[tuple[str, Tensor, Tensor, float]]:
    """Name, down, up and scale of each change, one for every layer that the reference has where ours holds several."""
    by_layer: dict[str, list[tuple[str, Place]]] = {}
    for name, place in places(network).items():
        by_layer.setdefault(place.layer, []).append((name, place))
    layers = []
    for change in lora:
        for name, place in by_layer[change.layer]:
            if change.first_row <= place.first_row and place.stop_row <= change.rows.stop:
                rows = slice(place.first_row - change.first_row, place.stop_row - change.first_row)
                down, up = change.down.detach(), change.up.detach()[rows]
                if down.ndim == 4 or _is_pixelwise(name, network):
                    down, up = down.reshape(*down.shape, *[1] * (4 - down.ndim)), up[:, :, None, None]
                layers.append((name, down, up, change.scale))
    return layers


def _is_pixelwise(name: str, network: nn.Module) -> bool:
    """Whether a linear layer of ours is a convolution of one pixel there, as in Stable Diffusion 1's transformers."""
    first = isinstance(network, ConditionalUNet) and network.config.text_dim == 768
    return first and re.search(r"attentions\.\d+\.proj_(in|out)$", name) is not None
