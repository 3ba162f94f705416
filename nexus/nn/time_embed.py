"""How a network is told a number (a step, a noise level, a guidance scale, a size): sinusoids, then two layers."""

from jaxtyping import Float, Num
from torch import Tensor, nn

from nexus.nn.embed import timestep_embedding


class TimeEmbedding(nn.Module):
    """The settings are DiT's (arXiv:2212.09748): 256 sinusoids, cosines first; `shift` as in `timestep_embedding`."""

    def __init__(self, dim: int, n_sinusoids: int = 256, shift: float | int = 0):
        super().__init__()
        self.n_sinusoids, self.shift = n_sinusoids, shift
        self.mlp = nn.Sequential(nn.Linear(n_sinusoids, dim), nn.SiLU(), nn.Linear(dim, dim))

    def forward(self, t: Num[Tensor, " B"]) -> Float[Tensor, "B D"]:
        sinusoids = timestep_embedding(t, self.n_sinusoids, shift=self.shift)
        return self.mlp(sinusoids.to(next(self.mlp.parameters()).dtype))
