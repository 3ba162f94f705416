"""The training loop: any number of objectives in turn, on Accelerate, resumable to the bit.

Everything a step draws is a function of (seed, step) or of the global generators' saved states, the learning rate is
a function of the step, and data is read by batch index: a run killed and resumed equals one never killed.
"""

import dataclasses
import json
import logging
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from torch import Tensor

from nexus.training import checkpoint
from nexus.training.batches import read_ahead
from nexus.training.ema import EMA
from nexus.training.outputs import save_samples, save_weights
from nexus.training.precision import computes_in_bf16, on_gpu
from nexus.training.recipe import Batch, Recipe
from nexus.training.report import Report, data_in_the_making
from nexus.training.turns import NotFinite, Turns

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
        ValueError: settings that can't be, or a checkpoint of other networks than the recipe's.
    """
    run = Run(recipe, Path(run_dir))
    quiet = not run.accelerator.is_main_process
    with data_in_the_making(quiet=quiet):
        run.begin(resume)
    report = Report(run.dir, recipe.name, run.step, recipe.loop.steps, quiet=quiet)
    with report, _stop_request() as stopping:
        run.go(report, on_log or (lambda step, figures: None), stopping)
    return run.dir / "weights"


class Run:
    """A recipe under way in a folder."""

    def __init__(self, recipe: Recipe, run_dir: Path) -> None:
        self.recipe, self.dir, self.loop, self.step = recipe, run_dir, recipe.loop, 0
        self.accelerator = _accelerator(recipe)
        torch.manual_seed(self.loop.seed)
        self.networks = recipe.networks()
        for network in self.networks.values():
            network.to(self.accelerator.device).train()
        if self.loop.gradient_checkpointing:
            self._checkpoint_gradients()
        self.turns = Turns(self.networks, recipe.objectives(self.networks), self.loop, self.accelerator)
        self.ema = EMA(self.networks["model"], self.loop.ema_decay) if self.loop.ema_decay else None

    def _checkpoint_gradients(self) -> None:
        modules = [module for network in self.networks.values() for module in network.modules()]
        able = [module for module in modules if hasattr(module, "gradient_checkpointing_enable")]
        if not able:
            raise ValueError(f"loop.gradient_checkpointing: no network of {self.recipe.name} can; leave it false")
        for module in able:
            module.gradient_checkpointing_enable()  # type: ignore[operator]

    def begin(self, resume: bool) -> None:
        """Makes the folder and takes up the newest checkpoint there; data that can't be had are refused before."""
        self.data = self.recipe.dataset("train")
        self.dir.mkdir(parents=True, exist_ok=True)
        if not resume and self.accelerator.is_main_process:
            checkpoint.clear(self.dir / "checkpoints")
        self.accelerator.wait_for_everyone()
        state = checkpoint.load_latest(self.dir / "checkpoints")
        if state is not None:
            self.load_state_dict(state)
        if self.accelerator.process_index:  # the saved random states are the first process's: others draw other ones
            torch.manual_seed(hash((self.loop.seed, self.step, self.accelerator.process_index)))
        else:
            description = json.dumps(dataclasses.asdict(self.recipe), indent=2, default=str)
            (self.dir / "recipe.json").write_text(description + "\n")

    def go(self, report: Report, on_log: OnLog, stopping: threading.Event) -> None:
        """Steps until the end or until `stopping` is set; saved either way."""
        if self.loop.precision == "auto":
            report.say(f"computing in {'bf16' if self.accelerator.mixed_precision == 'bf16' else 'fp32'}")
        if self.step:
            report.say(f"going on after step {self.step} of {self.loop.steps}")
        data = self.batches()
        stopped = False
        while self.step < self.loop.steps and not stopped:
            figures = self.train_step([next(data) for _ in range(self.loop.accumulate)])
            report.advance(self.step)
            if self.due(self.loop.log_every):
                report.figures(self.step, figures)
                on_log(self.step, figures)
            if self.due(self.loop.validate_every):
                losses = self.validate()
                report.validation(self.step, losses)
                on_log(self.step, losses)
            if self.due(self.loop.sample_every):
                self.sample(report)
            if self.due(self.loop.save_every) and self.step < self.loop.steps:
                self.save()
            stopped = self.anywhere(stopping.is_set())
        self.save()
        self.accelerator.wait_for_everyone()
        if stopped:
            raise KeyboardInterrupt(f"stopped after step {self.step}; the same command goes on from there")

    def batches(self) -> Iterator[Batch]:
        """The batches of the coming steps; with several processes, each reads every n-th."""
        n = self.accelerator.num_processes
        first, last = (step * self.loop.accumulate * n for step in (self.step, max(self.step, self.loop.steps)))
        mine = range(first + self.accelerator.process_index, last, n)
        for batch in read_ahead(self.data, mine, self.loop.workers):
            yield self.to_device(batch)

    def anywhere(self, asked: bool) -> bool:
        """Whether any process was asked to stop, so that all stop after the same step."""
        if self.accelerator.num_processes == 1:
            return asked
        flag = torch.tensor([float(asked)], device=self.accelerator.device)
        return bool(self.accelerator.reduce(flag, "sum").item())  # type: ignore[union-attr]

    def to_device(self, batch: Batch) -> Batch:
        device = self.accelerator.device
        return {k: v.to(device, non_blocking=True) if isinstance(v, Tensor) else v for k, v in batch.items()}

    def due(self, every: int) -> bool:
        return every > 0 and (self.step % every == 0 or self.step == self.loop.steps)

    def train_step(self, batches: list[Batch]) -> dict[str, float]:
        try:
            figures = self.turns.step(self.step, batches)
        except NotFinite as error:
            kept = checkpoint.found(self.dir / "checkpoints")
            where = f"the last checkpoint is {kept[0]}" if kept else "no checkpoint was saved before it"
            advice = "a lower optimizer.lr or loop.precision=fp32 may help"
            raise TrainingError(f"{error}; {where}; {advice}") from error
        if self.ema is not None:
            self.ema.update(self.step)
        self.step += 1
        return figures

    @contextmanager
    def evaluating(self) -> Iterator[None]:
        """Averaged weights, evaluation mode, no gradients; the global random states come out as they went in."""
        before = checkpoint.random_state()
        averaged = self.ema.applied() if self.ema is not None else nullcontext()
        try:
            with averaged, torch.no_grad():
                for network in self.networks.values():
                    network.eval()
                yield
        finally:
            for network in self.networks.values():
                network.train()
            checkpoint.restore_random_state(before)

    def validate(self) -> dict[str, float]:
        """Mean losses on the first batches of the validation split.

        Batches and random numbers are the same every time and whatever the run's seed, so that runs compare.
        """
        sums: dict[str, float] = {}
        unseeded = dataclasses.replace(self.recipe, loop=dataclasses.replace(self.loop, seed=0))
        stream, count = unseeded.dataset("valid"), self.loop.validation_batches
        with self.evaluating():
            for objective in self.turns.objectives:
                for index in range(count):
                    rng = torch.Generator().manual_seed(index)
                    losses = self.turns.losses(objective, self.to_device(stream[index]), rng)
                    for name, value in losses.items():
                        name = f"valid/{self.turns.prefix(objective)}{name}"
                        sums[name] = sums.get(name, 0.0) + float(value) / count
        return sums

    def sample(self, report: Report) -> None:
        """What the recipe lets be heard or seen; a failure there does not end a run of hours."""
        if not self.accelerator.is_main_process:
            return
        try:
            with self.evaluating():
                save_samples(self.recipe.samples(self.networks["model"], self.step), self.dir / "samples", self.step)
        except Exception as error:
            log.debug("samples of step %d failed", self.step, exc_info=True)
            report.say(f"samples of step {self.step} failed: {type(error).__name__}: {error}")

    def save(self) -> None:
        """Checkpoint first, then the averaged weights as a folder that `nexus.load` reads."""
        if not self.accelerator.is_main_process:
            return
        checkpoint.save(self.dir / "checkpoints", self.step, self.state_dict())
        with self.evaluating():
            save_weights(lambda folder: self.recipe.export(self.networks["model"], folder), self.dir / "weights")

    def state_dict(self) -> dict[str, Any]:
        """All that a run needs to go on, in tensors and plain values."""
        ema = self.ema.state_dict() if self.ema is not None else None
        return {"step": self.step, "turns": self.turns.state_dict(), "ema": ema, "random": checkpoint.random_state()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        try:
            self.turns.load_state_dict(state["turns"])
            if self.ema is not None and state["ema"] is not None:
                self.ema.load_state_dict(state["ema"])
        except (KeyError, RuntimeError, ValueError) as error:
            raise ValueError(
                f"the checkpoint in {self.dir} is of other networks than recipe {self.recipe.name!r} now has: use "
                f"another run folder, or --fresh to start again there ({' '.join(str(error).split())[:300]})"
            ) from error
        self.step = state["step"]
        checkpoint.restore_random_state(state["random"])


def _accelerator(recipe: Recipe) -> Accelerator:
    device, precision = recipe.loop.device, recipe.loop.precision
    if device == "cuda" and not on_gpu(device):
        raise ValueError("loop.device is cuda, but no CUDA device is here; use auto or cpu")
    AcceleratorState._reset_state(reset_partial_state=True)  # one process may run several recipes in turn
    return Accelerator(mixed_precision="bf16" if computes_in_bf16(precision, device) else "no", cpu=not on_gpu(device))


@contextmanager
def _stop_request() -> Iterator[threading.Event]:
    """An event set by the first SIGINT or SIGTERM; the second acts at once."""
    event = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield event
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    def request(number: int, frame: object) -> None:
        event.set()
        restore()

    for number in before:
        signal.signal(number, request)
    try:
        yield event
    finally:
        restore()
