"""Systems that come without weights, taught the digits here within a minute or two: DiT, Stable Diffusion and 3, FLUX.

A network of pictures needs an autoencoder and a text encoder; on digits pixels and numbers do.
"""

from collections.abc import Callable, Iterator
from functools import cache
from typing import Any, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nexus.codecs.cogvideox_vae import LatentDistribution
from nexus.data.digits import DigitBatches
from nexus.media.image import Image
from nexus.models.diffusion.conditional_unet import ConditionalUNetConfig
from nexus.models.diffusion.dit import DiT, DiTConfig
from nexus.models.diffusion.dit_transformer import DiTTransformerConfig
from nexus.models.diffusion.flux import Flux, FluxConfig
from nexus.models.diffusion.flux_transformer import FluxTransformerConfig
from nexus.models.diffusion.mmdit import MMDiTConfig
from nexus.models.diffusion.stable_diffusion import StableDiffusion, StableDiffusionConfig
from nexus.models.diffusion.stable_diffusion_3 import StableDiffusion3, StableDiffusion3Config
from nexus.process.flow_levels import FlowLevels
from nexus.process.step_levels import StepLevels
from pictures.plots import Line, lines
from pictures.registry import Picture

SIDE, SHOWN, BATCH = 8, 34, 64
ASKED = [str(i % 10) for i in range(20)]
Network = TypeVar("Network", bound=nn.Module)


class Pixels(nn.Module):
    """An autoencoder that leaves grey pictures as they are."""

    class config:
        spatial_compression_ratio, latent_channels = 1, 1

    def encode(self, image: Tensor) -> LatentDistribution:
        grey = image.mean(1, keepdim=True)
        return LatentDistribution(grey, torch.full_like(grey, -30))

    def decode(self, latent: Tensor) -> Tensor:
        return latent

    def scaled(self, latent: Tensor) -> Tensor:
        return latent

    unscaled = scaled


def numbers(prompts: list[str]) -> tuple[Tensor, Tensor]:
    """One token, that of the digit a prompt names; the empty prompt has its own."""
    token = F.one_hot(torch.tensor([int(prompt or 10) for prompt in prompts]), 16).float()
    return token[:, None], token


def batches(steps: int) -> Iterator[dict[str, Tensor]]:
    stream = DigitBatches("train", batch_size=BATCH, seed=0, size=SIDE)
    return (stream[i] for i in range(steps))


def learn(network: nn.Module, loss: Callable[[dict[str, Tensor], torch.Generator], Tensor], steps: int) -> None:
    """AdamW with a rate that rises and falls to nothing; the network is frozen afterwards."""
    optimizer = torch.optim.AdamW((p for p in network.parameters() if p.requires_grad), lr=2e-3, weight_decay=0.0)
    rates = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=steps + 1)
    rng = torch.Generator().manual_seed(0)
    for batch in batches(steps):
        optimizer.zero_grad()
        loss(batch, rng).backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        rates.step()
    network.eval().requires_grad_(False)


def begun(build: Callable[[], Network]) -> Network:
    """A network that begins the same each time."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return build()


def dit(steps: int = 4000) -> Image:
    """Digits by a transformer over 16 patches of two by two pixels."""
    network = DiTTransformerConfig(
        n_layers=2, n_heads=2, head_dim=32, in_channels=1, out_channels=1, sample_size=SIDE, n_classes=10
    )
    config = DiTConfig(network=network, size=(SIDE, SIDE), guided_channels=1)
    model = begun(lambda: DiT(config))
    model.image_vae = Pixels()  # type: ignore[assignment]
    learn(
        model, lambda batch, rng: model.loss({"latents": batch["image"], "label": batch["label"]}, rng)["loss"], steps
    )
    ways = {"guidance 1 (none)": 1.0, "2": 2.0, "4": 4.0}
    rows = [Line(told, many(model, list(map(int, ASKED)), guidance_scale=scale)) for told, scale in ways.items()]
    return lines(rows, side=SHOWN, heads=ASKED)


def mmdit(steps: int = 1000) -> Image:
    """Digits by Stable Diffusion 3: two streams that meet, straight flows, guidance by two passes."""
    network = MMDiTConfig(
        n_layers=3, n_heads=4, head_dim=24, in_channels=1, out_channels=1, text_dim=16, summary_dim=16,
        sample_size=SIDE, max_patches=SIDE // 2, qk_norm=True,
    )  # fmt: skip
    config = StableDiffusion3Config(network=network, levels=FlowLevels(shift=1.0), size=(SIDE, SIDE), steps=20)
    model = begun(lambda: StableDiffusion3(config))
    model.image_vae, model.text_encoder = Pixels(), numbers  # type: ignore[assignment]
    learn(model, lambda batch, rng: model.loss(said(batch, rng), rng)["loss"], steps)
    ways = {"guidance 1 (none)": 1.0, "2": 2.0, "4": 4.0}
    rows = [Line(told, many(model, ASKED, guidance_scale=scale)) for told, scale in ways.items()]
    return lines(rows, side=SHOWN, heads=ASKED)


def flux(steps: int = 1000) -> Image:
    """Digits by FLUX without guidance: two blocks of two streams, two of one."""
    network = FluxTransformerConfig(
        n_double_layers=2, n_single_layers=2, n_heads=4, head_dim=24, in_channels=1, out_channels=1, text_dim=16,
        summary_dim=16, rope_dims=(4, 10, 10), guidance=False,
    )  # fmt: skip
    config = FluxConfig(network=network, levels=FlowLevels(shift=1.0), size=(SIDE, SIDE))
    model = begun(lambda: Flux(config))
    model.image_vae, model.text_encoder = Pixels(), numbers  # type: ignore[assignment]
    learn(model, lambda batch, rng: model.loss(said(batch, rng), rng)["loss"], steps)
    rows = [Line(f"Euler, {n} steps", many(model, ASKED, steps=n)) for n in (2, 4, 20)]
    return lines(rows, side=SHOWN, heads=ASKED)


def many(model: Any, asked: list[Any], **settings: Any) -> list[Image]:
    pictures = model.generate(asked, seed=0, **settings)
    assert isinstance(pictures, list)
    return pictures


@cache
def digits_by_text(steps: int) -> StableDiffusion:
    """A Stable Diffusion whose pictures are digits and whose prompts are their numbers."""
    network = ConditionalUNetConfig(
        in_channels=1, out_channels=1, dims=(32, 64), n_blocks=1, n_layers=(1, 1), n_heads=(4, 4), text_dim=16,
        norm_groups=8,
    )  # fmt: skip
    levels = StepLevels(schedule="linear", betas=(1e-4, 0.02))
    config = StableDiffusionConfig(
        network=network, levels=levels, prediction="velocity", size=(SIDE, SIDE), steps=20, guidance_scale=2.0
    )
    model = begun(lambda: StableDiffusion(config))
    model.image_vae, model.text_encoder = Pixels(), numbers  # type: ignore[assignment]
    learn(
        model, lambda batch, rng: model.loss({"latents": batch["image"], "text": words(batch, rng)}, rng)["loss"], steps
    )
    return model


def words(batch: dict[str, Tensor], rng: torch.Generator) -> Tensor:
    """The states of a batch's numbers, a tenth of which are left out."""
    left_out = torch.rand(len(batch["label"]), generator=rng) < 0.1
    return F.one_hot(batch["label"].masked_fill(left_out, 10), 16).float()[:, None]


def said(batch: dict[str, Tensor], rng: torch.Generator) -> dict[str, Tensor]:
    """A batch as flows of text take it: the number is its own summary."""
    text = words(batch, rng)
    return {"latents": batch["image"], "text": text, "summary": text[:, 0]}


PICTURES = {
    "dit": Picture(draw=dit, brief={"steps": 1500}),
    "mmdit": Picture(draw=mmdit, brief={"steps": 500}),
    "flux": Picture(draw=flux, brief={"steps": 500}),
}
