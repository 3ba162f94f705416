"""Captions in varied plain English. Everything a caption says is read off the piece, so it is always true."""

import numpy as np

from nexus.data.music.piece import Piece
from nexus.data.music.styles import BY_NAME

TEXTURES = {
    "arpeggio": ("{} arpeggios", "broken chords on {}"),
    "rolling": ("fast {} arpeggios", "rolling {}"),
    "picking": ("fingerpicked {}", "picked {}"),
    "strum": ("strummed {}", "{} strumming"),
    "sustain": ("soft {}", "sustained {}", "{} in the background"),
    "comp": ("{} comping", "{} chords"),
    "eighths": ("{} chords", "driving {}"),
    "stabs": ("{} stabs", "{} chords"),
    "walking": ("walking {}",),
    "oompah": ("{} accompaniment", "{}"),
}
LEADS = ("{} melody", "{} lead", "a melody on {}", "{} playing the tune")
DRUMS = {
    "four-on-the-floor": ("four-on-the-floor drums", "dance drums", "drums"),
    "jazz": ("swing drums", "ride cymbal", "drums"),
    "march": ("snare drum", "marching drums", "drums"),
    "waltz": ("light drums",),
}


def caption(piece: Piece, seed: int) -> str:
    """One of many true descriptions, by `seed`: most name style, tempo and key, some another way or only in part."""
    rng = np.random.default_rng([seed, piece.seed, 4])
    style = BY_NAME[piece.style]

    def pick(options: tuple[str, ...]) -> str:
        return options[rng.integers(len(options))]

    opening = piece.style
    if rng.random() < 0.5:
        adjective = pick(style.moods + feelings(piece))
        opening = f"{adjective} {opening}" if adjective not in opening else opening
    details: list[str] = []
    if rng.random() < 0.9:
        details.append(pick((f"{piece.tempo} bpm",) * 4 + (f"{piece.tempo} beats per minute", f"tempo {piece.tempo}")))
    if rng.random() < 0.85:
        key = piece.key.name
        spoken = key.replace("b ", " flat ").replace("# ", " sharp ")
        details.append(pick((key, key, key, f"in {key}", f"key of {key}", spoken)))
    for track in piece.tracks:
        if rng.random() < 0.4:
            details.append(pick(words(track.role, track.texture)).format(track.instrument))
    if piece.meter == 3 and rng.random() < 0.4:
        details.append(pick(("3/4 time", "three beats to the bar")))
    if rng.random() < 0.2:
        details.append(pace(piece.tempo))
    if rng.random() < 0.25:
        details = [details[i] for i in rng.permutation(len(details))]
    details = list(dict.fromkeys(details))
    text = ", ".join([opening, *details])
    return text[0].upper() + text[1:] + "." if rng.random() < 0.15 else text


def words(role: str, texture: str) -> tuple[str, ...]:
    if role == "melody":
        return LEADS
    if role == "drums":
        return DRUMS.get(texture, (f"{texture} drums" if texture not in ("chip", "shaker") else "drums", "drums"))
    if role == "bass":
        return TEXTURES["walking"] if texture == "walking" else ("{}", "low {}")
    return TEXTURES.get(texture, ("{} chords", "{}"))


def pace(tempo: int) -> str:
    return "slow" if tempo < 80 else "moderate tempo" if tempo < 112 else "fast"


def feelings(piece: Piece) -> tuple[str, ...]:
    """Moods by mode and pace, as listeners of this tradition mostly agree."""
    if piece.key.mode == "minor":
        return ("sad", "melancholic", "wistful") if piece.tempo < 96 else ("dark", "tense", "restless")
    return ("hopeful", "tender", "serene") if piece.tempo < 96 else ("happy", "cheerful", "joyful")
