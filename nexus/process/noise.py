"""Random numbers by item: item *i* of a batch draws from its own generator, so it equals that item made alone."""

import torch
from torch import Tensor


def generators(seed: int | None, n: int) -> list[torch.Generator]:
    """One CPU generator per item, seeded `seed + i`; `None` takes a fresh seed from the operating system.

    Noise is drawn on the CPU and moved, so that a seed means the same samples on every device.
    """
    if seed is None:
        seed = torch.Generator().seed() % 2**63
    return [torch.Generator().manual_seed((seed + i) % 2**63) for i in range(n)]


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
