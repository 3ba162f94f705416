"""The voice of the training data that is nearest to a prompt: a model that only ever spoke in voices it knows."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from nexus.data.speech import read_manifest
from nexus.media import Audio
from nexus.metrics.judging import require_sounds

Embed = Callable[[Audio], Float[ndarray, " D"]]


def nearest_voices(
    corpus: Path, embed: Embed, prompts: Sequence[tuple[str, Audio]], split: str = "train"
) -> list[Audio]:
    """For each (speaker, recording) the recording of another speaker of the split that is likest; one is tried of each.

    It is chosen by the first three seconds, which is what a model hears.

    Raises:
        FileNotFoundError: there is no such split.
        ValueError: it has no other speaker, or recordings that cannot be used.
    """
    firsts = {u.speaker: u for u in reversed(read_manifest(corpus, split))}
    speakers = sorted(firsts)
    paths = [firsts[speaker].path for speaker in speakers]
    sounds = require_sounds([(path, lambda path=path: Audio.load(corpus / path)) for path in paths])
    known = np.stack([embed(sound) for sound in sounds]) if sounds else np.zeros((0, 1))
    nearest = []
    for speaker, prompt in prompts:
        if not set(speakers) - {speaker}:
            raise ValueError(f"{split} has no speaker other than {speaker}")
        likeness = known @ embed(prompt.cut(0, min(prompt.length, 3 * prompt.rate)))
        likeness[[other == speaker for other in speakers]] = -np.inf
        nearest.append(sounds[int(likeness.argmax())])
    return nearest
