"""One training step: every objective takes its turn on the same batches, with its own optimiser."""

import hashlib
import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from nexus.training.recipe import Batch, LoopConfig, Networks, Objective, OptimizerConfig
from nexus.training.schedule import learning_rate


class NotFinite(RuntimeError):
    """A loss or gradient that is infinite or not a number."""


class Turns:
    """The objectives of a recipe, the parameters each of them trains, and their optimisers."""

    def __init__(
        self, networks: Networks, objectives: tuple[Objective, ...], loop: LoopConfig, accelerator: Accelerator
    ) -> None:
        self.networks, self.objectives, self.loop, self.accelerator = networks, objectives, loop, accelerator
        self.trained = {name: [p for p in net.parameters() if p.requires_grad] for name, net in networks.items()}
        self.optimizers = {o.name: _optimizer(self.parameters(o), o.optimizer) for o in objectives}
        if len(self.optimizers) < len(objectives):
            raise ValueError(f"objectives must differ in name, got {', '.join(o.name for o in objectives)}")

    def parameters(self, objective: Objective) -> list[nn.Parameter]:
        return [parameter for name in objective.networks for parameter in self.trained[name]]

    def prefix(self, objective: Objective) -> str:
        """What an objective's figures are called by: nothing where it is the only one."""
        return f"{objective.name}/" if len(self.objectives) > 1 else ""

    def step(self, step: int, batches: list[Batch]) -> dict[str, float]:
        """Optimiser step `step` of each objective; the gradient is the mean over `batches`. Returns what to log."""
        figures: dict[str, float] = {}
        for objective in self.objectives:
            optimizer, prefix = self.optimizers[objective.name], self.prefix(objective)
            rate = learning_rate(step, self.loop.steps, objective.optimizer)
            for group in optimizer.param_groups:
                group["lr"] = rate
            with self._only(objective):
                losses = self._backward(objective, step, batches)
            norm = self._clip(objective, step)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            figures |= {prefix + name: value for name, value in losses.items()}
            figures |= {prefix + "grad_norm": norm, prefix + "lr": rate}
        return figures

    def losses(self, objective: Objective, batch: Batch, rng: torch.Generator) -> dict[str, Tensor]:
        """The objective's losses under autocast."""
        with self.accelerator.autocast():
            return objective.loss(self.networks, batch, rng)

    def _backward(self, objective: Objective, step: int, batches: list[Batch]) -> dict[str, float]:
        sums: dict[str, Tensor] = {}
        for micro, batch in enumerate(batches):
            losses = self.losses(objective, batch, self._generator(objective.name, step, micro))
            if losses["loss"].requires_grad:  # an objective may sit out a step
                (losses["loss"] / len(batches)).backward()
            for name, value in losses.items():
                value = value.detach().float()
                sums[name] = sums[name] + value if name in sums else value
        figures = {name: (value / len(batches)).item() for name, value in sums.items()}
        if not math.isfinite(figures["loss"]):
            raise NotFinite(f"the loss of objective {objective.name!r} is {figures['loss']} at step {step}")
        return figures

    def _clip(self, objective: Objective, step: int) -> float:
        """Averages gradients over processes by hand (losses call more than `forward`), then bounds their norm."""
        parameters = self.parameters(objective)
        if self.accelerator.num_processes > 1:
            for parameter in parameters:
                gradient = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
                parameter.grad = self.accelerator.reduce(gradient, "mean")  # type: ignore[assignment]
        norm = nn.utils.clip_grad_norm_(parameters, objective.optimizer.clip_norm).item()
        if not math.isfinite(norm):
            raise NotFinite(f"the gradient of objective {objective.name!r} is {norm} at step {step}")
        return norm

    @contextmanager
    def _only(self, objective: Objective) -> Iterator[None]:
        """Gradients are kept for this objective's networks alone; the others only pass them on."""
        for name, parameters in self.trained.items():
            for parameter in parameters:
                parameter.requires_grad_(name in objective.networks)
        try:
            yield
        finally:
            for parameters in self.trained.values():
                for parameter in parameters:
                    parameter.requires_grad_(True)

    def _generator(self, *what: str | int) -> torch.Generator:
        """On the CPU, so that a seed means the same on every device."""
        words = repr((self.loop.seed, self.accelerator.process_index, *what)).encode()
        return torch.Generator().manual_seed(int.from_bytes(hashlib.sha256(words).digest()[:7], "big"))

    def state_dict(self) -> dict[str, Any]:
        """Networks and optimisers; frozen parameters are left out, for the recipe makes them again."""
        return {
            "networks": {name: _own_state(network) for name, network in self.networks.items()},
            "optimizers": {name: optimizer.state_dict() for name, optimizer in self.optimizers.items()},
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for name, network in self.networks.items():
            frozen = {key: p.detach() for key, p in network.named_parameters() if not p.requires_grad}
            network.load_state_dict(state["networks"][name] | frozen)
        for name, optimizer in self.optimizers.items():
            optimizer.load_state_dict(state["optimizers"][name])


def _own_state(network: nn.Module) -> dict[str, Tensor]:
    frozen = {name for name, parameter in network.named_parameters() if not parameter.requires_grad}
    return {name: value for name, value in network.state_dict().items() if name not in frozen}


def _optimizer(parameters: list[nn.Parameter], config: OptimizerConfig) -> torch.optim.Optimizer:
    """AdamW; vectors (biases, norms) are not decayed."""
    groups = [
        {"params": [p for p in parameters if p.ndim >= 2], "weight_decay": config.weight_decay},
        {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW([group for group in groups if group["params"]], lr=config.lr, betas=config.betas)
