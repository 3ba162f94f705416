"""The levels that a discrete diffusion model's solvers visit, as schedulers of official pipelines space them."""

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import torch
from torch import Tensor

from nexus.process import schedule as schedules
from nexus.process.consistency import lcm_steps
from nexus.process.levels import Path, karras
from nexus.process.schedule import NoiseSchedule, zero_terminal_snr

Spacing = Literal["leading", "trailing", "linspace"]
_MULTISTEP = ("dpmpp-2m", "dpmpp-2m-sde", "unipc")
_LIKE_EULER = ("euler", "euler-ancestral", "heun")


@dataclass(frozen=True, kw_only=True)
class StepLevels:
    """Stable Diffusion 1.5's by default."""

    schedule: Literal["linear", "scaled_linear", "cosine"] = "scaled_linear"
    betas: tuple[float, float] = (0.00085, 0.012)  # the first and the last; cosine has its own
    n_steps: int = 1000
    zero_snr: bool = False  # rescaled so that the last step is pure noise
    spacing: Spacing | None = None  # None: leading for ddim and ddpm, linspace for the others
    offset: int = 1  # of leading steps
    ends_at_first_step: bool = True  # DDIM's path, at the level of step 0, else at the data
    karras: bool = False  # levels of Euler's, Heun's and DPM-Solver's kinds by EDM's rule
    origin: int = 50  # steps that an LCM was distilled at

    def __post_init__(self):
        if self.schedule not in ("linear", "scaled_linear", "cosine"):
            raise ValueError(f"schedule must be linear, scaled_linear or cosine, got {self.schedule!r}")
        if self.spacing not in (None, "leading", "trailing", "linspace"):
            raise ValueError(f"spacing must be leading, trailing or linspace, got {self.spacing!r}")

    @cached_property
    def noise_schedule(self) -> NoiseSchedule:
        make = getattr(schedules, self.schedule)
        made = make(self.n_steps) if self.schedule == "cosine" else make(self.n_steps, *self.betas)
        return zero_terminal_snr(made) if self.zero_snr else made

    @property
    def most_steps(self) -> int:
        return self.n_steps - 1  # what every solver and spacing can do

    def path(self, n_steps: int, solver: str, strength: float | int = 1.0) -> Path:
        """From noise to data in n_steps, or the last `strength` of them.

        Raises:
            ValueError: steps or a strength that can't be.
        """
        if not 1 <= n_steps <= self.most_steps:
            raise ValueError(f"n_steps must be from 1 to {self.most_steps}, got {n_steps}")
        if not 0 < strength <= 1:
            raise ValueError(f"strength must be above 0 and at most 1 (1 forgets the picture), got {strength:g}")
        if solver == "lcm":
            return self.noise_schedule.path(lcm_steps(self.n_steps, n_steps, origin=self.origin, strength=strength))
        walked = int(n_steps * strength)
        if not walked:
            raise ValueError(f"strength {strength:g} leaves none of {n_steps} steps; take at least {1 / n_steps:.2g}")
        return self._whole(n_steps, solver)[n_steps - walked :]

    def _whole(self, n_steps: int, solver: str) -> Path:
        schedule = self.noise_schedule
        if self.karras and solver in (*_LIKE_EULER, "dpmpp-2m", "dpmpp-2m-sde"):
            ratios = karras(schedule.ratios[-1].item(), schedule.ratios[0].item(), n_steps)
            return schedule.path_of(ratios, whole_steps=solver not in _LIKE_EULER)
        path = schedule.path(self._times(n_steps, solver))
        if solver == "ddim" and self.ends_at_first_step:
            path[-1] = schedule.path(torch.tensor([0]))[0]
        return path

    def _times(self, n_steps: int, solver: str) -> Tensor:
        spacing, total = self.spacing_for(solver), self.n_steps
        if spacing == "trailing":
            return schedules.trailing(total, n_steps)
        if solver in _MULTISTEP:  # which space one step more, and leave out the lowest
            if spacing == "leading":
                return schedules.without_last(schedules.leading(total, n_steps + 1, self.offset))
            return schedules.without_last(schedules.linspace(total, n_steps + 1))
        if spacing == "leading":
            return schedules.leading(total, n_steps, self.offset)
        if solver in _LIKE_EULER:  # which do not round
            times = torch.linspace(total - 1, 0, n_steps, dtype=torch.float64)
            return torch.cat([times, torch.tensor([-1.0])])
        return schedules.linspace(total, n_steps)

    def spacing_for(self, solver: str) -> Spacing:
        return self.spacing or ("leading" if solver in ("ddim", "ddpm", "lcm") else "linspace")

    def noise_scale(self, path: Path, solver: str) -> float:
        """Of the noise that a path begins with: schedulers of Euler's kind leave the data's share out, others don't."""
        return path[0].sigma if solver in _LIKE_EULER and self.spacing_for(solver) != "leading" else 1.0
