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


class SlidingCache:
    """Keys and values of the last positions only: of those before a new one, the `window - 1` nearest.

    New positions are written in place; once in `window` of them the kept ones move to fresh buffers, so a step neither
    grows nor copies the whole past.
    """

    def __init__(self, window: int):
        self.window, self.end = window, 0
        self.keys: Tensor | None = None
        self.values: Tensor | None = None

    def append(
        self, k: Float[Tensor, "B N T E"], v: Float[Tensor, "B N T E"]
    ) -> tuple[Float[Tensor, "B N S E"], Float[Tensor, "B N S E"]]:
        """Views of what the new positions may see: at most `window - 1` earlier ones, then themselves."""
        n, kept = k.shape[2], min(self.end, self.window - 1)
        if self.keys is None or self.values is None or self.end + n > self.keys.shape[2]:
            self.keys, self.values = self._moved(self.keys, k, kept), self._moved(self.values, v, kept)
            self.end = kept
        start, end = self.end - kept, self.end + n
        self.keys[:, :, self.end : end] = k
        self.values[:, :, self.end : end] = v
        self.end = end
        return self.keys[:, :, start:end], self.values[:, :, start:end]

    def _moved(self, old: Tensor | None, new: Tensor, kept: int) -> Tensor:
        batch, n_heads, n, head_dim = new.shape
        fresh = new.new_empty(batch, n_heads, kept + max(n, self.window), head_dim)
        if old is not None:
            fresh[:, :, :kept] = old[:, :, self.end - kept : self.end]
        return fresh
