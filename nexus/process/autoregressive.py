"""Autoregressive decoding along a codebook pattern, as a generator: progress, streaming, cancelling are its consumer.

Axes: B batch, K codebooks, P prompt frames, T frames in all, S steps, V codebook entries.
"""

from collections.abc import Callable, Iterator

import torch
from einops import repeat
from jaxtyping import Bool, Float, Int64
from torch import Tensor
from torch.nn import functional as F

from nexus.process import patterns

# New columns of the sequence [B, K, n] to the logits [B, K, V] of the step after them; the past is the step's own.
Step = Callable[[Tensor], Tensor]
Sample = Callable[[Tensor], Tensor]


def decode(
    step: Step, sample: Sample, prompt: Int64[Tensor, "B K P"], layout: Int64[Tensor, "K S"], special: int
) -> Iterator[Int64[Tensor, "B K"]]:
    """Yields the codes of frames P, P + 1, ... as soon as all codebooks of a frame are written.

    Args:
        step: feeds columns and returns logits for the next; every column is fed once, in order.
        sample: logits [B, K, V] to codes [B, K].
        prompt: codes of the first frames, possibly none.
        layout: a pattern over all T frames (`nexus.process.patterns`).
        special: the id written where the layout is empty.
    """
    n_prompt, n_frames = prompt.shape[2], int(layout.max()) + 1
    steps = patterns.positions(layout, n_frames)
    completed = steps.amax(0).tolist()  # the step that completes each frame
    steps, open_ = steps.to(prompt.device), (layout >= n_prompt).to(prompt.device)
    sequence = patterns.apply(F.pad(prompt, (0, n_frames - n_prompt), value=special), layout, special)
    first = int(open_.any(0).int().argmax()) if n_prompt < n_frames else layout.shape[1]
    fed, frame = 0, n_prompt
    for s in range(first, layout.shape[1]):
        drawn = sample(step(sequence[:, :, fed:s]))
        fed = s
        sequence[:, :, s] = torch.where(open_[:, s], drawn, sequence[:, :, s])
        while frame < n_frames and completed[frame] <= s:
            yield sequence.gather(2, repeat(steps[:, frame], "k -> b k 1", b=len(sequence)))[:, :, 0]
            frame += 1


def cross_entropy(
    logits: Float[Tensor, "B K S V"], targets: Int64[Tensor, "B K S"], mask: Bool[Tensor, "B K S"]
) -> Float[Tensor, " K"]:
    """Mean cross-entropy of each codebook over its valid positions; a codebook without any gives 0."""
    losses = F.cross_entropy(logits.float().flatten(0, 2), targets.masked_fill(~mask, 0).flatten(), reduction="none")
    losses = losses.view(mask.shape) * mask
    return losses.sum((0, 2)) / mask.sum((0, 2)).clamp(min=1)
