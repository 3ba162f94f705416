"""Consistency models (arXiv:2303.01469): every state of a path from noise to a picture goes to the picture at once.

Trained alone, between neighbouring noise levels of one picture, or distilled from a diffusion model, between two states
of its path (both with the simplifications of arXiv:2310.14189: no averaged target, a pseudo-Huber distance).
Official weights: openai/diffusers-cd_imagenet64_l2, -ct_imagenet64, -cd_bedroom256_l2 and their like (MIT).
Axes: B batch, C channels, H height, W width.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from nexus.media.image import Image
from nexus.models.diffusion.classes import Classes, asked, given
from nexus.models.diffusion.unet import UNet, UNetConfig
from nexus.process.consistency import consistency_field, consistency_function, neighbours, pseudo_huber
from nexus.process.diffusion import clipped
from nexus.process.levels import Path, exploding, karras
from nexus.process.noise import gaussian, generators
from nexus.process.solvers import consistency
from nexus.process.walk import Progress, walked

Teacher = Callable[[Tensor, Tensor], Tensor]  # (x [B, ...], its noise level [B]) to an estimate of the data


@dataclass(frozen=True, kw_only=True)
class ConsistencyModelConfig:
    """The defaults are those of the official weights."""

    network: UNetConfig = field(default_factory=UNetConfig)
    size: tuple[int, int] = (64, 64)
    n_levels: int = 40
    least: float = 0.002  # noise level
    most: float = 80.0
    rho: float = 7.0
    sigma_data: float = 0.5
    clip: bool = True  # estimates to [-1, 1] while sampling
    steps: int = 1

    def __post_init__(self):
        if not 0 < self.least < self.most:
            raise ValueError(f"noise levels go from least to most above 0, got {self.least:g} and {self.most:g}")
        if self.n_levels < 2:
            raise ValueError(f"n_levels must be at least 2, got {self.n_levels}")


class ConsistencyModel(nn.Module):
    def __init__(self, config: ConsistencyModelConfig):
        super().__init__()
        self.config = config
        self.network = UNet(config.network)

    def forward(
        self, x: Float[Tensor, "B C H W"], sigma: Float[Tensor, " B"], label: Int[Tensor, " B"] | None = None
    ) -> Float[Tensor, "B C H W"]:
        """The picture at the end of the path through x; x itself at the least noise level."""
        return consistency_function(self._asked(label), x, sigma, self.config.least, self.config.sigma_data)

    def _asked(self, label: Tensor | None) -> Callable[[Tensor, Tensor], Tensor]:
        return lambda x, time: self.network(x, time, label)

    def loss(
        self,
        batch: dict[str, Tensor],
        generator: torch.Generator | None = None,
        *,
        n_levels: int | None = None,
        teacher: Teacher | None = None,
    ) -> dict[str, Tensor]:
        """How far the ends of two neighbouring states of a path are apart, of which the lower is held.

        Without a teacher both states are the picture with the same noise (consistency training); with one the lower is
        the upper after a step of Heun's method along the teacher's path (consistency distillation).

        Args:
            batch: image [B, C, H, W] in [-1, 1], and label [B] where the network knows classes.
            n_levels: into how many levels the path is cut; the config's, unless it grows as training goes on.
        """
        rng = generator or generators(None, 1)[0]
        image, label, n_levels = batch["image"], batch.get("label"), n_levels or self.config.n_levels
        levels = torch.tensor(karras(self.config.most, self.config.least, n_levels, self.config.rho)).to(image)
        gap = neighbours(n_levels, len(image), rng).to(image.device)
        high, low = levels[gap], levels[gap + 1]
        noise = torch.randn(image.shape, generator=rng).to(image)
        upper = image + _spread(high, image) * noise
        with torch.no_grad():
            lower = image + _spread(low, image) * noise if teacher is None else heun_step(teacher, upper, high, low)
        ends = self(upper, high, label)
        with torch.no_grad():
            held = self(lower, low, label)
        return {"loss": (pseudo_huber(ends, held) / (high - low)).mean()}

    @torch.no_grad()
    def generate(
        self,
        classes: Classes | None = None,
        *,
        n: int = 1,
        steps: int | None = None,
        at: Sequence[int] | None = None,
        seed: int | None = None,
        progress: Progress | None = None,
    ) -> Image | list[Image]:
        """Makes a picture of a class, or one of each; n pictures of a model that knows no classes.

        Args:
            steps: one, or more with fresh noise between (algorithm 1), at evenly spaced levels.
            at: the levels themselves instead, of the config's `n_levels` from 0 (the most noise): (0, 22) is the
                official two-step sampler of ImageNet.
            seed: picture i has the noise of `seed + i` alone.
            progress: called with steps done and steps in all; an exception raised in it stops the call.

        Raises:
            ValueError: unknown classes, counts or levels that can't be.
        """
        n_classes = self.config.network.n_classes
        if (classes is None) != (n_classes is None):
            raise ValueError(
                "this model knows no classes: say how many pictures by n" if n_classes is None
                else f"this model needs classes, numbers from 0 to {n_classes - 1}"
            )  # fmt: skip
        if classes is None and n < 1:
            raise ValueError(f"n must be at least 1, got {n}")
        labels = None if classes is None or n_classes is None else asked(classes, n_classes)
        path = self.path(steps, at)
        weight, rngs = self.network.conv_in.weight, generators(seed, len(labels or range(n)))
        label = None if labels is None else torch.tensor(labels, device=weight.device)
        noise = gaussian(self.shape, rngs, device=weight.device, dtype=weight.dtype)
        estimate = consistency_field(self._asked(label), self.config.least, self.config.sigma_data)
        estimate = clipped(estimate) if self.config.clip else estimate
        states = consistency(estimate, path[0].sigma * noise, path, rngs=rngs, least=self.config.least)
        return given(walked(states, len(path) - 1, progress), classes)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Of a picture."""
        return self.config.network.in_channels, *self.config.size

    def path(self, steps: int | None = None, at: Sequence[int] | None = None) -> Path:
        """The noise levels that sampling visits.

        Raises:
            ValueError: too many or too few, or levels that do not fall.
        """
        most, c = self.config.n_levels, self.config
        if at is None:
            steps = c.steps if steps is None else steps
            if not 1 <= steps <= most:
                raise ValueError(f"steps must be from 1 to {most}, got {steps}")
            at = [i * (most // steps) for i in range(steps)]
        elif steps is not None or not at or list(at) != sorted(set(at)) or at[0] < 0 or at[-1] >= most:
            raise ValueError(f"give steps, or by `at` rising numbers from 0 to {most - 1}; got {steps} and {at}")
        levels = karras(c.most, c.least, most, c.rho)
        return exploding(levels[i] for i in at)


def heun_step(
    teacher: Teacher, x: Float[Tensor, " B *axes"], high: Float[Tensor, " B"], low: Float[Tensor, " B"]
) -> Float[Tensor, " B *axes"]:
    """From one noise level to the next along the teacher's path, each item at its own (EDM's solver, second order)."""
    width, sigma, sigma_low = (_spread(part, x) for part in (low - high, high, low))
    slope = (x - teacher(x, high)) / sigma
    ahead = x + width * slope
    return x + width * (slope + (ahead - teacher(ahead, low)) / sigma_low) / 2


def _spread(factor: Float[Tensor, " B"], like: Tensor) -> Tensor:
    return factor.to(like).reshape(-1, *[1] * (like.ndim - 1))
