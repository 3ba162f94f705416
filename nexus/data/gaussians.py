"""The 25 Gaussians on a grid with which GANs are tried for modes (WGAN-GP, arXiv:1704.00028, section 5.1)."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

SIDE, STEP, DEVIATION = 5, 1.0, 0.025  # half of the usual 2 and 0.05, which networks take better


def centres() -> Float[Tensor, "25 2"]:
    line = (torch.arange(SIDE) - SIDE // 2) * STEP
    return torch.cartesian_prod(line, line)


@dataclass(frozen=True)
class GaussianGrid:
    """Batch i: `point` [B, 2], and in `label` [B] the number of the Gaussian that it is of; drawn by (seed, i)."""

    batch_size: int
    seed: int

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        rng = np.random.default_rng((self.seed, index))
        label = torch.from_numpy(rng.integers(SIDE**2, size=self.batch_size))
        away = torch.from_numpy(rng.standard_normal((self.batch_size, 2))).float()
        return {"point": centres()[label] + DEVIATION * away, "label": label}
