"""What surrounds a speech model: text cut into pieces it can say at once, a voice made ready, and a steady level.

Axes: L waveform samples.
"""

import re

import numpy as np
from jaxtyping import Float

from nexus.media.audio import Audio

LEVEL = 10 ** (-23 / 20)  # root mean square over active speech
SHORTEST_VOICE = 1.0  # seconds
ENDING = 0.08  # seconds of silence after a voice
LONGEST_TEXT = 20_000  # characters
_BLOCK = 0.02  # seconds over which loudness is measured


def split_text(text: str, limit: int) -> list[str]:
    """Sentences of at most `limit` characters; longer ones are cut at commas, then between words.

    Raises:
        ValueError: text that is empty or too long for one call.
    """
    text = re.sub(r"\s+", " ", text).strip()
    if not text:
        raise ValueError("the text is empty; give at least one word to speak")
    if len(text) > LONGEST_TEXT:
        raise ValueError(f"the text has {len(text)} characters, at most {LONGEST_TEXT} are spoken at once; split it")
    pieces: list[str] = []
    for sentence in re.split(r"(?<=[.!?;])[\"')\]]*\s+", text):
        pieces += _cut(sentence, limit)
    merged: list[str] = []
    for piece in pieces:  # a lone "Yes." is said with its neighbour
        if merged and min(len(merged[-1]), len(piece)) < 16 and len(merged[-1]) + len(piece) < limit:
            merged[-1] += f" {piece}"
        else:
            merged.append(piece)
    spoken = [piece for piece in merged if any(character.isalnum() for character in piece)]
    if not spoken:
        raise ValueError(f"nothing to speak in {text[:60]!r}; give at least one word")
    return spoken


def _cut(sentence: str, limit: int) -> list[str]:
    if len(sentence) <= limit:
        return [sentence]
    commas = [match.end() for match in re.finditer(r"[,:]\s", sentence) if limit // 4 < match.end() <= limit]
    spaces = [match.end() for match in re.finditer(r"\s", sentence) if match.end() <= limit]
    place = max(commas or spaces or [limit])
    return [sentence[:place].strip(), *_cut(sentence[place:].strip(), limit)]


def prepare_voice(voice: Audio, rate: int, longest: float | int) -> Audio:
    """A voice to clone: mono at `rate`, silence trimmed, at a fixed level, at most `longest` seconds of it and a pause.

    Of a longer recording its beginning is used, cut at the quietest moment of the last third of what is allowed. The
    pause is for voices cut within a word, which what is made would go on with.

    Raises:
        ValueError: less than a second of sound, or silence.
    """
    if voice.seconds < SHORTEST_VOICE:
        raise ValueError(
            f"the voice lasts {voice.seconds:.2f} s; at least {SHORTEST_VOICE:g} s are needed, 3 to 6 s are best"
        )
    voice = voice.cut(0, min(voice.length, int(4 * longest * voice.rate))).mono().resample(rate)
    loudness = block_levels(voice)
    active = np.flatnonzero(loudness > max(loudness.max() * 0.01, 1e-4))
    if not len(active):
        raise ValueError("the voice is silent; give a recording of someone speaking")
    block = round(_BLOCK * rate)
    first, last = max(int(active[0]) - 5, 0), min(int(active[-1]) + 6, len(loudness))  # 0.1 s of margin
    if (last - first) * _BLOCK > longest:
        most = first + int(longest / _BLOCK)
        tail = loudness[most - int(longest / 3 / _BLOCK) : most]
        last = most - len(tail) + int(np.argmin(tail)) + 1
    voice = voice.cut(first * block, last * block)
    if voice.seconds < SHORTEST_VOICE:
        raise ValueError(
            f"only {voice.seconds:.2f} s of the voice are not silence; at least {SHORTEST_VOICE:g} s are needed"
        )
    return level(voice).fade(0, round(0.03 * rate)).pad(0, round(ENDING * rate))


def level(audio: Audio) -> Audio:
    """Scaled to -23 dBFS over active speech, less where a peak would pass -1 dBFS."""
    return Audio(audio.samples * np.float32(level_factor(audio)), audio.rate)


def level_factor(audio: Audio) -> float:
    """What `level` multiplies by; 1 for silence."""
    loudness = block_levels(audio)
    active = loudness[loudness > loudness.max(initial=0) * 0.05]
    if not len(active) or not audio.peak:
        return 1.0
    return min(LEVEL / float(np.sqrt(np.mean(active**2))), 10 ** (-1 / 20) / audio.peak)


def block_levels(audio: Audio) -> Float[np.ndarray, " N"]:
    """Root mean square of each whole 20 ms of a mono sound."""
    block = round(_BLOCK * audio.rate)
    samples = audio.samples[0, : audio.length // block * block].reshape(-1, block)
    return np.sqrt(np.mean(samples.astype(np.float64) ** 2, axis=1))
