"""Weights of 8 bits: each row of a matrix as whole numbers up to 127 and one scale, half the size of half precision.

For storing alone: what is read is a matrix of half precision again. A row's numbers are off by at most 1/254 of its
greatest. Vectors and small matrices stay as they are.
"""

import torch
from torch import Tensor

SUFFIX = ".int8_scale"  # of the scales' names
LEAST = 4096  # numbers of a matrix that is worth it


def packed(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Large matrices (anything over two dimensions counts as one, by its first) as int8 beside their scales."""
    result = {}
    for name, tensor in state.items():
        if not tensor.is_floating_point() or tensor.ndim < 2 or tensor.numel() < LEAST:
            result[name] = tensor
            continue
        rows = tensor.float()
        scale = (rows.abs().flatten(1).amax(1) / 127).clamp(min=1e-6).half()
        spread = scale.float().view(-1, *[1] * (tensor.ndim - 1))
        result[name] = (rows / spread).round().clamp(-127, 127).to(torch.int8)
        result[name + SUFFIX] = scale
    return result


def unpacked(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The inverse of `packed`; a state that was not packed is returned as it is.

    Raises:
        ValueError: scales without their matrix, or not one a row.
    """
    scales = {name: tensor for name, tensor in state.items() if name.endswith(SUFFIX)}
    if not scales:
        return state
    result = {name: tensor for name, tensor in state.items() if name not in scales}
    for name, scale in scales.items():
        matrix = result.get(name.removesuffix(SUFFIX))
        if matrix is None or matrix.dtype != torch.int8 or scale.shape != matrix.shape[:1]:
            raise ValueError(f"{name}: needs a matrix of int8 {name.removesuffix(SUFFIX)!r} with as many rows")
        spread = scale.float().view(-1, *[1] * (matrix.ndim - 1))
        result[name.removesuffix(SUFFIX)] = (matrix * spread).half()
    return result
