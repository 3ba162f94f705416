"""LoRAs, ControlNets and IP-Adapters for a model that is loaded: what `--lora`, `--control` and `--like` call."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from nexus.adapters.block_control import BlockControl
from nexus.adapters.block_ip_adapter import BlockPicturePrompt
from nexus.adapters.control import Control
from nexus.adapters.controlnet import ControlNet
from nexus.adapters.ip_adapter import PicturePrompt
from nexus.adapters.lora import LoRAStack
from nexus.hub import controlnet, flux_controlnet, pixart_controlnet, sd3_controlnet
from nexus.hub.block_ip_adapter import load_block_ip_adapter
from nexus.hub.ip_adapter import load_ip_adapter
from nexus.hub.lora import load_lora
from nexus.hub.source import find
from nexus.media.image import Image
from nexus.models.diffusion.conditional_unet import ConditionalUNet
from nexus.models.diffusion.flux_transformer import FluxTransformer
from nexus.models.diffusion.mmdit import MMDiT

_CONTROLNETS = (controlnet, sd3_controlnet, flux_controlnet, pixart_controlnet)
_BASES = {  # of each class of ControlNets: the class of models, and what they are called
    "ControlNet": ("StableDiffusion", "Stable Diffusion 1, 2 or XL"),
    "SD3ControlNet": ("StableDiffusion3", "Stable Diffusion 3 or 3.5"),
    "SD35ControlNet": ("StableDiffusion3", "Stable Diffusion 3.5"),
    "FluxControlNet": ("Flux", "FLUX.1"),
    "PixArtControlNet": ("PixArt", "PixArt"),
}


def add_lora(model: Any, path: str | Path, weight: float | int = 1.0) -> None:
    """Folds a LoRA (PEFT, diffusers, kohya) into a model and its text encoders, `weight` times; several add up.

    Raises:
        ValueError: a LoRA for another base, with the first layer that differs; the model stays as it was then.
        FileNotFoundError: nothing there.
    """
    networks = networks_of(model)
    loras = load_lora(path, networks)
    stacks: dict[str, LoRAStack] = model.__dict__.setdefault("lora_stacks", {})
    for part, lora in loras.items():
        stacks.setdefault(part, LoRAStack(networks[part])).add(lora, weight)


def remove_loras(model: Any) -> None:
    """Takes every LoRA out of a model again; its weights are as they were, to the bit."""
    for stack in model.__dict__.pop("lora_stacks", {}).values():
        stack.set([])


def load_control(path: str | Path, model: Any, picture: Image | list[Image], **settings: Any) -> Control | BlockControl:
    """A ControlNet (a folder of diffusers or a single file) and what it is to see.

    `settings` are those of `Control` for Stable Diffusion, of `BlockControl` for Stable Diffusion 3, FLUX and PixArt.

    Raises:
        ValueError, FileNotFoundError: no ControlNet, or settings that can't be.
    """
    source = find(path)
    family = next((family for family in _CONTROLNETS if family.recognise(source)), controlnet)
    if source.is_folder and not family.recognise(source):
        held = ", ".join(sorted(p.name for p in source.path.iterdir())[:8]) or "nothing"
        what = source.config.get("_class_name", "a folder")
        raise ValueError(f"{source.name} is no ControlNet, but {what}: it holds {held}")
    base, called = _BASES[family.kind(source)]
    if base != type(model).__name__:
        raise ValueError(f"{source.name} is for another base: {called}, this model is a {type(model).__name__}")
    network: Any = family.load(source).eval().requires_grad_(False)
    like = next(model.network.parameters())
    network.to(device=like.device, dtype=like.dtype)
    if isinstance(network, ControlNet):
        return Control(network, picture, **settings)
    if settings.pop("guess", False):
        raise ValueError("guess mode is for Stable Diffusion's own ControlNets; leave guess out")
    return BlockControl(network, picture, **settings)


def load_picture_prompt(
    path: str | Path,
    model: Any,
    picture: Image | list[Image],
    weight: float | int = 1.0,
    *,
    encoder: str | Path | None = None,
) -> PicturePrompt | BlockPicturePrompt:
    """An IP-Adapter's file and the picture that says what to paint; `encoder` is the folder of its vision encoder.

    Raises:
        ValueError, FileNotFoundError: an adapter for another base, or no vision encoder.
    """
    network = model.network
    like = next(network.parameters())

    def placed(adapter: Any) -> Any:
        adapter.encoder.to(device=like.device, dtype=like.dtype)
        return adapter.to(device=like.device, dtype=like.dtype)

    if isinstance(network, MMDiT | FluxTransformer):
        return BlockPicturePrompt(placed(load_block_ip_adapter(path, network, encoder)), picture, weight)
    if not isinstance(network, ConditionalUNet):
        known = "Stable Diffusion, 3 and 3.5 among them, and FLUX"
        raise ValueError(f"there are IP-Adapters for {known}, this model is a {type(model).__name__}")
    return PicturePrompt(placed(load_ip_adapter(path, network, encoder)), picture, weight)


def networks_of(model: Any) -> Mapping[str, nn.Module]:
    """What a LoRA can change in a model, by the names that files have for it."""
    networks: dict[str, nn.Module] = {"network": model.network}
    read = getattr(model, "text_encoder", None)
    clips = getattr(read, "clips", ())
    clips = getattr(clips, "clips", clips)  # Stable Diffusion 3 has them in a reader of their own
    encoders = [*clips, getattr(read, "clip", None), getattr(read, "t5", None)]
    encoders = [encoder for encoder in encoders if encoder is not None] or [read]
    for i, encoder in enumerate(encoders):
        if isinstance(getattr(encoder, "encoder", None), nn.Module):
            networks["text_encoder" if i == 0 else f"text_encoder_{i + 1}"] = encoder.encoder
    return networks
