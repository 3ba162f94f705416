"""A classifier of noised pictures, which guides diffusion by its gradient (arXiv:2105.05233, section 4).

Axes: B batch, C channels, H height, W width, K classes.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float, Num
from torch import Tensor, nn

from nexus.nn.embed import timestep_embedding
from nexus.nn.image_blocks import ResidualBlock, halve


@dataclass(frozen=True, kw_only=True)
class NoisyClassifierConfig:
    in_channels: int = 1
    n_classes: int = 10
    dims: tuple[int, ...] = (32, 64)  # channels at each size, each half of the one before
    norm_groups: int = 8

    def __post_init__(self):
        wrong = next((dim for dim in self.dims if dim % self.norm_groups), None)
        if not self.dims or wrong is not None:
            raise ValueError(f"dims must be multiples of norm_groups {self.norm_groups}, got {self.dims}")


class NoisyClassifier(nn.Module):
    """The way down of an ADM network, averaged over places."""

    def __init__(self, config: NoisyClassifierConfig):
        super().__init__()
        self.config, dims = config, config.dims
        self.time_embed = nn.Sequential(nn.Linear(dims[0], 4 * dims[0]), nn.SiLU(), nn.Linear(4 * dims[0], 4 * dims[0]))
        self.conv_in = nn.Conv2d(config.in_channels, dims[0], 3, padding=1)
        self.blocks, width = nn.ModuleList(), dims[0]
        for i, dim in enumerate(dims):
            self.blocks += [self._block(width, dim), self._block(dim, dim, last=i == len(dims) - 1)]
            width = dim
        self.norm = nn.GroupNorm(config.norm_groups, width)
        self.out = nn.Linear(width, config.n_classes)

    def _block(self, n_in: int, n_out: int, last: bool = True) -> ResidualBlock:
        return ResidualBlock(
            n_in,
            n_out,
            groups=self.config.norm_groups,
            eps=1e-5,
            time_dim=4 * self.config.dims[0],
            time_scales=True,
            dropout=0.0,
            resize=None if last else halve,
        )

    def forward(self, x: Float[Tensor, "B C H W"], step: Num[Tensor, " B"]) -> Float[Tensor, "B K"]:
        """Logits of the classes of pictures noised to these steps."""
        time = self.time_embed(timestep_embedding(step, self.config.dims[0]).to(x.dtype))
        x = self.conv_in(x)
        for block in self.blocks:
            x = block(x, time)
        return self.out(F.silu(self.norm(x)).mean((2, 3)))

    def log_prob(
        self, x: Float[Tensor, "B C H W"], step: Num[Tensor, " B"], label: Num[Tensor, " B"]
    ) -> Float[Tensor, " B"]:
        """log p(label | x at that step)."""
        return torch.log_softmax(self(x, step), dim=1).gather(1, label[:, None])[:, 0]
