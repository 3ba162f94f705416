"""A LoRA of a text-to-image model for pictures of your own: a style, a thing, a face; minutes on a GPU.

    nexus train image-lora base=stable-diffusion-v1-5/stable-diffusion-v1-5 pictures=my-pictures

The base is a Stable Diffusion (1, 2, XL, 3, 3.5), FLUX or PixArt; it learns by the loss that it was trained by. Each
picture has its words in a text file of the same name. The run's folder `weights` is for `nexus image --lora`, and for
diffusers; of a PixArt, which diffusers reads no LoRA for, it is PEFT's.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from nexus.adapters.lora import LoRA, LoRAConfig, attach
from nexus.codecs.banded import encode_large
from nexus.data.captioned import CaptionedPictures
from nexus.hub.load import load
from nexus.hub.lora import save_lora, save_peft
from nexus.media.image import Image
from nexus.models.diffusion.flux import Flux
from nexus.models.diffusion.pixart_alpha import PixArt
from nexus.models.diffusion.stable_diffusion import StableDiffusion
from nexus.models.diffusion.stable_diffusion_3 import StableDiffusion3
from nexus.training.precision import computes_in_bf16
from nexus.training.recipe import Batch, BatchStream, LoopConfig, Networks, Objective, OptimizerConfig, Recipe

Base = StableDiffusion | StableDiffusion3 | Flux | PixArt
ATTENTION = ("attention", "attn", r"\.heads\.", r"\.(picture|text)\.out$", r"\.wide_(in|out)$")


class Adapted(nn.Module):
    """A frozen model and the LoRA that learns beside it, with what the model is told of all captions."""

    def __init__(self, base: Base, lora: LoRA, told: dict[str, Tensor]):
        super().__init__()
        self.base, self.lora, self.names = base.requires_grad_(False), lora, tuple(told)
        attach(base.network, lora)
        for name, tensor in told.items():
            self.register_buffer(name, tensor, persistent=False)

    def told(self, captions: Tensor) -> dict[str, Tensor]:
        """What the model is told of these, by their numbers."""
        return {name: self.get_buffer(name)[captions] for name in self.names}


@dataclass(frozen=True, kw_only=True)
class ImageLoRA(Recipe):
    name: str = "image-lora"
    loop: LoopConfig = LoopConfig(steps=1000, ema_decay=0.0, save_every=250, sample_every=250, validate_every=0)
    optimizer: OptimizerConfig = OptimizerConfig(lr=1e-4, betas=(0.9, 0.999), schedule="constant", warmup_steps=20)
    base: str = "stable-diffusion-v1-5/stable-diffusion-v1-5"
    pictures: str = "pictures"  # a folder
    size: int = 512
    batch_size: int = 1
    drop_text: float = 0.1
    rank: int = 16
    alpha: float = 16.0
    targets: tuple[str, ...] = ATTENTION  # of the network's layers, those whose names have one of these
    prompt: str = ""  # of the samples; else the first picture's words

    def networks(self) -> dict[str, nn.Module]:
        captions = self.data().captions
        # What is frozen is held as it is computed; the LoRA in fp32.
        half = computes_in_bf16(self.loop.precision, self.loop.device)
        base: Any = load(self.base, device="cpu", dtype="bf16" if half else "fp32")
        self.check(base)
        lora = LoRA.fresh(base.network, LoRAConfig(rank=self.rank, alpha=self.alpha, targets=self.targets))
        return {"model": Adapted(base, lora.float(), base.conditions(captions, (self.size, self.size)))}

    def check(self, base: Any) -> None:
        """Raises ValueError for a base that can't learn so, or not at this size."""
        if not isinstance(base, Base):
            raise ValueError(f"base must be a Stable Diffusion, FLUX or PixArt; {self.base} is a {type(base).__name__}")
        if base.config.solver == "lcm":
            raise ValueError(
                f"{self.base} is distilled to few steps, which this loss would undo: train on the model that it was "
                "distilled from; the LoRA serves both"
            )
        if isinstance(base, StableDiffusion) and base.config.inpaints:
            raise ValueError(f"{self.base} inpaints: train on the plain model; the LoRA serves both")
        base.limits.pictures(1, height=self.size, width=self.size)

    def objectives(self, networks: Networks) -> tuple[Objective, ...]:
        return (Objective("lora", ("model",), self.loss, self.optimizer),)

    def loss(self, networks: Networks, batch: Batch, rng: torch.Generator) -> dict[str, Tensor]:
        model = networks["model"]
        assert isinstance(model, Adapted)
        vae = model.base.image_vae
        with torch.no_grad():
            distribution = encode_large(vae, batch["image"].to(next(vae.parameters())))
            noise = torch.randn(distribution.mean.shape, generator=rng).to(distribution.mean)
            latents = vae.scaled(distribution.sample(noise)).float()
        return model.base.loss({"latents": latents, **model.told(batch["caption"])}, rng)

    def data(self) -> CaptionedPictures:
        return CaptionedPictures(self.pictures, self.size, self.batch_size, self.loop.seed, self.drop_text)

    def dataset(self, split: Literal["train", "valid"]) -> BatchStream:
        return self.data()

    def samples(self, model: nn.Module, step: int) -> dict[str, Image]:
        assert isinstance(model, Adapted)
        prompt = self.prompt or self.data().captions[0]
        picture = model.base.generate(prompt, height=self.size, width=self.size, seed=0)
        assert isinstance(picture, Image)
        return {"sample": picture}

    def export(self, model: nn.Module, folder: Path) -> None:
        assert isinstance(model, Adapted)
        lora, network = model.lora, model.base.network
        if isinstance(model.base, PixArt):
            save_peft(folder, lora, network)
        else:
            save_lora(folder / "pytorch_lora_weights.safetensors", {"network": lora}, {"network": network})


recipe = ImageLoRA()
