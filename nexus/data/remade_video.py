"""Latents of clips as a video model makes them, in step with the clips: what its decoder has to learn from.

A decoder that has only seen encoded clips shows every jump from one latent frame to the next that a diffusion model
makes. As `nexus.data.remade` does for mels, noise is put on a clip's latents and taken away again by the model
(SDEdit, arXiv:2108.01073): what comes out still shows the clip, with the model's own errors.
Axes: N clips, D latent channels, F latent frames, H height, W width.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from nexus.data.reported import reported
from nexus.models.video.cogvideox import CogVideoX
from nexus.process.diffusion import data_field
from nexus.process.flow import last
from nexus.process.schedule import trailing
from nexus.process.solvers import dpmpp_2m

BEGINNINGS = (0.36, 0.48, 0.6)  # of the steps from noise to data, drawn: where it begins
BATCH = 8


@torch.inference_mode()
def remade_latents(
    model: CogVideoX, latents: Float[Tensor, "N D F H W"], captions: Sequence[str], seed: int = 0
) -> Float[Tensor, "N D F H W"]:
    """Scaled latents made again after their captions, with the model's steps and guidance scale."""
    config, made = model.config, []
    path = model.schedule.path(trailing(model.schedule.n_steps, config.steps))
    for start in reported(range(0, len(latents), BATCH), f"making clips again, {BATCH} at a time"):
        rng = torch.Generator().manual_seed(seed + start)
        part = latents[start : start + BATCH].float()
        begin = BEGINNINGS[int(torch.randint(len(BEGINNINGS), (), generator=rng))]
        rest = path[round(begin * config.steps) :]
        noisy = rest[0].alpha * part + rest[0].sigma * torch.randn(part.shape, generator=rng)
        guided = model.guided(list(captions[start : start + BATCH]), "", config.guidance_scale, None)
        made.append(last(dpmpp_2m(data_field(guided, "velocity"), noisy, rest)))
    return torch.cat(made)
