"""A LoRA of a Stable Diffusion for pictures of your own: a style, a thing, a face; minutes on a GPU.

    nexus train stable-diffusion-lora base=stable-diffusion-v1-5/stable-diffusion-v1-5 pictures=my-pictures

Each picture has its words in a text file of the same name. The run's `weights/pytorch_lora_weights.safetensors` is for
`nexus image --lora`, and for diffusers.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from nexus.adapters.lora import LoRA, LoRAConfig, attach
from nexus.data.captioned import CaptionedPictures
from nexus.hub.load import load
from nexus.hub.lora import save_lora
from nexus.media.image import Image
from nexus.models.diffusion.stable_diffusion import StableDiffusion, sizes_told
from nexus.training.recipe import Batch, BatchStream, LoopConfig, Networks, Objective, OptimizerConfig, Recipe


class Adapted(nn.Module):
    """A frozen model and the LoRA that learns beside it, with what the model's text encoder says of all captions."""

    texts: Tensor
    pooled: Tensor

    def __init__(self, base: StableDiffusion, lora: LoRA, captions: list[str]):
        super().__init__()
        self.base, self.lora = base.requires_grad_(False), lora
        attach(base.network, lora)
        texts, pooled = base.text_encoder(captions)
        self.register_buffer("texts", texts, persistent=False)
        self.register_buffer("pooled", pooled, persistent=False)


@dataclass(frozen=True, kw_only=True)
class StableDiffusionLoRA(Recipe):
    name: str = "stable-diffusion-lora"
    loop: LoopConfig = LoopConfig(steps=1000, ema_decay=0.0, save_every=250, sample_every=250, validate_every=0)
    optimizer: OptimizerConfig = OptimizerConfig(lr=1e-4, betas=(0.9, 0.999), schedule="constant", warmup_steps=20)
    base: str = "stable-diffusion-v1-5/stable-diffusion-v1-5"
    pictures: str = "pictures"  # a folder
    size: int = 512
    batch_size: int = 1
    drop_text: float = 0.1
    rank: int = 16
    alpha: float = 16.0
    targets: tuple[str, ...] = ("attention",)  # of the U-Net's layers, those whose names have one of these
    prompt: str = ""  # of the samples; else the first picture's words

    def networks(self) -> dict[str, nn.Module]:
        base: Any = load(self.base, device="cpu", dtype="fp32")
        if not isinstance(base, StableDiffusion):
            raise ValueError(f"base must be a Stable Diffusion, got {self.base}, which is a {type(base).__name__}")
        config = LoRAConfig(rank=self.rank, alpha=self.alpha, targets=self.targets)
        lora = LoRA.fresh(base.network, config)
        return {"model": Adapted(base, lora, self.data().captions)}

    def objectives(self, networks: Networks) -> tuple[Objective, ...]:
        return (Objective("lora", ("model",), self.loss, self.optimizer),)

    def loss(self, networks: Networks, batch: Batch, rng: torch.Generator) -> dict[str, Tensor]:
        model = networks["model"]
        assert isinstance(model, Adapted)
        base, config = model.base, model.base.config.network
        with torch.no_grad():
            distribution = base.image_vae.encode(batch["image"])
            noise = torch.randn(distribution.mean.shape, generator=rng).to(distribution.mean)
            told = {"latents": base.image_vae.scaled(distribution.sample(noise)), "text": model.texts[batch["caption"]]}
        if config.added_dim is not None:
            sizes = sizes_told((config.added_dim - model.pooled.shape[1]) // config.size_dim, (self.size, self.size))[0]
            told["pooled"] = model.pooled[batch["caption"]]
            told["sizes"] = torch.tensor([sizes] * len(noise), device=noise.device)
        return base.loss(told, rng)

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
        file = folder / "pytorch_lora_weights.safetensors"
        save_lora(file, {"network": model.lora}, {"network": model.base.network})


recipe = StableDiffusionLoRA()
