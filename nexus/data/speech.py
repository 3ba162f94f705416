"""Read speech with phonemes and their durations: manifests.

Axes: T mel frames, S phoneme symbols (a pause, the phonemes, a pause).
"""

import gzip
import json
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from nexus.text.phonemes import PAUSE, symbol_ids

DURATION_UNIT = 600  # samples in one unit of `durations`
RATES = (0.84, 0.88, 0.92, 1.08, 1.12, 1.16)  # at which `other_voices` play, so that their mels differ audibly


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
    rate: float = 1.0  # how much faster than recorded, and so higher, it is played; all else here is as recorded

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
        centres = np.arange(n_frames) * hop_length * self.rate
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


def other_voices(utterances: Iterable[Utterance], copies: int, seed: int = 0) -> list[Utterance]:
    """Each utterance so many times more, each at another of `RATES`: voices that nobody in the corpus has.

    A voice played faster is higher, in pitch and in resonances, like that of another speaker (Kaldi's speed
    perturbation, Ko et al. 2015, doi:10.21437/Interspeech.2015-711).

    Raises:
        ValueError: more copies than there are rates.
    """
    if not 0 <= copies <= len(RATES):
        raise ValueError(
            f"other_voices (copies of each recording) must be in 0..{len(RATES)}, as there are rates, got {copies}"
        )
    rng = np.random.default_rng(seed)
    made = []
    for utterance in utterances:
        rates = rng.permutation(RATES)[:copies]
        made += [replace(utterance, id=f"{utterance.id} x {rate}", rate=float(rate)) for rate in rates]
    return made


def _lines(path: Path) -> list[dict[str, Any]]:
    opened = gzip.open if path.suffix == ".gz" else open
    with opened(path, "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def _utterance(row: dict[str, Any]) -> Utterance:
    known: dict[str, Any] = {name: value for name, value in row.items() if name in Utterance.__dataclass_fields__}
    known["durations"] = tuple(row.get("durations", ()))
    return Utterance(**known)
