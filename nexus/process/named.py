"""Solvers by the names that users type; each takes (field, noise, path) and generators for what it draws."""

import difflib
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from nexus.process.diffusion import DataField
from nexus.process.levels import Path, is_straight
from nexus.process.solvers import consistency, ddim, ddpm, dpmpp_2m, flow_heun, heun
from nexus.process.unipc import unipc

Rngs = list[torch.Generator]
NamedSolver = Callable[[DataField, Tensor, Path, Rngs], Iterator[Tensor]]

SOLVERS: dict[str, NamedSolver] = {
    "ddim": lambda field, noise, path, rngs: ddim(field, noise, path),
    "ddpm": lambda field, noise, path, rngs: ddpm(field, noise, path, rngs=rngs),
    "euler": lambda field, noise, path, rngs: ddim(field, noise, path),
    "euler-ancestral": lambda field, noise, path, rngs: ddim(field, noise, path, eta=1, rngs=rngs),
    "heun": lambda field, noise, path, rngs: (flow_heun if is_straight(path) else heun)(field, noise, path),
    "dpmpp-2m": lambda field, noise, path, rngs: dpmpp_2m(field, noise, path),
    "dpmpp-2m-sde": lambda field, noise, path, rngs: dpmpp_2m(field, noise, path, rngs=rngs),
    "unipc": lambda field, noise, path, rngs: unipc(field, noise, path),
    "lcm": lambda field, noise, path, rngs: consistency(field, noise, path, rngs=rngs),
}


def named(name: str, among: tuple[str, ...] = tuple(SOLVERS)) -> NamedSolver:
    """The solver of that name, out of those that suit a model.

    Raises:
        ValueError: another name; the nearest is offered.
    """
    if name not in among:
        near: list[Any] = difflib.get_close_matches(name, among, n=1, cutoff=0.4)
        raise ValueError(
            f"solver must be one of {', '.join(among)}, got {name!r}{f'; nearest is {near[0]}' if near else ''}"
        )
    return SOLVERS[name]
