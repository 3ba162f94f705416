"""Files of LoRAs as PEFT, diffusers and kohya's scripts write them, read into one form.

Each layer has two tensors, `down` (A) and `up` (B), and a scale alpha / rank. PEFT has alpha in `adapter_config.json`,
diffusers in the header of its file (or leaves it at the rank), kohya in a tensor beside each pair.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import safe_open
from torch import Tensor

from nexus.hub.source import Source, find, read_json
from nexus.hub.tensors import State, read_tensors, rename

_FILES = (
    "adapter_model.safetensors",
    "adapter_model.bin",
    "pytorch_lora_weights.safetensors",
    "pytorch_lora_weights.bin",
)
_ROLES = (
    (re.compile(r"\.lora_A(\.[^.]+)?\.weight$"), "down"),
    (re.compile(r"\.lora_B(\.[^.]+)?\.weight$"), "up"),
    (re.compile(r"(\.lora|_lora|\.lora_linear_layer)\.down\.weight$"), "down"),
    (re.compile(r"(\.lora|_lora|\.lora_linear_layer)\.up\.weight$"), "up"),
    (re.compile(r"\.lora_down\.weight$"), "down"),
    (re.compile(r"\.lora_up\.weight$"), "up"),
    (re.compile(r"(\.lora|_lora|\.lora_linear_layer)?\.alpha$"), "alpha"),
)
# What a file says about the network that a layer is of; None where it says nothing.
_PARTS: tuple[tuple[str, str | None], ...] = (
    (r"base_model\.model\.", None),
    (r"(unet|transformer|diffusion_model)\.", "network"),
    (r"lora_(unet|transformer)_", "network"),
    (r"text_encoder_2\.|lora_te2_", "text_encoder_2"),
    (r"text_encoder_3\.|lora_te3_", "text_encoder_3"),
    (r"text_encoder\.|lora_te1?_", "text_encoder"),
)
# XLabs' names for FLUX: what the layers are that each change was learnt beside; of a single block's first layer it
# concerns the rows of queries, keys and values alone.
_XLABS = (
    (r"(double_blocks\.\d+)\.processor\.(qkv|proj)_lora1\.", r"\1.img_attn.\2.lora."),
    (r"(double_blocks\.\d+)\.processor\.(qkv|proj)_lora2\.", r"\1.txt_attn.\2.lora."),
    (r"(single_blocks\.\d+)\.processor\.qkv_lora\.", r"\1.qkv.lora."),
    (r"(single_blocks\.\d+)\.processor\.proj_lora\.", r"\1.linear2.lora."),
)
_OTHER_KINDS = (
    (r"\.hada_", "LoHa"),
    (r"\.lokr_", "LoKr"),
    (r"\.oft_", "OFT"),
    (r"dora_scale|lora_magnitude_vector", "DoRA"),
    (r"lora_mid\.", "LoCon with a Tucker core"),
    (r"lora_embedding_", "LoRA of an embedding"),
    (r"lora_B(\.[^.]+)?\.bias|lora_bias", "LoRA with biases"),
    (r"\.diff(_b)?$", "full weights"),
)
# Settings of PEFT that make another change than ours; the first is what is known.
_FIXED = {"use_dora": False, "bias": "none", "fan_in_fan_out": False, "lora_bias": False, "peft_type": "LORA"}


@dataclass(frozen=True)
class FileLayer:
    """One layer's change as a file has it; `part` is the network it is of, None where the file does not say."""

    part: str | None
    name: str
    down: Tensor
    up: Tensor
    scale: float


def read_lora(path: str | Path) -> list[FileLayer]:
    """The changes in a file, or in a folder of PEFT or diffusers, or in a repository of the hub.

    Raises:
        ValueError: no LoRA, one half of a pair alone, or a relative of LoRA that is not known, by name.
        FileNotFoundError: nothing there.
    """
    source = find(path)
    file = _file(source)
    state = read_tensors(file)
    _refuse_others(state, source.name)
    config = file.parent / "adapter_config.json"
    settings = (
        _peft(config) if config.is_file() and file.name.startswith("adapter_model") else _header(file, source.name)
    )
    pairs: dict[str, dict[str, Tensor]] = {}
    for key, tensor in rename(state, _XLABS).items():
        stem, role = _role(key, source.name)
        pairs.setdefault(stem, {})[role] = tensor
    layers = [_layer(stem, pair, settings, source.name) for stem, pair in pairs.items()]
    if not layers:
        raise ValueError(f"{source.name}: it holds no tensors")
    return layers


def _file(source: Source) -> Path:
    if not source.is_folder:
        return source.path
    found = next((source.path / name for name in _FILES if (source.path / name).is_file()), None)
    others = sorted(source.path.glob("*.safetensors"))
    if found is None and len(others) == 1:
        found = others[0]
    if found is None:
        held = ", ".join(sorted(p.name for p in source.path.iterdir())[:8]) or "nothing"
        raise FileNotFoundError(f"{source.name}: no LoRA; expected one of {', '.join(_FILES)}, it holds {held}")
    return found


def _refuse_others(state: State, where: str) -> None:
    for key in state:
        kind = next((kind for pattern, kind in _OTHER_KINDS if re.search(pattern, key)), None)
        if kind is not None:
            raise ValueError(f"{where}: {key} is of a {kind}; known are LoRAs of PEFT, diffusers and kohya's scripts")


def _role(key: str, where: str) -> tuple[str, str]:
    for pattern, role in _ROLES:
        if match := pattern.search(key):
            return key[: match.start()], role
    raise ValueError(f"{where}: {key} is no part of a LoRA; is this a whole checkpoint? Give that as the model")


def _layer(stem: str, pair: dict[str, Tensor], settings: "Settings", where: str) -> FileLayer:
    for role, other in (("down", "up"), ("up", "down")):
        if role not in pair:
            has = other if other in pair else "alpha"
            raise ValueError(f"{where}: layer {stem!r} has its {has} alone, {role} is missing")
    down, up = pair["down"], pair["up"].flatten(1)
    if up.shape[1] != len(down):
        raise ValueError(f"{where}: layer {stem!r} has down of rank {len(down)} and up of rank {up.shape[1]}")
    part, name = _split(stem)
    scale = float(pair["alpha"]) / len(down) if "alpha" in pair else settings.scale(stem, len(down))
    return FileLayer(part, name, down, up, scale)


def _split(stem: str) -> tuple[str | None, str]:
    """The network that a layer is of, and its name there."""
    part, name = "network", stem
    for pattern, said in _PARTS:
        if match := re.match(pattern, stem):
            part, name = said, stem[match.end() :]
            break
    name = name.replace(".processor.", ".")
    return part, re.sub(r"\.to_out$", ".to_out.0", name)


@dataclass(frozen=True)
class Settings:
    """What a file says about alpha, for each network that it has settings for: PEFT's, under the network's prefix."""

    by_prefix: Mapping[str, Mapping[str, Any]]

    def scale(self, stem: str, rank: int) -> float:
        """alpha / rank, or alpha / sqrt(rank) of rsLoRA; 1 where nothing is said."""
        for prefix, settings in self.by_prefix.items():
            if stem.startswith(prefix) and "lora_alpha" in settings:
                name = stem.removeprefix(prefix)
                patterns = settings.get("alpha_pattern") or {}
                alpha = next(
                    (a for p, a in patterns.items() if re.match(rf"(.*\.)?({p})$", name)), settings["lora_alpha"]
                )
                return alpha / (rank**0.5 if settings.get("use_rslora") else rank)
        return 1.0


def _peft(path: Path) -> Settings:
    raw = read_json(path)
    _refuse_settings(raw, str(path))
    return Settings({"base_model.model.": raw})


def _header(file: Path, where: str) -> Settings:
    """diffusers' settings, PEFT's with the network's prefix before each."""
    if file.suffix != ".safetensors":
        return Settings({})
    with safe_open(file, "pt") as opened:
        text = (opened.metadata() or {}).get("lora_adapter_metadata")
    by_prefix: dict[str, dict[str, Any]] = {}
    for key, value in (json.loads(text) if text else {}).items():
        prefix, _, name = key.partition(".")
        by_prefix.setdefault(f"{prefix}.", {})[name] = value
    for settings in by_prefix.values():
        _refuse_settings(settings, where)
    return Settings(by_prefix)


def _refuse_settings(raw: Mapping[str, Any], where: str) -> None:
    for name, value in _FIXED.items():
        if (raw.get(name) or value) != value:
            raise ValueError(f"{where}: {name} = {raw[name]!r} makes another change than LoRA's; known is {value!r}")
    if raw.get("modules_to_save"):
        raise ValueError(f"{where}: it replaces whole layers too (modules_to_save), which is more than a LoRA")
