"""A causal transformer over a stream, each step of which sees a window of the last ones (Mimi, arXiv:2410.00037).

Pre-norm layers with rotary positions, a GELU network and layer scale (arXiv:2103.17239); no biases. A network of
n layers sees n (window - 1) steps back; memory and time grow with the length, never with its square.
Axes: B batch, D width, T steps, S keys, N heads, E head width. Channels first at the door, as convolutions have them.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from nexus.nn.attention import attend, merge_heads, split_heads
from nexus.nn.cache import SlidingCache
from nexus.nn.rope import Rotation, apply_rope, rope_frequencies


@dataclass(frozen=True, kw_only=True)
class SlidingTransformerConfig:
    dim: int = 512
    n_layers: int = 8
    n_heads: int = 8
    hidden_dim: int = 2048
    window: int = 250  # steps that a step sees, itself among them
    layer_scale: float = 0.01  # what a layer's branches start multiplied with
    rope_theta: float = 10000.0

    def __post_init__(self):
        if min(self.dim, self.n_layers, self.n_heads, self.hidden_dim, self.window) < 1:
            raise ValueError(f"the sizes of a sliding transformer must be positive, got {self}")
        if self.dim % (2 * self.n_heads):
            raise ValueError(f"dim ({self.dim}) must be a multiple of 2 * n_heads ({2 * self.n_heads})")


def attend_window(
    q: Float[Tensor, "B N T E"], k: Float[Tensor, "B N S E"], v: Float[Tensor, "B N S E"], window: int
) -> Float[Tensor, "B N T E"]:
    """Attends from each query to the `window` keys that end at its own; the queries are the last T of S steps."""
    n, before = q.shape[2], k.shape[2] - q.shape[2]
    if k.shape[2] <= window:
        return attend(q, k, v, causal=n > 1)
    outputs = []
    for start in range(0, n, window):  # in blocks, or the scores of an hour would need gigabytes
        stop = min(start + window, n)
        first = max(before + start - window + 1, 0)
        places = torch.arange(before + start, before + stop, device=q.device)
        back = places[:, None] - torch.arange(first, before + stop, device=q.device)
        seen = ((back >= 0) & (back < window))[None, None]  # [1, 1, T, S]
        keys, values = k[:, :, first : before + stop], v[:, :, first : before + stop]
        outputs.append(attend(q[:, :, start:stop], keys, values, seen if n > 1 else None))
    return outputs[0] if len(outputs) == 1 else torch.cat(outputs, dim=2)


class SlidingLayer(nn.Module):
    def __init__(self, config: SlidingTransformerConfig):
        super().__init__()
        dim, self.n_heads, self.window = config.dim, config.n_heads, config.window
        self.norm = nn.LayerNorm(dim)
        self.qkv = nn.Linear(dim, 3 * dim, bias=False)
        self.out = nn.Linear(dim, dim, bias=False)
        self.scale = nn.Parameter(torch.full((dim,), config.layer_scale))
        self.ffn_norm = nn.LayerNorm(dim)
        self.ffn_in = nn.Linear(dim, config.hidden_dim, bias=False)
        self.ffn_out = nn.Linear(config.hidden_dim, dim, bias=False)
        self.ffn_scale = nn.Parameter(torch.full((dim,), config.layer_scale))

    def forward(
        self, x: Float[Tensor, "B T D"], rotation: Rotation, cache: SlidingCache | None = None
    ) -> Float[Tensor, "B T D"]:
        q, k, v = (split_heads(part, self.n_heads) for part in self.qkv(self.norm(x)).chunk(3, dim=-1))
        q, k = apply_rope(q, *rotation), apply_rope(k, *rotation)
        if cache is not None:
            k, v = cache.append(k, v)
        x = x + self.scale * self.out(merge_heads(attend_window(q, k, v, self.window)))
        return x + self.ffn_scale * self.ffn_out(F.gelu(self.ffn_in(self.ffn_norm(x))))


@dataclass
class SlidingState:
    """How many steps a stream had, and each layer's keys and values of the last of them (written in place)."""

    caches: list[SlidingCache]
    seen: int = 0


class SlidingTransformer(nn.Module):
    def __init__(self, config: SlidingTransformerConfig):
        super().__init__()
        self.config = config
        self.layers = nn.ModuleList(SlidingLayer(config) for _ in range(config.n_layers))

    def forward(self, x: Float[Tensor, "B D T"]) -> Float[Tensor, "B D T"]:
        return self._run(x, 0, [None] * len(self.layers))

    def stream(
        self, x: Float[Tensor, "B D T"], state: SlidingState | None, last: bool = False
    ) -> tuple[Float[Tensor, "B D T"], SlidingState]:
        """A chunk of any length; every step is answered at once. No state: the start."""
        state = state or SlidingState([SlidingCache(self.config.window) for _ in self.layers])
        if x.shape[-1] == 0:
            return x, state
        return self._run(x, state.seen, state.caches), SlidingState(state.caches, state.seen + x.shape[-1])

    def _run(self, x: Tensor, start: int, caches: list[SlidingCache] | list[None]) -> Tensor:
        places = torch.arange(start, start + x.shape[-1], device=x.device)
        head_dim = self.config.dim // self.config.n_heads
        rotation = rope_frequencies(head_dim, places, self.config.rope_theta)
        x = x.mT
        for layer, cache in zip(self.layers, caches, strict=True):
            x = layer(x, rotation, cache)
        return x.mT
