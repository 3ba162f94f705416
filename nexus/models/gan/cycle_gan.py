"""CycleGAN (arXiv:1703.10593): pictures of one domain made into another's, learnt without pairs.

Two generators go there and back, and coming back must give the picture again. Official weights: the authors'
`latest_net_G.pth` (one way) and `latest_net_G_A.pth` beside `latest_net_G_B.pth`; code BSD, weights unstated.
Axes: B batch, C channels, H height, W width.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, overload

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from nexus.media.image import Image
from nexus.process.adversarial import Judgement, discriminator_least_squares, generator_least_squares

Pictures = Float[Tensor, "B C H W"]
Way = Literal["to_b", "to_a"]
WAYS: tuple[tuple[Way, Way], ...] = (("to_b", "to_a"), ("to_a", "to_b"))  # there, and back
CYCLE_WEIGHT = 10.0
IDENTITY_WEIGHT = 5.0  # half of the cycle's (section 5.2, application to photos from paintings)


@dataclass(frozen=True, kw_only=True)
class CycleGANConfig:
    """The defaults are the published generator's for 256 x 256 pixels; those for 128 have 6 blocks."""

    channels: int = 3
    dim: int = 64
    n_blocks: int = 9
    ways: tuple[Way, ...] = ("to_b", "to_a")

    def __post_init__(self):
        if not self.ways or set(self.ways) - {"to_b", "to_a"}:
            raise ValueError(f"ways are to_b, to_a or both, got {self.ways}")


class ResidualBlock(nn.Module):
    def __init__(self, dim: int):
        super().__init__()
        self.conv1 = nn.Conv2d(dim, dim, 3)
        self.conv2 = nn.Conv2d(dim, dim, 3)

    def forward(self, x: Pictures) -> Pictures:
        hidden = F.relu(normed(self.conv1(reflected(x, 1))))
        return x + normed(self.conv2(reflected(hidden, 1)))


class ResNetGenerator(nn.Module):
    """Halved twice, residual blocks, doubled twice (appendix 7.2); sides that 4 does not divide are rounded up."""

    def __init__(self, config: CycleGANConfig):
        super().__init__()
        dim = config.dim
        self.conv_in = nn.Conv2d(config.channels, dim, 7)
        self.down = nn.ModuleList(nn.Conv2d(n, 2 * n, 3, 2, 1) for n in (dim, 2 * dim))
        self.blocks = nn.ModuleList(ResidualBlock(4 * dim) for _ in range(config.n_blocks))
        self.up = nn.ModuleList(nn.ConvTranspose2d(2 * n, n, 3, 2, 1, output_padding=1) for n in (2 * dim, dim))
        self.conv_out = nn.Conv2d(dim, config.channels, 7)
        initialise(self)

    def forward(self, x: Pictures) -> Float[Tensor, "B C I J"]:
        x = F.relu(normed(self.conv_in(reflected(x, 3))))
        for conv in self.down:
            x = F.relu(normed(conv(x)))
        for block in self.blocks:
            x = block(x)
        for conv in self.up:
            x = F.relu(normed(conv(x)))
        return self.conv_out(reflected(x, 3)).tanh()


class PatchGAN(nn.Module):
    """A logit for each overlapping patch: 70 pixels wide with 3 halvings, as published, 34 with 2 and 16 with 1."""

    def __init__(self, channels: int = 3, dim: int = 64, n_halvings: int = 3):
        super().__init__()
        widths = [channels, *(dim * min(2**i, 8) for i in range(n_halvings + 1))]
        strides = [2] * n_halvings + [1]
        pairs = zip(widths, widths[1:], strides, strict=False)
        self.layers = nn.ModuleList(nn.Conv2d(n_in, n_out, 4, stride, 1) for n_in, n_out, stride in pairs)
        self.out = nn.Conv2d(widths[-1], 1, 4, 1, 1)
        initialise(self)

    def forward(self, x: Pictures) -> Float[Tensor, "B 1 I J"]:
        x = F.leaky_relu(self.layers[0](x), 0.2)
        for conv in self.layers[1:]:
            x = F.leaky_relu(normed(conv(x)), 0.2)
        return self.out(x)


class CycleGAN(nn.Module):
    """The generators, under the names of their ways."""

    def __init__(self, config: CycleGANConfig):
        super().__init__()
        self.config = config
        for way in config.ways:
            self.add_module(way, ResNetGenerator(config))

    def forward(self, x: Pictures, way: Way = "to_b") -> Float[Tensor, "B C I J"]:
        return self.get_submodule(way)(x)

    def loss(self, batch: Mapping[str, Tensor], judges: nn.ModuleDict) -> dict[str, Tensor]:
        """The generators' (eq. 3, with the identity of section 5.2).

        Args:
            batch: "a" and "b", pictures [B, C, H, W] of both domains that are not pairs.
            judges: by way, of what it leads to.
        """
        terms = {"deceit": torch.zeros(()), "cycle": torch.zeros(()), "identity": torch.zeros(())}
        for way, back in WAYS:
            source, target = ends(batch, way)
            fake = self(source, way)
            terms["deceit"] = terms["deceit"] + generator_least_squares(alone(judges[way](fake)))
            terms["cycle"] = terms["cycle"] + F.l1_loss(self(fake, back), source)
            terms["identity"] = terms["identity"] + F.l1_loss(self(target, way), target)
        total = terms["deceit"] + CYCLE_WEIGHT * terms["cycle"] + IDENTITY_WEIGHT * terms["identity"]
        return {"loss": total, **{name: term.detach() for name, term in terms.items()}}

    def judges_loss(
        self,
        batch: Mapping[str, Tensor],
        judges: nn.ModuleDict,
        pools: nn.ModuleDict,
        rng: torch.Generator,
    ) -> dict[str, Tensor]:
        """The discriminators', half the least squares, so that they learn more slowly (appendix 7.1).

        Args:
            judges, pools: by way, of what it leads to.
        """
        losses = {}
        for way, _ in WAYS:
            source, target = ends(batch, way)
            with torch.no_grad():
                fake = self(source, way)
            fake = pools[way](fake, rng)
            losses[way] = discriminator_least_squares(alone(judges[way](target)), alone(judges[way](fake))) / 2
        return {"loss": losses["to_b"] + losses["to_a"], **{name: loss.detach() for name, loss in losses.items()}}

    @overload
    def generate(self, image: Image, *, way: Way = "to_b") -> Image: ...
    @overload
    def generate(self, image: Sequence[Image], *, way: Way = "to_b") -> list[Image]: ...
    @torch.no_grad()
    def generate(self, image: Image | Sequence[Image], *, way: Way = "to_b") -> Image | list[Image]:
        """Pictures of the other domain, of the same size.

        Raises:
            ValueError: a way that these weights don't go, or pictures too small to be mirrored at their edges.
        """
        if way not in self.config.ways:
            raise ValueError(f"way must be {' or '.join(self.config.ways)}, got {way!r}: these weights know no other")
        images = [image] if isinstance(image, Image) else list(image)
        small = next((i for i in images if min(i.height, i.width) < 8), None)
        if small is not None:
            raise ValueError(f"pictures must be at least 8 pixels wide and high, got {small.width}x{small.height}")
        weight = next(self.parameters())
        made = []
        for one in images:
            x = one.over_white().tensor()[None].to(weight)
            x = x if self.config.channels == 3 else x.mean(1, keepdim=True)
            made.append(Image.from_tensor(self(x, way)[0, :, : one.height, : one.width]))
        return made[0] if isinstance(image, Image) else made


def ends(batch: Mapping[str, Tensor], way: str) -> tuple[Tensor, Tensor]:
    """Where a way starts, and what is there where it leads to."""
    return (batch["a"], batch["b"]) if way == "to_b" else (batch["b"], batch["a"])


def alone(logits: Tensor) -> Judgement:
    """What a single discriminator says."""
    return Judgement([logits], [])


def normed(x: Pictures) -> Pictures:
    """Instance norm: every channel of every picture to mean 0 and deviation 1."""
    return F.instance_norm(x)


def reflected(x: Pictures, by: int) -> Float[Tensor, "B C I J"]:
    """Mirrored at the edges, which leaves fewer artefacts there than zeros."""
    return F.pad(x, (by, by, by, by), mode="reflect")


@torch.no_grad()
def initialise(module: nn.Module) -> None:
    """Weights from N(0, 0.02) (appendix 7.1), biases zero."""
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
            nn.init.normal_(layer.weight, std=0.02)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
