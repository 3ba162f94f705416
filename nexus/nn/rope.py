"""Rotary position embedding (RoFormer, arXiv:2104.09864) on interleaved pairs (x0, x1), (x2, x3) …, on 1 or 3 axes.

Axes: T positions (or F x H x W of them, width fastest), E head width. Angles are computed in float32 at least.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

Rotation = tuple[Tensor, Tensor]


def rope_frequencies(dim: int, positions: Tensor, theta: float = 10000.0) -> Rotation:
    """Cosines and sines [T, dim / 2] of `positions[t] * theta^(-2i / dim)`; positions may be fractional.

    Raises:
        ValueError: an odd `dim`, or positions that are not one axis.
    """
    if dim % 2 or positions.ndim != 1:
        raise ValueError(f"rope needs an even dim and positions [T], got dim {dim} and {list(positions.shape)}")
    precision = torch.float64 if positions.dtype == torch.float64 else torch.float32
    exponents = torch.arange(0, dim, 2, dtype=precision, device=positions.device) / dim
    angles = torch.outer(positions.to(precision), theta**-exponents)
    return angles.cos(), angles.sin()


def rope_frequencies_of_axes(dims: Sequence[int], positions: Sequence[Tensor], theta: float = 10000.0) -> Rotation:
    """Cosines and sines [T, sum(dims) / 2] of places on several axes: `dims[i]` channels turn with `positions[i]`."""
    parts = [rope_frequencies(dim, axis, theta) for dim, axis in zip(dims, positions, strict=True)]
    return torch.cat([cos for cos, _ in parts], dim=-1), torch.cat([sin for _, sin in parts], dim=-1)


def rope_frequencies_3d(
    dim: int, frames: Tensor, rows: Tensor, columns: Tensor, theta: float = 10000.0
) -> tuple[Float[Tensor, "FHW half"], Float[Tensor, "FHW half"]]:
    """Cosines and sines on a grid: `dim / 4` channels turn with time, `3 dim / 8` with rows, `3 dim / 8` with columns.

    That split is CogVideoX's (arXiv:2408.06072); the arguments are the positions along each axis.

    Raises:
        ValueError: `dim` is not a multiple of 16, which the split into even parts needs.
    """
    if dim % 16:
        raise ValueError(
            f"3D rope splits dim into 2/8, 3/8 and 3/8, each even; dim must be a multiple of 16, got {dim}"
        )
    grid = torch.meshgrid(frames, rows, columns, indexing="ij")
    return rope_frequencies_of_axes((dim // 4, dim * 3 // 8, dim * 3 // 8), [a.reshape(-1) for a in grid], theta)


def apply_rope(
    x: Float[Tensor, "*batch T E"], cos: Float[Tensor, "T half"], sin: Float[Tensor, "T half"]
) -> Float[Tensor, "*batch T E"]:
    """Turns each pair (x[2i], x[2i + 1]) by its angle; the result has the dtype of `x`."""
    even, odd = x.unflatten(-1, (-1, 2)).unbind(-1)
    cos, sin = cos.to(x.device), sin.to(x.device)
    return torch.stack((even * cos - odd * sin, odd * cos + even * sin), dim=-1).flatten(-2).to(x.dtype)
