"""Latent consistency models (arXiv:2310.04378): a guided diffusion model distilled to a few steps.

The student is told the guidance scale, learns the ends of the teacher's guided paths over many scales at once, and
compares states that are several of the teacher's steps apart (skipping-step). Here what is distilled is a
class-conditional U-Net over pixels; official weights are Stable Diffusion's U-Net, told the scale the same way.
Axes: B batch, C channels, H height, W width, D width of the embedded scale.
"""

from dataclasses import dataclass, field

import torch
from jaxtyping import Float, Int, Num
from torch import Tensor, nn

from nexus.media.image import Image
from nexus.models.diffusion.classes import Classes, asked, given
from nexus.models.diffusion.conditional_diffusion import ConditionalDiffusion, ConditionalDiffusionConfig
from nexus.models.diffusion.unet import UNet
from nexus.nn.embed import timestep_embedding
from nexus.process.consistency import latent_consistency_field, latent_scaling, lcm_steps, pseudo_huber
from nexus.process.diffusion import clipped, data_field, data_of, diffuse
from nexus.process.noise import gaussian, generators
from nexus.process.schedule import NoiseSchedule
from nexus.process.solvers import consistency
from nexus.process.walk import Progress, walked


@dataclass(frozen=True, kw_only=True)
class LCMConfig:
    """`teacher` is the config of the model that is distilled, whose network the student has."""

    teacher: ConditionalDiffusionConfig = field(default_factory=ConditionalDiffusionConfig)
    guidance_dim: int = 256
    guidance_range: tuple[float, float] = (1.0, 6.0)  # of the scales that are learnt
    origin: int = 50  # steps of the teacher's path, of which generate takes a few
    steps: int = 4
    guidance_scale: float = 2.0

    def __post_init__(self):
        low, high = self.guidance_range
        if not 1 <= low <= high:
            raise ValueError(f"guidance_range must rise from 1 at least, got {self.guidance_range}")
        if not 1 <= self.origin <= self.teacher.base.n_steps:
            raise ValueError(f"origin must be from 1 to {self.teacher.base.n_steps} steps, got {self.origin}")
        if self.guidance_dim < 4 or self.guidance_dim % 2:
            raise ValueError(f"guidance_dim must be even and at least 4, got {self.guidance_dim}")


class LCM(nn.Module):
    def __init__(self, config: LCMConfig):
        super().__init__()
        self.config, network = config, config.teacher.base.network
        self.network = UNet(network)
        self.guidance = nn.Linear(config.guidance_dim, network.dims[0], bias=False)
        nn.init.zeros_(self.guidance.weight)  # so that what it starts from is the teacher, whatever the scale

    def forward(
        self,
        x_t: Float[Tensor, "B C H W"],
        step: Num[Tensor, " B"],
        label: Int[Tensor, " B"],
        guidance_scale: Float[Tensor, " B"],
    ) -> Float[Tensor, "B C H W"]:
        """The prediction of the noise (or whatever the teacher predicts) under guidance of that scale."""
        told = timestep_embedding(1000 * (guidance_scale - 1), self.config.guidance_dim, shift=1)
        told = torch.cat(told.chunk(2, dim=-1)[::-1], dim=-1)  # sines first
        return self.network(x_t, step, label, self.guidance(told.to(x_t.dtype)))

    def loss(
        self, batch: dict[str, Tensor], generator: torch.Generator | None = None, *, teacher: ConditionalDiffusion
    ) -> dict[str, Tensor]:
        """How far the ends of two states of the teacher's guided path are apart, the lower one held (algorithm 1).

        Deviation: the lower state's end is the student's own without gradient, not that of an averaged copy.

        Args:
            batch: image [B, C, H, W] in [-1, 1] and label [B].
        """
        rng = generator or generators(None, 1)[0]
        image, label, n, schedule = batch["image"], batch["label"], len(batch["image"]), teacher.base.schedule
        skip = schedule.n_steps // self.config.origin
        high = (torch.randint(1, self.config.origin + 1, (n,), generator=rng) * skip - 1).to(image.device)
        low = (high - skip).clamp(min=0)
        least, most = self.config.guidance_range
        scale = (least + (most - least) * torch.rand(n, generator=rng)).to(image)
        upper = diffuse(schedule, image, torch.randn(image.shape, generator=rng).to(image), high)
        with torch.no_grad():
            lower = self.ddim_step(teacher, upper, high, low, label, scale)
            held = self.end(lower, low, label, scale)
        return {"loss": pseudo_huber(self.end(upper, high, label, scale), held).mean()}

    def end(
        self, x_t: Float[Tensor, "B C H W"], step: Int[Tensor, " B"], label: Int[Tensor, " B"], scale: Tensor
    ) -> Float[Tensor, "B C H W"]:
        """The end of the path through x_t, each item at its own step; x_t itself at step 0."""
        base = self.config.teacher.base
        alpha, sigma = (part.to(x_t).reshape(-1, 1, 1, 1) for part in self.schedule.between(step))
        data = data_of(self(x_t, step, label, scale), x_t, alpha, sigma, base.prediction)
        data = data.clamp(-1, 1) if base.clip else data
        skip, out = (part.to(x_t).reshape(-1, 1, 1, 1) for part in latent_scaling(step.double()))
        return skip * x_t + out * data

    @staticmethod
    def ddim_step(
        teacher: ConditionalDiffusion, x_t: Tensor, high: Tensor, low: Tensor, label: Tensor, scale: Tensor
    ) -> Float[Tensor, "B C H W"]:
        """Down the teacher's guided path, each item from its own step to its own."""
        data = teacher.at_steps(x_t, high, label, scale.reshape(-1, 1, 1, 1))
        (alpha, sigma), (alpha_low, sigma_low) = (
            tuple(part.to(x_t).reshape(-1, 1, 1, 1) for part in teacher.base.schedule.between(step))
            for step in (high, low)
        )
        return alpha_low * data + sigma_low / sigma * (x_t - alpha * data)

    @property
    def schedule(self) -> NoiseSchedule:
        return self.config.teacher.base.noise_schedule

    @torch.no_grad()
    def generate(
        self,
        classes: Classes,
        *,
        steps: int | None = None,
        guidance_scale: float | None = None,
        seed: int | None = None,
        progress: Progress | None = None,
    ) -> Image | list[Image]:
        """Makes a picture of a class, or one of each, in a few steps with fresh noise between them.

        Args:
            steps: of the `origin` steps that were distilled.
            guidance_scale: as the teacher's, within `guidance_range`; the network is told it, so it costs nothing.
            seed: picture i has the noise of `seed + i` alone.
            progress: called with steps done and steps in all; an exception raised in it stops the call.

        Raises:
            ValueError: unknown classes, steps that can't be, or a scale that was not learnt.
        """
        base, weight = self.config.teacher.base, self.network.conv_in.weight
        labels = asked(classes, self.config.teacher.n_classes)
        steps = self.config.steps if steps is None else steps
        told = self.config.guidance_scale if guidance_scale is None else guidance_scale
        low, high = self.config.guidance_range
        if not low <= told <= high:
            raise ValueError(f"guidance_scale must be from {low:g} to {high:g}, which were distilled; got {told:g}")
        path = self.schedule.path(lcm_steps(base.n_steps, steps, origin=self.config.origin))
        rngs, label = generators(seed, len(labels)), torch.tensor(labels, device=weight.device)
        noise = gaussian((base.network.in_channels, *base.size), rngs, device=weight.device, dtype=weight.dtype)
        scale = torch.full((len(labels),), float(told), device=weight.device)
        estimate = data_field(lambda x, step: self(x, step, label, scale), base.prediction)
        estimate = latent_consistency_field(clipped(estimate) if base.clip else estimate)
        x = walked(consistency(estimate, noise, path, rngs=rngs), steps, progress)
        return given(x, classes)
