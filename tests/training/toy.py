"""Toy recipes of the trainer's tests; run as `nexus train tests/training/toy.py`."""

import dataclasses
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import nn

from nexus.training.recipe import LoopConfig, Objective, OptimizerConfig, Recipe


class Line(nn.Module):
    """Two layers with dropout (so that the global random state matters)."""

    def __init__(self, dropout: float = 0.0) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(4, 16), nn.Tanh(), nn.Dropout(dropout), nn.Linear(16, 1))
        self.register_buffer("seen", torch.zeros(()))

    def forward(self, x):
        return self.layers(x)


@dataclasses.dataclass(frozen=True)
class Points:
    """y = sum of x, `size` points a batch."""

    seed: int
    size: int = 8

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        x = torch.randn(self.size, 4, generator=torch.Generator().manual_seed(self.seed * 100_003 + index))
        return {"x": x, "y": x.sum(1, keepdim=True)}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Toy(Recipe):
    name: str = "toy"
    loop: LoopConfig = LoopConfig(
        steps=40, ema_decay=0.9, log_every=10, save_every=10, sample_every=0, validate_every=0, precision="fp32"
    )
    optimizer: OptimizerConfig = OptimizerConfig(lr=1e-2, warmup_steps=4, weight_decay=0.0)
    dropout: float = 0.0
    noise: float = 0.0
    size: int = 8

    def networks(self):
        return {"model": Line(self.dropout)}

    def loss(self, networks, batch, rng):
        x = batch["x"] + self.noise * torch.randn(batch["x"].shape, generator=rng)
        if networks["model"].training:
            networks["model"].seen += 1
        return {"loss": (networks["model"](x) - batch["y"]).square().mean()}

    def objectives(self, networks):
        return (Objective("fit", ("model",), self.loss, self.optimizer),)

    def dataset(self, split):
        return Points({"train": 1, "valid": 2}[split], self.size)

    def export(self, model: nn.Module, folder: Path) -> None:
        save_file(
            {name: value.contiguous() for name, value in model.state_dict().items()}, folder / "model.safetensors"
        )


recipe = Toy(dropout=0.2, noise=0.1)
