"""PixArt's ControlNet (PixArt-delta, arXiv:2401.05252, section 4): copies of blocks that walk beside the network.

The first copy begins from what the base's first block gives, with the second picture's patches through a layer that
starts at zero; what copy i gives goes, through another such layer, to the base's patches before block i + 1.

Official weights: PixArt-alpha/PixArt-ControlNet (OpenRAIL++), for edges by HED.
Axes: B batch, C latent channels, H height, W width, S text tokens, T patches, D width.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

from jaxtyping import Bool, Float, Num
from torch import Tensor, nn

from nexus.adapters.block_controlnet import check_sizes, latents_of, zero
from nexus.models.diffusion.brief import Brief
from nexus.models.diffusion.pixart_transformer import (
    Block,
    PixArtTransformer,
    PixArtTransformerConfig,
    TextKeys,
)
from nexus.nn.beside import Beside

Latents = Float[Tensor, "B C H W"]
Patches = Float[Tensor, "B T D"]


@dataclass(frozen=True, kw_only=True)
class PixArtControlNetConfig:
    """`network` has the sizes of the base; 13 of its blocks are copied."""

    network: PixArtTransformerConfig = field(default_factory=lambda: PixArtTransformerConfig(n_layers=13))


class PixArtControlNet(nn.Module):
    """Copies of blocks, without the way in, which is the base's."""

    def __init__(self, config: PixArtControlNetConfig):
        super().__init__()
        self.control, self.config = config, config.network
        dim = self.config.dim
        self.picture_in = zero(nn.Linear(dim, dim))
        self.blocks = nn.ModuleList(Block(dim, self.config.n_heads) for _ in range(self.config.n_layers))
        self.outs = nn.ModuleList(zero(nn.Linear(dim, dim)) for _ in self.blocks)

    def text_keys(self, base: PixArtTransformer, text: Float[Tensor, "B S E"]) -> TextKeys:
        """Keys and values of a text for the base's first block and for every copy: once for all steps of a sampler."""
        text = base.text_in(text)
        return [block.text_attn.keys(text) for block in (base.blocks[0], *self.blocks)]  # type: ignore[union-attr, operator]

    def forward(
        self,
        base: PixArtTransformer,
        x_t: Latents,
        time: Num[Tensor, " B"],
        keys: TextKeys,
        seen: Latents,
        mask: Bool[Tensor, "B S"] | None = None,
        size: Float[Tensor, "B 2"] | None = None,
    ) -> list[Patches]:
        """What each copy finds; `seen` are the second picture's latents, and the rest as the base is told it."""
        shared = base.shared(base.embed(time, size))
        x = base.blocks[0](base.patches(x_t), shared, keys[0], mask)
        x, found = x + self.picture_in(base.patches(seen)), []
        for block, out, own in zip(self.blocks, self.outs, keys[1:], strict=True):
            x = block(x, shared, own, mask)
            found.append(out(x))
        return found

    def see(self, pixels: Float[Tensor, "N 3 Y X"], brief: Brief) -> Latents:
        """Scaled latents of pictures in [0, 1]."""
        return brief.vae.scaled(latents_of(brief.vae, 2 * pixels - 1))

    def listen(self, brief: Brief, seen: Latents) -> Callable[[Tensor, Tensor], Beside]:
        """What it adds to the base's blocks at every step.

        Raises:
            ValueError: another base than the one it was made for.
        """
        base, mask = self.checked(brief), brief.text_mask
        keys, size = self.text_keys(base, brief.text), brief.sizes if base.config.size_conditions else None
        return lambda x_t, time: self.for_blocks(self(base, x_t, time, keys, seen, mask, size), base)

    def for_blocks(self, found: list[Patches], base: PixArtTransformer) -> Beside:
        return Beside((*found, *[None] * (base.config.n_layers - len(found))))

    def checked(self, brief: Brief) -> PixArtTransformer:
        base = brief.network
        if not isinstance(base, PixArtTransformer):
            raise ValueError(f"the ControlNet is for another base: PixArt, this is a {type(base).__name__}")
        names = ("dim", "n_heads")
        check_sizes(base, *({name: getattr(config, name) for name in names} for config in (self.config, base.config)))
        if self.config.n_layers >= base.config.n_layers:
            raise ValueError(
                f"the ControlNet is for another base: it copies {self.config.n_layers} blocks and begins after the "
                f"first, this base has {base.config.n_layers}"
            )
        return base
