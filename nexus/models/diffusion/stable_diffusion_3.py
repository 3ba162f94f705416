"""Stable Diffusion 3 and 3.5 (arXiv:2403.03206): text to pictures by straight flows over an autoencoder's latents.

Official weights: stabilityai/stable-diffusion-3-medium-diffusers, stable-diffusion-3.5-medium, -large and -large-turbo
(Stability AI Community Licence), and Stability's single files.

Axes: B batch, D latent channels, H height, W width, S text tokens, P width of the text's summary.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from jaxtyping import Float, Num
from torch import Tensor, nn

from nexus.codecs.image_vae import ImageVAE
from nexus.media.image import Image
from nexus.models.diffusion.brief import Adapter, Brief
from nexus.models.diffusion.latent_pictures import painted
from nexus.models.diffusion.latent_start import began
from nexus.models.diffusion.mmdit import MMDiT, MMDiTConfig
from nexus.models.diffusion.request import Asked, Limits, check_whole
from nexus.process.diffusion import Network, data_field
from nexus.process.flow_levels import MOST_STEPS, FlowLevels, shifted_flow_loss
from nexus.process.guidance import guided_halves
from nexus.process.levels import Path
from nexus.process.noise import generators
from nexus.process.walk import Progress

PromptEncoder = Callable[[list[str]], tuple[Tensor, Tensor]]


@dataclass(frozen=True, kw_only=True)
class StableDiffusion3Config:
    """Stable Diffusion 3 Medium's; `size`, `steps`, `guidance_scale` and `solver` are `generate`'s."""

    network: MMDiTConfig = field(default_factory=MMDiTConfig)
    levels: FlowLevels = field(default_factory=FlowLevels)
    size: tuple[int, int] = (1024, 1024)
    steps: int = 28
    guidance_scale: float = 7.0
    solver: str = "euler"


class StableDiffusion3(nn.Module):
    """`image_vae` and `text_encoder` complete the network; `nexus.load` attaches them."""

    image_vae: ImageVAE
    text_encoder: PromptEncoder

    def __init__(self, config: StableDiffusion3Config):
        super().__init__()
        self.config = config
        self.network = MMDiT(config.network)

    def forward(
        self,
        x_t: Float[Tensor, "B D H W"],
        time: Num[Tensor, " B"],
        text: Float[Tensor, "B S E"],
        summary: Float[Tensor, "B P"],
    ) -> Float[Tensor, "B D H W"]:
        """The velocity `noise - data` at times from 0 (data) to 1000 (noise)."""
        return self.network(x_t, time, text, summary)

    def loss(self, batch: dict[str, Tensor], generator: torch.Generator | None = None) -> dict[str, Tensor]:
        """Error of the velocity at logit-normal times, shifted for the size of the pictures (section 3.1, 5.3.2).

        Args:
            batch: latents [B, D, H, W] (scaled), text [B, S, E] and summary [B, P] (an empty prompt's where dropped).
        """
        rng = generator or generators(None, 1)[0]
        latents = batch["latents"]
        shift = self.config.levels.shift_at(self.n_tokens(latents.shape[2], latents.shape[3]))

        def velocity(x_t: Tensor, time: Tensor) -> Tensor:
            return self.network(x_t, time, batch["text"], batch["summary"])

        return {"loss": shifted_flow_loss(velocity, latents, shift, rng).mean()}

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
        solver: str | None = None,
        cache: float | int = 0.0,
        image: Image | None = None,
        mask: Image | None = None,
        strength: float | int | None = None,
        adapters: Sequence[Adapter] = (),
        seed: int | None = None,
        progress: Progress | None = None,
    ) -> Image | list[Image]:
        """Makes one picture for a prompt, or one for each of a list.

        Args:
            height, width: in pixels, in multiples of 16 (officially); else the model's own, or those of `image`.
            guidance_scale: `null + guidance_scale * (cond - null)`; 1 is no guidance.
            solver: one of euler, euler-ancestral, heun, dpmpp-2m, dpmpp-2m-sde, unipc.
            cache: skips steps over which the noise hardly changes (`nexus.process.step_cache`), many at 0.5.
            image: a picture to start from, of which the last `strength` of the steps changes what they can.
            mask: of the picture's size, white where it is painted anew.
            strength: 0.6 by default, 1 with a mask.
            adapters: add to what the network is told (`Brief`).
            seed: item i of a list has the noise of `seed + i` alone.
            progress: called with steps done and steps in all; an exception raised in it stops the call.

        Raises:
            ValueError: an empty or too long prompt, or a size, steps, strength or a solver that can't be.
        """
        asked = self.limits.words(
            prompt, negative_prompt, height=height, width=width, steps=steps, guidance_scale=guidance_scale,
            solver=solver, cache=cache, image=image, mask=mask, strength=strength, seed=seed,
        )  # fmt: skip
        ratio = self.image_vae.config.spatial_compression_ratio
        levels = self.config.levels.path(asked.steps, self.n_tokens(*(side // ratio for side in asked.size)))
        path = asked.rest_of(levels)
        velocity = self.guided(self.brief(asked, path).heard(adapters))
        start = began(self.image_vae, asked, path[0], self.network.proj_out.weight)
        return painted(self.image_vae, asked, start, path, data_field(velocity, "flow"), progress)

    @property
    def limits(self) -> Limits:
        """What it can be asked for."""
        check_whole(self, "image_vae", "text_encoder")
        network = self.config.network
        multiple = self.image_vae.config.spatial_compression_ratio * network.patch_size
        return Limits(own=self.config, multiple=multiple, most_steps=MOST_STEPS, longest=multiple * network.max_patches)

    def conditions(self, prompts: list[str], size: tuple[int, int]) -> dict[str, Tensor]:
        """What the network is told of prompts, as `loss` takes it."""
        text, summary = (t.to(self.network.proj_out.weight) for t in self.text_encoder(prompts))
        return {"text": text, "summary": summary}

    def brief(self, asked: Asked, path: Path) -> Brief:
        """What the network is told of the prompts, and with guidance of what is not wanted."""
        told = self.conditions(asked.halves, asked.size)
        text, summary = told["text"], told["summary"]
        return Brief(network=self.network, vae=self.image_vae, asked=asked, path=path, text=text, summary=summary)

    def guided(self, brief: Brief) -> Network:
        """Both halves of guidance in one batch."""

        def velocity(x_t: Tensor, time: Tensor) -> Tensor:
            return self.network(x_t, time, brief.text, brief.summary, brief.beside(x_t, time))

        return guided_halves(velocity, brief.asked.scale) if brief.asked.guided else velocity

    def n_tokens(self, height: int, width: int) -> int:
        """Patches of latents of this size."""
        return (height // self.config.network.patch_size) * (width // self.config.network.patch_size)
