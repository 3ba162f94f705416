"""How well a model speaks held-out sentences in held-out voices, or keeps speech that passes through it.

A speech model (F5-TTS) speaks each sentence of a split in the voice of another utterance of its speaker, of which it
hears the first three seconds and no transcript. A codec or vocoder (EnCodec, Vocos) is given the recordings themselves.
"""

import platform
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from nexus.data.speech import Utterance, read_manifest
from nexus.media import Audio
from nexus.metrics.dnsmos import dnsmos_judge
from nexus.metrics.fad import chosen_fad
from nexus.metrics.figures import Card, Evaluation, Figure, figure
from nexus.metrics.judge import Judge, Sample, Verdict, version
from nexus.metrics.judging import Progress, describe_silence, items_of, judge_all, present, require_sounds
from nexus.metrics.nearest_voice import nearest_voices
from nexus.metrics.pesq import pesq_judge
from nexus.metrics.pitch import pitch_judge, voice_pitch_judge
from nexus.metrics.recogniser import recogniser_judge
from nexus.metrics.si_sdr import si_sdr_judge
from nexus.metrics.speaker import SpeakerEncoder, speaker_judge
from nexus.metrics.speaking_rate import rate_judge
from nexus.metrics.spectra import spectra_judge
from nexus.metrics.stoi import stoi_judge
from nexus.metrics.wavlm import wavlm_judge

SPEAKING = (recogniser_judge, speaker_judge, wavlm_judge, dnsmos_judge, voice_pitch_judge, rate_judge)
KEEPING = (
    recogniser_judge,
    speaker_judge,
    wavlm_judge,
    dnsmos_judge,
    pesq_judge,
    stoi_judge,
    si_sdr_judge,
    spectra_judge,
    pitch_judge,
)
KINDS = ("F5TTS", "Encodec", "SpectralCodec", "Vocos", "SpectralVocoder")
PROMPT = 3.0  # seconds of a voice


@dataclass(frozen=True, kw_only=True)
class Recording:
    """A held-out sentence as its speaker reads it, and another recording of the speaker."""

    utterance: Utterance
    audio: Audio
    voice: Audio


def recordings(corpus: Path, split: str, items: int) -> list[Recording]:
    """Evenly spread over a split, so that every speaker is heard.

    Raises:
        FileNotFoundError: there is no such split.
        ValueError: an empty split, fewer sentences than asked for, no other recording to take the voice from, files
            that are missing, damaged or silent (named and counted).
    """
    utterances = read_manifest(corpus, split)
    if items > len(utterances):
        raise ValueError(f"{items} items were asked for and {split} has {len(utterances)}; give --items at most that")
    chosen = [utterances[i] for i in np.linspace(0, len(utterances) - 1, items).astype(int)]
    lost = [u.id for u in chosen if not u.prompt_path]
    if lost:
        raise ValueError(f"{len(lost)} of {items} sentences have no prompt_path to take the voice from: {lost[0]} ...")
    paths = [path for u in chosen for path in (u.path, u.prompt_path)]
    sounds = require_sounds([(path, lambda path=path: Audio.load(corpus / path)) for path in paths])
    return [
        Recording(utterance=u, audio=audio, voice=voice)
        for u, audio, voice in zip(chosen, sounds[::2], sounds[1::2], strict=True)
    ]


def evaluate_speech(
    model: Any,
    corpus: Path,
    split: str = "valid",
    *,
    items: int = 60,
    seed: int = 0,
    fad: str | None = None,
    judges: Sequence[Callable[[], Judge]] | None = None,
    progress: Progress | None = None,
) -> Evaluation:
    """Figures of the model and of the recordings themselves; sentence i is spoken with seed + i.

    `fad` names an embedding of `nexus.metrics.fad` whose distance is wanted too.

    Raises:
        ValueError: a model of another kind, or as `recordings`.
    """
    kind = type(model).__name__
    if kind not in KINDS:
        raise ValueError(f"a {kind} neither speaks nor keeps speech; needed is one of {', '.join(KINDS)}")
    speaks = kind == "F5TTS"
    data = recordings(corpus, split, items)
    chosen = (SPEAKING if speaks else KEEPING) if judges is None else judges
    there, left_out = present(chosen)
    samples, took = make_speech(model, data, seed, progress)
    ours = judge_all(samples, there, seed=seed, what="what was made", progress=progress)
    rate = samples[0].made.rate  # at which the recordings are judged too, or no figure could be compared with theirs
    real = [replace(s, made=one.audio.resample(rate), reference=None) for s, one in zip(samples, data, strict=True)]
    theirs = judge_all(real, there, seed=seed, what="the recordings", progress=progress)
    baselines = {"the recordings": theirs.figures}
    if speaks and speaker_judge in chosen and not any("Resemblyzer" in missing for missing in left_out):
        baselines["the nearest training voice"] = nearest_training_voice(corpus, data, rate, seed)
    distance = chosen_fad(fad, [sample.made for sample in samples], [one.audio for one in data], seed=seed)
    return Evaluation(
        kind="speech",
        model=model.info.name,
        data=f"{corpus.name} {split}",
        figures=(*ours.figures, *distance.found, real_time_factor(took, model, seed)),
        baselines=baselines,
        items=items_of(samples, with_times(ours.verdicts, took)),
        left_out=(*left_out, *ours.left_out, *distance.left_out, *describe_silence(samples)),
    )


def make_speech(
    model: Any, data: Sequence[Recording], seed: int, progress: Progress | None
) -> tuple[list[Sample], list[float]]:
    """What the model says or keeps, and how long each second of it took; the first is made once more before, since
    what loads on first use is no part of that."""

    def make(i: int) -> Audio:
        return speak(model, data[i], seed + i) if type(model).__name__ == "F5TTS" else keep(model, data[i].audio)

    make(0)
    samples, took = [], []
    for i, one in enumerate(data):
        start = time.perf_counter()
        made = make(i)
        took.append((time.perf_counter() - start) / max(made.seconds, 1e-9))
        samples.append(Sample(prompt=one.utterance.text, made=made, reference=one.audio, voice=one.voice))
        if progress is not None:
            progress(i + 1, len(data), f"making speech with {model.info.name}")
    return samples, took


def nearest_training_voice(corpus: Path, data: Sequence[Recording], rate: int, seed: int) -> tuple[Figure, ...]:
    """Speaker similarity of the likest other speaker that a model may have been trained on, heard at `rate`."""
    prompts = [(one.utterance.speaker, one.voice) for one in data]
    nearest = nearest_voices(corpus, SpeakerEncoder().embed, prompts)
    samples = [
        Sample(prompt="", made=sound.resample(rate), voice=one.voice) for sound, one in zip(nearest, data, strict=True)
    ]
    return judge_all(samples, [speaker_judge()], seed=seed).figures


def speak(model: Any, one: Recording, seed: int) -> Audio:
    voice = one.voice.cut(0, min(one.voice.length, round(PROMPT * one.voice.rate)))
    return model.generate(one.utterance.text, voice=voice, seed=seed)


@torch.inference_mode()
def keep(model: Any, audio: Audio) -> Audio:
    """What a codec or vocoder makes of a recording, at its own rate, as long as it was."""
    sound = audio.mono().resample(model.sample_rate)
    waveform = sound.tensor()[None].to(next(model.parameters()).device)
    made = (
        model.decode(model.features(waveform)) if hasattr(model, "features") else model.decode(model.encode(waveform))
    )
    return Audio(made[0], model.sample_rate).fit(sound.length)


TIME = "real-time factor"


def real_time_factor(took: Sequence[float], model: Any, seed: int) -> Figure:
    """Seconds of work for a second of sound, by the wall clock; the card names the machine."""
    device = next(model.parameters()).device
    machine = f"{torch.get_num_threads()} threads of {platform.processor() or platform.machine()}"
    where = machine if device.type == "cpu" else torch.cuda.get_device_name(device)
    card = Card(
        judge=f"wall clock, {where}", version=version("torch"), weights="", items=len(took), resampling="", crop="",
        seed=seed,
    )  # fmt: skip
    return figure(TIME, took, unit="", better="lower", card=card)


def with_times(verdicts: Sequence[Verdict], took: Sequence[float]) -> list[Verdict]:
    return [replace(v, values={**v.values, TIME: t}) for v, t in zip(verdicts, took, strict=True)]
