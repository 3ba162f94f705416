"""Reading tensors safely, renaming them by a table, and loading them with every one accounted for."""

import pickle
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor, nn

from nexus.hub.source import Source, read_json
from nexus.nn.rows8 import unpacked
from nexus.text.files import POINTER, is_pointer

State = dict[str, Tensor]
Rules = Iterable[tuple[str, str]]

_FOLDER_FILES = (
    "model.safetensors",
    "diffusion_pytorch_model.safetensors",
    "pytorch_model.bin",
    "diffusion_pytorch_model.bin",
    "model.fp16.safetensors",
    "diffusion_pytorch_model.fp16.safetensors",
)
_WRAPPERS = ("state_dict", "best_state", "ema_model_state_dict", "model_state_dict", "model", "module", "generator")
_NORMED = ".parametrizations.weight.original"


class _Callback:
    """In the place of a class whose name is in a file but whose objects are not."""


# Lightning keeps what its callbacks remember under their classes (Stable Diffusion's first checkpoints have them).
_CALLBACKS: list[tuple[Any, str]] = [
    (_Callback, f"pytorch_lightning.callbacks.{name}")
    for name in ("model_checkpoint.ModelCheckpoint", "early_stopping.EarlyStopping")
]
# What numpy's random state, which training runs save along, is pickled as: arrays of integers, no code of anyone's.
_reconstruct = np.empty(0).__reduce__()[0]
_RANDOM_STATES = [
    np.ndarray,
    np.dtype,
    np.dtypes.UInt32DType,
    (_reconstruct, "numpy._core.multiarray._reconstruct"),
    (_reconstruct, "numpy.core.multiarray._reconstruct"),  # as numpy 1 wrote it
]


def read_tensors(source: Source | Path) -> State:
    """All tensors of a file, or of a folder's weights (safetensors first, sharded or not).

    Raises:
        ValueError: a damaged file, or a pickle that holds more than tensors (it is never executed).
        FileNotFoundError: a folder without weights, or a shard that its index names but that is not there.
    """
    path = source.path if isinstance(source, Source) else source
    if path.is_file():
        return _read_file(path)
    for index in sorted(path.glob("*.index.json")):
        shards = sorted(set(read_json(index)["weight_map"].values()))
        missing = [shard for shard in shards if not (path / shard).is_file()]
        if missing:
            raise FileNotFoundError(f"{path}: {index.name} names {missing[0]}, which is not there")
        return {name: tensor for shard in shards for name, tensor in _read_file(path / shard).items()}
    for name in _FOLDER_FILES:
        if (path / name).is_file():
            return _read_file(path / name)
    raise FileNotFoundError(f"{path}: no weights; expected one of {', '.join(_FOLDER_FILES)}")


def tensor_names(source: Source | Path) -> set[str]:
    """The names of a file's tensors, of a safetensors file without reading them; none of a file of another kind."""
    path = source.path if isinstance(source, Source) else source
    if path.suffix == ".safetensors":
        try:
            with safe_open(path, framework="pt") as file:
                return set(file.keys())
        except SafetensorError:
            return set()
    return set(_read_file(path)) if path.suffix in {".pt", ".pth", ".ckpt", ".bin"} else set()


def _read_file(path: Path) -> State:
    if path.suffix == ".safetensors":
        try:
            return unpacked(load_file(path))
        except SafetensorError as error:
            why = POINTER if is_pointer(path) else error
            raise ValueError(f"{path}: not a readable safetensors file ({why})") from None
    return unwrap(read_pickle(path), path)


def read_pickle(path: Path) -> object:
    """What a torch file holds: tensors, and plain values beside them; nothing else is read.

    Raises:
        ValueError: a damaged file, or a pickle that holds more (it is never executed).
    """
    with path.open("rb") as file:
        torch_file = file.read(2).startswith((b"PK", b"\x80"))  # a zip of today, a pickle of before
    if not torch_file:
        raise ValueError(f"{path}: {POINTER if is_pointer(path) else 'neither safetensors nor a torch file'}")
    try:
        with torch.serialization.safe_globals([*_RANDOM_STATES, *_CALLBACKS]):
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise ValueError(
            f"{path}: refused, the pickle holds more than tensors and could execute code "
            f"({str(error).splitlines()[0][:120]}); convert it to safetensors where you trust it"
        ) from None
    except (RuntimeError, EOFError, OSError) as error:
        raise ValueError(f"{path}: damaged or not a torch file ({str(error).splitlines()[0]})") from None


def unwrap(content: object, path: Path) -> State:
    """The tensors among what `read_pickle` gave, out of the dictionaries that training frameworks wrap them in."""
    while isinstance(content, Mapping):
        inner = next((key for key in _WRAPPERS if isinstance(content.get(key), Mapping)), None)
        if inner is None:
            return {str(name): value for name, value in content.items() if isinstance(value, Tensor)}
        content = content[inner]
    raise ValueError(f"{path}: holds a {type(content).__name__}, expected a dictionary of tensors")


def rename(state: Mapping[str, Tensor], rules: Rules) -> State:
    """Applies every (regular expression, replacement) in order to every name.

    Raises:
        ValueError: two tensors would end under one name.
    """
    table = [(re.compile(pattern), replacement) for pattern, replacement in rules]
    renamed: State = {}
    for old, tensor in state.items():
        new = old
        for pattern, replacement in table:
            new = pattern.sub(replacement, new)
        if new in renamed:
            raise ValueError(f"renaming maps two tensors to {new!r}, the second is {old!r}")
        renamed[new] = tensor
    return renamed


def drop(state: Mapping[str, Tensor], *patterns: str) -> State:
    """Without the tensors whose names match one of the regular expressions (each a known leftover of training)."""
    return {name: tensor for name, tensor in state.items() if not any(re.search(p, name) for p in patterns)}


def fold_weight_norm(state: Mapping[str, Tensor]) -> State:
    """Plain weights in the place of sizes and directions (w = g v / |v|, arXiv:1602.07868), in either of torch's
    spellings: `weight_g` and `weight_v`, or `parametrizations.weight.original0` and `original1`."""
    folded = dict(state)
    for size, direction in ((".weight_g", ".weight_v"), (f"{_NORMED}0", f"{_NORMED}1")):
        for name in [name for name in state if name.endswith(size)]:
            stem = name.removesuffix(size)
            if stem + direction in state:
                g, v = folded.pop(name), folded.pop(stem + direction)
                folded[f"{stem}.weight"] = v * (g / v.flatten(1).norm(dim=1).view_as(g))
    return folded


def join(state: Mapping[str, Tensor], parts: Sequence[str], whole: str) -> State:
    """Puts layers that are rows of one of ours below each other: every `stem.part.weight` into `stem.whole.weight`."""
    joined = dict(state)
    for name in state:
        stem, found, kind = name.rpartition(f".{parts[0]}.")
        names = [f"{stem}.{part}.{kind}" for part in parts]
        if found and all(part in joined for part in names):
            joined[f"{stem}.{whole}.{kind}"] = torch.cat([joined.pop(part) for part in names])
    return joined


def swap_halves(tensor: Tensor) -> Tensor:
    """The second half of the rows before the first: scale and shift to shift and scale."""
    return torch.cat(tensor.chunk(2)[::-1])


def _has_nan(tensor: Tensor) -> bool:
    if not tensor.is_floating_point():
        return False
    # Of some kinds of 8-bit numbers torch does not tell.
    return bool((tensor.half() if tensor.element_size() == 1 else tensor).isnan().any())


def load_strict(module: nn.Module, state: Mapping[str, Tensor], where: str) -> None:
    """Copies `state` into `module`; every tensor on both sides must find its partner of the same shape.

    Raises:
        ValueError: names the first missing, unexpected, misshapen or broken tensors and says how many there are.
    """
    expected = module.state_dict()
    missing = [name for name in expected if name not in state]
    unexpected = [name for name in state if name not in expected]
    misshapen = [
        f"{name} is {list(state[name].shape)}, expected {list(tensor.shape)}"
        for name, tensor in expected.items()
        if name in state and state[name].shape != tensor.shape
    ]
    broken = next((name for name, tensor in state.items() if _has_nan(tensor)), None)
    if broken is not None:
        raise ValueError(f"{where}: {broken} holds NaN: the file is damaged or its training failed; take another")
    problems = [
        f"{len(names)} {label}: {', '.join(names[:3])}{' …' if len(names) > 3 else ''}"
        for label, names in (("missing", missing), ("unexpected", unexpected), ("misshapen", misshapen))
        if names
    ]
    if problems:
        raise ValueError(f"{where}: the tensors do not fit {type(module).__name__}: {'; '.join(problems)}")
    module.load_state_dict(state)
