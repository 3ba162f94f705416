"""Spectrograms of what comes along: speech through codec and vocoder, speech, music and noises that were made."""

from typing import Any

import torch

from nexus.codecs.encodec import Encodec
from nexus.codecs.spectral_codec import SpectralCodec
from nexus.codecs.spectral_vocoder import SpectralVocoder
from nexus.codecs.vocos import Vocos
from nexus.data.music import compose, render
from nexus.data.sound import synthesize
from nexus.media.audio import Audio
from nexus.media.features import chroma, log_mel
from nexus.media.image import Image
from nexus.models.audio.clap import Clap
from nexus.models.audio.f5tts import F5TTS
from nexus.models.audio.musicgen import MusicGen
from pictures.plots import MEL, drawn, plot, spectrograms
from pictures.registry import Picture

VOICE = "examples/voices/emma.opus"
NOTES = ("C", "C#", "D", "D#", "E", "F", "F#", "G", "G#", "A", "A#", "B")
SENTENCE = "Every night I light the lamp."


def recording() -> Audio:
    sound = Audio.load(VOICE).mono().resample(MEL.sample_rate)
    return sound.cut(0, min(sound.length, 3 * sound.rate))


@torch.no_grad()
def encodec(codec: Encodec) -> Image:
    """A recording with one codebook, two, and all four."""
    sound = recording()
    codes = codec.encode(sound.tensor()[None])
    rate = sound.rate / codec.config.hop_length * 10 / 1000  # kb/s of a codebook of 1024
    heard = {
        f"{k} codebook{'s' * (k > 1)}, {k * rate:.1f} kb/s": _sound(codec.decode(codes[:, :k], sound.length))
        for k in (1, 2, codes.shape[1])
    }
    return spectrograms({"the recording": sound} | heard)


@torch.no_grad()
def spectral_codec(codec: SpectralCodec) -> Image:
    """A recording with one codebook, three, and all six."""
    sound = recording()
    codes = codec.encode(sound.tensor()[None])
    heard = {
        f"{k} codebook{'s' * (k > 1)}, {codec.bitrate_of(k) / 1000:.1f} kb/s": _sound(
            codec.decode(codes[:, :k], sound.length)
        )
        for k in (1, 3, codes.shape[1])
    }
    return spectrograms({"the recording": sound} | heard)


@torch.no_grad()
def vocos(vocoder: Vocos) -> Image:
    """A recording, and what the vocoder makes of its mel alone."""
    sound = recording()
    mel = log_mel(sound.tensor(), MEL)
    return spectrograms({"the recording": sound, "from its mel": _sound(vocoder.decode(mel))}, height=1.8)


@torch.no_grad()
def spectral_vocoder(spectral: SpectralVocoder, vocos: Vocos) -> Image:
    """A recording, and what two vocoders make of its mel alone."""
    sound = recording()
    mel = log_mel(sound.tensor(), MEL)
    made = {name: _sound(vocoder.decode(mel)) for name, vocoder in (("spectral vocoder", spectral), ("Vocos", vocos))}
    return spectrograms({"the recording": sound} | made, height=1.8)


def f5tts(model: F5TTS) -> Image:
    """One sentence in one voice at three speeds."""
    said = {f"speed {speed:g}": _said(model, speed=speed) for speed in (0.75, 1.0, 1.5)}
    return spectrograms(said)


@torch.no_grad()
def f5tts_flow(model: F5TTS) -> Image:
    """The same sentence in few steps and in many."""
    said = {f"{steps} steps": _said(model, steps=steps) for steps in (2, 4, 8, 16)}
    return spectrograms(said, columns=2)


def musicgen(model: MusicGen) -> Image:
    """Pitch classes over time of pieces in two keys."""
    figure, axes = plot(2, width=9, height=2.8, sharey=True)
    for axis, prompt in zip(axes, ("calm piano, 70 bpm, C major", "calm piano, 70 bpm, F# major"), strict=True):
        piece = model.generate(prompt, duration=8, seed=1).resample(32000).mono()
        classes = chroma(piece.tensor(), 32000)[0]
        axis.imshow(classes, origin="lower", aspect="auto", extent=(0, piece.seconds, -0.5, 11.5), cmap="viridis")
        axis.set(title=prompt, xlabel="seconds")
        axis.set_yticks(range(12), NOTES, fontsize=7)
        axis.grid(False)
    return drawn(figure)


def sounds(model: MusicGen) -> Image:
    prompts = ("rain on a tin roof", "a dog barks", "a church bell", "waves on a beach")
    return spectrograms({prompt: model.generate(prompt, duration=4, seed=0) for prompt in prompts}, columns=2)


def clap(model: Clap) -> Image:
    """How well held-out sounds and pieces fit each of their captions."""
    kinds = ("rain", "thunder", "dog", "birdsong", "church bell", "footsteps", "siren", "typewriter")
    clips = [synthesize(i, "valid", kind) for i, kind in enumerate(kinds)]
    pieces = [compose(i, "valid", seconds=10.0) for i in range(4)]
    heard = [clip.audio for clip in clips] + [render(piece, 10.0, MEL.sample_rate) for piece in pieces]
    words = [clip.caption for clip in clips] + [f"{p.style}, {p.tempo} bpm, {p.key.name}" for p in pieces]
    fits = torch.stack([model.similarity([sound] * len(words), words) for sound in heard])
    figure, (axis,) = plot(width=7, height=4)
    shown = axis.imshow(fits.T, cmap="viridis", vmin=-1, vmax=1)
    axis.set_yticks(range(len(words)), words, fontsize=7)
    axis.set_xticks(range(len(words)), [f"{i + 1}" for i in range(len(words))], fontsize=7)
    axis.set(xlabel="the sound of each line")
    axis.grid(False)
    figure.colorbar(shown, ax=axis, label="similarity")
    return drawn(figure)


def _said(model: F5TTS, **settings: Any) -> Audio:
    sound = model.generate(SENTENCE, voice=Audio.load(VOICE), seed=1, **settings)
    assert isinstance(sound, Audio)
    return sound


def _sound(waveform: torch.Tensor) -> Audio:
    return Audio(waveform[0].clamp(-1, 1).numpy(), MEL.sample_rate)


PICTURES = {
    "encodec": Picture(draw=encodec, models=("nexus/encodec-tiny",)),
    "spectral-codec": Picture(draw=spectral_codec, models=("nexus/spectral-tiny",)),
    "vocos": Picture(draw=vocos, models=("nexus/vocos-tiny",)),
    "spectral-vocoder": Picture(draw=spectral_vocoder, models=("nexus/spectral-vocoder-tiny", "nexus/vocos-tiny")),
    "f5tts": Picture(draw=f5tts, models=("nexus/f5tts-tiny",)),
    "f5tts-flow": Picture(draw=f5tts_flow, models=("nexus/f5tts-tiny",)),
    "musicgen": Picture(draw=musicgen, models=("nexus/musicgen-tiny",)),
    "sounds": Picture(draw=sounds, models=("nexus/sound-tiny",)),
    "clap": Picture(draw=clap, models=("nexus/clap-tiny",)),
}
