"""The kinds of sound there are, and a clip of one by seed."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from nexus.data.clips import Clip, cache
from nexus.data.sound import creatures, machines, objects, weather
from nexus.data.sound.primitives import Studio
from nexus.data.sound.weather import Sound
from nexus.media.audio import Audio

Split = Literal["train", "valid"]
SPLITS = ("train", "valid")
LEVEL, PEAK, FADE = 0.1, 0.9, 0.01  # RMS, full scale, seconds
DRIVE = 2.8  # how far above PEAK a peak may go into the limiter

KINDS: dict[str, Callable[[Studio], Sound]] = {
    "rain": weather.rain,
    "tin roof rain": weather.tin_roof_rain,
    "wind": weather.wind,
    "sea": weather.sea,
    "thunder": weather.thunder,
    "stream": weather.stream,
    "fire": weather.fire,
    "bubbles": weather.bubbles,
    "engine": machines.engine,
    "car": machines.car,
    "helicopter": machines.helicopter,
    "siren": machines.siren,
    "alarm": machines.alarm,
    "foghorn": machines.foghorn,
    "laser": machines.laser,
    "clock": machines.clock,
    "typewriter": machines.typewriter,
    "phone": machines.phone,
    "train": machines.train,
    "birdsong": creatures.birdsong,
    "crickets": creatures.crickets,
    "frogs": creatures.frogs,
    "owl": creatures.owl,
    "seagulls": creatures.seagulls,
    "dog": creatures.dog,
    "heartbeat": creatures.heartbeat,
    "applause": creatures.applause,
    "church bell": objects.church_bell,
    "small bell": objects.small_bell,
    "footsteps": objects.footsteps,
    "knock": objects.knock,
    "creak": objects.creak,
    "whoosh": objects.whoosh,
    "glass": objects.glass,
    "explosion": objects.explosion,
    "coins": objects.coins,
}


class SoundClip(NamedTuple):
    audio: Audio
    caption: str
    facts: dict[str, Any]  # kind, seed, split, and all `captions` that are true of the clip


def synthesize(
    seed: int, split: Split = "train", kind: str | None = None, *, seconds: float | int = 4.0, rate: int = 24000
) -> SoundClip:
    """A mono clip of one kind of sound (drawn where not given) with one of its true captions.

    Raises:
        ValueError: an unknown split or kind, or less than two seconds, in which some kinds do not fit.
    """
    if split not in SPLITS:
        raise ValueError(f"unknown split {split!r}; there are train and valid")
    if kind is not None and kind not in KINDS:
        raise ValueError(f"unknown kind of sound {kind!r}; there are {', '.join(KINDS)}")
    if seed < 0 or seconds < 2:
        raise ValueError(f"seed must not be negative and seconds at least 2, got {seed} and {seconds}")
    rng = np.random.default_rng([seed, SPLITS.index(split), 1702])
    drawn = list(KINDS)[rng.integers(len(KINDS))]
    kind = kind or drawn
    wave, captions = KINDS[kind](Studio(rng, round(seconds * rate), rate))
    caption = captions[rng.integers(len(captions))]
    facts = {"seed": seed, "split": split, "kind": kind, "captions": list(captions)}
    return SoundClip(Audio(levelled(wave, rate), rate), caption, facts)


def levelled(wave: np.ndarray, rate: int) -> np.ndarray:
    """Without DC, at the common RMS or as near as a soft limiter allows (it may take 9 dB off peaks), ends faded."""
    wave = wave - wave.mean()
    rms, peak = float(np.sqrt(np.mean(wave**2))), float(np.abs(wave).max())
    gain = min(LEVEL / rms, DRIVE * PEAK / peak)
    wave = gain * wave if gain * peak <= PEAK else PEAK * np.tanh(gain * wave / PEAK)
    fade = np.linspace(0, 1, round(FADE * rate))
    wave[: len(fade)] *= fade
    wave[-len(fade) :] *= fade[::-1]
    return wave.astype(np.float32)


@dataclass(frozen=True)
class SoundClips:
    """An endless stream: clip `i` is one seed's, of a kind drawn from all in equal shares."""

    seed: int = 0
    seconds: float | int = 4.0
    split: Split = "train"
    rate: int = 24000

    def __getitem__(self, index: int) -> Clip:
        audio, caption, facts = synthesize(self.seed * 2**40 + index, self.split, seconds=self.seconds, rate=self.rate)
        return Clip(audio.samples[0], caption, facts)

    def describe(self) -> dict[str, Any]:
        return {"world": "sound", **asdict(self)}


def cache_clips(
    folder: Path | str,
    n: int,
    seconds: float | int = 4.0,
    split: Split = "train",
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Makes `n` clips in a folder that `nexus.data.clips.CachedClips` reads; a stopped run goes on."""
    cache(SoundClips(seed, seconds, split), Path(folder), n, progress)
