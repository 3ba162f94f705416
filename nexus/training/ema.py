"""An exponential moving average of a network's trained parameters (the weights that are exported and listened to)."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class EMA:
    """`average = d average + (1 - d) parameter` after each step, in float32, for the parameters that are trained.

    The decay is warmed up, d = min(decay, (1 + step) / (10 + step)), so that a short run does not remember its
    random start. Buffers and frozen parameters have no average: the network's own are used. `decay=0` copies.
    """

    def __init__(self, module: nn.Module, decay: float) -> None:
        if not 0 <= decay < 1:
            raise ValueError(f"ema_decay {decay} is outside [0, 1)")
        self.decay = decay
        self.module = module
        self.average = {name: p.detach().float().clone() for name, p in self._trained()}

    def _trained(self) -> list[tuple[str, nn.Parameter]]:
        return [(name, p) for name, p in self.module.named_parameters() if p.requires_grad]

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Takes in the parameters after optimiser step `step` (counted from 0)."""
        decay = min(self.decay, (1 + step) / (10 + step))
        parameters = dict(self.module.named_parameters())
        for name, average in self.average.items():
            average.lerp_(parameters[name].detach().float(), 1 - decay)

    @contextmanager
    def applied(self) -> Iterator[nn.Module]:
        """The network with the averaged parameters in place; its own come back afterwards."""
        parameters = dict(self.module.named_parameters())
        own = {name: parameters[name].detach().clone() for name in self.average}
        try:
            self._write(self.average)
            yield self.module
        finally:
            self._write(own)

    @torch.no_grad()
    def _write(self, values: dict[str, Tensor]) -> None:
        parameters = dict(self.module.named_parameters())
        for name, value in values.items():
            parameters[name].copy_(value)

    def state_dict(self) -> dict[str, Tensor]:
        return dict(self.average)

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        for name, average in self.average.items():
            average.copy_(state[name])
