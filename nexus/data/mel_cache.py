"""Log-mels of utterances, computed once into one float16 file and read through a memory map.

Axes: T mel frames, M mel bins.
"""

import json
import os
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import soundfile
import torch
from numpy import ndarray

from nexus.data.reported import reported
from nexus.data.speech import Utterance
from nexus.media.audio import Audio
from nexus.media.features import MelConfig, log_mel, mel_filterbank


class MelCache:
    def __init__(
        self, folder: str | Path, name: str, utterances: Sequence[Utterance], mel_of: Callable[[Utterance], ndarray]
    ):
        """`name` tells the file from those of other utterances or of another `mel_of`, which gives a mel [T, M]."""
        data, index = Path(folder) / f"{name}.npy", Path(folder) / f"{name}.json"
        if not index.is_file():
            _write(utterances, mel_of, data, index)
        self.spans: dict[str, tuple[int, int]] = {k: (a, b) for k, (a, b) in json.loads(index.read_text()).items()}
        self.frames = np.load(data, mmap_mode="r")  # [all T, M]

    def length(self, utterance: Utterance) -> int:
        start, end = self.spans[utterance.id]
        return end - start

    def __getitem__(self, utterance: Utterance) -> ndarray:
        """The mel [T, M] of an utterance, in float16."""
        start, end = self.spans[utterance.id]
        return self.frames[start:end]


def recorded_mels(
    corpus: str | Path, name: str, folder: str | Path, config: MelConfig, utterances: Sequence[Utterance]
) -> MelCache:
    """The mels of recordings, played at each utterance's rate."""

    def mel_of(utterance: Utterance) -> ndarray:
        waveform, sample_rate = soundfile.read(Path(corpus) / utterance.path, dtype="float32")
        if sample_rate != config.sample_rate:
            raise ValueError(f"{utterance.path}: {sample_rate} Hz, the mel is defined at {config.sample_rate} Hz")
        if utterance.rate == 1:
            return log_mel(torch.from_numpy(waveform)[None], config)[0].T.numpy()
        played = Audio(waveform, round(sample_rate * utterance.rate)).resample(sample_rate)
        mel = log_mel(played.tensor(), config)[0].T.numpy()
        mirror_top(mel, config, 0.9 * min(utterance.rate, 1) * sample_rate / 2)
        return mel

    return MelCache(folder, f"{name}-{config.n_mels}x{config.hop_length}-{config.clamp:g}", utterances, mel_of)


def mirror_top(mel: ndarray, config: MelConfig, highest: float) -> None:
    """Puts what is below a frequency (Hz), mirrored, in the place of the bins of a mel [T, M] above it.

    A resampled recording ends below half its rate. Silence there would be logarithms far from all that speech has.
    """
    filters = mel_filterbank(config.sample_rate, config.n_fft, config.n_mels, config.f_min, config.f_max, config.scale)
    peaks = filters.argmax(dim=-1) * config.sample_rate / config.n_fft  # Hz
    n = int((peaks > highest).sum())
    mel[:, mel.shape[1] - n :] = mel[:, mel.shape[1] - 2 * n : mel.shape[1] - n][:, ::-1]


def _write(utterances: Sequence[Utterance], mel_of: Callable[[Utterance], ndarray], data: Path, index: Path) -> None:
    data.parent.mkdir(parents=True, exist_ok=True)
    mels, spans, end = [], {}, 0
    for utterance in reported(utterances, "computing mels"):
        mel = mel_of(utterance).astype(np.float16)
        mels.append(mel)
        spans[utterance.id] = (end, end + len(mel))
        end += len(mel)
    with tempfile.TemporaryDirectory(dir=data.parent, prefix=".mels-") as draft:
        np.save(Path(draft) / data.name, np.concatenate(mels))
        (Path(draft) / index.name).write_text(json.dumps(spans))
        os.replace(Path(draft) / data.name, data)
        os.replace(Path(draft) / index.name, index)  # last: its presence says that the pair is whole
