"""What a recipe tells the trainer: its networks, what each objective minimises, its data, how it is heard or seen."""

import dataclasses
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, Protocol, get_args, get_origin, get_type_hints, runtime_checkable

import torch
from torch import Tensor, nn

from nexus.media.audio import Audio
from nexus.media.image import Image
from nexus.media.video import Video
from nexus.training.precision import Device, Precision

Networks = Mapping[str, nn.Module]
Batch = dict[str, Tensor]
LossFunction = Callable[[Networks, Batch, torch.Generator], dict[str, Tensor]]


@runtime_checkable
class BatchStream(Protocol):
    """Batch `index` of an endless stream, a pure function of (seed, index): a run's data position is one integer."""

    def __getitem__(self, index: int) -> Batch: ...


def _at_least(least: int, **values: float | int) -> None:
    """Refuses what is below `least` or not finite; names are dotted by their first underscore."""
    for name, value in values.items():
        if not (least <= value < math.inf):
            raise ValueError(f"{name.replace('_', '.', 1)}: {value} is too small or not finite; the least is {least}")


@dataclasses.dataclass(frozen=True, kw_only=True)
class OptimizerConfig:
    """AdamW with linear warm-up, then a cosine to `final_lr_fraction` (or constant)."""

    lr: float = 1e-3
    betas: tuple[float, float] = (0.9, 0.99)
    weight_decay: float = 0.01
    warmup_steps: int = 200
    schedule: Literal["cosine", "constant"] = "cosine"
    final_lr_fraction: float = 0.05
    clip_norm: float = 1.0

    def __post_init__(self) -> None:
        _at_least(0, optimizer_lr=self.lr, optimizer_weight_decay=self.weight_decay)
        _at_least(0, optimizer_warmup_steps=self.warmup_steps, optimizer_clip_norm=self.clip_norm)


@dataclasses.dataclass(frozen=True, kw_only=True)
class LoopConfig:
    """How long and how a run goes; `steps` counts optimiser steps, `accumulate` batches make one of them."""

    steps: int = 1000
    seed: int = 0
    device: Device = "auto"
    precision: Precision = "fp32"  # "auto" takes bf16 where the hardware multiplies it
    accumulate: int = 1
    ema_decay: float = 0.999  # 0 turns averaging off
    log_every: int = 10
    save_every: int = 200
    sample_every: int = 500  # 0 makes no samples
    validate_every: int = 500  # 0 never
    validation_batches: int = 4
    workers: int = 0  # data loading processes
    gradient_checkpointing: bool = False

    def __post_init__(self) -> None:
        _at_least(1, loop_steps=self.steps, loop_accumulate=self.accumulate, loop_log_every=self.log_every)
        _at_least(0, loop_seed=self.seed, loop_workers=self.workers, loop_save_every=self.save_every)
        _at_least(0, loop_sample_every=self.sample_every, loop_validate_every=self.validate_every)
        _at_least(1, loop_validation_batches=self.validation_batches)


@dataclasses.dataclass(frozen=True)
class Objective:
    """One optimiser's turn in a step: the networks it updates and its losses ("loss" is minimised, all are logged)."""

    name: str
    networks: tuple[str, ...]
    loss: LossFunction
    optimizer: OptimizerConfig


@dataclasses.dataclass(frozen=True, kw_only=True)
class Recipe(ABC):
    """Base of all recipes: fields are set from the command line by dotted names (`optimizer.lr=3e-4`)."""

    name: str
    loop: LoopConfig = LoopConfig()
    optimizer: OptimizerConfig = OptimizerConfig()

    @abstractmethod
    def networks(self) -> dict[str, nn.Module]:
        """Freshly initialised networks by name (initialised after the trainer seeded torch); "model" is exported."""

    @abstractmethod
    def objectives(self, networks: Networks) -> tuple[Objective, ...]:
        """The turns of one step, in order."""

    @abstractmethod
    def dataset(self, split: Literal["train", "valid"]) -> BatchStream: ...

    @abstractmethod
    def export(self, model: nn.Module, folder: Path) -> None:
        """Writes the weights folder that `nexus.load` reads."""

    def samples(self, model: nn.Module, step: int) -> Mapping[str, Audio | Image | Video]:
        """Something to listen to or look at, by file stem; none by default."""
        return {}


def override(recipe: Recipe, assignments: list[str]) -> Recipe:
    """Sets dotted fields, `["optimizer.lr=3e-4", "loop.steps=10"]`.

    Raises:
        ValueError: an unknown field (with the fields there are) or a value that is not of the field's type.
    """
    for assignment in assignments:
        path, separator, text = assignment.partition("=")
        if not separator:
            raise ValueError(f"{assignment!r} is not key=value, such as optimizer.lr=3e-4")
        recipe = _set(recipe, path.split("."), text, path)
    return recipe


def _set(config: Any, path: list[str], text: str, whole: str) -> Any:
    fields = [field.name for field in dataclasses.fields(config)]
    if path[0] not in fields:
        raise ValueError(f"unknown field {path[0]!r} in {whole!r}; there are {', '.join(fields)}")
    old = getattr(config, path[0])
    if len(path) > 1:
        if not dataclasses.is_dataclass(old):
            raise ValueError(f"{path[0]!r} in {whole!r} is a value, not a group of fields")
        new = _set(old, path[1:], text, whole)
    elif dataclasses.is_dataclass(old):
        inner = ", ".join(field.name for field in dataclasses.fields(old))
        raise ValueError(f"{whole!r} is a group of fields: {inner}; set {whole}.{dataclasses.fields(old)[0].name}=…")
    else:
        new = _parse(text, old, get_type_hints(type(config))[path[0]], whole)
    return dataclasses.replace(config, **{path[0]: new})


def _parse(text: str, old: Any, hint: Any, whole: str) -> Any:
    if get_origin(hint) is Literal:
        if text not in get_args(hint):
            raise ValueError(f"{whole}: {text!r} is not one of {', '.join(map(str, get_args(hint)))}")
        return text
    if isinstance(old, tuple):
        items = [item.strip() for item in text.strip("()[]").split(",") if item.strip()]
        if Ellipsis not in get_args(hint) and len(items) != len(old):
            raise ValueError(f"{whole}: {text!r} has {len(items)} values; it takes {len(old)} (now {old!r})")
        return tuple(_scalar(item, type(old[0]) if old else str, old, whole) for item in items)
    return _scalar(text, type(old), old, whole)


def _scalar(text: str, kind: type, old: Any, whole: str) -> Any:
    kinds = {bool: lambda word: {"true": True, "false": False}[word.lower()], int: int, float: float, str: str}
    try:
        return kinds[kind](text)
    except (KeyError, ValueError):
        raise ValueError(f"{whole}: {text!r} is not a {kind.__name__} (now {old!r})") from None
