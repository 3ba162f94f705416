"""Stable Diffusion 1.x, 2.x and XL (arXiv:2112.10752, arXiv:2307.01952), and LCM's distillations of them: pictures from
words, from other pictures, and into parts of them.

Official weights: stable-diffusion-v1-5/stable-diffusion-v1-5 and -inpainting (CreativeML OpenRAIL-M),
stabilityai/stable-diffusion-2-1 (OpenRAIL++), stabilityai/stable-diffusion-xl-base-1.0 and -refiner-1.0 (OpenRAIL++),
SimianLuo/LCM_Dreamshaper_v7 (MIT); the original single files too.

Axes: B batch, D latent channels, H height, W width, S text tokens, E width of their states, P of their summary.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from nexus.codecs.image_vae import ImageVAE
from nexus.media.image import Image
from nexus.models.diffusion.conditional_unet import ConditionalUNet, ConditionalUNetConfig, Residuals
from nexus.models.diffusion.latent_pictures import Progress, check_whole, decoded, negatives, size_of, walked
from nexus.models.diffusion.latent_start import Beginner, Start, check_mask
from nexus.models.diffusion.spatial_transformer import Told
from nexus.process.consistency import latent_consistency_field
from nexus.process.diffusion import Network, Prediction, data_field, diffusion_loss
from nexus.process.guidance import guided_halves
from nexus.process.inpainting import inpainted
from nexus.process.levels import Path
from nexus.process.named import named
from nexus.process.noise import generators
from nexus.process.step_levels import StepLevels
from nexus.process.weighting import min_snr

PromptEncoder = Callable[[list[str]], tuple[Tensor, Tensor]]
AESTHETIC_SCORES = (6.0, 2.5)  # that XL's refiner is told of what is wanted and what is not


@dataclass(frozen=True, kw_only=True)
class StableDiffusionConfig:
    """Stable Diffusion 1.5's; `size`, `steps`, `guidance_scale` and `solver` are `generate`'s."""

    network: ConditionalUNetConfig = field(default_factory=ConditionalUNetConfig)
    levels: StepLevels = field(default_factory=StepLevels)
    prediction: Prediction = "noise"
    zero_negative: bool = False  # no negative prompt is zeros (XL's base), else an empty prompt
    min_snr: float | None = None  # gamma of the loss's weights; None counts every step alike
    size: tuple[int, int] = (512, 512)
    steps: int = 30
    guidance_scale: float = 7.5
    solver: str = "dpmpp-2m"

    def __post_init__(self):
        named(self.solver)
        if self.network.in_channels not in (self.network.out_channels, 2 * self.network.out_channels + 1):
            raise ValueError(
                f"in_channels must be out_channels {self.network.out_channels}, or for inpainting twice and one "
                f"more, got {self.network.in_channels}"
            )

    @property
    def inpaints(self) -> bool:
        """Whether the network sees mask and kept picture."""
        return self.network.in_channels != self.network.out_channels


@dataclass(frozen=True)
class Said:
    """What the network is told at every step; with guidance the second half of the batch is what is not wanted.

    Adapters return another one: with more sources in `told` (IP-Adapter), or with more `residuals` (ControlNet), which
    are functions of x_t and the step. They may look at how many pictures are wanted, of what size, and at which levels.
    """

    told: Told
    text: Float[Tensor, "B S E"]
    n: int  # pictures: the batch, or half of it with guidance
    size: tuple[int, int]
    path: Path
    pooled: Float[Tensor, "B P"] | None = None
    sizes: Float[Tensor, "B K"] | None = None
    guidance: Float[Tensor, " B"] | None = None
    residuals: tuple[Callable[[Tensor, Tensor], Residuals], ...] = ()


Adapter = Callable[[Said], Said]


class StableDiffusion(nn.Module):
    """`image_vae` and `text_encoder` complete the network; `nexus.load` attaches them."""

    image_vae: ImageVAE
    text_encoder: PromptEncoder

    def __init__(self, config: StableDiffusionConfig):
        super().__init__()
        self.config = config
        self.network = ConditionalUNet(config.network)

    @classmethod
    def around(cls, network: ConditionalUNet, config: StableDiffusionConfig) -> "StableDiffusion":
        """The model of a network that is there already."""
        with torch.device("meta"):
            model = cls(config)
        model.network = network
        return model

    def forward(
        self,
        x_t: Float[Tensor, "B D H W"],
        step: Int[Tensor, " B"],
        text: Float[Tensor, "B S E"],
        pooled: Float[Tensor, "B P"] | None = None,
        sizes: Float[Tensor, "B K"] | None = None,
    ) -> Float[Tensor, "B O H W"]:
        """The noise (or velocity, `config.prediction`) in x_t at each item's step."""
        return self.network(x_t, step, text, pooled=pooled, sizes=sizes)

    def loss(self, batch: dict[str, Tensor], generator: torch.Generator | None = None) -> dict[str, Tensor]:
        """Error of the prediction at steps drawn evenly; each batch spreads its items over the schedule.

        Args:
            batch: latents [B, D, H, W] (scaled) and text [B, S, E] (an empty prompt's where dropped); for XL pooled
                and sizes too; for a network that inpaints beside [B, D + 1, H, W], mask and kept latents.
        """
        rng = generator or generators(None, 1)[0]
        latents, schedule = batch["latents"], self.config.levels.noise_schedule
        n = len(latents)
        step = ((torch.arange(n) + torch.rand(n, generator=rng)) / n * schedule.n_steps).long()
        step = step.clamp(max=schedule.n_steps - 1).to(latents.device)
        noise = torch.randn(latents.shape, generator=rng).to(latents)

        def network(x_t: Tensor, step: Tensor) -> Tensor:
            shown = torch.cat([x_t, batch["beside"]], dim=1) if self.config.inpaints else x_t
            return self(shown, step, batch["text"], batch.get("pooled"), batch.get("sizes"))

        losses = diffusion_loss(network, schedule, latents, noise, step, self.config.prediction)
        if self.config.min_snr is not None:
            losses = losses * min_snr(schedule, step, self.config.prediction, self.config.min_snr).to(losses)
        return {"loss": losses.mean()}

    @torch.no_grad()
    def generate(
        self,
        prompt: str | Sequence[str],
        *,
        negative_prompt: str | Sequence[str] | None = None,
        height: int | None = None,
        width: int | None = None,
        n_steps: int | None = None,
        guidance_scale: float | int | None = None,
        solver: str | None = None,
        image: Image | None = None,
        mask: Image | None = None,
        strength: float | int | None = None,
        adapters: Sequence[Adapter] = (),
        seed: int | None = None,
        progress: Progress | None = None,
    ) -> Image | list[Image]:
        """Makes one picture for a prompt, or one for each of a list; an empty prompt asks for nothing in particular.

        Args:
            height, width: in pixels, in multiples of 8; else the model's own, or those of `image`.
            guidance_scale: `null + guidance_scale * (cond - null)`; 1 is no guidance. An LCM is told it instead.
            solver: one of those of `nexus.process.named`.
            image: a picture to start from, of which the last `strength` of the steps changes what they can.
            mask: of the size of `image`, white where it is painted anew.
            strength: 0.6 by default, 1 with a mask.
            adapters: change what the network is told (`Said`).
            seed: item i of a list has the noise of `seed + i` alone.
            progress: called with steps done and steps in all; an exception raised in it stops the call.

        Raises:
            ValueError: a size, steps, strength, mask, solver or guidance that can't be.
        """
        config, prompts = self.config, [prompt] if isinstance(prompt, str) else list(prompt)
        check_whole(self, "image_vae", "text_encoder")
        scale = config.guidance_scale if guidance_scale is None else guidance_scale
        if not math.isfinite(scale):
            raise ValueError(f"guidance_scale must be a finite number, such as {config.guidance_scale:g}, got {scale}")
        if image is None and strength is not None:
            raise ValueError("strength says how much of image is changed; give image too")
        negative = self._negatives(prompts, negative_prompt)
        size = size_of(height, width, image, config.size, self.image_vae.config.spatial_compression_ratio)
        solver = config.solver if solver is None else solver
        solve = named(solver)
        strength = (1.0 if mask is not None else 0.6) if strength is None else strength
        path = config.levels.path(config.steps if n_steps is None else n_steps, solver, strength if image else 1.0)

        check_mask(image, mask, size, config.inpaints)

        rngs, like = generators(seed, len(prompts)), self.network.conv_in.weight
        beginner = Beginner(self.image_vae, size, path[0], config.levels.noise_scale(path, solver), rngs, like)
        start = self._start(beginner, image, mask, strength)
        said = self.say(prompts, negative, scale, size, path)
        for adapter in adapters:
            said = adapter(said)
        estimate = data_field(self.guided(said, scale, start.beside), config.prediction)
        if solver == "lcm":
            estimate = latent_consistency_field(estimate)
        if start.kept is not None and start.mask is not None:
            shown = None if start.shown is None else (path[0], start.shown)
            estimate = inpainted(estimate, start.kept, start.mask, shown)
        states = solve(estimate, start.state, path, rngs)
        latents = start.finished(walked(states, len(path) - 1, progress))
        pictures = decoded(self.image_vae, latents)
        return pictures[0] if isinstance(prompt, str) else pictures

    def _start(self, beginner: Beginner, image: Image | None, mask: Image | None, strength: float | int) -> Start:
        if image is None:
            return beginner.from_noise()
        if mask is None:
            return beginner.from_image(image)
        inpaint = beginner.inpainting_beside if self.config.inpaints else beginner.inpainting
        return inpaint(image, mask, whole_path=strength == 1)

    def _negatives(self, prompts: list[str], negative: str | Sequence[str] | None) -> list[str] | None:
        """What each picture should not show; None where that is zeros, or nothing at all."""
        if not prompts:
            raise ValueError("prompt must be a text or a list of at least one")
        if self.config.network.guidance_dim is not None:
            if negative:
                raise ValueError("this model is told its guidance scale and makes no negative half: no negative_prompt")
            return None
        if negative is None and self.config.zero_negative:
            return None
        return negatives(negative, len(prompts))

    def say(
        self, prompts: list[str], negative: list[str] | None, scale: float | int, size: tuple[int, int], path: Path
    ) -> Said:
        """What the network is told of the prompts and, with guidance, of what is not wanted."""
        network, like, n = self.config.network, self.network.conv_in.weight, len(prompts)
        halves = 2 if self.guides(scale) else 1
        text, pooled = self.text_encoder(prompts + (negative if negative and halves == 2 else []))
        if halves == 2 and negative is None:
            text, pooled = torch.cat([text, 0 * text]), torch.cat([pooled, 0 * pooled])
        text = text.to(like)
        said = Said(self.network.hear(text), text, n, size, path)
        if network.guidance_dim is not None:
            said = replace(said, guidance=torch.full((n,), float(scale), device=like.device))
        if network.added_dim is None:
            return said
        sizes = sizes_told((network.added_dim - pooled.shape[1]) // network.size_dim, size)
        told = torch.tensor(sizes[:halves], device=like.device).repeat_interleave(n, dim=0)
        return replace(said, pooled=pooled.to(like), sizes=told)

    def guides(self, scale: float | int) -> bool:
        """Whether a second half of the batch is needed; an LCM is told the scale."""
        return scale != 1 and self.config.network.guidance_dim is None

    def guided(self, said: Said, scale: float | int, beside: Float[Tensor, "B F H W"] | None = None) -> Network:
        """Both halves of guidance in one batch."""
        halves = 2 if self.guides(scale) else 1
        beside = None if beside is None else torch.cat([beside] * halves)

        def network(x_t: Tensor, step: Tensor) -> Tensor:
            added = [residuals(x_t, step) for residuals in said.residuals]
            return self.network(
                x_t if beside is None else torch.cat([x_t, beside], dim=1),
                step,
                said.told,
                pooled=said.pooled,
                sizes=said.sizes,
                guidance=said.guidance,
                residuals=summed(added) if added else None,
            )

        return guided_halves(network, scale) if halves == 2 else network


def sizes_told(n: int, size: tuple[int, int]) -> list[list[float]]:
    """XL's size conditions, of what is wanted and of what is not: nothing was scaled up or cropped away.

    Height and width, top and left of the crop, and height and width again; the refiner's end in a score instead.
    """
    uncropped = [float(size[0]), float(size[1]), 0.0, 0.0]
    if n == 5:
        return [[*uncropped, score] for score in AESTHETIC_SCORES]
    return [[*uncropped, *uncropped[:2]]] * 2


def summed(several: list[Residuals]) -> Residuals:
    """What several ControlNets add together."""
    total, *others = several
    for other in others:
        skips = [skip + more for skip, more in zip(total.skips, other.skips, strict=True)]
        total = Residuals(skips, total.middle + other.middle)
    return total
