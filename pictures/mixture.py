"""Two bumps on a line: a distribution whose field is known at every noise level, to see solvers and paths with.

Axes: B points.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from nexus.process.levels import Level


@dataclass(frozen=True)
class Mixture:
    """Equal shares of Gaussians at `means`, each of the same deviation."""

    means: tuple[float, ...] = (-1.5, 1.0)
    deviation: float = 0.3

    def __call__(self, x: Float[Tensor, "B 1"], level: Level) -> Float[Tensor, "B 1"]:
        """The mean of the data given x = alpha * data + sigma * noise, which a network would have to learn."""
        a, means = level.alpha, torch.tensor(self.means).to(x)
        variance = a**2 * self.deviation**2 + level.sigma**2
        share = torch.softmax(-((x - a * means) ** 2) / (2 * variance), dim=1)
        return (share * (means + a * self.deviation**2 / variance * (x - a * means))).sum(1, keepdim=True)

    def velocity(self, x: Float[Tensor, "B 1"], t: Float[Tensor, " B"]) -> Float[Tensor, "B 1"]:
        """Of the flow on straight paths, t from 0 (noise) to 1 (data)."""
        moment = float(t[0])
        data = self(x, Level(moment, 1 - moment))
        noise_left = (x - moment * data) / max(1 - moment, 1e-6)
        return data - noise_left

    def density(self, x: Float[Tensor, " B"], level: Level) -> Float[Tensor, " B"]:
        """Of x at that level."""
        variance = level.alpha**2 * self.deviation**2 + level.sigma**2
        means = level.alpha * torch.tensor(self.means).to(x)
        return torch.exp(-((x[:, None] - means) ** 2) / (2 * variance)).mean(1) / (2 * torch.pi * variance) ** 0.5

    def drawn(self, n: int, rng: torch.Generator) -> Float[Tensor, "B 1"]:
        means = torch.tensor(self.means)[torch.randint(len(self.means), (n,), generator=rng)]
        return (means + self.deviation * torch.randn(n, generator=rng))[:, None]
