"""Which way the things in a video go, tracked by matching blocks of neighbouring frames (no network).

Frames are shrunk to 32 x 32. For every block and every displacement the mean colour difference to the next frame is
taken; the camera is the one slow displacement that fits all frames best; a block moves where another displacement
fits it clearly better, and weighs by how much better.

Axes: F frames, P pairs of neighbouring frames, S displacements, H height, W width.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from nexus.media.video import Video

Direction = Literal["left", "right", "up", "down", "nowhere"]

SIDE, REACH, BLOCK = 32, 4, 5  # pixels: of the small frames, of the longest displacement searched, of a block
SLOW = 1  # pixels a frame that a camera goes at most; before a flat place a fast thing would pass for the camera
UNALIKE = 0.08  # a colour difference above which a block says nothing more against a camera move
CLEARLY = 0.02  # how much better another displacement must fit
SHYNESS = 1e-3  # cost of a pixel of displacement: flat areas, where all fit alike, stay with the shortest
OUTSIDE, FAR_OFF = 1.0, 100.0  # a single pixel beyond the frame lifts its whole block over `OUTSIDE`
# Chosen on clips of the storybook's train split.
FAINT = 1e-3  # mean evidence in a pair of frames at which its speed counts by half
FAR = 0.2  # of the frame's side: less is no journey
TOGETHER = 0.5  # of all movement, how much must go one way: flicker and growth go all ways


@dataclass(frozen=True)
class Drift:
    """Way of what moves against the background over the whole video, as shares of the frame's side (y down);
    `coherence` is net movement over all movement, from 0 (flicker) to 1 (everything goes one way)."""

    x: float
    y: float
    coherence: float

    @property
    def direction(self) -> Direction:
        if max(abs(self.x), abs(self.y)) < FAR or self.coherence < TOGETHER:
            return "nowhere"
        if abs(self.x) >= abs(self.y):
            return "right" if self.x > 0 else "left"
        return "down" if self.y > 0 else "up"


def drift(video: Video) -> Drift:
    """Tracks what moves.

    Raises:
        ValueError: fewer than two frames.
    """
    if video.length < 2:
        raise ValueError(f"motion needs at least two frames, got {video.length}")
    ways = _displacements()
    cost = _costs(video, ways)
    shy = SHYNESS * ways.norm(dim=1)
    inside = cost < OUTSIDE
    fit = torch.where(inside, cost.clamp(max=UNALIKE), 0.0).sum((0, 2, 3)) / inside.sum((0, 2, 3))
    slow = ways.abs().amax(1) <= SLOW
    camera = torch.where(slow, fit + shy, torch.inf).argmin()
    best, index = (cost + shy[:, None, None]).min(1)  # [P, H, W]
    evidence = cost[:, camera] - best
    evidence = torch.where((evidence > CLEARLY) & inside[:, camera], evidence, 0.0)
    speed = (ways[index] - ways[camera]) / SIDE  # [P, H, W, 2]
    moved = (evidence[..., None] * speed).mean((1, 2))  # [P, 2]
    in_all = (evidence * speed.norm(dim=-1)).mean((1, 2)).sum()
    x, y = (moved / (evidence.mean((1, 2)) + FAINT)[:, None]).sum(0).tolist()
    return Drift(x, y, float(moved.sum(0).norm() / in_all.clamp(min=1e-9)))


def _displacements() -> Float[Tensor, "S 2"]:
    """All (x, y) within reach, in pixels."""
    steps = torch.arange(-REACH, REACH + 1, dtype=torch.float32)
    return torch.cartesian_prod(steps, steps).flip(1)


def _costs(video: Video, ways: Float[Tensor, "S 2"]) -> Float[Tensor, "P S H W"]:
    """Mean colour difference (0 to 1) of each block to the one displaced in the next frame; above `OUTSIDE` where
    that one leaves the frame."""
    frames = torch.tensor(video.frames).float().permute(0, 3, 1, 2) / 255
    small = functional.interpolate(frames, (SIDE, SIDE), mode="bilinear", align_corners=False, antialias=True)
    now, after = small[:-1], functional.pad(small[1:], [REACH] * 4, value=FAR_OFF)
    cost = []
    for x, y in ways.int().tolist():
        left, top = REACH + x, REACH + y
        cost.append((now - after[:, :, top : top + SIDE, left : left + SIDE]).abs().mean(1, keepdim=True))
    return functional.avg_pool2d(torch.cat(cost, 1), BLOCK, 1, BLOCK // 2, count_include_pad=False)
