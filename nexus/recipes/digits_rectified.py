"""Reflow on the digits: a flow that learns from the pairs of noise and picture that `digits-flow` makes.

nexus train digits-flow && nexus train digits-rectified
"""

from dataclasses import dataclass, replace
from functools import cache
from typing import ClassVar, Literal

import numpy as np
import torch
from torch import Tensor

from nexus.data.digits import N_CLASSES
from nexus.hub.load import load
from nexus.models.diffusion.flow_matching import FlowMatching
from nexus.models.diffusion.rectified_flow import RectifiedFlow, RectifiedFlowConfig, coupled
from nexus.process.noise import gaussian, generators
from nexus.training.digits import DigitsRecipe
from nexus.training.recipe import Batch, BatchStream

VALID_SEED = 10**6  # far from those of the pairs that are learnt


@dataclass(frozen=True, kw_only=True)
class DigitsRectified(DigitsRecipe):
    kind: ClassVar[str] = "rectified-flow"

    name: str = "digits-rectified"
    flow: str = "runs/digits-flow/weights"  # the first flow
    pairs: int = 3000
    pair_steps: int = 10  # of Heun's method
    guidance_scale: float = 2.0  # of the first flow, which the pairs then have in them

    def build(self) -> RectifiedFlow:
        """It starts as the first flow."""
        first = first_flow(self.flow)
        settings = {**vars(first.config), "drop": 0.0, "guidance_scale": 1.0, "solver": "euler", "steps": 1}
        model = RectifiedFlow(RectifiedFlowConfig(**settings))
        model.load_state_dict(first.state_dict())
        return model

    def dataset(self, split: Literal["train", "valid"]) -> BatchStream:
        n, seed = (self.pairs, self.loop.seed) if split == "train" else (N_CLASSES * self.batch_size, VALID_SEED)
        pairs = made_pairs(self.flow, n, seed, self.pair_steps, self.guidance_scale)
        return Pairs(pairs, self.batch_size, self.loop.seed)


@cache
def first_flow(folder: str) -> FlowMatching:
    flow = load(folder, device="cpu")
    if not isinstance(flow, FlowMatching):
        raise ValueError(f"reflow starts from a FlowMatching, and {folder} is a {type(flow).__name__}")
    return flow


@cache
def made_pairs(folder: str, n: int, seed: int, steps: int, scale: float) -> Batch:
    """Noise, picture and class of n pairs, the classes in turn."""
    flow = first_flow(folder)
    noise, label = gaussian(flow.shape, generators(seed, n)), torch.arange(n) % N_CLASSES
    parts = zip(noise.split(250), label.split(250), strict=True)
    image = torch.cat([coupled(flow, part, kind, steps=steps, guidance_scale=scale) for part, kind in parts])
    return {"noise": noise, "image": image, "label": label}


@dataclass(frozen=True)
class Pairs:
    """Batch i: pairs drawn by (seed, i)."""

    pairs: dict[str, Tensor]
    batch_size: int
    seed: int

    def __getitem__(self, index: int) -> Batch:
        n = len(self.pairs["label"])
        chosen = torch.from_numpy(np.random.default_rng((self.seed, index)).choice(n, self.batch_size, replace=False))
        return {name: part[chosen] for name, part in self.pairs.items()}


recipe = DigitsRectified()
recipe = replace(recipe, loop=replace(recipe.loop, steps=300))
