"""GANs of 25 Gaussians on a grid, where it can be counted how many a generator finds.

`TEACHERS` are the remedies for mode collapse, each on the same networks: `nexus train grid-gan/wgan-gp`;
`nexus train grid-gan` has R1. No weights come along.
"""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from nexus.data.gaussians import DEVIATION, GaussianGrid, centres
from nexus.media.image import Image
from nexus.metrics.modes import point_modes
from nexus.models.gan.point_gan import PointCritic, PointGAN, PointGANConfig
from nexus.nn.checkpoint import save_folder
from nexus.process.gan import ClippedWasserstein, Game, NonSaturating, PenalisedWasserstein
from nexus.training.batches import Counted
from nexus.training.gan import GANRecipe, adam
from nexus.training.recipe import Batch, BatchStream, LoopConfig, OptimizerConfig

SHOWN = 2500  # points that modes are counted among


@dataclass(frozen=True, kw_only=True)
class GridGAN(GANRecipe):
    name: str = "grid-gan"
    loop: LoopConfig = LoopConfig(
        steps=3000, ema_decay=0.0, log_every=250, validate_every=1000, validation_batches=1, save_every=1000
    )
    optimizer: OptimizerConfig = field(default_factory=lambda: adam(1e-3, 0.5, 0.9))
    critic_optimizer: OptimizerConfig = field(default_factory=lambda: adam(1e-3, 0.5, 0.9))
    model: PointGANConfig = field(default_factory=PointGANConfig)
    game: Game = field(default_factory=lambda: NonSaturating(r1_weight=1.0))
    spectral: bool = False
    batch_size: int = 128

    def generator(self) -> nn.Module:
        return PointGAN(self.model)

    def critic(self) -> nn.Module:
        return PointCritic(self.model, spectral=self.spectral)

    def real(self, batch: Batch) -> Tensor:
        return batch["point"]

    def dataset(self, split: Literal["train", "valid"]) -> BatchStream:
        return Counted(GaussianGrid(self.batch_size, 2 * self.loop.seed + (split == "valid")))

    @torch.no_grad()
    def figures(self, model: nn.Module) -> dict[str, Tensor]:
        assert isinstance(model, PointGAN)
        modes = point_modes(model.generate(SHOWN, seed=0), centres(), DEVIATION)
        return {"modes": torch.tensor(float(modes.covered)), "good": torch.tensor(modes.good)}

    def samples(self, model: nn.Module, step: int) -> dict[str, Image]:
        assert isinstance(model, PointGAN)
        return {"points": plot(model.generate(SHOWN, seed=0))}

    def export(self, model: nn.Module, folder: Path) -> None:
        assert isinstance(model, PointGAN)
        save_folder(model, folder, kind="point-gan", config=model.config)


def plot(points: Tensor, side: int = 240, reach: float = 3.0) -> Image:
    """Points in black on white; the axes go from -reach to reach."""
    places = ((points + reach) / (2 * reach) * side).long()
    inside = ((places >= 0) & (places < side)).all(1)
    picture = torch.ones(1, side, side)
    picture[0, side - 1 - places[inside, 1], places[inside, 0]] = -1
    return Image.from_tensor(picture)


recipe = GridGAN()
_long = replace(recipe.loop, steps=5 * recipe.loop.steps)  # the generator takes as many steps as the others'
TEACHERS = {
    "plain": replace(recipe, name="grid-gan-plain", game=NonSaturating()),
    "r1": recipe,
    "spectral": replace(recipe, name="grid-gan-spectral", game=NonSaturating(), spectral=True),
    "wgan-clipped": replace(
        recipe,
        name="grid-gan-wgan-clipped",
        game=ClippedWasserstein(clip=0.1),  # at the paper's 0.01 so small a critic has no slope to speak of
        critic_steps=5,
        loop=_long,
        optimizer=adam(5e-4, 0.0, 0.99),
        critic_optimizer=adam(5e-4, 0.0, 0.99),
    ),
    "wgan-gp": replace(
        recipe,
        name="grid-gan-wgan-gp",
        game=PenalisedWasserstein(penalty_weight=1.0),
        critic_steps=5,
        loop=_long,
        optimizer=adam(5e-4, 0.5, 0.9),
        critic_optimizer=adam(5e-4, 0.5, 0.9),
    ),
}
