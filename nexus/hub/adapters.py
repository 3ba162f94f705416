"""LoRAs, ControlNets and IP-Adapters for a model that is loaded: what `--lora`, `--control` and `--like` call."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from nexus.adapters.control import Control
from nexus.adapters.ip_adapter import PicturePrompt
from nexus.adapters.lora import LoRAStack
from nexus.hub import controlnet
from nexus.hub.ip_adapter import load_ip_adapter
from nexus.hub.lora import load_lora
from nexus.hub.source import find
from nexus.media.image import Image
from nexus.models.diffusion.stable_diffusion import StableDiffusion


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


def load_control(path: str | Path, model: StableDiffusion, picture: Image | list[Image], **settings: Any) -> Control:
    """A ControlNet (a folder of diffusers or a single file) and what it is to see; `settings` are `Control`'s.

    Raises:
        ValueError, FileNotFoundError: no ControlNet, or settings that can't be.
    """
    network = controlnet.load(find(path)).eval().requires_grad_(False)
    like = model.network.conv_in.weight
    return Control(network.to(device=like.device, dtype=like.dtype), picture, **settings)


def load_picture_prompt(
    path: str | Path,
    model: StableDiffusion,
    picture: Image | list[Image],
    weight: float | int = 1.0,
    *,
    encoder: str | Path | None = None,
) -> PicturePrompt:
    """An IP-Adapter's file and the picture that says what to paint; `encoder` as in `load_ip_adapter`.

    Raises:
        ValueError, FileNotFoundError: an adapter for another base, or no vision encoder.
    """
    adapter = load_ip_adapter(path, model.network, encoder)
    like = model.network.conv_in.weight
    adapter.encoder.to(device=like.device, dtype=like.dtype)
    return PicturePrompt(adapter.to(device=like.device, dtype=like.dtype), picture, weight)


def networks_of(model: Any) -> Mapping[str, nn.Module]:
    """What a LoRA can change in a model, by the names that files have for it."""
    networks: dict[str, nn.Module] = {"network": model.network}
    read = getattr(model, "text_encoder", None)
    encoders = [*getattr(read, "clips", ()), getattr(read, "clip", None), getattr(read, "t5", None)]
    encoders = [encoder for encoder in encoders if encoder is not None] or [read]
    for i, encoder in enumerate(encoders):
        if isinstance(getattr(encoder, "encoder", None), nn.Module):
            networks["text_encoder" if i == 0 else f"text_encoder_{i + 1}"] = encoder.encoder
    return networks
