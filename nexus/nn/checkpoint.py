"""Our own weights folder: `config.json` beside `model.safetensors`, written atomically, configs checked on reading."""

import dataclasses
import json
import os
import tempfile
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from nexus.nn.rows8 import packed

C = TypeVar("C")


def config_from_dict(cls: type[C], values: Mapping[str, Any], where: str = "config") -> C:
    """Builds the frozen dataclass `cls`, nested ones too, from JSON values.

    Raises:
        ValueError: a key that `cls` does not have, with the keys that it has.
    """
    fields = {field.name: field for field in dataclasses.fields(cls)}  # type: ignore[arg-type]
    unknown = sorted(set(values) - set(fields))
    if unknown:
        raise ValueError(f"{where}: unknown key {unknown[0]!r} for {cls.__name__}; it has {', '.join(sorted(fields))}")
    hints = typing.get_type_hints(cls)
    return cls(**{name: _coerce(hints[name], value, f"{where}.{name}") for name, value in values.items()})


def _coerce(hint: Any, value: Any, where: str) -> Any:
    if typing.get_origin(hint) in (typing.Union, types.UnionType) and value is not None:
        hint = next(arg for arg in typing.get_args(hint) if arg is not type(None))
    if dataclasses.is_dataclass(hint) and isinstance(value, Mapping):
        return config_from_dict(hint, value, where)  # type: ignore[arg-type]
    if typing.get_origin(hint) is tuple and isinstance(value, list):
        inner = typing.get_args(hint)[0]
        return tuple(_coerce(inner, item, where) for item in value)
    return value


def save_folder(
    module: nn.Module,
    folder: str | Path,
    *,
    kind: str,
    config: Any,
    parts: Mapping[str, str] | None = None,
    licence: str = "Apache-2.0",
    dtype: torch.dtype | None = None,
) -> None:
    """Writes `module` as our own weights folder; floating tensors are stored in `dtype` where given
    (int8: large matrices by `nexus.nn.rows8`, the rest in half precision).

    `parts` names, by attribute, the other models that complete this one (`{"codec": "nexus/encodec-tiny"}`); their
    tensors stay in their own folders.

    Each file is written beside its place and renamed, so that an interruption leaves the old pair or the new one.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    parts = dict(parts or {})
    own = {name: tensor for name, tensor in module.state_dict().items() if name.split(".")[0] not in parts}
    state = {name: _storable(tensor, torch.float16 if dtype == torch.int8 else dtype) for name, tensor in own.items()}
    state = packed(state) if dtype == torch.int8 else state
    description = {"kind": kind, "config": dataclasses.asdict(config), "parts": parts, "licence": licence}
    with tempfile.TemporaryDirectory(dir=folder, prefix=".saving-") as draft:
        save_file(state, Path(draft) / "model.safetensors")
        (Path(draft) / "config.json").write_text(json.dumps(description, indent=2) + "\n")
        for name in ("model.safetensors", "config.json"):
            os.replace(Path(draft) / name, folder / name)


def _storable(tensor: Tensor, dtype: torch.dtype | None) -> Tensor:
    tensor = tensor.detach().cpu()
    if dtype is not None and tensor.is_floating_point():
        tensor = tensor.to(dtype)
    return tensor.contiguous().clone()
