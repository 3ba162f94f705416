"""What music and sound models are asked for, in parts of a set: made in batches, and passed through their codec."""

from collections.abc import Sequence
from typing import Any

import torch

from nexus.media import Audio
from nexus.metrics.judging import Progress

BATCH = 8


def make(
    model: Any, prompts: Sequence[str], *, seed: int, progress: Progress | None = None, **settings: Any
) -> list[Audio]:
    """One sound a prompt; item i has the generator of seed + i, whatever the batches."""
    made: list[Audio] = []
    for start in range(0, len(prompts), BATCH):
        part = list(prompts[start : start + BATCH])
        made += model.generate(part, seed=seed + start, **settings)
        if progress is not None:
            progress(len(made), len(prompts), f"making sound with {model.info.name}")
    return made


@torch.inference_mode()
def through_codec(codec: Any, audio: Audio) -> Audio:
    """What a model over this codec could make at best: a sound that only the codec has touched."""
    sound = audio.resample(codec.sample_rate)
    device = next(codec.parameters()).device
    return Audio(codec.decode(codec.encode(sound.tensor()[None].to(device)))[0], codec.sample_rate).fit(sound.length)
