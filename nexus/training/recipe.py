"""What a recipe tells the trainer: its networks, what each objective minimises, its data, how it is heard or seen."""

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, Protocol

import torch
from torch import Tensor, nn

from nexus.media.audio import Audio
from nexus.media.image import Image
from nexus.media.video import Video

Networks = Mapping[str, nn.Module]
Batch = dict[str, Tensor]
LossFunction = Callable[[Networks, Batch, torch.Generator], dict[str, Tensor]]


class BatchStream(Protocol):
    """Batch `index` of an endless stream, a pure function of (seed, index): a run's data position is one integer."""

    def __getitem__(self, index: int) -> Batch: ...


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


@dataclasses.dataclass(frozen=True, kw_only=True)
class LoopConfig:
    """How long and how a run goes; `steps` counts optimiser steps, `accumulate` batches make one of them."""

    steps: int = 1000
    seed: int = 0
    precision: Literal["fp32", "bf16"] = "fp32"  # bf16 is the slower one on CPUs without avx512_bf16 or amx
    accumulate: int = 1
    ema_decay: float = 0.999  # 0 turns averaging off
    log_every: int = 10
    save_every: int = 200
    sample_every: int = 500  # 0 makes no samples
    validate_every: int = 500  # 0 never
    validation_batches: int = 4
    workers: int = 0  # data loading processes
    gradient_checkpointing: bool = False


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

    def samples(self, model: nn.Module, step: int) -> dict[str, Audio | Image | Video]:
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
    else:
        new = _parse(text, old, whole)
    return dataclasses.replace(config, **{path[0]: new})


def _parse(text: str, old: Any, whole: str) -> Any:
    kinds = {bool: {"true": True, "false": False}.__getitem__, int: int, float: float, str: str}
    try:
        if isinstance(old, tuple):
            inner = type(old[0]) if old else str
            return tuple(kinds[inner](item.strip()) for item in text.strip("()[]").split(",") if item.strip())
        return kinds[type(old)](text.lower() if isinstance(old, bool) else text)
    except (KeyError, ValueError):
        raise ValueError(f"{whole}: {text!r} is not a {type(old).__name__} (now {old!r})") from None
