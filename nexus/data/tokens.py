"""Clips as codes with the text states of their captions and their melodies: what token models learn from.

Everything is computed once: conditions per folder of clips, codes per folder and codec.
Axes: N clips, B batch, K codebooks, T frames, S text positions, D text width, M chroma frames.
"""

import os
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Integer
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn import functional as F

from nexus.data.clips import CachedClips, Clip
from nexus.data.music.theory import Key
from nexus.data.reported import reported
from nexus.media.features import chroma_one_hot
from nexus.models.audio.musicgen_controls import pitches_of
from nexus.models.audio.musicgen_decoder import MelodyConfig

Tensors = dict[str, Tensor]


def kept(path: Path, make: Callable[[], Tensors]) -> Tensors:
    """The tensors of a file, made and written at once where it is not there."""
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=".tokens-") as draft:
            save_file(make(), Path(draft) / path.name)
            os.replace(Path(draft) / path.name, path)
    return load_file(path)


@torch.inference_mode()
def encode_clips(codec, clips: CachedClips, batch_size: int = 8) -> Tensors:
    """Codes [N, K, T] as int16."""
    codes = []
    for start in reported(range(0, len(clips), batch_size), f"encoding clips, {batch_size} at a time"):
        waveforms = [clips[i].samples for i in range(start, min(start + batch_size, len(clips)))]
        codes.append(codec.encode(torch.from_numpy(np.stack(waveforms))[:, None]).short())
    return {"codes": torch.cat(codes)}


@torch.inference_mode()
def encode_captions(text_encoder, clips: CachedClips, n_captions: int, batch_size: int = 16) -> Tensors:
    """States of `n_captions` captions a clip, end to end [sum of S, D] in half precision, and their lengths [N, n]."""
    states, lengths = [], []
    for start in reported(range(0, len(clips), batch_size), f"reading captions, {batch_size} at a time"):
        texts = [clips[i].facts["captions"] for i in range(start, min(start + batch_size, len(clips)))]
        text, mask = text_encoder([captions[j % len(captions)] for captions in texts for j in range(n_captions)])
        states.append(text[mask].half())
        lengths.append(mask.sum(1).view(-1, n_captions))
    return {"text": torch.cat(states), "lengths": torch.cat(lengths)}


def melody_of(clip: Clip, rate: int, config: MelodyConfig) -> Integer[Tensor, " M"]:
    """Pitch class at each chroma frame: the melody's note where one is known to sound, else the loudest in the mix."""
    if rate != config.sample_rate:
        raise ValueError(f"clips have {rate} Hz, the melody config {config.sample_rate}")
    waveform = torch.from_numpy(np.ascontiguousarray(clip.samples))[None]
    heard = chroma_one_hot(waveform, rate, config.n_fft, config.hop_length)[0].argmax(0)
    times = torch.arange(len(heard)) * config.hop_length / rate
    for start, length, pitch in clip.facts.get("melody", []):
        heard[(times >= start) & (times < start + length)] = int(pitch) % 12
    return heard


def melodies_of(clips: CachedClips, config: MelodyConfig) -> Integer[Tensor, "N M"]:
    """`melody_of` each clip, as bytes."""
    rows = reported(range(len(clips)), "following melodies")
    return torch.stack([melody_of(clips[i], clips.rate, config).byte() for i in rows])


def score_table(clips: CachedClips, frame_rate: float, sample_rate: int) -> Tensors:
    """What the controls of `nexus.models.audio.musicgen_controls` are told of each clip, from its facts and its sound.

    beats_per_frame [N], beats_per_bar [N], key [N], and pitches [N, 12, P] as bytes, 255 the loudest.
    """
    rows = []
    for clip in (clips[i] for i in reported(range(len(clips)), "listening to clips")):
        key = Key.parse(clip.facts["key"])
        sound = torch.from_numpy(np.ascontiguousarray(clip.samples))[None]
        rows.append(
            {
                "beats_per_frame": torch.tensor(float(clip.facts["tempo"]) / 60 / frame_rate),
                "beats_per_bar": torch.tensor(int(clip.facts["meter"])),
                "key": torch.tensor(key.tonic + 12 * (key.mode == "minor")),
                "pitches": (255 * pitches_of(sound, sample_rate)[0]).round().byte(),
            }
        )
    return {name: torch.stack([row[name] for row in rows]) for name in rows[0]}


def pad_text(parts: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """States [B, S, D] and mask [B, S] of texts [S, D] of different lengths."""
    lengths = torch.tensor([len(part) for part in parts])
    mask = torch.arange(int(lengths.max())) < lengths[:, None]
    return torch.nn.utils.rnn.pad_sequence([part.float() for part in parts], batch_first=True), mask


@dataclass(frozen=True)
class TokenBatches:
    """Endless batches of crops: codes, text, text_mask; chroma where there are melodies, the score where there is one.

    Of a score come first_beat [B], counted in fractions from the clip's beginning, beats_per_frame, beats_per_bar and
    key [B], and pitches [B, 12, T].

    One length is drawn for a batch, and as many rows as fit into `frames_per_batch`; half of the crops begin where the
    clip does, so that the model knows how things begin.
    """

    codes: Integer[Tensor, "N K T"]
    text: Tensor  # of all captions, end to end
    lengths: Integer[Tensor, "N n"]  # of each caption
    melodies: Integer[Tensor, "N M"] | None
    frames_per_chroma: float
    score: Tensors | None  # `score_table`
    frames_per_pitch: float
    crop_lengths: tuple[int, ...]  # frames
    frames_per_batch: int
    seed: int

    def __getitem__(self, index: int) -> Tensors:
        rng = np.random.default_rng((self.seed, index))
        n_frames = min(int(rng.choice(self.crop_lengths)), self.codes.shape[2])
        n_rows = max(1, self.frames_per_batch // n_frames)
        rows = rng.integers(len(self.codes), size=n_rows)
        latest = self.codes.shape[2] - n_frames
        starts = rng.integers(latest + 1, size=n_rows) * rng.integers(2, size=n_rows)
        pairs = list(zip(rows.tolist(), starts.tolist(), strict=True))
        text, mask = pad_text([self._caption(row, int(rng.integers(self.lengths.shape[1]))) for row, _ in pairs])
        codes = torch.stack([self.codes[row, :, start : start + n_frames] for row, start in pairs]).long()
        batch = {"codes": codes, "text": text, "text_mask": mask}
        if self.melodies is not None:
            batch["chroma"] = torch.stack([self._chroma(row, start, n_frames) for row, start in pairs])
        if self.score is not None:
            batch |= self._score(self.score, torch.tensor(pairs), n_frames)
        return batch

    def _score(self, table: Tensors, pairs: Integer[Tensor, "B 2"], n_frames: int) -> Tensors:
        rows, starts = pairs.unbind(1)
        told = {name: table[name][rows] for name in ("beats_per_frame", "beats_per_bar", "key")}
        pitches = table["pitches"][rows]
        frames = starts[:, None] + torch.arange(n_frames)
        places = (frames / self.frames_per_pitch).long().clamp(max=pitches.shape[2] - 1)
        followed = pitches.gather(2, places[:, None].expand(-1, 12, -1)).float() / 255
        return told | {"first_beat": starts * told["beats_per_frame"], "pitches": followed}

    def _caption(self, row: int, which: int) -> Tensor:
        ends = self.lengths.flatten().cumsum(0)
        place = row * self.lengths.shape[1] + which
        end = int(ends[place])
        return self.text[end - int(self.lengths[row, which]) : end]

    def _chroma(self, row: int, start: int, n_frames: int) -> Tensor:
        assert self.melodies is not None
        first = round(start / self.frames_per_chroma)
        n = int(n_frames / self.frames_per_chroma) + 1
        indices = (first + torch.arange(n)).clamp(max=self.melodies.shape[1] - 1)
        return F.one_hot(self.melodies[row, indices].long(), 12).T.float()
