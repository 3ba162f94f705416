"""What a run shows: a live line in a terminal, plain lines in a log, and TensorBoard scalars."""

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn


class Report:
    """Takes each logged step's figures; `say` prints a sentence above them."""

    def __init__(
        self, run_dir: Path, name: str, start: int, steps: int, *, quiet: bool = False, console: Console | None = None
    ) -> None:
        self.console = console or Console(stderr=True, soft_wrap=True, highlight=False, quiet=quiet)
        self.steps, self.start, self.began = steps, start, time.monotonic()
        self.board = None if quiet else _board(run_dir / "tensorboard", start)
        self.progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("{task.fields[losses]}"),
            TimeRemainingColumn(),
            console=self.console,
            disable=not self.console.is_terminal,
        )
        self.task = self.progress.add_task(f"training {name}", total=steps, completed=start, losses="")

    def __enter__(self) -> "Report":
        self.progress.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, traceback: TracebackType | None) -> None:
        self.progress.stop()
        if self.board is not None:
            self.board.close()

    def advance(self, done: int) -> None:
        self.progress.update(self.task, completed=done)

    def say(self, sentence: str) -> None:
        self.console.print(sentence, markup=False)

    def figures(self, done: int, values: dict[str, float]) -> None:
        """Losses and rates after `done` steps: `step 120/3000 loss 0.123 0.80 s/step eta 00:38:24`."""
        text = " ".join(f"{name} {value:.4g}" for name, value in values.items())
        self.progress.update(self.task, losses=text)
        if not self.console.is_terminal:
            each = (time.monotonic() - self.began) / max(1, done - self.start)
            self.say(f"step {done}/{self.steps} {text} {each:.2f} s/step eta {_clock(each * (self.steps - done))}")
        self.scalars(done, values)

    def validation(self, done: int, losses: dict[str, float]) -> None:
        self.say(f"step {done} " + " ".join(f"{name} {value:.4g}" for name, value in losses.items()))
        self.scalars(done, losses)

    def scalars(self, done: int, values: dict[str, float]) -> None:
        if self.board is not None:
            for name, value in values.items():
                self.board.add_scalar(name, value, done)


@contextmanager
def data_in_the_making(*, quiet: bool = False) -> Iterator[None]:
    """Within, stderr says how far data have come, unless the caller's own logging hears `nexus.data`."""
    logger = logging.getLogger("nexus.data")
    if quiet or logger.hasHandlers():
        yield
        return
    handler, level = logging.StreamHandler(), logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)


def _board(folder: Path, start: int) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return None  # the figures are still printed
    return SummaryWriter(str(folder), purge_step=start)


def _clock(seconds: float) -> str:
    minutes, second = divmod(int(seconds), 60)
    return f"{minutes // 60:02d}:{minutes % 60:02d}:{second:02d}"
