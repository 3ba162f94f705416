"""Read speech with phonemes and their durations: manifests, a mel cache, and endless batches of like durations.

Axes: B batch, T mel frames, M mel bins, S phoneme symbols (a pause, the phonemes, a pause).
"""

import gzip
import json
import os
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch
from torch import Tensor

from nexus.media.features import MelConfig, log_mel
from nexus.text.phonemes import PAUSE, symbol_ids

DURATION_UNIT = 600  # samples in one unit of `durations`


@dataclass(frozen=True, kw_only=True)
class Utterance:
    """One recording; `durations` (in units of 600 samples) are those of a start pad, each phoneme and an end pad."""

    id: str
    speaker: str
    text: str
    phonemes: str
    phoneme_set: str
    path: str
    num_samples: int
    sample_rate: int
    speed: float = 1.0
    offset: int = 0
    durations: tuple[int, ...] = ()
    prompt_path: str = ""
    prompt_text: str = ""

    @cached_property
    def symbols(self) -> np.ndarray:
        """Ids [S] of pause, phonemes, pause."""
        return np.array(symbol_ids(PAUSE + self.phonemes + PAUSE), dtype=np.int64)

    def symbol_starts(self) -> np.ndarray:
        """Sample [S] at which each symbol begins; below 0 means at the start of the file."""
        ends = np.cumsum(self.durations)
        return DURATION_UNIT * np.concatenate([[0], ends[:-1]]) - self.offset

    def heard_durations(self) -> np.ndarray:
        """Units [S] of each symbol that are inside the file, whose silent ends were trimmed."""
        starts = self.symbol_starts()
        ends = np.append(starts[1:], self.num_samples)
        return np.diff(np.clip(np.stack([starts, ends]), 0, self.num_samples), axis=0)[0] / DURATION_UNIT

    def frame_symbols(self, n_frames: int, hop_length: int) -> np.ndarray:
        """The symbol id [T] that sounds at the centre of each mel frame."""
        centres = np.arange(n_frames) * hop_length
        return self.symbols[np.searchsorted(self.symbol_starts()[1:], centres, side="right")]


def read_manifest(corpus: str | Path, split: str) -> list[Utterance]:
    """The utterances of a split.

    Raises:
        FileNotFoundError: no such split; the message lists those there are.
    """
    path = Path(corpus) / "manifests" / f"{split}.jsonl.gz"
    if not path.is_file():
        there = sorted(p.name.removesuffix(".jsonl.gz") for p in path.parent.glob("*.jsonl.gz"))
        raise FileNotFoundError(f"{path} is not there; splits are {', '.join(there) or 'none (is this the corpus?)'}")
    return [_utterance(row) for row in _lines(path)]


def read_lhotse(recordings: str | Path, supervisions: str | Path) -> list[Utterance]:
    """The utterances of a pair of Lhotse manifests (JSON lines, gzipped or not), one supervision to a recording.

    `custom` may hold phonemes, phoneme_set, speed, offset and durations; without durations they can't train alignment.

    Raises:
        ValueError: a supervision of a recording that is not there.
    """
    sounds = {row["id"]: row for row in _lines(Path(recordings))}
    utterances = []
    for row in _lines(Path(supervisions)):
        sound = sounds.get(row["recording_id"])
        if sound is None:
            raise ValueError(
                f"{supervisions}: {row['id']} is of recording {row['recording_id']!r}, not in {recordings}"
            )
        whole = {"phonemes": "", "phoneme_set": ""} | row.get("custom", {})
        whole |= {"id": row["id"], "speaker": row.get("speaker", ""), "text": row.get("text", "")}
        whole |= {"path": sound["sources"][0]["source"], "num_samples": sound["num_samples"]}
        utterances.append(_utterance(whole | {"sample_rate": sound["sampling_rate"]}))
    return utterances


def _lines(path: Path) -> list[dict[str, Any]]:
    opened = gzip.open if path.suffix == ".gz" else open
    with opened(path, "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def _utterance(row: dict[str, Any]) -> Utterance:
    known: dict[str, Any] = {name: value for name, value in row.items() if name in Utterance.__dataclass_fields__}
    known["durations"] = tuple(row.get("durations", ()))
    return Utterance(**known)


class MelCache:
    """Log-mels of a split, computed once into one float16 file and read through a memory map."""

    def __init__(self, corpus: str | Path, split: str, folder: str | Path, config: MelConfig):
        stem = f"{split}-{config.n_mels}x{config.hop_length}-{config.clamp:g}"
        data, index = Path(folder) / f"{stem}.npy", Path(folder) / f"{stem}.json"
        if not index.is_file():
            _compute_mels(Path(corpus), read_manifest(corpus, split), data, index, config)
        self.spans: dict[str, tuple[int, int]] = {k: (a, b) for k, (a, b) in json.loads(index.read_text()).items()}
        self.frames = np.load(data, mmap_mode="r")  # [all T, M]

    def length(self, utterance: Utterance) -> int:
        start, end = self.spans[utterance.id]
        return end - start

    def __getitem__(self, utterance: Utterance) -> np.ndarray:
        """The mel [T, M] of an utterance, in float16."""
        start, end = self.spans[utterance.id]
        return self.frames[start:end]


def _compute_mels(corpus: Path, utterances: Iterable[Utterance], data: Path, index: Path, config: MelConfig) -> None:
    data.parent.mkdir(parents=True, exist_ok=True)
    mels, spans, end = [], {}, 0
    for utterance in utterances:
        waveform, sample_rate = soundfile.read(corpus / utterance.path, dtype="float32")
        if sample_rate != config.sample_rate:
            raise ValueError(f"{utterance.path}: {sample_rate} Hz, the mel is defined at {config.sample_rate} Hz")
        mel = log_mel(torch.from_numpy(waveform)[None], config)[0].T.numpy().astype(np.float16)
        mels.append(mel)
        spans[utterance.id] = (end, end + len(mel))
        end += len(mel)
    with tempfile.TemporaryDirectory(dir=data.parent, prefix=".mels-") as draft:
        np.save(Path(draft) / data.name, np.concatenate(mels))
        (Path(draft) / index.name).write_text(json.dumps(spans))
        os.replace(Path(draft) / data.name, data)
        os.replace(Path(draft) / index.name, index)  # last: its presence says that the pair is whole


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
