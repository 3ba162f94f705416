"""Sounds with words, as they are and as a codec hears them: what a judge of both learns from.

Axes: N clips, n captions of each, L samples, W text width, B batch.
"""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int16
from torch import Tensor

from nexus.data.clips import CachedClips
from nexus.data.reported import reported

BATCH = 8


@torch.inference_mode()
def through_codec(codec: Any, clips: CachedClips, path: Path) -> Int16[np.ndarray, "N L"]:
    """The clips encoded and decoded, done once into a file and read through a memory map."""
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_suffix(".part")
        length = len(clips[0].samples)
        coded = np.lib.format.open_memmap(draft, mode="w+", dtype=np.int16, shape=(len(clips), length))
        for start in reported(range(0, len(clips), BATCH), f"passing clips through the codec, {BATCH} at a time"):
            rows = range(start, min(start + BATCH, len(clips)))
            waveform = torch.from_numpy(np.stack([clips[i].samples for i in rows]))[:, None]
            heard = codec.decode(codec.encode(waveform))[:, 0, :length].clamp(-1, 1)
            coded[start : start + len(rows)] = (32767 * heard).round().short().numpy()
        coded.flush()
        os.replace(draft, path)
    return np.load(path, mmap_mode="r")


@torch.inference_mode()
def mean_states(text_encoder: Any, captions: Sequence[str]) -> Float[Tensor, "N W"]:
    """Means over the tokens of each caption, in half precision."""
    means = []
    for start in range(0, len(captions), 64):
        states, mask = text_encoder(list(captions[start : start + 64]))
        means.append(((states * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)).half())
    return torch.cat(means)


class CaptionedSounds:
    """Endless batches, drawn by (seed, i): `waveform` [B, L] cut to a length drawn for the batch, one caption's `text`
    [B, 1, W], and `same` [B, B], which captions say the same in the same words.

    Args:
        captions: `n_captions` of each clip, end to end; `text` their mean states.
        coded_share: how often a clip is heard through the codec.
    """

    def __init__(
        self,
        clips: CachedClips,
        coded: Int16[np.ndarray, "N L"],
        captions: Sequence[str],
        text: Float[Tensor, "M W"],
        *,
        batch_size: int,
        coded_share: float,
        shortest: float,
        seed: int,
    ):
        self.clips, self.coded, self.text = clips, coded, text
        self.words = np.unique(np.array(captions), return_inverse=True)[1]
        self.n_captions = len(captions) // len(clips)
        self.batch_size, self.coded_share, self.shortest, self.seed = batch_size, coded_share, shortest, seed

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        rng = np.random.default_rng((self.seed, index))
        n, length = self.batch_size, self.coded.shape[1]
        kept = int(rng.integers(int(self.shortest * length), length + 1))
        rows, which = rng.integers(len(self.clips), size=n), rng.integers(self.n_captions, size=n)
        waveforms = []
        for row, coded in zip(rows.tolist(), rng.random(n) < self.coded_share, strict=True):
            start = int(rng.integers(length - kept + 1))
            whole = self.coded[row].astype(np.float32) / 32767 if coded else self.clips[row].samples
            waveforms.append(whole[start : start + kept])
        said = rows * self.n_captions + which
        words = torch.from_numpy(self.words[said])
        return {
            "waveform": torch.from_numpy(np.stack(waveforms)),
            "text": self.text[torch.from_numpy(said)].float()[:, None],
            "same": words[:, None] == words,
        }
