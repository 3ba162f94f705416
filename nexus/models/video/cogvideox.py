"""CogVideoX (arXiv:2408.06072): text to video by diffusion over the latents of a causal 3D autoencoder.

Official weights: THUDM/CogVideoX-2b (Apache-2.0), THUDM/CogVideoX-5b (CogVideoX licence).

Axes: B batch, D latent channels, F latent frames, H height, W width, S text tokens.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Literal

import torch
from einops import rearrange
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from nexus.codecs.cogvideox_vae import CogVideoXVAE
from nexus.media.video import Video
from nexus.models.video.cogvideox_transformer import Transformer, TransformerConfig
from nexus.process.diffusion import DataField, Network, data_field, diffusion_loss, levels, spread_steps
from nexus.process.guidance import extrapolate
from nexus.process.levels import Path
from nexus.process.noise import gaussian, generators
from nexus.process.schedule import NoiseSchedule, scaled_linear, shift_snr, trailing, zero_terminal_snr
from nexus.process.solvers import ddim, ddpm, dpmpp_2m
from nexus.process.step_cache import check_cache, step_cached
from nexus.process.walk import Progress, walked

Solver = Literal["ddim", "ddpm", "dpmpp_2m"]
TextEncoder = Callable[[list[str]], tuple[Tensor, Tensor]]


@dataclass(frozen=True, kw_only=True)
class CogVideoXConfig:
    """CogVideoX-2B's defaults; `frames`, `size`, `steps`, `solver` and `guidance_scale` are `generate`'s."""

    network: TransformerConfig = field(default_factory=TransformerConfig)
    snr_shift: float = 3.0
    frames: int = 49
    max_frames: int = 49
    size: tuple[int, int] = (480, 720)  # height and width in pixels
    fps: int = 8
    steps: int = 50
    solver: Solver = "dpmpp_2m"
    guidance_scale: float = 6.0
    latent_scale: float = 1.15258426  # latents times this are near unit deviation

    @classmethod
    def cogvideox_5b(cls) -> "CogVideoXConfig":
        return cls(network=TransformerConfig.cogvideox_5b(), snr_shift=1.0, latent_scale=0.7)


class CogVideoX(nn.Module):
    """`vae` and `text_encoder` complete the network; `nexus.load` attaches them."""

    vae: CogVideoXVAE
    text_encoder: TextEncoder

    def __init__(self, config: CogVideoXConfig):
        super().__init__()
        self.config = config
        self.network = Transformer(config.network)

    @property
    def schedule(self) -> NoiseSchedule:
        return zero_terminal_snr(shift_snr(scaled_linear(), self.config.snr_shift))

    def forward(
        self,
        x_t: Float[Tensor, "B D F H W"],
        step: Int[Tensor, " B"],
        text: Float[Tensor, "B S E"],
        text_mask: Bool[Tensor, "B S"] | None = None,
    ) -> Float[Tensor, "B D F H W"]:
        return self.network(x_t, step, text, text_mask)

    def loss(self, batch: dict[str, Tensor], generator: torch.Generator | None = None) -> dict[str, Tensor]:
        """Velocity error at steps that the batch gives, or drawn evenly: its items are spread over the schedule.

        Args:
            batch: latents [B, D, F, H, W] (scaled), text [B, S, E] (an empty prompt's where dropped), text_mask; and
                perhaps emphasis [B, F, H, W], by how much more than the rest a place counts. It is scaled by the signal
                that is left in x_t (alpha^2): weights that tell what the noise still hides would bias the estimate.
                And perhaps place [B] in [0, 1), where in the schedule each item is noised; 0 is next to no noise.
        """
        rng = generator or generators(None, 1)[0]
        latents, schedule = batch["latents"], self.schedule
        if "place" in batch:
            step = (batch["place"] * schedule.n_steps).long().clamp(max=schedule.n_steps - 1)
        else:
            step = spread_steps(len(latents), schedule, rng).to(latents.device)
        noise = torch.randn(latents.shape, generator=rng).to(latents)

        def velocity(x_t: Tensor, step: Tensor) -> Tensor:
            return self.network(x_t, step, batch["text"], batch["text_mask"])

        weight = None
        if "emphasis" in batch:
            signal = levels(schedule, step, latents)[0].square()
            weight = 1 + signal * batch["emphasis"][:, None].expand_as(latents)
        return {"loss": diffusion_loss(velocity, schedule, latents, noise, step, "velocity", weight).mean()}

    @torch.no_grad()
    def generate(
        self,
        prompt: str | list[str],
        *,
        negative: str = "",
        frames: int | None = None,
        size: tuple[int, int] | None = None,
        steps: int | None = None,
        guidance_scale: float | None = None,
        dynamic_guidance: bool = False,
        solver: Solver | None = None,
        cache: float | int = 0.0,
        seed: int | None = None,
        progress: Progress | None = None,
    ) -> Video | list[Video]:
        """Makes one clip for a prompt, or one for each of a list.

        Args:
            frames: 8k + 1 of them (the codec decodes by eights), at most `config.max_frames`.
            size: height and width in pixels, in multiples of 16.
            guidance_scale: `null + guidance_scale * (cond - null)`; 1 is no guidance.
            dynamic_guidance: let the scale rise with the steps, `1 + g (1 - cos(pi (i / n)^5)) / 2`.
            cache: skips steps over which the noise hardly changes (`nexus.process.step_cache`), many at 0.5.
            seed: item i of a list has the noise of `seed + i` alone.
            progress: called with steps done and steps in all; an exception raised in it stops the call.

        Raises:
            ValueError: an empty or too long prompt, or frames, size, steps, solver or cache that can't be.
        """
        prompts = [prompt] if isinstance(prompt, str) else prompt
        frames = self.config.frames if frames is None else frames
        size = self.config.size if size is None else size
        steps = self.config.steps if steps is None else steps
        solver = self.config.solver if solver is None else solver
        scale = self.config.guidance_scale if guidance_scale is None else guidance_scale
        self.check(prompts, frames, size, steps, solver)
        check_cache(cache, steps, solver)
        device, dtype = self.network.proj_out.weight.device, self.network.proj_out.weight.dtype

        rngs = generators(seed, len(prompts))
        vae = self.vae.config
        side, latent_frames = vae.spatial_compression_ratio, (frames - 1) // vae.temporal_compression_ratio + 1
        shape = (self.config.network.in_channels, latent_frames, size[0] // side, size[1] // side)
        noise = gaussian(shape, rngs, device=device, dtype=dtype)
        times = trailing(self.schedule.n_steps, steps)
        guided = self.guided(prompts, negative, scale, times if dynamic_guidance else None)
        path = self.schedule.path(times)
        field = step_cached(data_field(guided, "velocity"), path, cache)
        states = self.solve(field, noise, path, solver, rngs)
        videos = [self.show(latent) for latent in walked(states, steps, progress)]
        return videos[0] if isinstance(prompt, str) else videos

    def check(self, prompts: list[str], frames: int, size: tuple[int, int], steps: int, solver: str) -> None:
        if not prompts or not all(p.strip() for p in prompts):
            raise ValueError("the prompt is empty: say what the clip shows, such as 'a red boat crosses the sea'")
        together, most = self.vae.config.frames_per_chunk, self.config.max_frames
        if frames % together != 1 or not 1 <= frames <= most:
            nearest = min(max(round((frames - 1) / together), 0), (most - 1) // together) * together + 1
            raise ValueError(f"frames must be {together}k + 1 from 1 to {most}, got {frames}; nearest is {nearest}")
        multiple = self.vae.config.spatial_compression_ratio * self.config.network.patch_size
        if any(s < multiple or s % multiple for s in size):
            nearest_size = tuple(max(round(s / multiple), 1) * multiple for s in size)
            raise ValueError(f"size must be in multiples of {multiple}, got {size}; nearest is {nearest_size}")
        if not 1 <= steps <= self.schedule.n_steps:
            raise ValueError(f"steps must be from 1 to {self.schedule.n_steps}, got {steps}")
        if solver not in ("ddim", "ddpm", "dpmpp_2m"):
            raise ValueError(f"solver must be ddim, ddpm or dpmpp_2m, got {solver!r}")

    def guided(self, prompts: list[str], negative: str, scale: float, times: Tensor | None) -> Network:
        """Both halves of guidance in one batch; with `times` the scale rises from 1 along them."""
        n = len(prompts)
        device, dtype = self.network.proj_out.weight.device, self.network.proj_out.weight.dtype
        text, mask = self.text_encoder(prompts if scale == 1 else prompts + [negative] * n)
        text, mask = text.to(device, dtype), mask.to(device)
        order = {} if times is None else {int(time): i for i, time in enumerate(times)}

        def field(x_t: Tensor, step: Tensor) -> Tensor:
            if scale == 1:
                return self.network(x_t, step.to(device), text, mask)
            both = self.network(torch.cat([x_t, x_t]), torch.cat([step, step]).to(device), text, mask)
            now = scale
            if times is not None:
                done = order[int(step[0])] / (len(times) - 1)
                now = 1 + scale * (1 - math.cos(math.pi * done**5)) / 2
            cond, null = both.chunk(2)
            return extrapolate(cond, null, now)

        return field

    def solve(
        self, field: DataField, noise: Tensor, path: Path, solver: Solver, rngs: list[torch.Generator]
    ) -> Iterator[Tensor]:
        if solver == "dpmpp_2m":
            return dpmpp_2m(field, noise, path)
        if solver == "ddim":
            return ddim(field, noise, path)
        return ddpm(field, noise, path, rngs=rngs)

    def show(self, latent: Float[Tensor, "D F H W"]) -> Video:
        """Decodes one clip, so that memory does not grow with the batch."""
        pixels = self.vae.decode(latent[None] / self.config.latent_scale)[0].float().clamp(-1, 1)
        frames = rearrange((pixels + 1) * 127.5, "c f h w -> f h w c").round().to(torch.uint8)
        return Video(frames.cpu().numpy(), self.config.fps)
