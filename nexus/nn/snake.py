"""Snake activations (arXiv:2006.08195), x + sin²(αx) / α, with one α a channel: periodic, yet never falling."""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from nexus.nn.layout import pays

EPSILON = 1e-9
# Numbers, so that what is between the four operations stays in a CPU's cache: 2.3 times as fast where freed memory goes
# back to the system, 1.3 times where it is kept (`nexus.nn.memory`).
_AT_ONCE = 1 << 16


def _snake(x: Tensor, frequency: Tensor, size: Tensor) -> Tensor:
    """x + sin²(frequency x) / size; where no gradient needs the steps between, a piece of time at once."""
    inverse = (size + EPSILON).reciprocal()
    if torch.is_grad_enabled() or x.device.type != "cpu":
        return x + inverse * (frequency * x).sin().square()
    y, at_once = torch.empty_like(x), max(1, _AT_ONCE // max(1, x[..., :1].numel()))
    for piece, out in zip(x.split(at_once, dim=-1), y.split(at_once, dim=-1), strict=True):
        torch.addcmul(piece, (frequency * piece).sin_().square_(), inverse, out=out)
    return y


class Snake(nn.Module):
    """As in DAC (arXiv:2306.06546, section 3.1): α is the parameter."""

    def __init__(self, dim: int):
        super().__init__()
        self.alpha = nn.Parameter(torch.ones(1, dim, 1))

    def forward(self, x: Float[Tensor, "B D T"]) -> Float[Tensor, "B D T"]:
        return _snake(x, self.alpha, self.alpha)


class SnakeBeta(nn.Module):
    """As in BigVGAN (arXiv:2206.04658, section 3.2): frequency α and size 1 / β apart; parameters are their logs."""

    def __init__(self, dim: int):
        super().__init__()
        self.alpha, self.beta = nn.Parameter(torch.zeros(dim)), nn.Parameter(torch.zeros(dim))

    def forward(self, x: Float[Tensor, "B D T"]) -> Float[Tensor, "B D T"]:
        alpha, beta = self.alpha.exp()[:, None], self.beta.exp()[:, None]
        return _snake(x, alpha, beta)


class HalfSnake(nn.Module):
    """Snake on the first half of the channels, a leaky ReLU on the others: NeMo's (arXiv:2406.05298)."""

    def __init__(self, dim: int):
        super().__init__()
        self.snake = Snake(dim // 2)

    def forward(self, x: Float[Tensor, "B D T"]) -> Float[Tensor, "B D T"]:
        n = self.snake.alpha.shape[1]
        halves = self.snake(x[:, :n]), F.leaky_relu(x[:, n:])
        if not pays(x):
            return torch.cat(halves, dim=1)
        return torch.cat([half.mT for half in halves], dim=2).mT  # keeps the layout, which the next layer would restore
