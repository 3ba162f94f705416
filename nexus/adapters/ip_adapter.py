"""IP-Adapter (arXiv:2308.06721): a picture is told to a Stable Diffusion as a text is.

A picture's embedding becomes a few tokens, and every cross-attention hears them beside the text by keys and values of
their own (decoupled cross-attention, eq. 5): `attend(q, text) + weight * attend(q, picture)`.

Official weights: h94/IP-Adapter (Apache-2.0). They see pictures by a CLIP vision encoder, from `transformers`.
Axes: B batch, S tokens seen, V width of the vision encoder, T tokens told, D width of the text, H height, W width.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from nexus.media.image import Image
from nexus.models.diffusion.spatial_transformer import CrossAttention, Heard, Told
from nexus.models.diffusion.stable_diffusion import Said
from nexus.nn.attention import attend, merge_heads, split_heads

Tokens = Float[Tensor, "B T D"]


@dataclass(frozen=True, kw_only=True)
class ResamplerConfig:
    """IP-Adapter Plus' for Stable Diffusion 1.5."""

    vision_dim: int = 1280
    dim: int = 768
    n_layers: int = 4
    n_heads: int = 12
    head_dim: int = 64
    n_tokens: int = 16
    text_dim: int = 768
    hidden_dim: int = 3072


class Projection(nn.Module):
    """The embedding of the whole picture, made into `n_tokens` tokens (section 3.2)."""

    reads_hidden = False

    def __init__(self, vision_dim: int, text_dim: int, n_tokens: int = 4):
        super().__init__()
        self.vision_dim, self.n_tokens = vision_dim, n_tokens
        self.proj = nn.Linear(vision_dim, n_tokens * text_dim)
        self.norm = nn.LayerNorm(text_dim)

    def forward(self, seen: Float[Tensor, "B V"]) -> Tokens:
        return self.norm(self.proj(seen).unflatten(1, (self.n_tokens, -1)))


class FullProjection(nn.Module):
    """Every token that the encoder has, through a small network ("full face")."""

    reads_hidden = True

    def __init__(self, vision_dim: int, text_dim: int):
        super().__init__()
        self.vision_dim = vision_dim
        self.proj = nn.Sequential(
            nn.Linear(vision_dim, vision_dim), nn.GELU(), nn.Linear(vision_dim, text_dim), nn.LayerNorm(text_dim)
        )

    def forward(self, seen: Float[Tensor, "B S V"]) -> Tokens:
        return self.proj(seen)


class ResamplerLayer(nn.Module):
    """Learned tokens attend to what is seen and to themselves (Flamingo's resampler, arXiv:2204.14198)."""

    def __init__(self, config: ResamplerConfig):
        super().__init__()
        inner = config.n_heads * config.head_dim
        self.n_heads = config.n_heads
        self.norm_seen, self.norm = nn.LayerNorm(config.dim), nn.LayerNorm(config.dim)
        self.q = nn.Linear(config.dim, inner, bias=False)
        self.kv = nn.Linear(config.dim, 2 * inner, bias=False)
        self.out = nn.Linear(inner, config.dim, bias=False)
        self.ff = nn.Sequential(
            nn.LayerNorm(config.dim),
            nn.Linear(config.dim, config.hidden_dim, bias=False),
            nn.GELU(),
            nn.Linear(config.hidden_dim, config.dim, bias=False),
        )

    def forward(self, tokens: Float[Tensor, "B T E"], seen: Float[Tensor, "B S E"]) -> Float[Tensor, "B T E"]:
        tokens = tokens + self.look(self.norm(tokens), seen)
        return tokens + self.ff(tokens)

    def look(self, normed: Float[Tensor, "B T E"], seen: Float[Tensor, "B S E"]) -> Float[Tensor, "B T E"]:
        k, v = self.kv(torch.cat([self.norm_seen(seen), normed], dim=1)).chunk(2, dim=-1)
        q, k, v = (split_heads(part, self.n_heads) for part in (self.q(normed), k, v))
        return self.out(merge_heads(attend(q, k, v)))


class Resampler(nn.Module):
    """IP-Adapter Plus: learned tokens look at every place of the picture, of the encoder's last layer but one."""

    reads_hidden = True

    def __init__(self, config: ResamplerConfig):
        super().__init__()
        self.vision_dim = config.vision_dim
        self.tokens = nn.Parameter(torch.randn(1, config.n_tokens, config.dim) / config.dim**0.5)
        self.proj_in = nn.Linear(config.vision_dim, config.dim)
        self.layers = nn.ModuleList(ResamplerLayer(config) for _ in range(config.n_layers))
        self.proj_out = nn.Linear(config.dim, config.text_dim)
        self.norm_out = nn.LayerNorm(config.text_dim)

    def forward(self, seen: Float[Tensor, "B S V"]) -> Tokens:
        tokens, seen = self.tokens.expand(len(seen), -1, -1), self.proj_in(seen)
        for layer in self.layers:
            tokens = layer(tokens, seen)
        return self.norm_out(self.proj_out(tokens))


class IPAdapter(nn.Module):
    """`project` makes tokens of what a vision encoder sees; `kv` has keys and values for each cross-attention, in the
    order of `Contraction.cross_attentions`. `encoder` is attached by whoever loads it."""

    encoder: Any  # (pictures, hidden=...) to what it sees of them

    def __init__(self, project: Projection | FullProjection | Resampler, kv_shapes: list[tuple[int, int]]):
        """`kv_shapes`: for each cross-attention the widths of the tokens and of the attention."""
        super().__init__()
        self.project = project
        self.kv = nn.ModuleList(nn.Linear(n_in, 2 * dim, bias=False) for n_in, dim in kv_shapes)

    def check(self, told: Iterable[nn.Module], name: str = "IP-Adapter") -> None:
        """Raises ValueError for other cross-attentions than the adapter was made for: names the first."""
        theirs = [attention.kv.weight.shape for attention in told if isinstance(attention, CrossAttention)]
        if len(theirs) != len(self.kv):
            raise ValueError(
                f"{name} is for another base: it speaks to {len(self.kv)} cross-attentions, this one has {len(theirs)}"
            )
        for i, (own, wanted) in enumerate(zip(self.kv, theirs, strict=True)):
            if own.weight.shape != wanted:
                raise ValueError(
                    f"{name} is for another base: keys and values of cross-attention {i} are {list(wanted)}, "
                    f"its are {list(own.weight.shape)}"  # type: ignore[arg-type]
                )

    def tell(self, told: Told, tokens: Tokens, weight: float | int = 1.0) -> Told:
        """What each cross-attention hears already, and the picture `weight` times beside it."""
        both: Told = {}
        for own, (attention, heard) in zip(self.kv, told.items(), strict=True):
            assert isinstance(attention, CrossAttention)
            k, v = (split_heads(part, attention.n_heads).contiguous() for part in own(tokens).chunk(2, dim=-1))
            both[attention] = [*heard, Heard(k, v, float(weight))]
        return both


@dataclass(frozen=True, eq=False)
class PicturePrompt:
    """An IP-Adapter with its picture, as an adapter of `StableDiffusion.generate`.

    Args:
        picture: of any size; one for all pictures of a batch, or one for each.
        weight: how much it counts beside the text; 0 is not at all.
    """

    network: IPAdapter
    picture: Image | list[Image]
    weight: float | int = 1.0

    def __post_init__(self):
        if not math.isfinite(self.weight):
            raise ValueError(f"a picture's weight must be a finite number, such as 0.6, got {self.weight}")

    def __call__(self, said: Said) -> Said:
        """What is said, with the picture beside the text; nothing is seen where guidance goes away from.

        Raises:
            ValueError: an adapter for another base, or too few pictures.
        """
        pictures, network = self.picture if isinstance(self.picture, list) else [self.picture], self.network
        if len(pictures) not in (1, said.n):
            raise ValueError(f"there must be one picture, or {said.n} of them, one a prompt, got {len(pictures)}")
        network.check(said.told)
        hidden = network.project.reads_hidden
        seen = network.encoder(pictures, hidden=hidden)
        seen = seen.repeat(said.n // len(seen), *[1] * (seen.ndim - 1))
        if len(said.text) > said.n:
            nothing = network.encoder.nothing(hidden=hidden).to(seen)
            seen = torch.cat([seen, nothing.expand(said.n, *seen.shape[1:])])
        tokens = network.project(seen.to(next(network.parameters())))
        return replace(said, told=network.tell(said.told, tokens, self.weight))
