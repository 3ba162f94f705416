"""Classifier-free guidance (arXiv:2207.12598): two fields become one.

Convention here: `null + guidance_scale * (cond - null)`, so 1 is no guidance and 0 ignores the condition.
F5-TTS and Voicebox write `cond + s * (cond - null)`; their s is `guidance_scale - 1`.
"""

from collections.abc import Callable

import torch
from torch import Tensor

Field = Callable[[Tensor, Tensor], Tensor]


def extrapolate(cond: Tensor, null: Tensor, guidance_scale: float | int) -> Tensor:
    """`null + guidance_scale * (cond - null)`."""
    return null + guidance_scale * (cond - null)


def guided(cond_field: Field, null_field: Field, guidance_scale: float | int) -> Field:
    """Guides one field away from another; at scale 1 the null field is not evaluated."""
    if guidance_scale == 1:
        return cond_field

    def field(x_t: Tensor, t: Tensor) -> Tensor:
        return extrapolate(cond_field(x_t, t), null_field(x_t, t), guidance_scale)

    return field


def guided_halves(field: Field, guidance_scale: float | int) -> Field:
    """The same in one pass: `field` takes a doubled batch whose first half is conditional and second half null."""

    def halves(x_t: Tensor, t: Tensor) -> Tensor:
        cond, null = field(torch.cat([x_t, x_t]), torch.cat([t, t])).chunk(2)
        return extrapolate(cond, null, guidance_scale)

    return halves
