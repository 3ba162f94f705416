"""Endless batches of read speech, utterances of like durations together.

Axes: B batch, T mel frames, M mel bins, S phoneme symbols (a pause, the phonemes, a pause).
"""

from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from nexus.data.mel_cache import MelCache
from nexus.data.speech import Utterance


class SpeechBatches:
    """Endless batches of utterances of like durations; batch *i* is a pure function of (seed, i).

    Buckets hold neighbours in length. Every epoch shuffles each bucket, cuts it into batches of at most
    `frames_per_batch` frames (padding counted), and shuffles the batches.
    """

    def __init__(
        self,
        utterances: list[Utterance],
        mels: MelCache,
        *,
        frames_per_batch: int,
        hop_length: int,
        n_buckets: int = 12,
        seed: int = 0,
    ):
        aligned = sorted((u for u in utterances if u.durations), key=lambda u: (mels.length(u), u.id))
        if not aligned:
            raise ValueError("none of the utterances has durations; speech batches need phonemes aligned to frames")
        self.mels, self.hop_length, self.seed = mels, hop_length, seed
        edges = np.linspace(0, len(aligned), min(n_buckets, len(aligned)) + 1).astype(int)
        self.buckets = [aligned[a:b] for a, b in pairwise(edges)]
        self.sizes = [max(frames_per_batch // mels.length(bucket[-1]), 1) for bucket in self.buckets]
        self.batches_per_epoch = sum(-(-len(b) // size) for b, size in zip(self.buckets, self.sizes, strict=True))
        self._epoch: tuple[int, list[list[Utterance]]] = (-1, [])

    def epoch(self, number: int) -> list[list[Utterance]]:
        """The batches of one pass over the data, in order."""
        if self._epoch[0] != number:
            rng = np.random.default_rng((self.seed, number))
            batches = []
            for bucket, size in zip(self.buckets, self.sizes, strict=True):
                order = rng.permutation(len(bucket))
                batches += [[bucket[i] for i in order[start : start + size]] for start in range(0, len(order), size)]
            self._epoch = (number, [batches[i] for i in rng.permutation(len(batches))])
        return self._epoch[1]

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        number, position = divmod(index, self.batches_per_epoch)
        return self.collate(self.epoch(number)[position])

    def collate(self, utterances: list[Utterance]) -> dict[str, Tensor]:
        """mel [B, M, T], length [B] in frames, text [B, T] symbol of each frame, symbols and durations [B, S].

        Text and symbols are -1, durations 0 beyond the end of an item; durations are in units at speed 1.
        """
        mels = [torch.from_numpy(self.mels[u].astype(np.float32)) for u in utterances]
        text = [
            torch.from_numpy(u.frame_symbols(len(mel), self.hop_length))
            for u, mel in zip(utterances, mels, strict=True)
        ]
        pad = torch.nn.utils.rnn.pad_sequence
        return {
            "mel": pad(mels, batch_first=True).mT.contiguous(),
            "length": torch.tensor([len(mel) for mel in mels]),
            "text": pad(text, batch_first=True, padding_value=-1),
            "symbols": pad([torch.from_numpy(u.symbols) for u in utterances], batch_first=True, padding_value=-1),
            "durations": pad(
                [torch.from_numpy(u.heard_durations()).float() * u.speed for u in utterances], batch_first=True
            ),
        }
