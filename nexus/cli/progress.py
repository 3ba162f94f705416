"""A progress bar on stderr that says what is happening and how long it will take; nothing where nobody looks."""

from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TaskProgressColumn, TextColumn, TimeRemainingColumn


class Watch:
    """Stages of work one after another; called with (done, total) it moves the present one on."""

    def __init__(self, console: Console | None = None) -> None:
        console = console or Console(stderr=True)
        columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
        self.bar = Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
        self.task: TaskID | None = None

    def __enter__(self) -> "Watch":
        self.bar.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        self.bar.stop()

    def stage(self, description: str) -> None:
        if self.task is not None:
            self.bar.remove_task(self.task)
        self.task = self.bar.add_task(description, total=None)

    def during(self, done: float | int, total: float | int, what: str) -> None:
        """For work that says itself what it is doing."""
        if self.task is None:
            self.stage(what)
        assert self.task is not None
        self.bar.update(self.task, completed=done, total=total, description=what)

    def __call__(self, done: int, total: int) -> None:
        if self.task is not None:
            self.bar.update(self.task, completed=done, total=total)
