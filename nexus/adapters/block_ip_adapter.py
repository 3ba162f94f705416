"""IP-Adapters of Stable Diffusion 3.5 and of FLUX.1: patches attend to a picture beside what they attend to.

InstantX' for Stable Diffusion 3.5 makes tokens of what a SigLIP sees, anew at every time, and adds, before the output
layer of each block's attention, one attention of the patches to themselves and those tokens. XLabs' for FLUX makes
tokens of CLIP's embedding, and adds, after each block of two streams, the patches' attention to them.

Official weights: InstantX/SD3.5-Large-IP-Adapter, XLabs-AI/flux-ip-adapter (both for non-commercial use).
Axes: B batch, N heads, S tokens seen, V width of the vision encoder, T tokens told, D width, E width of a head.
"""

import math
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Num
from torch import Tensor, nn

from nexus.adapters.ip_adapter import Projection, ResamplerConfig, ResamplerLayer
from nexus.media.image import Image
from nexus.models.diffusion.brief import Brief
from nexus.models.diffusion.flux_transformer import FluxTransformer
from nexus.models.diffusion.mmdit import MMDiT
from nexus.nn.attention import attend, merge_heads, split_heads
from nexus.nn.beside import Beside
from nexus.nn.joint import Hear, Heard
from nexus.nn.modulation import AdaptiveNorm
from nexus.nn.self_attention import Heads
from nexus.nn.time_embed import TimeEmbedding

Tokens = Float[Tensor, "B T D"]


class TimedResamplerLayer(ResamplerLayer):
    """The resampler's layer, whose norms of the learned tokens are shifted and scaled by the time."""

    def __init__(self, config: ResamplerConfig):
        super().__init__(config)
        self.modulation = nn.Linear(config.dim, 4 * config.dim)

    def forward(  # type: ignore[override]
        self, tokens: Tokens, seen: Float[Tensor, "B S D"], time: Float[Tensor, "B D"]
    ) -> Tokens:
        shift, scale, ff_shift, ff_scale = self.modulation(F.silu(time))[:, None].chunk(4, dim=-1)
        tokens = tokens + self.look(self.norm(tokens) * (1 + scale) + shift, seen)
        return tokens + self.ff[1:](self.ff[0](tokens) * (1 + ff_scale) + ff_shift)


class TimedResampler(nn.Module):
    """Learned tokens look at every place of the picture, otherwise at every time."""

    reads_hidden = True

    def __init__(self, config: ResamplerConfig, n_sinusoids: int = 320):
        super().__init__()
        self.vision_dim = config.vision_dim
        self.tokens = nn.Parameter(torch.randn(1, config.n_tokens, config.dim) / config.dim**0.5)
        self.time_embed = TimeEmbedding(config.dim, n_sinusoids)
        self.proj_in = nn.Linear(config.vision_dim, config.dim)
        self.layers = nn.ModuleList(TimedResamplerLayer(config) for _ in range(config.n_layers))
        self.proj_out = nn.Linear(config.dim, config.text_dim)
        self.norm_out = nn.LayerNorm(config.text_dim)

    def forward(self, seen: Float[Tensor, "B S V"], time: Num[Tensor, " B"]) -> tuple[Tokens, Float[Tensor, "B F"]]:
        """The tokens, and the embedded time."""
        embedded, tokens = self.time_embed(time), self.tokens.expand(len(seen), -1, -1)
        seen = self.proj_in(seen) + embedded[:, None]
        for layer in self.layers:
            tokens = layer(tokens, seen, embedded)
        return self.norm_out(self.proj_out(tokens)), embedded


class PictureAttention(nn.Module):
    """Of one block: patches attend to themselves and to the picture's tokens, with norms of its own."""

    def __init__(self, dim: int, head_dim: int, token_dim: int, time_dim: int):
        super().__init__()
        self.dim, self.n_heads = dim, dim // head_dim
        self.norm = AdaptiveNorm(token_dim, time_dim)
        self.kv = nn.Linear(token_dim, 2 * dim, bias=False)
        self.q_norm, self.k_norm, self.token_norm = (nn.RMSNorm(head_dim, eps=1e-6) for _ in range(3))

    def hear(self, tokens: Tokens, time: Float[Tensor, "B F"], weight: float | int) -> Hear:
        token_k, token_v = (split_heads(part, self.n_heads) for part in self.kv(self.norm(tokens, time)).chunk(2, -1))
        token_k = self.token_norm(token_k)

        def hear(heads: Heads) -> Heard:
            q, k, v = heads
            k, v = torch.cat([self.k_norm(k), token_k], dim=2), torch.cat([v, token_v], dim=2)
            return Heard(attended=weight * merge_heads(attend(self.q_norm(q), k, v)))

        return hear


class SD3IPAdapter(nn.Module):
    """`project` makes tokens at every time, `blocks` has an attention for each of the base's blocks. `encoder` is
    attached by whoever loads it."""

    encoder: Any  # (pictures, hidden=...) to what it sees of them

    def __init__(self, project: TimedResampler, blocks: list[PictureAttention]):
        super().__init__()
        self.project, self.blocks = project, nn.ModuleList(blocks)
        self.speaks_to = (len(blocks), blocks[0].dim)

    def check(self, base: nn.Module, name: str = "IP-Adapter") -> None:
        """Raises ValueError for another base than the adapter was made for."""
        if not isinstance(base, MMDiT):
            raise ValueError(f"{name} is for another base: Stable Diffusion 3.5, this is a {type(base).__name__}")
        check_blocks(self.speaks_to, (base.config.n_layers, base.config.dim), name)

    def beside(self, base: nn.Module, seen: Float[Tensor, "B S V"], time: Tensor, weight: float | int) -> Beside:
        tokens, embedded = self.project(seen, time)
        return Beside(hears=tuple(block.hear(tokens, embedded, weight) for block in self.blocks))  # type: ignore[union-attr, operator]


class FluxIPAdapter(nn.Module):
    """`project` makes tokens, `kv` has keys and values for each of the base's blocks of two streams."""

    encoder: Any

    def __init__(self, project: Projection, kv_shapes: list[tuple[int, int]]):
        """`kv_shapes`: for each block the widths of the tokens and of the attention."""
        super().__init__()
        self.project = project
        self.kv = nn.ModuleList(nn.Linear(n_in, 2 * dim) for n_in, dim in kv_shapes)
        self.speaks_to = (len(kv_shapes), kv_shapes[0][1])

    def check(self, base: nn.Module, name: str = "IP-Adapter") -> None:
        """Raises ValueError for another base than the adapter was made for."""
        if not isinstance(base, FluxTransformer):
            raise ValueError(f"{name} is for another base: FLUX.1, this is a {type(base).__name__}")
        check_blocks(self.speaks_to, (base.config.n_double_layers, base.config.dim), name)

    def beside(self, base: nn.Module, seen: Float[Tensor, "B V"], time: Tensor, weight: float | int) -> Beside:
        assert isinstance(base, FluxTransformer)
        tokens, n_heads = self.project(seen), base.config.n_heads
        pairs = [[split_heads(part, n_heads) for part in own(tokens).chunk(2, dim=-1)] for own in self.kv]

        def heard_by(norm: nn.Module, k: Tensor, v: Tensor) -> Hear:
            return lambda heads: Heard(tokens=weight * merge_heads(attend(norm(heads[0]), k, v)))

        norms = [block.picture.heads.q_norm for block in base.double_blocks]  # type: ignore[union-attr]
        hears = tuple(heard_by(norm, k, v) for norm, (k, v) in zip(norms, pairs, strict=True))  # type: ignore[arg-type]
        return Beside(hears=(*hears, *[None] * base.config.n_single_layers))


def check_blocks(own: tuple[int, int], theirs: tuple[int, int], name: str) -> None:
    if own != theirs:
        raise ValueError(
            f"{name} is for another base: it speaks to {own[0]} blocks of width {own[1]}, this base has {theirs[0]} of "
            f"width {theirs[1]}"
        )


@dataclass(frozen=True, eq=False)
class BlockPicturePrompt:
    """An IP-Adapter with its picture, as an adapter of Stable Diffusion 3.5's and FLUX' `generate`.

    Args:
        picture: of any size; one for all pictures of a batch, or one for each.
        weight: how much it counts; 0 is not at all.
    """

    network: SD3IPAdapter | FluxIPAdapter
    picture: Image | list[Image]
    weight: float | int = 1.0

    def __post_init__(self):
        if not math.isfinite(self.weight):
            raise ValueError(f"a picture's weight must be a finite number, such as 0.6, got {self.weight}")

    def __call__(self, brief: Brief) -> Brief:
        """What is told, with the picture; nothing is seen where guidance goes away from.

        Raises:
            ValueError: an adapter for another base, or too few pictures.
        """
        network, n = self.network, brief.asked.n
        pictures = self.picture if isinstance(self.picture, list) else [self.picture]
        if len(pictures) not in (1, n):
            raise ValueError(f"there must be one picture, or {n} of them, one a prompt, got {len(pictures)}")
        network.check(brief.network)
        seen = network.encoder(pictures, hidden=network.project.reads_hidden).to(next(network.parameters()))
        seen = seen.repeat(n // len(seen), *[1] * (seen.ndim - 1))
        if len(brief.text) > n:
            seen = torch.cat([seen, torch.zeros_like(seen)])

        def beside(x_t: Tensor, time: Tensor) -> Beside:
            return network.beside(brief.network, seen, time, self.weight)

        return replace(brief, besides=(*brief.besides, beside))
