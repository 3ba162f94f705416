"""DCGAN (arXiv:1511.06434): pictures out of a code by transposed convolutions, taught by a discriminator.

The game they play is `nexus.process.gan`'s. No official weights exist.
Axes: B batch, C channels, H height, W width, D width of the code.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from nexus.media.image import Image
from nexus.process.noise import gaussian, generators

Pictures = Float[Tensor, "B C H W"]
Progress = Callable[[int, int], None]
BATCH = 64  # pictures made at a time


@dataclass(frozen=True, kw_only=True)
class BaseGANConfig:
    """The generator; the defaults are the paper's for 64 x 64 pixels."""

    channels: int = 3
    latent_dim: int = 100
    dims: tuple[int, ...] = (1024, 512, 256, 128)  # channels at `start` pixels a side, at twice as many, ...
    start: int = 4
    n_classes: int | None = None

    def __post_init__(self):
        if not self.dims or min(self.channels, self.latent_dim, self.start, *self.dims) < 1:
            raise ValueError(f"channels, latent_dim, start and dims must be at least 1, got {self}")

    @property
    def size(self) -> int:
        """Pixels a side."""
        return self.start * 2 ** len(self.dims)


@dataclass(frozen=True, kw_only=True)
class DiscriminatorConfig:
    """`dims` are the channels after each halving; the defaults are DCGAN's mirror image.

    Batch norm lets pictures of a batch see one another, which gradient penalties forbid.
    """

    channels: int = 3
    size: int = 64
    dims: tuple[int, ...] = (128, 256, 512, 1024)
    norm: Literal["batch", "layer", "spectral", "none"] = "batch"
    n_classes: int | None = None

    def __post_init__(self):
        if not self.dims or self.size % 2 ** len(self.dims):
            raise ValueError(f"size must be a multiple of {2 ** len(self.dims)} to be halved so often, got {self.size}")


class BaseGAN(nn.Module):
    """The generator: a code spread over a few pixels, then doubled until the picture is there."""

    def __init__(self, config: BaseGANConfig):
        super().__init__()
        self.config = config
        dims = config.dims
        first = nn.ConvTranspose2d(self.code_dim, dims[0], config.start, bias=False)
        layers: list[nn.Module] = [first, nn.BatchNorm2d(dims[0]), nn.ReLU()]
        for dim, narrower in pairwise(dims):
            layers += [nn.ConvTranspose2d(dim, narrower, 4, 2, 1, bias=False), nn.BatchNorm2d(narrower), nn.ReLU()]
        self.layers = nn.Sequential(*layers, nn.ConvTranspose2d(dims[-1], config.channels, 4, 2, 1), nn.Tanh())
        initialise(self)

    @property
    def code_dim(self) -> int:
        """What the layers are given."""
        return self.config.latent_dim

    def forward(self, z: Float[Tensor, "B D"], label: Int[Tensor, " B"] | None = None) -> Pictures:
        """Pictures in [-1, 1]."""
        return self.layers(z[:, :, None, None])

    def fakes(self, label: Int[Tensor, " B"], rng: torch.Generator) -> Pictures:
        """One for each label (which a generator without classes only counts), for training."""
        z = torch.randn(len(label), self.config.latent_dim, generator=rng)
        return self(z.to(self.layers[0].weight), label if self.config.n_classes else None)  # type: ignore[arg-type]

    @torch.no_grad()
    def generate(
        self, n: int = 1, *, labels: list[int] | None = None, seed: int | None = None, progress: Progress | None = None
    ) -> list[Image]:
        """Makes n pictures, each in one pass.

        Args:
            labels: the class of each, for a generator that knows classes.
            seed: picture i has the code of `seed + i` alone.
            progress: called with pictures done and pictures in all; an exception raised in it stops the call.

        Raises:
            ValueError: counts or labels that can't be.
        """
        check_labels(n, labels, self.config.n_classes)
        weight = next(self.parameters())
        z = gaussian((self.config.latent_dim,), generators(seed, n), device=weight.device, dtype=weight.dtype)
        classes = None if labels is None else torch.tensor(labels, device=weight.device)
        made: list[Image] = []
        for start in range(0, n, BATCH):
            chosen = slice(start, start + BATCH)
            made += [Image.from_tensor(x) for x in self(z[chosen], None if classes is None else classes[chosen])]
            if progress is not None:
                progress(len(made), n)
        return made


class Discriminator(nn.Module):
    """Convolutions that halve the picture, to one logit (higher: more real)."""

    def __init__(self, config: DiscriminatorConfig):
        super().__init__()
        self.config = config
        layers: list[nn.Module] = []
        widths = [self.seen_channels, *config.dims]
        for i, (dim, wider) in enumerate(zip(widths, config.dims, strict=False)):
            layers += [*_halving(dim, wider, config.norm, first=i == 0), nn.LeakyReLU(0.2)]
        self.layers = nn.Sequential(*layers)
        side = config.size // 2 ** len(config.dims)
        self.out = _spectral(nn.Conv2d(config.dims[-1], 1, side), config.norm)
        initialise(self)

    @property
    def seen_channels(self) -> int:
        """Of what the layers are given."""
        return self.config.channels

    def forward(self, x: Pictures, label: Int[Tensor, " B"] | None = None) -> Float[Tensor, " B"]:
        return self.out(self.layers(x)).flatten()


def _halving(dim: int, wider: int, norm: str, first: bool) -> list[nn.Module]:
    """A strided convolution and its norm, which the first does without (DCGAN, section 3)."""
    conv = nn.Conv2d(dim, wider, 4, 2, 1, bias=norm != "batch" or first)
    if norm == "batch" and not first:
        return [conv, nn.BatchNorm2d(wider)]
    if norm == "layer" and not first:
        return [conv, nn.GroupNorm(1, wider)]  # WGAN-GP, section 4
    return [_spectral(conv, norm)]


def _spectral(layer: nn.Module, norm: str) -> nn.Module:
    """Divides the weight by its largest singular value (arXiv:1802.05957) where `norm` says so."""
    return spectral_norm(layer) if norm == "spectral" else layer


@torch.no_grad()
def initialise(module: nn.Module) -> None:
    """Weights of convolutions from N(0, 0.02) (DCGAN, section 4).

    Those under spectral norm keep torch's: their scale is divided out.
    """
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d) and not hasattr(layer, "parametrizations"):
            nn.init.normal_(layer.weight, std=0.02)


@torch.no_grad()
def standing_statistics(model: BaseGAN, n: int, rng: torch.Generator) -> None:
    """Sets batch norms to the means and variances of n fakes (BigGAN, arXiv:1809.11096, section 4).

    Those that they gathered while training are of other weights than the averaged ones.
    """
    norms = [layer for layer in model.modules() if isinstance(layer, nn.BatchNorm2d)]
    momenta, training = [norm.momentum for norm in norms], model.training
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # an even mean over all calls
    model.train()
    for start in range(0, n, BATCH):
        count = min(BATCH, n - start)
        model.fakes(torch.randint(model.config.n_classes or 1, (count,), generator=rng), rng)
    model.train(training)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum


def check_labels(n: int, labels: list[int] | None, n_classes: int | None) -> None:
    """Refuses counts and labels that can't be."""
    if n < 1:
        raise ValueError(f"n must be at least 1, got {n}")
    if n_classes is None and labels is not None:
        raise ValueError(f"this generator knows no classes; leave labels out, got {labels}")
    if n_classes is None:
        return
    if labels is None or len(labels) != n or not all(0 <= label < n_classes for label in labels):
        raise ValueError(f"labels must be {n} numbers from 0 to {n_classes - 1}, got {labels}")
