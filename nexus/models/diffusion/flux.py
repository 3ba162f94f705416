"""FLUX.1 (Black Forest Labs, 2024): text to pictures by straight flows, without a second pass for guidance.

FLUX.1 [dev] was distilled from a guided model and is told a guidance scale; [schnell] needs none, and few steps.
Official weights: black-forest-labs/FLUX.1-schnell (Apache-2.0), FLUX.1-dev (non-commercial), and their single files.

Axes: B batch, D latent channels, H height, W width, S text tokens, P width of the text's summary.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import torch
from jaxtyping import Float
from torch import Tensor, nn

from nexus.codecs.image_vae import ImageVAE
from nexus.media.image import Image
from nexus.models.diffusion.brief import Adapter, Brief
from nexus.models.diffusion.flux_transformer import FluxTransformer, FluxTransformerConfig
from nexus.models.diffusion.latent_pictures import painted
from nexus.models.diffusion.latent_start import began
from nexus.models.diffusion.request import Asked, Limits, check_whole
from nexus.process.diffusion import Network, data_field
from nexus.process.flow_levels import MOST_STEPS, FlowLevels, shifted_flow_loss
from nexus.process.levels import Path
from nexus.process.noise import generators
from nexus.process.walk import Progress

PromptEncoder = Callable[[list[str]], tuple[Tensor, Tensor]]


@dataclass(frozen=True, kw_only=True)
class FluxConfig:
    """FLUX.1 [dev]'s; `size`, `steps`, `guidance_scale` and `solver` are `generate`'s."""

    network: FluxTransformerConfig = field(default_factory=FluxTransformerConfig)
    levels: FlowLevels = field(default_factory=lambda: FlowLevels(shift=3.0, growth=(0.5, 1.15)))
    size: tuple[int, int] = (1024, 1024)
    steps: int = 28
    guidance_scale: float = 3.5  # what the network is told
    solver: str = "euler"

    @classmethod
    def schnell(cls) -> "FluxConfig":
        return cls(network=FluxTransformerConfig.schnell(), levels=FlowLevels(shift=1.0), steps=4)


class Flux(nn.Module):
    """`image_vae` and `text_encoder` complete the network; `nexus.load` attaches them."""

    image_vae: ImageVAE
    text_encoder: PromptEncoder

    def __init__(self, config: FluxConfig):
        super().__init__()
        self.config = config
        self.network = FluxTransformer(config.network)

    def forward(
        self,
        x_t: Float[Tensor, "B D H W"],
        time: Float[Tensor, " B"],
        text: Float[Tensor, "B S E"],
        summary: Float[Tensor, "B P"],
        guidance: Float[Tensor, " B"] | None = None,
    ) -> Float[Tensor, "B D H W"]:
        """The velocity `noise - data` at times from 0 (data) to 1000 (noise)."""
        return self.network(x_t, time, text, summary, guidance)

    def loss(self, batch: dict[str, Tensor], generator: torch.Generator | None = None) -> dict[str, Tensor]:
        """Error of the velocity at logit-normal times, shifted for the size of the pictures.

        Networks that are told guidance are told 1 (none), as fine-tuning of [dev] does: distillation is not this loss.

        Args:
            batch: latents [B, D, H, W] (scaled), text [B, S, E] and summary [B, P].
        """
        rng = generator or generators(None, 1)[0]
        latents = batch["latents"]
        shift = self.config.levels.shift_at(self.n_tokens(latents.shape[2], latents.shape[3]))

        def velocity(x_t: Tensor, time: Tensor) -> Tensor:
            told = torch.ones_like(time) if self.config.network.guidance else None
            return self.network(x_t, time, batch["text"], batch["summary"], told)

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
            negative_prompt: refused: FLUX is distilled and has no second pass that it could steer.
            height, width: in pixels, in multiples of 16 (officially); else the model's own, or those of `image`.
            guidance_scale: what [dev] is told; about 3.5, it does not mean what other models' scales mean.
            solver: one of euler, euler-ancestral, heun, dpmpp-2m, dpmpp-2m-sde, unipc.
            cache: skips steps over which the noise hardly changes (`nexus.process.step_cache`), many at 0.5.
            image: a picture to start from, of which the last `strength` of the steps changes what they can.
            mask: of the picture's size, white where it is painted anew.
            strength: 0.6 by default, 1 with a mask.
            adapters: add to what the network is told (`Brief`).
            seed: item i of a list has the noise of `seed + i` alone.
            progress: called with steps done and steps in all; an exception raised in it stops the call.

        Raises:
            ValueError: an empty or too long prompt, guidance that this network can't follow, or a size, steps, strength
                or a solver that can't be.
        """
        asked = self.limits.words(
            prompt, negative_prompt, height=height, width=width, steps=steps, guidance_scale=guidance_scale,
            solver=solver, cache=cache, image=image, mask=mask, strength=strength, seed=seed,
        )  # fmt: skip
        ratio = self.image_vae.config.spatial_compression_ratio
        n_tokens = self.n_tokens(*(side // ratio for side in asked.size))
        path = asked.rest_of(self.config.levels.path(asked.steps, n_tokens, least=1 / asked.steps))
        velocity = self.told(self.brief(asked, path).heard(adapters))
        start = began(self.image_vae, asked, path[0], self.network.proj_out.weight)
        return painted(self.image_vae, asked, start, path, data_field(velocity, "flow"), progress)

    @property
    def limits(self) -> Limits:
        """What it can be asked for: [dev] is told a guidance scale, [schnell] needs none."""
        check_whole(self, "image_vae", "text_encoder")
        network = self.config.network
        multiple = self.image_vae.config.spatial_compression_ratio * network.patch_size
        guidance = "told" if network.guidance else "learnt"
        return Limits(own=self.config, multiple=multiple, most_steps=MOST_STEPS, guidance=guidance)

    def conditions(self, prompts: list[str], size: tuple[int, int]) -> dict[str, Tensor]:
        """What the network is told of prompts, as `loss` takes it."""
        text, summary = (t.to(self.network.proj_out.weight) for t in self.text_encoder(prompts))
        return {"text": text, "summary": summary}

    def brief(self, asked: Asked, path: Path) -> Brief:
        """What the network is told of the prompts, and a guidance scale, which not every network is told."""
        told = self.conditions(asked.halves, asked.size)
        brief = Brief(network=self.network, vae=self.image_vae, asked=asked, path=path, text=told["text"])
        guidance = torch.full((asked.n,), float(asked.scale), device=brief.text.device)
        return replace(brief, summary=told["summary"], guidance=guidance)

    def told(self, brief: Brief) -> Network:
        """The network with what it is told."""
        scale, said = brief.guidance if self.config.network.guidance else None, (brief.text, brief.summary)
        return lambda x_t, time: self.network(x_t, time, *said, scale, brief.beside(x_t, time))

    def n_tokens(self, height: int, width: int) -> int:
        """Patches of latents of this size."""
        return (height // self.config.network.patch_size) * (width // self.config.network.patch_size)
