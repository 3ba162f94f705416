"""ControlNets of Stable Diffusion 3 and 3.5: blocks of the MM-DiT that see a second picture's latents beside x_t.

There are two kinds: InstantX' copies the first blocks with text and all; Stability's, for 3.5 Large, has blocks of one
stream that read no text and begin from the base's own patches.

Official weights: InstantX/SD3-Controlnet-Canny, -Pose and -Tile, and
stabilityai/stable-diffusion-3.5-large-controlnet-blur, -canny and -depth (Stability AI Community Licence).
Axes: B batch, C latent channels, H height, W width, S text tokens, T patches, D width, P width of the text's summary.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

from jaxtyping import Float, Num
from torch import Tensor, nn

from nexus.adapters.block_controlnet import check_sizes, latents_of, spread, zero
from nexus.models.diffusion.brief import Brief
from nexus.models.diffusion.mmdit import MMDiT, MMDiTConfig, Trunk, stream
from nexus.nn.attention import attend, merge_heads
from nexus.nn.beside import Beside
from nexus.nn.joint import JointBlock, Stream
from nexus.nn.patch import PatchEmbed
from nexus.nn.time_embed import TimeEmbedding

Latents = Float[Tensor, "B C H W"]
Patches = Float[Tensor, "B T D"]


@dataclass(frozen=True, kw_only=True)
class SD3ControlNetConfig:
    """InstantX', for Stable Diffusion 3 Medium; `network` says how many of its blocks are copied."""

    network: MMDiTConfig = field(default_factory=lambda: MMDiTConfig(n_layers=6))
    plain: bool = True  # is told a summary of zeros, and its pictures' latents are not shifted


class SD3ControlNet(Trunk):
    """`(x_t, time, text, summary, seen)` to what each of its blocks finds."""

    def __init__(self, config: SD3ControlNetConfig):
        network = config.network
        blocks = (JointBlock(Stream(*network.sizes), stream(network, i)) for i in range(network.n_layers))
        super().__init__(network, blocks)
        self.control = config
        self.picture_in = picture_in(network)
        self.outs = nn.ModuleList(zero(nn.Linear(network.dim, network.dim)) for _ in self.blocks)

    def forward(
        self,
        x_t: Latents,
        time: Num[Tensor, " B"],
        text: Float[Tensor, "B S E"],
        summary: Float[Tensor, "B P"],
        seen: Latents,
    ) -> list[Patches]:
        """`seen` are the second picture's latents, of the size of x_t."""
        vector = self.time_embed(time) + self.summary_embed(0 * summary if self.control.plain else summary)
        x = self.patches(x_t) + self.picture_in(seen)
        states = self.walk(x, self.text_in(text), vector)
        return [out(state) for out, state in zip(self.outs, states, strict=True)]

    def see(self, pixels: Float[Tensor, "N 3 Y X"], brief: Brief) -> Latents:
        """Latents of pictures in [0, 1], scaled as the network was trained to see them."""
        latents, config = latents_of(brief.vae, 2 * pixels - 1), brief.vae.config
        return latents * config.scaling_factor if self.control.plain else brief.vae.scaled(latents)

    def listen(self, brief: Brief, seen: Latents) -> Callable[[Tensor, Tensor], Beside]:
        """What it adds to the base's blocks at every step.

        Raises:
            ValueError: another base than the one it was made for.
        """
        base, text, summary = self.checked(brief), brief.text, brief.summary
        assert summary is not None
        return lambda x_t, time: for_blocks(self(x_t, time, text, summary, seen), base)

    def checked(self, brief: Brief) -> MMDiT:
        return checked(brief, self.config, "text_dim")


@dataclass(frozen=True, kw_only=True)
class SD35ControlNetConfig:
    """Stability's, for Stable Diffusion 3.5 Large."""

    network: MMDiTConfig = field(default_factory=lambda: MMDiTConfig(n_layers=19, n_heads=38))
    wide_pictures: bool = False  # a quirk of the official canny weights: pixels from 0.5 to 128, not from -1 to 1


class LoneBlock(Stream):
    """A stream that attends to itself."""

    def forward(self, x: Patches, vector: Float[Tensor, "B D"]) -> Patches:
        x, heads, rest = self.ask(x, vector)
        return self.take(x, merge_heads(attend(*self.heads.normed(heads))), rest)


class SD35ControlNet(nn.Module):
    """`(patches, time, summary, seen)` to what each of its blocks finds; the patches are the base's."""

    def __init__(self, config: SD35ControlNetConfig):
        super().__init__()
        network = config.network
        self.control, self.config, dim = config, network, network.dim
        self.time_embed = TimeEmbedding(dim)
        self.summary_embed = nn.Sequential(nn.Linear(network.summary_dim, dim), nn.SiLU(), nn.Linear(dim, dim))
        self.blocks = nn.ModuleList(LoneBlock(*network.sizes) for _ in range(network.n_layers))
        self.picture_in = picture_in(network)
        self.outs = nn.ModuleList(zero(nn.Linear(dim, dim)) for _ in self.blocks)

    def forward(
        self, patches: Patches, time: Num[Tensor, " B"], summary: Float[Tensor, "B P"], seen: Latents
    ) -> list[Patches]:
        vector = self.time_embed(time) + self.summary_embed(summary)
        x, found = patches + self.picture_in(seen), []
        for block, out in zip(self.blocks, self.outs, strict=True):
            x = block(x, vector)
            found.append(out(x))
        return found

    def see(self, pixels: Float[Tensor, "N 3 Y X"], brief: Brief) -> Latents:
        """As of the other kind."""
        values = pixels * 127.5 + 0.5 if self.control.wide_pictures else 2 * pixels - 1
        return brief.vae.scaled(latents_of(brief.vae, values))

    def listen(self, brief: Brief, seen: Latents) -> Callable[[Tensor, Tensor], Beside]:
        """As of the other kind."""
        base, summary = self.checked(brief), brief.summary
        assert summary is not None
        return lambda x_t, time: for_blocks(self(base.patches(x_t), time, summary, seen), base)

    def checked(self, brief: Brief) -> MMDiT:
        return checked(brief, self.config)


def picture_in(config: MMDiTConfig) -> PatchEmbed:
    patches = PatchEmbed(config.in_channels, config.dim, config.patch_size)
    zero(patches.proj)
    return patches


def for_blocks(found: list[Patches], base: MMDiT) -> Beside:
    """For every block but the last, whose text goes no further."""
    return Beside((*spread(found, base.config.n_layers)[:-1], None))


def checked(brief: Brief, own: MMDiTConfig, *more: str) -> MMDiT:
    """The base.

    Raises:
        ValueError: another one than a ControlNet of these sizes was made for.
    """
    base = brief.network
    if not isinstance(base, MMDiT):
        raise ValueError(
            f"the ControlNet is for another base: Stable Diffusion 3 or 3.5, this is a {type(base).__name__}"
        )
    names = ("dim", "in_channels", "patch_size", "summary_dim", *more)
    check_sizes(base, *({name: getattr(config, name) for name in names} for config in (own, base.config)))
    return base
