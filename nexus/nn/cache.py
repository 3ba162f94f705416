"""Keys and values of the past, kept so that a decoding step reads them instead of computing them again.

Axes: B batch, N heads, T new positions, S positions so far, E head width.
"""

import torch
from jaxtyping import Float
from torch import Tensor


class KeyValueCache:
    """Fixed buffers [B, N, max_length, E], written in place at `length`: no step allocates or copies the past."""

    def __init__(
        self,
        batch: int,
        n_heads: int,
        max_length: int,
        head_dim: int,
        *,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ):
        self.keys = torch.empty(batch, n_heads, max_length, head_dim, device=device, dtype=dtype)
        self.values = torch.empty_like(self.keys)
        self.length = 0

    @property
    def max_length(self) -> int:
        return self.keys.shape[2]

    def append(
        self, k: Float[Tensor, "B N T E"], v: Float[Tensor, "B N T E"]
    ) -> tuple[Float[Tensor, "B N S E"], Float[Tensor, "B N S E"]]:
        """Writes the new positions and gives views of all so far.

        Raises:
            ValueError: more positions than the buffers hold.
        """
        end = self.length + k.shape[2]
        if end > self.max_length:
            raise ValueError(f"the cache holds {self.max_length} positions, {end} were asked for")
        self.keys[:, :, self.length : end] = k
        self.values[:, :, self.length : end] = v
        self.length = end
        return self.keys[:, :, :end], self.values[:, :, :end]
