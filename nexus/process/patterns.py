"""Codebook patterns (arXiv:2306.05284, section 2.2): in which order the K codes of each frame are written.

A layout [K, S] says which frame codebook k writes at step s, -1 for none. Step 0 is empty: decoding starts there.
Axes: B batch, K codebooks, T frames, S steps.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Int64
from torch import Tensor

Layout = Int64[Tensor, "K S"]


def delay(n_frames: int, delays: Sequence[int]) -> Layout:
    """Codebook k writes frame t at step 1 + t + delays[k]; stereo pairs share a delay: (0, 0, 1, 1, ...)."""
    if not delays or min(delays) != 0:
        raise ValueError(f"delays must start from 0, such as (0, 1, 2, 3), got {tuple(delays)}")
    steps = torch.arange(1 + n_frames + max(delays))
    frames = steps - 1 - torch.tensor(delays)[:, None]
    return frames.masked_fill((frames < 0) | (frames >= n_frames), -1)


def parallel(n_frames: int, n_codebooks: int) -> Layout:
    """All codes of a frame in one step."""
    return delay(n_frames, (0,) * n_codebooks)


def flattened(n_frames: int, n_codebooks: int) -> Layout:
    """One code a step, codebook after codebook within a frame: exact, and K times as long."""
    layout = torch.full((n_codebooks, 1 + n_frames * n_codebooks), -1)
    frames = torch.arange(n_frames)
    for k in range(n_codebooks):
        layout[k, 1 + k + frames * n_codebooks] = frames
    return layout


def apply(codes: Int64[Tensor, "B K T"], layout: Layout, special: int) -> Int64[Tensor, "B K S"]:
    """Writes codes along the layout, `special` where it is empty."""
    index = layout.to(codes.device).clamp(min=0).expand(len(codes), -1, -1)
    return codes.gather(2, index).masked_fill(~valid(layout).to(codes.device), special)


def valid(layout: Layout) -> Bool[Tensor, "K S"]:
    """Where a step writes a code, so where the loss counts."""
    return layout >= 0


def positions(layout: Layout, n_frames: int) -> Int64[Tensor, "K T"]:
    """The step at which codebook k writes frame t: the layout's inverse."""
    steps = torch.empty(len(layout), n_frames, dtype=torch.int64)
    k, s = valid(layout).nonzero(as_tuple=True)
    steps[k, layout[k, s]] = s
    return steps


def revert(sequence: Int64[Tensor, "B K S"], layout: Layout, n_frames: int) -> Int64[Tensor, "B K T"]:
    """Reads the codes back from a sequence written along the layout."""
    index = positions(layout, n_frames).to(sequence.device)
    return sequence.gather(2, index.expand(len(sequence), -1, -1))
