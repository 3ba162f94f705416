"""ControlNet (arXiv:2302.05543): a copy of a U-Net's way down that sees a second picture: depth, a pose, edges.

What the copy finds goes through convolutions that start at zero and is added to the skips of the U-Net. The picture
(the hint) is in [0, 1], eight times as large as the latents.

Official weights: lllyasviel/control_v11p_sd15_canny and its like, thibaud/controlnet-sd21-canny-diffusers,
diffusers/controlnet-depth-sdxl-1.0 (OpenRAIL).
Axes: B batch, C, D and E channels, H and I height, W and J width, S tokens, P pooled width, K sizes that are told.
"""

from dataclasses import dataclass, field
from itertools import pairwise

import torch.nn.functional as F
from jaxtyping import Float, Num
from torch import Tensor, nn

from nexus.models.diffusion.conditional_unet import ConditionalUNetConfig, Contraction, Residuals
from nexus.models.diffusion.spatial_transformer import Told

Map = Float[Tensor, "B C H W"]


@dataclass(frozen=True, kw_only=True)
class ControlNetConfig:
    """The defaults are those for Stable Diffusion 1.5; `network` is its U-Net's, of which the way up is left out."""

    network: ConditionalUNetConfig = field(default_factory=ConditionalUNetConfig)
    hint_channels: int = 3
    hint_dims: tuple[int, ...] = (16, 32, 96, 256)  # of the hint's convolutions, each half the size of the one before
    hint_order: str = "rgb"  # or bgr
    pools: bool = False  # what is added is the mean over all places (control_v11e_sd15_shuffle)

    def __post_init__(self):
        if self.hint_order not in ("rgb", "bgr"):
            raise ValueError(f"hint_order must be rgb or bgr, got {self.hint_order!r}")

    @property
    def hint_scale(self) -> int:
        """How many times as large as the latents the hint is."""
        return 2 ** (len(self.hint_dims) - 1)


class Hint(nn.Module):
    """Convolutions from the size of the picture to the size of the latents, each of `dims` at half the size."""

    def __init__(self, channels: int, dims: tuple[int, ...], out_dim: int):
        super().__init__()
        self.first = nn.Conv2d(channels, dims[0], 3, padding=1)
        self.layers = nn.ModuleList(
            nn.Conv2d(narrow, dim, 3, padding=1, stride=stride)
            for narrow, wide in pairwise(dims)
            for dim, stride in ((narrow, 1), (wide, 2))
        )
        self.out = zero(nn.Conv2d(dims[-1], out_dim, 3, padding=1))

    def forward(self, x: Map) -> Float[Tensor, "B D I J"]:
        x = F.silu(self.first(x))
        for layer in self.layers:
            x = F.silu(layer(x))
        return self.out(x)


class ControlNet(Contraction):
    """A network `(x_t, step, text, hint) -> Residuals` beside a `ConditionalUNet` of the same widths."""

    def __init__(self, config: ControlNetConfig):
        super().__init__(config.network)
        network = config.network
        self.control, dims = config, network.dims
        self.hint = Hint(config.hint_channels, config.hint_dims, dims[0])
        widths = [dims[0]]
        for i, dim in enumerate(dims):
            widths += [dim] * (network.n_blocks + (i < len(dims) - 1))
        self.skips = nn.ModuleList(zero(nn.Conv2d(width, width, 1)) for width in widths)
        self.middle_out = zero(nn.Conv2d(dims[-1], dims[-1], 1))

    def see(self, picture: Float[Tensor, "B 3 I J"]) -> Map:
        """What the hint adds to the first features, the same at every step.

        Args:
            picture: red, green, blue in [0, 1].

        Raises:
            ValueError: sides that are no multiples of `config.hint_scale`.
        """
        scale = self.control.hint_scale
        if any(side % scale for side in picture.shape[2:]):
            raise ValueError(f"a control picture's sides must be multiples of {scale}, got {list(picture.shape[2:])}")
        return self.hint(picture.flip(1) if self.control.hint_order == "bgr" else picture)

    def forward(
        self,
        x: Map,
        step: Num[Tensor, " B"],
        text: Float[Tensor, "B S D"] | Told,
        seen: Float[Tensor, "B E I J"],
        *,
        pooled: Float[Tensor, "B P"] | None = None,
        sizes: Num[Tensor, "B K"] | None = None,
        guidance: Num[Tensor, " B"] | None = None,
    ) -> Residuals:
        """What is added to the U-Net's skips and middle; `seen` is what `see` made of the hint.

        Raises:
            ValueError: a hint of another size than the latents.
        """
        if seen.shape[2:] != x.shape[2:]:
            scale = self.control.hint_scale
            wanted, got = ([scale * side for side in shape] for shape in (x.shape[2:], seen.shape[2:]))
            raise ValueError(f"a control picture must be of the size that is painted, {wanted}, got {got}")
        told = self.hear(text) if isinstance(text, Tensor) else text
        time = self.conditions(step, pooled, sizes, guidance)
        skips, middle = self.contract(self.conv_in(x) + seen, time, told)
        found = Residuals([out(skip) for out, skip in zip(self.skips, skips, strict=True)], self.middle_out(middle))
        if self.control.pools:
            found = Residuals(
                [skip.mean((2, 3), keepdim=True) for skip in found.skips], found.middle.mean((2, 3), True)
            )
        return found


def weighted(found: Residuals, weight: float | int, *, guess: bool = False) -> Residuals:
    """Scales what is added; with `guess` it counts from 0.1 at the first skip up to 1 in the middle, in even ratios.

    Guess mode is the official code's: the hint has to be recognised without a prompt.
    """
    n = len(found.skips)
    factors = [weight * (10 ** (i / n - 1) if guess else 1) for i in range(n + 1)]
    skips = [factor * skip for factor, skip in zip(factors[:n], found.skips, strict=True)]
    return Residuals(skips, factors[n] * found.middle)


def zero(layer: nn.Conv2d) -> nn.Conv2d:
    """A convolution that adds nothing yet."""
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
    return layer
