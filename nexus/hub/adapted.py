"""Our folders of an adapted model: a LoRA, the name of the base it is for, and what changes in the base's settings.

`config.json` says `{"kind": "lora", "parts": {"base": "nexus/image-tiny"}, "config": {"steps": 2, ...}}`; the LoRA
lies beside it as diffusers writes one.
"""

import copy
import json
from collections.abc import Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from torch import nn

from nexus.adapters.lora import LoRA
from nexus.hub import native
from nexus.hub.lora import load_lora, save_lora
from nexus.hub.source import Source, find

FILE = "pytorch_lora_weights.safetensors"


def recognise(source: Source) -> bool:
    return source.config.get("kind") == "lora"


def kind(source: Source) -> str:
    """The base's."""
    return native.kind(_base(source))


def load(source: Source) -> nn.Module:
    """The base with the LoRA folded into its weights and its settings changed."""
    model: Any = native.load(_base(source))
    changes = source.config.get("config", {})
    known = {field.name for field in fields(model.config)}
    if unknown := sorted(set(changes) - known):
        raise ValueError(
            f"{source.name}/config.json: unknown key {unknown[0]!r}; the base has {', '.join(sorted(known))}"
        )
    model.config = replace(model.config, **changes)
    for change in load_lora(source.path / FILE, {"network": model.network})["network"]:
        weight = model.network.get_submodule(change.layer).weight
        weight.data[change.rows] += change.delta().to(weight)
    return model


def save_adapted(folder: Path, base: str, lora: LoRA, network: nn.Module, changes: Mapping[str, Any]) -> None:
    """Writes such a folder, the LoRA in half precision."""
    save_lora(folder / FILE, {"network": copy.deepcopy(lora).half()}, {"network": network})
    config = {"kind": "lora", "config": dict(changes), "parts": {"base": base}, "licence": "Apache-2.0"}
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")


def _base(source: Source) -> Source:
    base = source.config.get("parts", {}).get("base")
    if not isinstance(base, str):
        raise ValueError(f'{source.name}/config.json: parts must name the base, such as "nexus/image-tiny"')
    found = find(base)
    if not native.recognise(found) or recognise(found):
        raise ValueError(f"{source.name}/config.json: {base} is no weights folder of ours")
    return found
