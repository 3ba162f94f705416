"""Flow matching (arXiv:2210.02747) asked for a class: a U-Net learns the velocity of straight paths to pictures.

`x_t = (1 - t) * noise + t * data`; the network answers `data - noise` and is told 1000 t, t from 0 (noise) to 1 (data).
Guided without a classifier, as `nexus.models.diffusion.conditional_diffusion` is. No official weights in this form.
Axes: B batch, C channels, H height, W width.
"""

from dataclasses import dataclass, field
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from nexus.media.image import Image
from nexus.models.diffusion.classes import Classes, asked, dropped, given
from nexus.models.diffusion.unet import UNet, UNetConfig
from nexus.process.flow import Field, euler, flow_loss, heun, logit_normal, midpoint, uniform_times
from nexus.process.guidance import guided_halves
from nexus.process.noise import gaussian, generators
from nexus.process.walk import Progress, walked

SOLVERS = {"euler": euler, "midpoint": midpoint, "heun": heun}


@dataclass(frozen=True, kw_only=True)
class FlowMatchingConfig:
    """`network.n_classes` counts the class that says nothing, which is the last."""

    network: UNetConfig = field(default_factory=lambda: UNetConfig(n_classes=11))
    size: tuple[int, int] = (32, 32)
    drop: float = 0.1  # share of labels that is left out in training
    times: Literal["uniform", "logit-normal"] = "uniform"
    steps: int = 25
    solver: Literal["euler", "midpoint", "heun"] = "heun"
    guidance_scale: float = 2.0

    def __post_init__(self):
        if (self.network.n_classes or 0) < 2:
            raise ValueError("network.n_classes must count one class at least, and the one that says nothing")
        if not 0 <= self.drop < 1:
            raise ValueError(f"drop must be from 0 to below 1, got {self.drop:g}")
        multiple = self.network.multiple
        if any(side < multiple or side % multiple for side in self.size):
            raise ValueError(f"size must be in multiples of {multiple}, got {self.size}")

    @property
    def n_classes(self) -> int:
        assert self.network.n_classes is not None
        return self.network.n_classes - 1


class FlowMatching(nn.Module):
    def __init__(self, config: FlowMatchingConfig):
        super().__init__()
        self.config = config
        self.network = UNet(config.network)

    def forward(
        self, x_t: Float[Tensor, "B C H W"], t: Float[Tensor, " B"], label: Int[Tensor, " B"]
    ) -> Float[Tensor, "B C H W"]:
        """The velocity towards pictures of that class; `config.n_classes` is that of no class."""
        return self.network(x_t, 1000 * t, label)

    def loss(self, batch: dict[str, Tensor], generator: torch.Generator | None = None) -> dict[str, Tensor]:
        """Squared error of the velocity, at times spread over each batch (or logit-normal), some labels left out.

        Args:
            batch: image [B, C, H, W] in [-1, 1], label [B], and noise [B, C, H, W] where each picture has its own.
        """
        rng = generator or generators(None, 1)[0]
        image, n = batch["image"], len(batch["image"])
        label = dropped(batch["label"], self.config.n_classes, self.config.drop, rng)
        noise = batch["noise"] if "noise" in batch else torch.randn(image.shape, generator=rng).to(image)
        if self.config.times == "uniform":
            t = (torch.arange(n) + torch.rand(n, generator=rng)) / n
        else:
            t = logit_normal(n, rng)
        return {"loss": flow_loss(lambda x, t: self(x, t, label), image, noise, t.to(image)).mean()}

    def field(self, label: Int[Tensor, " B"], scale: float) -> Field:
        """The guided velocity towards these classes, for samplers."""
        if scale == 1:
            return lambda x, t: self(x, t, label)
        both = torch.cat([label, torch.full_like(label, self.config.n_classes)])
        return guided_halves(lambda x, t: self(x, t, both), scale)

    @torch.no_grad()
    def generate(
        self,
        classes: Classes,
        *,
        steps: int | None = None,
        guidance_scale: float | None = None,
        solver: str | None = None,
        seed: int | None = None,
        progress: Progress | None = None,
    ) -> Image | list[Image]:
        """Makes a picture of a class, or one of each.

        Args:
            steps: evenly spaced; midpoint and heun ask the network twice in each.
            guidance_scale: `null + guidance_scale * (cond - null)`; 1 is no guidance.
            solver: euler, midpoint or heun.
            seed: picture i has the noise of `seed + i` alone.
            progress: called with steps done and steps in all; an exception raised in it stops the call.

        Raises:
            ValueError: unknown classes, a solver or steps that can't be.
        """
        labels = asked(classes, self.config.n_classes)
        steps = self.config.steps if steps is None else steps
        scale = self.config.guidance_scale if guidance_scale is None else guidance_scale
        solver = self.config.solver if solver is None else solver
        if not 1 <= steps <= 1000:
            raise ValueError(f"steps must be from 1 to 1000, got {steps}")
        if solver not in SOLVERS:
            raise ValueError(f"solver must be one of {', '.join(SOLVERS)}, got {solver!r}")
        weight = self.network.conv_in.weight
        noise = gaussian(self.shape, generators(seed, len(labels)), device=weight.device, dtype=weight.dtype)
        field = self.field(torch.tensor(labels, device=weight.device), scale)
        x = walked(SOLVERS[solver](field, noise, uniform_times(steps)), steps, progress)
        return given(x, classes)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Of a picture."""
        return self.config.network.in_channels, *self.config.size
