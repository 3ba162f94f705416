"""CycleGAN between storybook stills by day and by night, 32 pixels wide. No weights come along."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, cast

import torch
from torch import Tensor, nn

from nexus.data.storybook.domains import DayAndNight, domain
from nexus.media.image import Image
from nexus.media.sheet import contact_sheet
from nexus.metrics.evaluate_translation import HELD_OUT, SIDE, STILLS, day_or_night, share
from nexus.models.gan.cycle_gan import CycleGAN, CycleGANConfig, PatchGAN
from nexus.nn.checkpoint import save_folder
from nexus.process.image_pool import ImagePool
from nexus.training.gan import adam
from nexus.training.recipe import Batch, BatchStream, LoopConfig, Networks, Objective, OptimizerConfig, Recipe


@dataclass(frozen=True, kw_only=True)
class StorybookCycleGAN(Recipe):
    name: str = "storybook-cycle-gan"
    loop: LoopConfig = LoopConfig(
        steps=1200, ema_decay=0.995, log_every=50, validate_every=400, validation_batches=1, save_every=200
    )
    optimizer: OptimizerConfig = field(default_factory=lambda: adam(5e-4))
    judges_optimizer: OptimizerConfig = field(default_factory=lambda: adam(5e-4))
    model: CycleGANConfig = field(default_factory=lambda: CycleGANConfig(dim=16, n_blocks=3))
    judge_dim: int = 16
    n_halvings: int = 2  # a logit for each 34 pixels: of nearly the whole picture
    pool: int = 50
    batch_size: int = 4
    stills: int = STILLS  # of each domain
    held_out: int = HELD_OUT  # that validation looks at
    size: int = SIDE

    def networks(self) -> dict[str, nn.Module]:
        shape = (self.model.channels, self.size, self.size)
        judges = {way: PatchGAN(self.model.channels, self.judge_dim, self.n_halvings) for way in self.model.ways}
        pools = {way: ImagePool(self.pool, shape) for way in self.model.ways}
        return {"model": CycleGAN(self.model), "judges": nn.ModuleDict(judges), "pools": nn.ModuleDict(pools)}

    def objectives(self, networks: Networks) -> tuple[Objective, ...]:
        return (
            Objective("judges", ("judges",), self.judge, self.judges_optimizer),
            Objective("model", ("model",), self.translate, self.optimizer),
        )

    def judge(self, networks: Networks, batch: Batch, rng: torch.Generator) -> dict[str, Tensor]:
        model, judges = cast(CycleGAN, networks["model"]), cast(nn.ModuleDict, networks["judges"])
        if not model.training:  # the pool is not validation's to fill
            return {"loss": torch.zeros(())}
        return model.judges_loss(batch, judges, cast(nn.ModuleDict, networks["pools"]), rng)

    def translate(self, networks: Networks, batch: Batch, rng: torch.Generator) -> dict[str, Tensor]:
        """In validation also the share of translations that a judge takes for what they should be."""
        model = cast(CycleGAN, networks["model"])
        losses = model.loss(batch, cast(nn.ModuleDict, networks["judges"]))
        if model.training:
            return losses
        day, night = (domain(time, self.held_out, "valid", self.size) for time in ("day", "night"))
        judge = day_or_night(self.stills, self.size)
        return {
            **losses,
            "seen_as_night": torch.tensor(share(judge, model(day, "to_b"), "night")),
            "seen_as_day": torch.tensor(share(judge, model(night, "to_a"), "day")),
        }

    def dataset(self, split: Literal["train", "valid"]) -> BatchStream:
        stills = self.stills if split == "train" else self.held_out
        return DayAndNight(split, self.batch_size, self.loop.seed, stills, self.size)

    def samples(self, model: nn.Module, step: int) -> dict[str, Image]:
        """Held-out stills above their translations and these above what they come back as, both ways."""
        gan, found = cast(CycleGAN, model), {}
        for name, time, way, back in (("to_night", "day", "to_b", "to_a"), ("to_day", "night", "to_a", "to_b")):
            x = domain(time, self.held_out, "valid", self.size)[:10]
            there = gan(x, way)
            rows = [Image.from_tensor(picture) for picture in torch.cat([x, there, gan(there, back)])]
            found[name] = contact_sheet(rows, 10, scale=2)
        return found

    def export(self, model: nn.Module, folder: Path) -> None:
        save_folder(model, folder, kind="cycle-gan", config=self.model)


recipe = StorybookCycleGAN()
