"""Embeddings of times and places by sines and cosines (arXiv:1706.03762, section 3.5)."""

import math

import torch
from jaxtyping import Float, Num
from torch import Tensor


def timestep_embedding(
    t: Num[Tensor, " B"], dim: int, max_period: float = 10000.0, shift: float | int = 0
) -> Float[Tensor, "B dim"]:
    """Cosines, then sines, of t at `dim / 2` frequencies from 1 down towards 1 / max_period.

    With `shift` 1, as in DDPM, the last frequency is 1 / max_period itself.
    """
    half = dim // 2
    places = torch.arange(half, device=t.device, dtype=torch.float32) / (half - shift)
    frequencies = torch.exp(-math.log(max_period) * places)
    angles = t.float()[:, None] * frequencies
    return torch.cat([angles.cos(), angles.sin()], dim=-1)


def sincos(positions: Float[Tensor, " T"], dim: int) -> Float[Tensor, "T dim"]:
    """Sines, then cosines, of positions at `dim / 2` frequencies, computed in float64."""
    frequencies = 10000.0 ** -(torch.arange(dim // 2, dtype=torch.float64) / (dim / 2))
    angles = torch.outer(positions.double(), frequencies)
    return torch.cat([angles.sin(), angles.cos()], dim=-1).float()


def sincos_2d(dim: int, rows: Float[Tensor, " H"], columns: Float[Tensor, " W"]) -> Float[Tensor, "HW dim"]:
    """Half of the width for columns, then half for rows, row by row (DiT, SD3, PixArt)."""
    h, w = sincos(rows, dim // 2)[:, None], sincos(columns, dim // 2)[None]
    grid = (len(rows), len(columns), -1)
    return torch.cat([w.expand(grid), h.expand(grid)], dim=-1).flatten(0, 1)


def sincos_3d(
    dim: int, frames: Float[Tensor, " F"], rows: Float[Tensor, " H"], columns: Float[Tensor, " W"]
) -> Float[Tensor, "FHW dim"]:
    """A quarter of the width for time, then three eighths for columns and three eighths for rows (CogVideoX-2B's)."""
    place = dim * 3 // 8
    f, h, w = torch.meshgrid(frames, rows, columns, indexing="ij")
    parts = [sincos(f.flatten(), dim // 4), sincos(w.flatten(), place), sincos(h.flatten(), place)]
    return torch.cat(parts, dim=-1)
