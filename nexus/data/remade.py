"""Mels of recordings as a model makes them, in step with the recording: what its vocoder has to learn from.

A vocoder that has only seen recordings makes noise of what a model blurs. HiFi-GAN's remedy (arXiv:2010.05646, section
3.4) is frames that the model makes while it follows a recording; for a flow that is noise put on the recording's mel
and taken away again (SDEdit, arXiv:2108.01073).
They are not sharpened, as those of use may be: a vocoder that had learnt from sharpened frames would undo it.
Axes: B batch, M mel bins, T frames, L waveform samples.
"""

import zlib
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import soundfile
import torch
from numpy import ndarray
from torch import Tensor

from nexus.data.mel_cache import MelCache
from nexus.data.speech import Utterance
from nexus.models.audio.f5tts import F5TTS
from nexus.process import flow

VOICE_SECONDS = 2.5  # of another utterance of the speaker, which the model speaks after
STEPS = 12  # from noise to a mel
FIRST_STEPS = (5, 6, 7)  # of them, one drawn: where it begins, 21 to 39 % of the way at sway -1


class Remade:
    """Callable: the mel [T, M] of an utterance as `model` makes it, the same at every call."""

    def __init__(self, model: F5TTS, utterances: Sequence[Utterance], mels: MelCache):
        self.model, self.mels = model, mels
        self.of_speaker = defaultdict[str, list[Utterance]](list)
        for utterance in utterances:
            self.of_speaker[utterance.speaker].append(utterance)

    @torch.inference_mode()
    def __call__(self, utterance: Utterance) -> ndarray:
        config = self.model.config
        rng = torch.Generator().manual_seed(zlib.crc32(utterance.id.encode()))
        speaker = self.of_speaker[utterance.speaker]
        other = speaker[int(torch.randint(len(speaker), (), generator=rng))]
        patch = config.network.patch_size
        n_voice = round(VOICE_SECONDS * config.mel.sample_rate / config.mel.hop_length)
        n_voice = min(n_voice, self.mels.length(other)) // patch * patch
        mel = np.concatenate([self.mels[other][:n_voice], self.mels[utterance]]).astype(np.float32)
        data = self.model.normalise(torch.from_numpy(mel).T[None])
        cond = data.clone()
        cond[..., n_voice:] = 0
        said = torch.from_numpy(utterance.frame_symbols(self.mels.length(utterance), config.mel.hop_length))
        text = torch.cat([torch.full((n_voice,), -1), said])[None]
        first = FIRST_STEPS[int(torch.randint(len(FIRST_STEPS), (), generator=rng))]
        t = flow.sway(flow.uniform_times(STEPS))[first]
        start = flow.interpolate(torch.randn(data.shape, generator=rng), data, t[None])
        scale = config.guidance_scale
        made = flow.last(self.model.sample(start, cond, text, steps=STEPS, guidance_scale=scale, first=first))
        return self.model.denormalise(made[..., n_voice:].float())[0].T.numpy()


class FrameCrops:
    """Endless batches of frames and the sound they should give: "features" [B, M, T], "waveform" [B, 1, L] of whole
    windows, L = (T - 1) hop + n_fft, and "step" [1], the batch's index.

    The first `n_made` rows have frames of `made`, the others those of the recordings. Batch *i* is a pure function of
    (seed, i).
    """

    def __init__(
        self,
        corpus: str | Path,
        utterances: Sequence[Utterance],
        recorded: MelCache,
        made: MelCache,
        *,
        n_frames: int,
        n_fft: int,
        hop_length: int,
        batch_size: int,
        n_made: int,
        seed: int,
    ):
        self.utterances = [u for u in utterances if recorded.length(u) >= n_frames]
        if not self.utterances:
            raise ValueError(f"crops of {n_frames} frames need utterances at least as long, and there is none")
        self.corpus, self.recorded, self.made = Path(corpus), recorded, made
        self.n_frames, self.n_fft, self.hop_length = n_frames, n_fft, hop_length
        self.batch_size, self.n_made, self.seed = batch_size, n_made, seed

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        rng = np.random.default_rng((self.seed, index))
        rows = [self._crop(self.made if i < self.n_made else self.recorded, rng) for i in range(self.batch_size)]
        features, waveforms = (torch.from_numpy(np.stack(part)) for part in zip(*rows, strict=True))
        return {"features": features.mT, "waveform": waveforms[:, None], "step": torch.tensor([index])}

    def _crop(self, mels: MelCache, rng: np.random.Generator) -> tuple[ndarray, ndarray]:
        utterance = self.utterances[int(rng.integers(len(self.utterances)))]
        first = int(rng.integers(mels.length(utterance) - self.n_frames + 1))
        length = (self.n_frames - 1) * self.hop_length + self.n_fft
        start = first * self.hop_length - self.n_fft // 2  # windows are centred
        waveform, _ = soundfile.read(
            self.corpus / utterance.path,
            dtype="float32",
            start=max(start, 0),
            stop=min(start + length, utterance.num_samples),
        )
        before = max(-start, 0)
        waveform = np.pad(waveform, (before, length - before - len(waveform)))
        return mels[utterance][first : first + self.n_frames].astype(np.float32), waveform
