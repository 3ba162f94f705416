"""PixArt (arXiv:2310.00426; Sigma: arXiv:2403.04692): text to pictures by a transformer over a VAE's latents.

Official weights: PixArt-alpha/PixArt-XL-2-512x512, PixArt-alpha/PixArt-XL-2-1024-MS,
PixArt-alpha/PixArt-Sigma-XL-2-1024-MS (OpenRAIL++).

Axes: B batch, D latent channels, H height, W width, S text tokens.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import torch
from jaxtyping import Bool, Float, Num
from torch import Tensor, nn

from nexus.codecs.image_vae import ImageVAE
from nexus.codecs.stills import Stills
from nexus.media.image import Image
from nexus.models.diffusion.brief import Adapter, Brief
from nexus.models.diffusion.latent_pictures import painted
from nexus.models.diffusion.latent_start import began
from nexus.models.diffusion.learnt_sizes import knows_shapes, nearest_shape
from nexus.models.diffusion.pixart_transformer import PixArtTransformer, PixArtTransformerConfig
from nexus.models.diffusion.request import Asked, Limits, check_whole
from nexus.nn.beside import NOTHING, Beside
from nexus.process.diffusion import Network, data_field, diffusion_loss, spread_steps
from nexus.process.flow_distillation import consistency_levels
from nexus.process.flow_levels import MOST_STEPS, shifted_flow_loss
from nexus.process.guidance import guided_halves
from nexus.process.levels import Path, flow_sigmas, shifted, straight
from nexus.process.noise import generators
from nexus.process.schedule import NoiseSchedule, linear, linspace, without_last
from nexus.process.walk import Progress

TextEncoder = Callable[[list[str]], tuple[Tensor, Tensor]]


@dataclass(frozen=True, kw_only=True)
class PixArtConfig:
    """PixArt-XL-2-512x512's; `size`, `steps`, `guidance_scale` and `solver` are `generate`'s."""

    network: PixArtTransformerConfig = field(default_factory=PixArtTransformerConfig)
    process: Literal["diffusion", "flow"] = "diffusion"  # noise on a linear schedule, or the velocity of straight paths
    shift: float = 1.0  # of flow's times: above 1, more of them are noisy (arXiv:2403.03206, eq. 23)
    size: tuple[int, int] = (512, 512)  # height and width in pixels
    steps: int = 20
    guidance_scale: float = 4.5
    solver: str = "dpmpp-2m"
    distilled: bool = False  # to a consistency function of a flow, the teacher's guidance included
    learnt_shapes: bool = False  # trained in those of `learnt_sizes`, in which it paints best

    def __post_init__(self):
        if self.process not in ("diffusion", "flow"):
            raise ValueError(f"process must be diffusion or flow, got {self.process!r}")
        if self.distilled and (self.process, self.solver, self.guidance_scale) != ("flow", "lcm", 1):
            raise ValueError('a distilled PixArt has the process "flow", the solver "lcm" and a guidance_scale of 1')
        if self.learnt_shapes and not (self.size[0] == self.size[1] and knows_shapes(self.size[0])):
            raise ValueError(f"shapes are learnt around squares of 256, 512, 1024 or 2048 pixels, got size {self.size}")

    @property
    def schedule(self) -> NoiseSchedule:
        return linear()

    def path(self, steps: int) -> Path:
        """The levels that a solver visits."""
        if self.distilled:
            return straight(consistency_levels(steps, self.shift)[:-1].tolist())
        if self.process == "flow":
            return straight(shifted(flow_sigmas(steps, MOST_STEPS), self.shift))
        return self.schedule.path(without_last(linspace(self.schedule.n_steps, steps + 1)))


class PixArt(nn.Module):
    """`image_vae` and `text_encoder` complete the network; `nexus.load` attaches them."""

    image_vae: ImageVAE | Stills
    text_encoder: TextEncoder

    def __init__(self, config: PixArtConfig):
        super().__init__()
        self.config = config
        self.network = PixArtTransformer(config.network)

    def forward(
        self,
        x_t: Float[Tensor, "B D H W"],
        time: Num[Tensor, " B"],
        text: Float[Tensor, "B S E"],
        text_mask: Bool[Tensor, "B S"] | None = None,
    ) -> Float[Tensor, "B D H W"]:
        """Noise or velocity (`config.process`) of `x_t` at times 0 (data) to 1000 (noise)."""
        return self.predict(x_t, time, text, text_mask)

    def loss(self, batch: dict[str, Tensor], generator: torch.Generator | None = None) -> dict[str, Tensor]:
        """Error of the velocity at logit-normal times, or of the noise at steps drawn evenly.

        Args:
            batch: latents [B, D, H, W] (scaled), text [B, S, E] (an empty prompt's where dropped), text_mask; sizes
                [B, 2], height and width in pixels, for networks that are told them; for flow perhaps emphasis
                [B, H, W], by how much more than the rest a place counts. It is scaled by the signal that is left in
                x_t: weights that tell what the noise still hides would bias the estimate.
        """
        rng = generator or generators(None, 1)[0]
        latents, schedule = batch["latents"], self.config.schedule

        def network(x_t: Tensor, time: Tensor) -> Tensor:
            return self.predict(x_t, time, batch["text"], batch.get("text_mask"), batch.get("sizes"))

        def weight(sigma: Tensor) -> Tensor | None:
            if "emphasis" not in batch:
                return None
            signal = (1 - sigma).square().reshape(-1, 1, 1, 1)
            return 1 + signal * batch["emphasis"][:, None].expand_as(latents)

        if self.config.process == "flow":
            return {"loss": shifted_flow_loss(network, latents, self.config.shift, rng, weight).mean()}
        noise = torch.randn(latents.shape, generator=rng).to(latents)
        step = spread_steps(len(latents), schedule, rng).to(latents.device)
        return {"loss": diffusion_loss(network, schedule, latents, noise, step, "noise").mean()}

    def velocity(self, text: Tensor, text_mask: Tensor | None) -> Callable[[Tensor, Tensor], Tensor]:
        """A flow's field of (x_t, sigma) for a text, the way to noise."""
        return lambda x_t, sigma: self.predict(x_t, sigma * MOST_STEPS, text, text_mask)

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
        resolution_binning: bool = True,
        seed: int | None = None,
        progress: Progress | None = None,
    ) -> Image | list[Image]:
        """Makes one picture for a prompt, or one for each of a list.

        Args:
            height, width: in pixels, in multiples of 16 (officially); else the model's own, or those of `image`.
            guidance_scale: `null + guidance_scale * (cond - null)`; 1 is no guidance.
            solver: one of euler, euler-ancestral, heun, dpmpp-2m, dpmpp-2m-sde, unipc; of a distilled model lcm.
            cache: skips steps over which the noise hardly changes (`nexus.process.step_cache`), many at 0.5.
            image: a picture to start from, of which the last `strength` of the steps changes what they can.
            mask: of the picture's size, white where it is painted anew.
            strength: 0.6 by default, 1 with a mask.
            adapters: add to what the network is told (`Brief`).
            resolution_binning: a network that learnt several shapes paints in the nearest of them, which is then scaled
                and cut, so that any size will do; not where there is an `image` or there are adapters.
            seed: item i of a list has the noise of `seed + i` alone.
            progress: called with steps done and steps in all; an exception raised in it stops the call.

        Raises:
            ValueError: an empty or too long prompt, or a size, steps, strength or a solver that can't be.
        """
        binned = resolution_binning and image is None and not adapters and self.config.learnt_shapes
        limits = replace(self.limits, multiple=1) if binned else self.limits
        asked = limits.words(
            prompt, negative_prompt, height=height, width=width, steps=steps, guidance_scale=guidance_scale,
            solver=solver, cache=cache, image=image, mask=mask, strength=strength, seed=seed,
        )  # fmt: skip
        if binned:
            asked = replace(asked, size=nearest_shape(asked.size, self.config.size[0]), cut=asked.size)
        path = asked.rest_of(self.config.path(asked.steps))
        network = self.guided(self.brief(asked, path).heard(adapters))
        start = began(self.image_vae, asked, path[0], self.network.proj_out.weight)
        field = data_field(network, "flow" if self.config.process == "flow" else "noise")
        return painted(self.image_vae, asked, start, path, field, progress)

    @property
    def limits(self) -> Limits:
        """What it can be asked for."""
        check_whole(self, "image_vae", "text_encoder")
        multiple = self.image_vae.config.spatial_compression_ratio * self.config.network.patch_size
        limits = Limits(own=self.config, multiple=multiple, most_steps=MOST_STEPS - 1)
        return replace(limits, guidance="learnt", solvers=("lcm",)) if self.config.distilled else limits

    def conditions(self, prompts: list[str], size: tuple[int, int]) -> dict[str, Tensor]:
        """What the network is told of prompts for pictures of a height and width, as `loss` takes it."""
        like = self.network.proj_out.weight
        text, mask = self.text_encoder([words.strip().lower() for words in prompts])  # as in its training
        sizes = torch.tensor([size], device=like.device, dtype=torch.float32).expand(len(mask), 2)
        return {"text": text.to(like), "text_mask": mask.to(like.device), "sizes": sizes}

    def brief(self, asked: Asked, path: Path) -> Brief:
        """What the network is told of the prompts, and with guidance of what is not wanted."""
        told = self.conditions(asked.halves, asked.size)
        brief = Brief(network=self.network, vae=self.image_vae, asked=asked, path=path, text=told["text"])
        return replace(brief, text_mask=told["text_mask"], sizes=told["sizes"])

    def guided(self, brief: Brief) -> Network:
        """Both halves of guidance in one batch; the text's keys and values are computed once."""
        keys, mask, sizes = self.network.text_keys(brief.text), brief.text_mask, brief.sizes

        def network(x_t: Tensor, time: Tensor) -> Tensor:
            return self.predict(x_t, time, keys, mask, sizes, brief.beside(x_t, time))

        return guided_halves(network, brief.asked.scale) if brief.asked.guided else network

    def predict(
        self,
        x_t: Float[Tensor, "B D H W"],
        time: Num[Tensor, " B"],
        text: Any,
        text_mask: Bool[Tensor, "B S"] | None = None,
        size: Float[Tensor, "B 2"] | None = None,
        beside: Beside = NOTHING,
    ) -> Float[Tensor, "B D H W"]:
        """The network's answer without its learnt variance."""
        size = size if self.config.network.size_conditions else None
        answer = self.network(x_t, time, text, text_mask, size, beside)
        return answer[:, : x_t.shape[1]]
