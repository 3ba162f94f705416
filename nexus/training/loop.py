"""The training loop: any number of objectives in turn, on Accelerate, resumable to the bit.

Everything a step draws is a function of (seed, step) or of the global generators' saved states, the learning rate is
a function of the step, and data is read by batch index: a run killed and resumed equals one never killed.
"""

import dataclasses
import hashlib
import json
import logging
import math
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from torch import Tensor, nn

from nexus.training import checkpoint
from nexus.training.batches import read_ahead
from nexus.training.ema import EMA
from nexus.training.outputs import save_samples, save_weights
from nexus.training.recipe import Batch, Objective, OptimizerConfig, Recipe
from nexus.training.report import Report
from nexus.training.schedule import learning_rate

log = logging.getLogger(__name__)

OnLog = Callable[[int, dict[str, float]], None]


class TrainingError(RuntimeError):
    """A run that cannot go on; what was saved before is kept."""


def train(recipe: Recipe, run_dir: str | Path, *, resume: bool = True, on_log: OnLog | None = None) -> Path:
    """Trains `recipe` in `run_dir` and returns the folder of exported weights, `run_dir/weights`.

    Continues from the newest whole checkpoint of `run_dir` unless `resume` is False. `on_log(step, figures)` is
    called whenever figures are logged. SIGINT and SIGTERM end the run after the step in hand, with a checkpoint.

    Raises:
        TrainingError: a loss or gradient that is not a number.
        ValueError: a checkpoint of other networks than the recipe's.
    """
    run = Run(recipe, Path(run_dir))
    run.begin(resume)
    with Report(run.dir, recipe.name, run.step, recipe.loop.steps) as report, _stop_request() as stopping:
        run.go(report, on_log, stopping)
    return run.dir / "weights"


class Run:
    """The state of a run and what a step does to it."""

    def __init__(self, recipe: Recipe, run_dir: Path) -> None:
        loop = recipe.loop
        self.recipe, self.dir, self.loop, self.step = recipe, run_dir, loop, 0
        AcceleratorState._reset_state(reset_partial_state=True)  # one process may run several recipes in turn
        gpu = torch.cuda.is_available()
        half = loop.precision == "bf16" or (loop.precision == "auto" and gpu)
        self.accelerator = Accelerator(mixed_precision="bf16" if half else "no", cpu=not gpu)
        torch.manual_seed(loop.seed)
        self.networks = recipe.networks()
        for network in self.networks.values():
            network.to(self.accelerator.device).train()
            if loop.gradient_checkpointing and hasattr(network, "gradient_checkpointing_enable"):
                network.gradient_checkpointing_enable()  # type: ignore[operator]
        self.trained = {name: [p for p in net.parameters() if p.requires_grad] for name, net in self.networks.items()}
        self.objectives = recipe.objectives(self.networks)
        self.optimizers = {o.name: _optimizer(self.parameters(o), o.optimizer) for o in self.objectives}
        self.ema = EMA(self.networks["model"], loop.ema_decay)

    def parameters(self, objective: Objective) -> list[nn.Parameter]:
        return [parameter for name in objective.networks for parameter in self.trained[name]]

    def begin(self, resume: bool) -> None:
        """Makes the folder and takes up the newest checkpoint there."""
        self.dir.mkdir(parents=True, exist_ok=True)
        description = json.dumps(dataclasses.asdict(self.recipe), indent=2, default=str)
        (self.dir / "recipe.json").write_text(description + "\n")
        state = checkpoint.load_latest(self.dir / "checkpoints") if resume else None
        if not resume:
            checkpoint.clear(self.dir / "checkpoints")
        if state is not None:
            self.load_state_dict(state)

    def go(self, report: Report, on_log: OnLog | None, stopping: threading.Event) -> None:
        if self.step:
            report.say(f"going on after step {self.step} of {self.loop.steps}")
        each = self.loop.accumulate * self.accelerator.num_processes
        indices = range(self.step * each, self.loop.steps * each)[self.accelerator.process_index :: self._stride]
        data = read_ahead(self.recipe.dataset("train"), indices, self.loop.workers)
        while self.step < self.loop.steps and not stopping.is_set():
            batches = [self.to_device(next(data)) for _ in range(self.loop.accumulate)]
            figures = self.train_step(batches)
            report.advance(self.step)
            if self.due(self.loop.log_every):
                report.figures(self.step, figures)
                if on_log is not None:
                    on_log(self.step, figures)
            if self.due(self.loop.validate_every):
                losses = self.validate()
                report.say(f"step {self.step} " + " ".join(f"{name} {value:.4g}" for name, value in losses.items()))
                report.scalars(self.step, losses)
                if on_log is not None:
                    on_log(self.step, losses)
            if self.due(self.loop.sample_every):
                self.sample(report)
            if self.due(self.loop.save_every):
                self.save()
        if stopping.is_set():
            self.save()
            raise KeyboardInterrupt(f"stopped after step {self.step}")
        self.save()

    @property
    def _stride(self) -> int:
        return self.accelerator.num_processes

    def due(self, every: int) -> bool:
        return every > 0 and (self.step % every == 0 or self.step == self.loop.steps)

    def to_device(self, batch: Batch) -> Batch:
        device = self.accelerator.device
        return {k: v.to(device, non_blocking=True) if isinstance(v, Tensor) else v for k, v in batch.items()}

    def train_step(self, batches: list[Batch]) -> dict[str, float]:
        """One optimiser step of each objective on the same batches; returns the figures to log."""
        figures: dict[str, float] = {}
        for objective in self.objectives:
            parameters, optimizer = self.parameters(objective), self.optimizers[objective.name]
            rate = learning_rate(self.step, self.loop.steps, objective.optimizer)
            for group in optimizer.param_groups:
                group["lr"] = rate
            with self.only(objective):
                losses = self.backward(objective, batches)
            norm = self.clip(parameters, objective)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            prefix = f"{objective.name}/" if len(self.objectives) > 1 else ""
            figures |= {prefix + name: value for name, value in losses.items()}
            figures |= {prefix + "grad_norm": norm, prefix + "lr": rate}
        if self.loop.ema_decay:
            self.ema.update(self.step)
        self.step += 1
        return figures

    def backward(self, objective: Objective, batches: list[Batch]) -> dict[str, float]:
        sums: dict[str, Tensor] = {}
        for micro, batch in enumerate(batches):
            rng = self.generator(objective.name, self.step, micro)
            with self.accelerator.autocast():
                losses = objective.loss(self.networks, batch, rng)
            (losses["loss"] / len(batches)).backward()
            for name, value in losses.items():
                sums[name] = sums.get(name, torch.zeros((), device=value.device)) + value.detach().float()
        figures = {name: (value / len(batches)).item() for name, value in sums.items()}
        if not math.isfinite(figures["loss"]):
            raise self.failure(f"the loss of objective {objective.name!r} is {figures['loss']}")
        return figures

    def clip(self, parameters: list[nn.Parameter], objective: Objective) -> float:
        """Averages gradients over processes by hand (losses call more than `forward`), then bounds their norm."""
        if self.accelerator.num_processes > 1:
            for parameter in parameters:
                if parameter.grad is not None:
                    parameter.grad = self.accelerator.reduce(parameter.grad, "mean")  # type: ignore[assignment]
        norm = nn.utils.clip_grad_norm_(parameters, objective.optimizer.clip_norm).item()
        if not math.isfinite(norm):
            raise self.failure(f"the gradient of objective {objective.name!r} is {norm}")
        return norm

    def failure(self, what: str) -> TrainingError:
        kept = checkpoint.found(self.dir / "checkpoints")
        where = f"the last checkpoint is {kept[0]}" if kept else "no checkpoint was saved before it"
        return TrainingError(
            f"{what} at step {self.step}; {where}. A lower optimizer.lr or loop.precision=fp32 may help"
        )

    @contextmanager
    def only(self, objective: Objective) -> Iterator[None]:
        """Gradients reach this objective's networks alone; the others only pass them on."""
        for name, parameters in self.trained.items():
            for parameter in parameters:
                parameter.requires_grad_(name in objective.networks)
        try:
            yield
        finally:
            for parameters in self.trained.values():
                for parameter in parameters:
                    parameter.requires_grad_(True)

    def generator(self, *what: str | int) -> torch.Generator:
        """Random numbers (on the CPU, so that devices agree) that depend on the seed and `what` alone."""
        words = repr((self.loop.seed, self.accelerator.process_index, *what)).encode()
        return torch.Generator().manual_seed(int.from_bytes(hashlib.sha256(words).digest()[:7], "big"))

    @contextmanager
    def evaluating(self) -> Iterator[None]:
        """Averaged weights, evaluation mode, no gradients; global random states untouched."""
        before = checkpoint.random_state()
        try:
            with self.averaged(), torch.no_grad():
                for network in self.networks.values():
                    network.eval()
                yield
        finally:
            for network in self.networks.values():
                network.train()
            checkpoint.restore_random_state(before)

    @contextmanager
    def averaged(self) -> Iterator[nn.Module]:
        if not self.loop.ema_decay:
            yield self.networks["model"]
            return
        with self.ema.applied() as model:
            yield model

    def validate(self) -> dict[str, float]:
        """Mean losses on the first batches of the validation split, with the same random numbers every time."""
        sums: dict[str, float] = {}
        stream, count = self.recipe.dataset("valid"), self.loop.validation_batches
        with self.evaluating():
            for objective in self.objectives:
                for index in range(count):
                    rng = self.generator("valid", objective.name, index)
                    with self.accelerator.autocast():
                        losses = objective.loss(self.networks, self.to_device(stream[index]), rng)
                    prefix = f"valid/{objective.name}/" if len(self.objectives) > 1 else "valid/"
                    for name, value in losses.items():
                        sums[prefix + name] = sums.get(prefix + name, 0.0) + float(value) / count
        return sums

    def sample(self, report: Report) -> None:
        if not self.accelerator.is_main_process:
            return
        try:
            with self.evaluating():
                save_samples(self.recipe.samples(self.networks["model"], self.step), self.dir / "samples", self.step)
        except Exception as error:
            log.warning("samples of step %d failed", self.step, exc_info=True)
            report.say(f"samples of step {self.step} failed: {error}")

    def save(self) -> None:
        """Checkpoint first, then the averaged weights as a folder that `nexus.load` reads."""
        if self.accelerator.is_main_process:
            checkpoint.save(self.dir / "checkpoints", self.step, self.state_dict())
            with self.evaluating(), self.averaged() as model:
                save_weights(lambda folder: self.recipe.export(model, folder), self.dir / "weights")

    def state_dict(self) -> dict[str, Any]:
        """All that a run needs to go on; frozen parameters are left out, for the recipe makes them again."""
        return {
            "step": self.step,
            "networks": {name: _own_state(network) for name, network in self.networks.items()},
            "optimizers": {name: optimizer.state_dict() for name, optimizer in self.optimizers.items()},
            "ema": self.ema.state_dict(),
            "random": checkpoint.random_state(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        try:
            for name, network in self.networks.items():
                _load_own_state(network, state["networks"][name])
            for name, optimizer in self.optimizers.items():
                optimizer.load_state_dict(state["optimizers"][name])
            self.ema.load_state_dict(state["ema"])
        except (KeyError, RuntimeError, ValueError) as error:
            raise ValueError(
                f"the checkpoint in {self.dir} is of other networks than recipe {self.recipe.name!r} ({error}); "
                "use another run folder, or --fresh to start again there"
            ) from error
        self.step = state["step"]
        checkpoint.restore_random_state(state["random"])


def _optimizer(parameters: list[nn.Parameter], config: OptimizerConfig) -> torch.optim.Optimizer:
    """AdamW; biases, norms and embeddings of one axis are not decayed."""
    groups = [
        {"params": [p for p in parameters if p.ndim >= 2], "weight_decay": config.weight_decay},
        {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW([g for g in groups if g["params"]], lr=config.lr, betas=config.betas)


def _own_state(network: nn.Module) -> dict[str, Tensor]:
    frozen = {name for name, parameter in network.named_parameters() if not parameter.requires_grad}
    return {name: value for name, value in network.state_dict().items() if name not in frozen}


def _load_own_state(network: nn.Module, state: dict[str, Tensor]) -> None:
    frozen = {name: p for name, p in network.named_parameters() if not p.requires_grad}
    network.load_state_dict(state | {name: p.detach() for name, p in frozen.items()})


@contextmanager
def _stop_request() -> Iterator[threading.Event]:
    """An event set by the first SIGINT or SIGTERM; the second acts at once."""
    event = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield event
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def request(number: int, frame: object) -> None:
        event.set()
        for known, handler in before.items():
            signal.signal(known, handler)

    for number in before:
        signal.signal(number, request)
    try:
        yield event
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
