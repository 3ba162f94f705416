"""PixArt (arXiv:2310.00426; Sigma: arXiv:2403.04692): text to pictures by a transformer over a VAE's latents.

Official weights: PixArt-alpha/PixArt-XL-2-512x512, PixArt-alpha/PixArt-XL-2-1024-MS,
PixArt-alpha/PixArt-Sigma-XL-2-1024-MS (OpenRAIL++).

Axes: B batch, D latent channels, H height, W width, S text tokens.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from jaxtyping import Bool, Float, Num
from torch import Tensor, nn

from nexus.media.image import Image
from nexus.models.diffusion.pixart_transformer import PixArtTransformer, PixArtTransformerConfig
from nexus.process.diffusion import Network, data_field, diffusion_loss
from nexus.process.flow import flow_loss, logit_normal
from nexus.process.guidance import extrapolate
from nexus.process.levels import Path, flow_sigmas, shifted, straight
from nexus.process.named import named
from nexus.process.noise import gaussian, generators
from nexus.process.schedule import NoiseSchedule, linear, linspace, without_last

TextEncoder = Callable[[list[str]], tuple[Tensor, Tensor]]
Progress = Callable[[int, int], None]
SOLVERS = ("euler", "euler-ancestral", "dpmpp-2m", "dpmpp-2m-sde", "unipc")
MOST_STEPS = 1000


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

    def __post_init__(self):
        if self.process not in ("diffusion", "flow"):
            raise ValueError(f"process must be diffusion or flow, got {self.process!r}")

    @property
    def schedule(self) -> NoiseSchedule:
        return linear()

    def path(self, steps: int) -> Path:
        """The levels that a solver visits."""
        if self.process == "flow":
            return straight(shifted(flow_sigmas(steps, MOST_STEPS), self.shift))
        return self.schedule.path(without_last(linspace(self.schedule.n_steps, steps + 1)))


class PixArt(nn.Module):
    """`image_vae` and `text_encoder` complete the network; `nexus.load` attaches them."""

    image_vae: Any
    text_encoder: TextEncoder

    def __init__(self, config: PixArtConfig):
        super().__init__()
        self.config = config
        self.network = PixArtTransformer(config.network)

    def gradient_checkpointing_enable(self) -> None:
        self.network.gradient_checkpointing_enable()

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
            batch: latents [B, D, H, W] (scaled), text [B, S, E] (an empty prompt's where dropped), text_mask; for flow
                perhaps emphasis [B, H, W], by how much more than the rest a place counts. It is scaled by the signal
                that is left in x_t: weights that tell what the noise still hides would bias the estimate.
        """
        rng = generator or generators(None, 1)[0]
        latents = batch["latents"]
        n, noise = len(latents), torch.randn(latents.shape, generator=rng).to(latents)

        def network(x_t: Tensor, time: Tensor) -> Tensor:
            return self.predict(x_t, time, batch["text"], batch.get("text_mask"))

        if self.config.process == "diffusion":
            places = (torch.arange(n) + torch.rand(n, generator=rng)) / n
            step = (places * self.config.schedule.n_steps).long().clamp(max=self.config.schedule.n_steps - 1)
            step = step.to(latents.device)
            return {"loss": diffusion_loss(network, self.config.schedule, latents, noise, step, "noise").mean()}
        sigma = torch.tensor(shifted(logit_normal(n, rng).tolist(), self.config.shift)).to(latents)
        weight = None
        if "emphasis" in batch:
            signal = (1 - sigma).square().reshape(-1, 1, 1, 1)
            weight = 1 + signal * batch["emphasis"][:, None].expand_as(latents)

        def velocity(x_t: Tensor, t: Tensor) -> Tensor:  # the way to data, where networks tell the way to noise
            return -network(x_t, (1 - t) * MOST_STEPS)

        return {"loss": flow_loss(velocity, latents, noise, 1 - sigma, weight=weight).mean()}

    @torch.no_grad()
    def generate(
        self,
        prompt: str | Sequence[str],
        *,
        negative_prompt: str = "",
        height: int | None = None,
        width: int | None = None,
        n_steps: int | None = None,
        guidance_scale: float | None = None,
        solver: str | None = None,
        seed: int | None = None,
        progress: Progress | None = None,
    ) -> Image | list[Image]:
        """Makes one picture for a prompt, or one for each of a list.

        Args:
            height, width: in pixels, in multiples of 16 (officially); else the model's own.
            guidance_scale: `null + guidance_scale * (cond - null)`; 1 is no guidance.
            solver: one of euler, euler-ancestral, dpmpp-2m, dpmpp-2m-sde, unipc.
            seed: item i of a list has the noise of `seed + i` alone.
            progress: called with steps done and steps in all; an exception raised in it stops the call.

        Raises:
            ValueError: an empty or too long prompt, or a size, steps or a solver that can't be.
        """
        prompts = [prompt] if isinstance(prompt, str) else list(prompt)
        size = (self.config.size[0] if height is None else height, self.config.size[1] if width is None else width)
        n_steps = self.config.steps if n_steps is None else n_steps
        scale = self.config.guidance_scale if guidance_scale is None else guidance_scale
        self.check(prompts, size, n_steps)
        solve = named(self.config.solver if solver is None else solver, SOLVERS)

        rngs, side = generators(seed, len(prompts)), self.image_vae.config.spatial_compression_ratio
        weight = self.network.proj_out.weight
        shape = (self.config.network.in_channels, size[0] // side, size[1] // side)
        x = gaussian(shape, rngs, device=weight.device, dtype=weight.dtype)
        prediction = "flow" if self.config.process == "flow" else "noise"
        field = data_field(self.guided(prompts, negative_prompt, scale, size), prediction)
        for done, state in enumerate(solve(field, x, self.config.path(n_steps), rngs), 1):
            x = state
            if progress is not None:
                progress(done, n_steps)
        # One by one, so that memory does not grow with the batch.
        pictures = [self.image_vae.decode(self.image_vae.unscaled(latent[None]))[0] for latent in x]
        images = [Image.from_tensor(picture.float().cpu()) for picture in pictures]
        return images[0] if isinstance(prompt, str) else images

    def check(self, prompts: list[str], size: tuple[int, int], n_steps: int) -> None:
        if not prompts or not all(p.strip() for p in prompts):
            raise ValueError("the prompt is empty: say what the picture shows, such as 'a red boat on the sea'")
        multiple = self.image_vae.config.spatial_compression_ratio * self.config.network.patch_size
        if any(s < multiple or s % multiple for s in size):
            nearest = tuple(max(round(s / multiple), 1) * multiple for s in size)
            raise ValueError(
                f"height and width must be in multiples of {multiple}, got {size[0]}x{size[1]}; "
                f"nearest is {nearest[0]}x{nearest[1]}"
            )
        if not 1 <= n_steps < MOST_STEPS:
            raise ValueError(f"n_steps must be from 1 to {MOST_STEPS - 1}, got {n_steps}")

    def guided(self, prompts: list[str], negative: str, scale: float, size: tuple[int, int]) -> Network:
        """Both halves of guidance in one batch; the text's keys and values are computed once."""
        n, weight = len(prompts), self.network.proj_out.weight
        words = prompts if scale == 1 else prompts + [negative] * n
        text, mask = self.text_encoder([word.strip().lower() for word in words])  # so were captions in training
        mask = mask.to(weight.device)
        keys = self.network.text_keys(text.to(weight))
        told = torch.tensor([size], device=weight.device, dtype=torch.float32).expand(len(mask), 2)

        def field(x_t: Tensor, time: Tensor) -> Tensor:
            if scale == 1:
                return self.predict(x_t, time, keys, mask, told)
            cond, null = self.predict(torch.cat([x_t, x_t]), torch.cat([time, time]), keys, mask, told).chunk(2)
            return extrapolate(cond, null, scale)

        return field

    def predict(
        self,
        x_t: Float[Tensor, "B D H W"],
        time: Num[Tensor, " B"],
        text: Any,
        text_mask: Bool[Tensor, "B S"] | None = None,
        size: Float[Tensor, "B 2"] | None = None,
    ) -> Float[Tensor, "B D H W"]:
        """The network's answer without its learnt variance."""
        answer = self.network(x_t, time, text, text_mask, size if self.config.network.size_conditions else None)
        return answer[:, : x_t.shape[1]]
