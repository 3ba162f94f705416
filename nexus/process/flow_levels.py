"""Noise levels of straight flows, shifted towards noise for large pictures (SD3, arXiv:2403.03206, section 5.3.2)."""

from dataclasses import dataclass

from nexus.process.levels import Path, flow_sigmas, shift_for, shifted, straight

MOST_STEPS = 1000


@dataclass(frozen=True, kw_only=True)
class FlowLevels:
    """The defaults are Stable Diffusion 3's."""

    shift: float = 3.0  # of pictures of every size, unless it grows
    growth: tuple[float, float] | None = None  # logarithms of the shifts at `tokens`, with a line through them (FLUX)
    tokens: tuple[int, int] = (256, 4096)

    def __post_init__(self):
        if self.growth is None and self.shift <= 0:
            raise ValueError(f"shift must be above 0 (1 changes nothing), got {self.shift:g}")

    def shift_at(self, n_tokens: int) -> float:
        """The shift for a picture of so many tokens."""
        return self.shift if self.growth is None else shift_for(n_tokens, *self.tokens, *self.growth)

    @property
    def least(self) -> float:
        """The lowest level before shifting; where all sizes are shifted alike SD3's scheduler shifts it twice."""
        return 1 / MOST_STEPS if self.growth else shifted([1 / MOST_STEPS], self.shift)[0]

    def path(self, steps: int, n_tokens: int, least: float | None = None) -> Path:
        """`steps` levels from noise down to `least`, evenly spaced and then shifted; then the data."""
        sigmas = flow_sigmas(steps, MOST_STEPS, self.least if least is None else least)
        return straight(shifted(sigmas, self.shift_at(n_tokens)))
