"""Stable Diffusion 1.x, 2.x and XL (arXiv:2112.10752, arXiv:2307.01952), and LCM's distillations of them: pictures from
words, from other pictures, and into parts of them.

Official weights: stable-diffusion-v1-5/stable-diffusion-v1-5 and -inpainting (CreativeML OpenRAIL-M),
stabilityai/stable-diffusion-2-1 (OpenRAIL++), stabilityai/stable-diffusion-xl-base-1.0 and -refiner-1.0 (OpenRAIL++),
SimianLuo/LCM_Dreamshaper_v7 (MIT); the original single files too.

Axes: B batch, D latent channels, H height, W width, S text tokens, E width of their states, P of their summary.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from nexus.codecs.image_vae import ImageVAE
from nexus.media.image import Image
from nexus.models.diffusion.conditional_unet import ConditionalUNet, ConditionalUNetConfig, Residuals
from nexus.models.diffusion.latent_pictures import painted
from nexus.models.diffusion.latent_start import began
from nexus.models.diffusion.request import Asked, Limits, check_rescale, check_whole
from nexus.models.diffusion.spatial_transformer import Told
from nexus.process.consistency import latent_consistency_field
from nexus.process.diffusion import Network, Prediction, data_field, diffusion_loss, spread_steps
from nexus.process.guidance import guided_halves
from nexus.process.levels import Path
from nexus.process.named import SOLVERS, named
from nexus.process.noise import generators
from nexus.process.step_levels import StepLevels
from nexus.process.walk import Progress
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
        step = spread_steps(len(latents), schedule, rng).to(latents.device)
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
        steps: int | None = None,
        guidance_scale: float | int | None = None,
        guidance_rescale: float | int = 0.0,
        solver: str | None = None,
        cache: float | int = 0.0,
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
            guidance_rescale: how far guidance may not widen what the network answers (`nexus.process.guidance`), from 0
                to 1; 0.7 suits weights trained down to pure noise (`levels.zero_snr`), which look over-exposed else.
            solver: one of those of `nexus.process.named`.
            cache: skips steps over which the noise hardly changes (`nexus.process.step_cache`), many at 0.5.
            image: a picture to start from, of which the last `strength` of the steps changes what they can.
            mask: of the size of `image`, white where it is painted anew.
            strength: 0.6 by default, 1 with a mask.
            adapters: change what the network is told (`Said`).
            seed: item i of a list has the noise of `seed + i` alone.
            progress: called with steps done and steps in all; an exception raised in it stops the call.

        Raises:
            ValueError: a size, steps, strength, mask, solver or guidance that can't be.
        """
        config, like = self.config, self.network.conv_in.weight
        asked = self.limits.words(
            prompt, negative_prompt, height=height, width=width, steps=steps, guidance_scale=guidance_scale,
            solver=solver, cache=cache, image=image, mask=mask, strength=strength, seed=seed,
        )  # fmt: skip
        check_rescale(guidance_rescale, asked)
        path = config.levels.path(asked.steps, asked.solver, asked.strength)
        said = self.say(asked, path)
        for adapter in adapters:
            said = adapter(said)
        noise_scale = config.levels.noise_scale(path, asked.solver)
        start = began(self.image_vae, asked, path[0], like, noise_scale=noise_scale, sees_mask=config.inpaints)
        network = self.guided(said, asked, start.beside, guidance_rescale)
        estimate = data_field(network, config.prediction)
        if asked.solver == "lcm":
            estimate = latent_consistency_field(estimate)
        return painted(self.image_vae, asked, start, path, estimate, progress)

    @property
    def limits(self) -> Limits:
        """What it can be asked for."""
        check_whole(self, "image_vae", "text_encoder")
        config = self.config
        return Limits(
            own=config,
            multiple=self.image_vae.config.spatial_compression_ratio,
            most_steps=config.levels.most_steps,
            solvers=tuple(SOLVERS),
            guidance="steered" if config.network.guidance_dim is None else "told",
            wordless=True,
            inpaints=config.inpaints,
        )

    def conditions(self, prompts: list[str], size: tuple[int, int]) -> dict[str, Tensor]:
        """What the network is told of prompts for pictures of a height and width, as `loss` takes it."""
        like, n = self.network.conv_in.weight, len(prompts)
        text, pooled = (t.to(like) for t in self.text_encoder(prompts))
        if self.config.zero_negative:
            heard = torch.tensor([bool(words.strip()) for words in prompts], device=like.device)
            text, pooled = text * heard[:, None, None], pooled * heard[:, None]
        if self.config.network.added_dim is None:
            return {"text": text}
        return {"text": text, "pooled": pooled, "sizes": self.sizes(pooled, size)[:1].expand(n, -1)}

    def sizes(self, pooled: Float[Tensor, "B P"], size: tuple[int, int]) -> Float[Tensor, "2 K"]:
        """XL's size conditions, of what is wanted and of what is not."""
        network = self.config.network
        assert network.added_dim is not None
        told = sizes_told((network.added_dim - pooled.shape[1]) // network.size_dim, size)
        return torch.tensor(told, device=pooled.device)

    def say(self, asked: Asked, path: Path) -> Said:
        """What the network is told of the prompts and, with guidance, of what is not wanted."""
        network, like, n = self.config.network, self.network.conv_in.weight, asked.n
        zeros = asked.guided and asked.negative is None and self.config.zero_negative
        text, pooled = self.text_encoder(list(asked.prompts) if zeros else asked.halves)
        if zeros:
            text, pooled = torch.cat([text, 0 * text]), torch.cat([pooled, 0 * pooled])
        text, pooled = text.to(like), pooled.to(like)
        said = Said(self.network.hear(text), text, n, asked.size, path)
        if network.guidance_dim is not None:
            said = replace(said, guidance=torch.full((n,), float(asked.scale), device=like.device))
        if network.added_dim is None:
            return said
        sizes = self.sizes(pooled, asked.size)[: len(text) // n].repeat_interleave(n, dim=0)
        return replace(said, pooled=pooled, sizes=sizes)

    def guided(
        self, said: Said, asked: Asked, beside: Float[Tensor, "B F H W"] | None = None, rescale: float | int = 0
    ) -> Network:
        """Both halves of guidance in one batch."""
        beside = None if beside is None else torch.cat([beside] * (1 + asked.guided))

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

        return guided_halves(network, asked.scale, rescale) if asked.guided else network


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
