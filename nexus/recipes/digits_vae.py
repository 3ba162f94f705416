"""A variational autoencoder of the digits. No weights come along.

`model.coder.kind=mlp model.coder.dims=256,128` takes perceptrons, `model.likelihood=bernoulli` the other likelihood.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, cast

import torch
from torch import Tensor, nn

from nexus.data.digits import SIZE, DigitBatches, digits
from nexus.media.image import Image
from nexus.media.sheet import contact_sheet
from nexus.metrics.posterior import posterior_report
from nexus.models.vae.networks import CoderConfig
from nexus.models.vae.vae import VAE, VAEConfig
from nexus.nn.checkpoint import save_folder
from nexus.training.batches import Counted
from nexus.training.recipe import Batch, BatchStream, LoopConfig, Networks, Objective, OptimizerConfig, Recipe

WEIGHTS = 50  # samples of the importance-weighted bound in validation


@dataclass(frozen=True, kw_only=True)
class DigitsVAE(Recipe):
    name: str = "digits-vae"
    loop: LoopConfig = LoopConfig(
        steps=1500, ema_decay=0.995, log_every=100, validate_every=500, save_every=500, validation_batches=1
    )
    optimizer: OptimizerConfig = OptimizerConfig(lr=2e-3, warmup_steps=50, weight_decay=0.0, clip_norm=100.0)
    model: VAEConfig = field(
        default_factory=lambda: VAEConfig(
            coder=CoderConfig(kind="conv", channels=1, size=(SIZE, SIZE), dims=(32, 64), latent_dim=16)
        )
    )
    batch_size: int = 64

    def networks(self) -> dict[str, nn.Module]:
        return {"model": VAE(self.model)}

    def objectives(self, networks: Networks) -> tuple[Objective, ...]:
        return (Objective("bound", ("model",), self.loss, self.optimizer),)

    def loss(self, networks: Networks, batch: Batch, rng: torch.Generator) -> dict[str, Tensor]:
        """In validation also a closer bound of log p(x), and the active units among all held-out digits."""
        model = cast(VAE, networks["model"])
        losses = model.loss(batch, rng)
        if model.training:
            return losses
        report = posterior_report(model, digits("valid", self.model.coder.size[0]).image.to(batch["image"]))
        active = torch.tensor(float(report.n_active))
        return {**losses, "iwae": model.bound(batch["image"], WEIGHTS, rng).mean(), "active": active}

    def dataset(self, split: Literal["train", "valid"]) -> BatchStream:
        size = 360 if split == "valid" else self.batch_size  # all held-out digits at once
        return Counted(DigitBatches(split, batch_size=size, seed=self.loop.seed, size=self.model.coder.size[0]))

    def samples(self, model: nn.Module, step: int) -> dict[str, Image]:
        """What is made of nothing, held-out digits above what they come back as, and traversals."""
        vae = cast(VAE, model)
        x = digits("valid", self.model.coder.size[0]).image[:20]
        both = [Image.from_tensor(picture) for picture in torch.cat([x, vae(x)])]
        return {
            "digits": contact_sheet(vae.generate(100, seed=0), 10, scale=2),
            "reconstruction": contact_sheet(both, 20, scale=2),
            "traversal": contact_sheet([vae.traverse(image=both[0])], 1, scale=3),
        }

    def export(self, model: nn.Module, folder: Path) -> None:
        save_folder(model, folder, kind="vae", config=self.model)


recipe = DigitsVAE()
