"""Random numbers by item: item *i* of a batch draws from its own generator, so it equals that item made alone."""

from collections.abc import Sequence

import torch
from torch import Tensor

APART = 0x9E3779B1  # between seeds of candidates; PyTorch's CPU generator knows seeds by their last 32 bits


def generators(seed: int | Sequence[int] | None, n: int) -> list[torch.Generator]:
    """One CPU generator per item, seeded `seed + i`; `None` takes a fresh seed from the operating system.

    Noise is drawn on the CPU and moved, so that a seed means the same samples on every device.

    Args:
        seed: a sequence holds each item's own.
    """
    return [torch.Generator().manual_seed(s % 2**63) for s in candidate_seeds(seed, n, 1)]


def candidate_seeds(seed: int | Sequence[int] | None, n: int, candidates: int) -> list[int]:
    """Seeds of several candidates for each of n items; the first of an item is that of the item made alone.

    Raises:
        ValueError: a sequence of seeds that are not as many as the items.
    """
    if seed is None:
        seed = torch.Generator().seed() % 2**63
    seeds = seed if isinstance(seed, Sequence) else [seed + i for i in range(n)]
    if len(seeds) != n:
        raise ValueError(f"seed must be one number, or one for each of {n} items, got {len(seeds)} of them")
    return [s + j * APART for s in seeds for j in range(candidates)]


def gaussian(
    shape: tuple[int, ...],
    rngs: list[torch.Generator],
    *,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
) -> Tensor:
    """Standard normal noise [len(rngs), *shape], each row from its own generator."""
    return torch.stack([torch.randn(shape, generator=rng) for rng in rngs]).to(device=device, dtype=dtype)


def uniform(shape: tuple[int, ...], rngs: list[torch.Generator], *, device: torch.device | str = "cpu") -> Tensor:
    """Uniform numbers in [0, 1) [len(rngs), *shape], each row from its own generator."""
    return torch.stack([torch.rand(shape, generator=rng) for rng in rngs]).to(device=device)
