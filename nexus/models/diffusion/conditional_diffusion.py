"""Diffusion that is asked for a class, guided without a classifier (arXiv:2207.12598) or by one (arXiv:2105.05233).

One network learns both the conditional field and the unconditional one: a share of the labels is replaced by a class
of its own, the network's last, that says nothing. No official weights in this form exist.
Axes: B batch, C channels, H height, W width.
"""

from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int, Num
from torch import Tensor, nn

from nexus.media.image import Image
from nexus.models.diffusion.base_diffusion import BaseDiffusion, BaseDiffusionConfig
from nexus.models.diffusion.classes import Classes, asked, dropped, given
from nexus.models.diffusion.noisy_classifier import NoisyClassifier, NoisyClassifierConfig
from nexus.models.diffusion.unet import UNet, UNetConfig
from nexus.process.diffusion import DataField, clipped, data_field, data_of, diffuse
from nexus.process.guidance import Field, classifier_guided, guided_halves
from nexus.process.levels import Level
from nexus.process.named import named
from nexus.process.noise import gaussian, generators
from nexus.process.walk import Progress, walked

SOLVERS = ("ddim", "ddpm", "euler", "euler-ancestral", "heun", "dpmpp-2m", "dpmpp-2m-sde", "unipc")


def _eleven() -> BaseDiffusionConfig:
    return BaseDiffusionConfig(network=UNetConfig(n_classes=11), schedule="cosine", steps=50)


@dataclass(frozen=True, kw_only=True)
class ConditionalDiffusionConfig:
    """`base.network.n_classes` counts the class that says nothing, which is the last; `base.steps` are `generate`'s."""

    base: BaseDiffusionConfig = field(default_factory=_eleven)
    drop: float = 0.1  # share of labels that is left out in training
    classifier: NoisyClassifierConfig | None = None
    guidance_scale: float = 2.0
    solver: str = "ddim"

    def __post_init__(self):
        if (self.base.network.n_classes or 0) < 2:
            raise ValueError("base.network.n_classes must count one class at least, and the one that says nothing")
        if not 0 <= self.drop < 1:
            raise ValueError(f"drop must be from 0 to below 1, got {self.drop:g}")
        if self.classifier is not None and self.classifier.n_classes != self.n_classes:
            raise ValueError(f"the classifier must know {self.n_classes} classes, got {self.classifier.n_classes}")
        named(self.solver, SOLVERS)

    @property
    def n_classes(self) -> int:
        assert self.base.network.n_classes is not None
        return self.base.network.n_classes - 1


class ConditionalDiffusion(nn.Module):
    def __init__(self, config: ConditionalDiffusionConfig):
        super().__init__()
        self.config = config
        self.base = BaseDiffusion(config.base)
        self.classifier = None if config.classifier is None else NoisyClassifier(config.classifier)

    @property
    def network(self) -> UNet:
        return self.base.network

    def forward(
        self, x_t: Float[Tensor, "B C H W"], step: Num[Tensor, " B"], label: Int[Tensor, " B"]
    ) -> Float[Tensor, "B C H W"]:
        """The prediction for that class; `config.n_classes` is that of no class."""
        return self.network(x_t, step, label)

    def loss(self, batch: dict[str, Tensor], generator: torch.Generator | None = None) -> dict[str, Tensor]:
        """DDPM's loss with labels left out at random, and the classifier's cross-entropy at steps drawn evenly.

        Args:
            batch: image [B, C, H, W] in [-1, 1] and label [B].
        """
        rng = generator or generators(None, 1)[0]
        label = batch["label"]
        kept = dropped(label, self.config.n_classes, self.config.drop, rng)
        loss = self.base.loss({"image": batch["image"], "label": kept}, rng)["loss"]
        if self.classifier is None:
            return {"loss": loss}
        image, schedule = batch["image"], self.base.schedule
        step = torch.randint(schedule.n_steps, (len(image),), generator=rng).to(image.device)
        noise = torch.randn(image.shape, generator=rng).to(image)
        logits = self.classifier(diffuse(schedule, image, noise, step), step)
        error = F.cross_entropy(logits, label)
        right = (logits.argmax(1) == label).float().mean()
        return {"loss": loss + error, "diffusion": loss.detach(), "classifier": error.detach(), "right": right}

    @torch.no_grad()
    def generate(
        self,
        classes: Classes,
        *,
        steps: int | None = None,
        guidance_scale: float | None = None,
        classifier_scale: float = 0.0,
        solver: str | None = None,
        seed: int | None = None,
        progress: Progress | None = None,
    ) -> Image | list[Image]:
        """Makes a picture of a class, or one of each.

        Args:
            guidance_scale: `null + guidance_scale * (cond - null)`; 1 is no guidance, 0 ignores the class.
            classifier_scale: how much the classifier's gradient counts (arXiv:2105.05233, algorithm 1's s); both
                kinds of guidance may be had at once.
            solver: one of ddim, ddpm, euler, euler-ancestral, heun, dpmpp-2m, dpmpp-2m-sde, unipc.
            seed: picture i has the noise of `seed + i` alone.
            progress: called with steps done and steps in all; an exception raised in it stops the call.

        Raises:
            ValueError: unknown classes, a solver or steps that can't be, or a classifier that is not there.
        """
        labels = asked(classes, self.config.n_classes)
        steps = self.config.base.steps if steps is None else steps
        scale = self.config.guidance_scale if guidance_scale is None else guidance_scale
        solver = self.config.solver if solver is None else solver
        solve = named(solver, SOLVERS)
        if not 1 <= steps <= self.config.base.n_steps:
            raise ValueError(f"steps must be from 1 to {self.config.base.n_steps}, got {steps}")
        weight, rngs = self.network.conv_in.weight, generators(seed, len(labels))
        label = torch.tensor(labels, device=weight.device)
        shape = (self.config.base.network.in_channels, *self.config.base.size)
        x = gaussian(shape, rngs, device=weight.device, dtype=weight.dtype)
        estimate = self.estimate(label, scale, classifier_scale)
        path = self.base.path(steps, solver.replace("-", "_"))
        x = walked(solve(estimate, x, path, rngs), steps, progress)
        return given(x, classes)

    def estimate(self, label: Int[Tensor, " B"], scale: float, classifier_scale: float = 0.0) -> DataField:
        """The guided estimate of the data of these classes, for solvers; clipped where the config says so."""
        network = guided_halves(self.halves(label), scale) if scale != 1 else lambda x, t: self.network(x, t, label)
        found = data_field(network, self.config.base.prediction)
        if classifier_scale:
            judge = self.classifier
            if judge is None:
                raise ValueError("this model has no classifier: leave classifier_scale at 0")

            def log_prob(x: Tensor, level: Level) -> Tensor:
                return judge.log_prob(x, level.times(x), label)

            found = classifier_guided(found, log_prob, classifier_scale)
        return clipped(found) if self.config.base.clip else found

    def halves(self, label: Int[Tensor, " B"]) -> Field:
        """The network over a doubled batch, whose second half is asked for no class."""
        both = torch.cat([label, torch.full_like(label, self.config.n_classes)])
        return lambda x, t: self.network(x, t, both)

    def at_steps(
        self, x: Float[Tensor, "B C H W"], step: Num[Tensor, " B"], label: Int[Tensor, " B"], scale: Tensor | float
    ) -> Float[Tensor, "B C H W"]:
        """The guided estimate of the data, each item at its own step; what students are taught.

        Args:
            scale: of guidance, a number or one for each item [B, 1, 1, 1].
        """
        alpha, sigma = (part.to(x).reshape(-1, 1, 1, 1) for part in self.base.schedule.between(step))
        answer = guided_halves(self.halves(label), scale)(x, step)
        data = data_of(answer, x, alpha, sigma, self.config.base.prediction)
        return data.clamp(-1, 1) if self.config.base.clip else data

    def at_noise_levels(
        self, x: Float[Tensor, "B C H W"], sigma: Float[Tensor, " B"], label: Int[Tensor, " B"], scale: float
    ) -> Float[Tensor, "B C H W"]:
        """The same for `x = data + sigma * noise`, which is told the step of that ratio of noise to signal."""
        alpha = (1 + sigma**2).rsqrt().reshape(-1, 1, 1, 1)
        return self.at_steps(alpha * x, self.base.schedule.step_of(sigma), label, scale)
