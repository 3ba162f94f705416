"""Denoising diffusion (DDPM, arXiv:2006.11239): pictures out of noise by a U-Net, without a prompt.

Official weights: google/ddpm-cifar10-32, google/ddpm-celebahq-256, google/ddpm-church-256 and their like (Apache-2.0).
Axes: B batch, C channels, H height, W width.
"""

from dataclasses import dataclass, field
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from nexus.media.image import Image
from nexus.models.diffusion.unet import UNet, UNetConfig
from nexus.process import schedule as schedules
from nexus.process.diffusion import Prediction, clipped, data_field, diffusion_loss, spread_steps
from nexus.process.levels import Path
from nexus.process.noise import gaussian, generators
from nexus.process.solvers import ddim, ddpm, dpmpp_2m, heun
from nexus.process.unipc import unipc
from nexus.process.walk import Progress, walked
from nexus.process.weighting import min_snr

Solver = Literal["ddpm", "ddim", "heun", "dpmpp_2m", "unipc"]
SOLVERS = {"ddim": ddim, "heun": heun, "dpmpp_2m": dpmpp_2m, "unipc": unipc}
_SCHEDULES = ("linear", "scaled_linear", "cosine", "sigmoid", "laplace")


@dataclass(frozen=True, kw_only=True)
class BaseDiffusionConfig:
    """The published DDPM for CIFAR-10; `size`, `steps` and `solver` are `generate`'s."""

    network: UNetConfig = field(default_factory=UNetConfig)
    schedule: Literal["linear", "scaled_linear", "cosine", "sigmoid", "laplace"] = "linear"
    betas: tuple[float, float] = (1e-4, 0.02)  # of linear, scaled_linear and sigmoid: the first and the last
    n_steps: int = 1000
    prediction: Prediction = "noise"
    variance: Literal["small", "large"] = "small"
    clip: bool = True  # estimates of the data to [-1, 1] while sampling
    min_snr: float | None = None  # gamma of the loss's weights; None counts every step alike
    size: tuple[int, int] = (32, 32)
    steps: int = 1000
    solver: Solver = "ddpm"

    def __post_init__(self):
        if self.schedule not in _SCHEDULES:
            raise ValueError(f"schedule must be one of {', '.join(_SCHEDULES)}, got {self.schedule!r}")

    @property
    def noise_schedule(self) -> schedules.NoiseSchedule:
        make = getattr(schedules, self.schedule)
        return make(self.n_steps) if self.schedule in ("cosine", "laplace") else make(self.n_steps, *self.betas)


class BaseDiffusion(nn.Module):
    """A U-Net that predicts what was added to a picture, and what makes pictures of it."""

    def __init__(self, config: BaseDiffusionConfig):
        super().__init__()
        self.config = config
        self.network = UNet(config.network)

    @property
    def schedule(self) -> schedules.NoiseSchedule:
        return self.config.noise_schedule

    def forward(
        self, x_t: Float[Tensor, "B C H W"], step: Int[Tensor, " B"], label: Int[Tensor, " B"] | None = None
    ) -> Float[Tensor, "B C H W"]:
        return self.network(x_t, step, label)

    def loss(self, batch: dict[str, Tensor], generator: torch.Generator | None = None) -> dict[str, Tensor]:
        """The simple loss (eq. 14) at steps drawn evenly; each batch spreads its items over the schedule.

        Args:
            batch: image [B, C, H, W] in [-1, 1], and label [B] where the network knows classes.
        """
        rng = generator or generators(None, 1)[0]
        image, schedule = batch["image"], self.schedule
        step = spread_steps(len(image), schedule, rng).to(image.device)
        noise = torch.randn(image.shape, generator=rng).to(image)

        def network(x_t: Tensor, step: Tensor) -> Tensor:
            return self.network(x_t, step, batch.get("label"))

        losses = diffusion_loss(network, schedule, image, noise, step, self.config.prediction)
        if self.config.min_snr is not None:
            losses = losses * min_snr(schedule, step, self.config.prediction, self.config.min_snr).to(losses)
        return {"loss": losses.mean()}

    @torch.no_grad()
    def generate(
        self,
        n: int = 1,
        *,
        labels: list[int] | None = None,
        size: tuple[int, int] | None = None,
        steps: int | None = None,
        solver: str | None = None,
        seed: int | None = None,
        progress: Progress | None = None,
    ) -> list[Image]:
        """Makes n pictures.

        Args:
            labels: the class of each, for a network that knows classes.
            size: height and width in pixels, in multiples of `config.network.multiple`.
            steps: of the schedule's, evenly spaced ("leading"); fewer than all of them need no training.
            solver: one of ddpm, ddim, heun, dpmpp_2m, unipc.
            seed: picture i has the noise of `seed + i` alone.
            progress: called with steps done and steps in all; an exception raised in it stops the call.

        Raises:
            ValueError: counts, sizes, steps, labels or a solver that can't be.
        """
        size = self.config.size if size is None else size
        steps = self.config.steps if steps is None else steps
        solver = self.config.solver if solver is None else solver
        self.check(n, labels, size, steps, solver)
        weight = self.network.conv_in.weight
        rngs = generators(seed, n)
        label = None if labels is None else torch.tensor(labels, device=weight.device)
        x = gaussian((self.config.network.in_channels, *size), rngs, device=weight.device, dtype=weight.dtype)
        estimate = data_field(lambda x_t, step: self.network(x_t, step, label), self.config.prediction)
        estimate = clipped(estimate) if self.config.clip else estimate
        path = self.path(steps, solver)
        states = (
            ddpm(estimate, x, path, rngs=rngs, variance=self.config.variance)
            if solver == "ddpm"
            else SOLVERS[solver](estimate, x, path)
        )
        return [Image.from_tensor(picture) for picture in walked(states, steps, progress)]

    def path(self, steps: int, solver: str) -> Path:
        """The levels that a solver visits; multistep ones do better without the lowest step."""
        schedule = self.schedule
        if solver in ("dpmpp_2m", "unipc") and steps < schedule.n_steps:
            return schedule.path(schedules.without_last(schedules.leading(schedule.n_steps, steps + 1)))
        return schedule.path(schedules.leading(schedule.n_steps, steps))

    def check(self, n: int, labels: list[int] | None, size: tuple[int, int], steps: int, solver: str) -> None:
        multiple, n_classes = self.config.network.multiple, self.config.network.n_classes
        if n < 1:
            raise ValueError(f"n must be at least 1, got {n}")
        if any(side < multiple or side % multiple for side in size):
            nearest = tuple(max(round(side / multiple), 1) * multiple for side in size)
            raise ValueError(f"size must be in multiples of {multiple}, got {size}; nearest is {nearest}")
        if not 1 <= steps <= self.config.n_steps:
            raise ValueError(f"steps must be from 1 to {self.config.n_steps}, got {steps}")
        if solver != "ddpm" and solver not in SOLVERS:
            raise ValueError(f"solver must be ddpm, {', '.join(SOLVERS)}, got {solver!r}")
        if (labels is None) != (n_classes is None):
            wanted = "this network knows no classes; leave labels out" if n_classes is None else "give labels"
            raise ValueError(f"{wanted}{f', {n} of 0 to {n_classes - 1}' if n_classes else ''}")
        if labels and n_classes and (len(labels) != n or not all(0 <= label < n_classes for label in labels)):
            raise ValueError(f"labels must be {n} numbers from 0 to {n_classes - 1}, got {labels}")
