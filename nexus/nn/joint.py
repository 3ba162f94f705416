"""Joint attention (MM-DiT, arXiv:2403.03206, section 4): two kinds of tokens, each with weights of its own, attend
to all of both.

Axes: B batch, N heads, S text tokens, T picture tokens, E head width, D = N E.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from nexus.nn.attention import attend, merge_heads
from nexus.nn.modulation import Modulation, modulate
from nexus.nn.rope import Rotation, apply_rope
from nexus.nn.self_attention import Heads, ToHeads

Rest = tuple[Tensor, ...]  # gates, shifts and scales that `take` needs


class Heard(NamedTuple):
    """What an adapter adds to the picture's tokens in a block."""

    attended: Float[Tensor, "B T D"] | float = 0.0  # to what they attend to, before the output layer
    tokens: Float[Tensor, "B T D"] | float = 0.0  # to themselves, after the block


Hear = Callable[[Heads], Heard]  # given their queries, keys and values before the norms and before rotary positions


class Stream(nn.Module):
    """What one kind of tokens has to itself in a block; starts as the identity."""

    def __init__(self, dim: int, n_heads: int, qk_norm: bool):
        super().__init__()
        self.modulation = Modulation(dim, 6)
        self.heads = ToHeads(dim, n_heads, qk_norm)
        self.out = nn.Linear(dim, dim)
        self.ff = nn.Sequential(nn.Linear(dim, 4 * dim), nn.GELU(approximate="tanh"), nn.Linear(4 * dim, dim))

    def ask(self, x: Float[Tensor, "B T D"], vector: Float[Tensor, "B D"]) -> tuple[Tensor, Heads, Rest]:
        """The tokens, their queries, keys and values before the norms, and what `take` needs."""
        shift, scale, *rest = self.modulation(vector)
        return x, self.heads.bare(modulate(x, shift, scale)), tuple(rest)

    def take(self, x: Float[Tensor, "B T D"], attended: Float[Tensor, "B T D"], rest: Rest) -> Float[Tensor, "B T D"]:
        gate, ff_shift, ff_scale, ff_gate = rest
        x = torch.addcmul(x, gate, self.out(attended))
        return torch.addcmul(x, ff_gate, self.ff(modulate(x, ff_shift, ff_scale)))


class Listened(nn.Module):
    """Tokens that are attended to and go no further, as text does in the last block."""

    def __init__(self, dim: int, n_heads: int, qk_norm: bool):
        super().__init__()
        self.modulation = Modulation(dim, 2)
        self.heads = ToHeads(dim, n_heads, qk_norm)

    def ask(self, x: Float[Tensor, "B T D"], vector: Float[Tensor, "B D"]) -> tuple[Tensor, Heads, Rest]:
        return x, self.heads.bare(modulate(x, *self.modulation(vector))), ()

    def take(self, x: Tensor, attended: Tensor, rest: Rest) -> Tensor:
        return x


class JointBlock(nn.Module):
    """Both kinds of tokens through one attention; `rotation` turns those of the picture (rotary positions), and `hear`
    adds what an adapter hears."""

    def __init__(self, text: Stream | Listened, picture: Stream):
        super().__init__()
        self.text, self.picture = text, picture

    def forward(
        self,
        text: Float[Tensor, "B S D"],
        picture: Float[Tensor, "B T D"],
        vector: Float[Tensor, "B D"],
        rotation: Rotation | None = None,
        hear: Hear | None = None,
    ) -> tuple[Float[Tensor, "B S D"], Float[Tensor, "B T D"]]:
        text, told, text_rest = self.text.ask(text, vector)
        picture, bare, rest = self.picture.ask(picture, vector)
        told, (q, k, v) = self.text.heads.normed(told), self.picture.heads.normed(bare)
        if rotation is not None:
            q, k = apply_rope(q, *rotation), apply_rope(k, *rotation)
        q, k, v = (torch.cat(pair, dim=2) for pair in zip(told, (q, k, v), strict=True))
        to_text, to_picture = merge_heads(attend(q, k, v)).split([text.shape[1], picture.shape[1]], dim=1)
        text = self.text.take(text, to_text, text_rest)
        if hear is None:
            return text, self.picture.take(picture, to_picture, rest)
        heard = hear(bare)
        return text, self.picture.take(picture, to_picture + heard.attended, rest) + heard.tokens
