"""ConvNeXt blocks (arXiv:2201.03545) over time, as in Vocos (arXiv:2306.00814), whole or as a stream.

Axes: B batch, C channels in, D width, T frames, U frames out of a stream's step.
"""

from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from nexus.nn.conv import Conv1d


class Norm(nn.Module):
    """Layer norm, with scale and shift looked up by a condition's id where there are several."""

    def __init__(self, dim: int, n_conditions: int | None):
        super().__init__()
        rows = (n_conditions,) if n_conditions else ()
        self.weight = nn.Parameter(torch.ones(*rows, dim))
        self.bias = nn.Parameter(torch.zeros(*rows, dim))

    def forward(self, x: Float[Tensor, "B T D"], condition: Int[Tensor, " B"] | None) -> Float[Tensor, "B T D"]:
        if condition is None:
            return F.layer_norm(x, x.shape[-1:], self.weight, self.bias, eps=1e-6)
        scale, shift = self.weight[condition, None], self.bias[condition, None]  # [B, 1, D]
        return F.layer_norm(x, x.shape[-1:], eps=1e-6) * scale + shift


class Block(nn.Module):
    """Depthwise convolution, norm, and an MLP whose output is scaled by `gamma`."""

    def __init__(self, dim: int, hidden_dim: int, gamma: float, n_conditions: int | None):
        super().__init__()
        self.conv = Conv1d(dim, dim, 7, groups=dim)
        self.norm = Norm(dim, n_conditions)
        self.proj_in = nn.Linear(dim, hidden_dim)
        self.proj_out = nn.Linear(hidden_dim, dim)
        self.gamma = nn.Parameter(torch.full((dim,), gamma))

    def residual(self, x: Float[Tensor, "B D T"], condition: Int[Tensor, " B"] | None) -> Float[Tensor, "B D T"]:
        """What is added to the block's input, from the output of its convolution."""
        return (self.gamma * self.proj_out(F.gelu(self.proj_in(self.norm(x.mT, condition))))).mT

    def forward(self, x: Float[Tensor, "B D T"], condition: Int[Tensor, " B"] | None) -> Float[Tensor, "B D T"]:
        return x + self.residual(self.conv(x), condition)


class ConvNeXt(nn.Module):
    """Embedding, blocks and a last norm at one frame rate; every output sees 3 (n_layers + 1) frames each way."""

    def __init__(self, in_channels: int, dim: int, hidden_dim: int, n_layers: int, n_conditions: int | None = None):
        super().__init__()
        self.embed = Conv1d(in_channels, dim, 7)
        self.norm = Norm(dim, n_conditions)
        self.blocks = nn.ModuleList(Block(dim, hidden_dim, 1 / n_layers, n_conditions) for _ in range(n_layers))
        self.final_norm = Norm(dim, None)
        for module in self.modules():
            if isinstance(module, nn.Conv1d | nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                nn.init.zeros_(module.bias)  # type: ignore[arg-type]

    def hidden(self, x: Float[Tensor, "B C T"], condition: Int[Tensor, " B"] | None = None) -> Float[Tensor, "B D T"]:
        x = self.norm(self.embed(x).mT, condition).mT
        for block in self.blocks:
            x = block(x, condition)
        return self.final_norm(x.mT, None).mT

    def stream_hidden(
        self,
        x: Float[Tensor, "B C T"],
        state: dict[Any, Any] | None,
        last: bool = False,
        condition: Int[Tensor, " B"] | None = None,
    ) -> tuple[Float[Tensor, "B D U"], dict[Any, Any]]:
        """`hidden` of the frames whose surroundings are complete; `last` gives the rest. No state: the start."""
        state = dict(state or {})
        x, state["embed"] = self.embed.stream(x, state.get("embed"), last)
        x = self.norm(x.mT, condition).mT
        for i, block in enumerate(self.blocks):
            assert isinstance(block, Block)
            waiting = torch.cat([state[i, "skip"], x], dim=-1) if (i, "skip") in state else x
            y, state[i] = block.conv.stream(x, state.get(i), last)
            x = waiting[..., : y.shape[-1]] + block.residual(y, condition)
            state[i, "skip"] = waiting[..., y.shape[-1] :]
        return self.final_norm(x.mT, None).mT, state
