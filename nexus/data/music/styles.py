"""The styles the composer knows, written out: who plays what, how fast, and the words that are true of them."""

from dataclasses import dataclass

from nexus.data.music.theory import Harmony

# General MIDI programs (from 0) by the name captions use.
PROGRAMS = {
    "piano": 0, "electric piano": 4, "celesta": 8, "music box": 10, "vibraphone": 11, "marimba": 12,
    "tubular bells": 14, "organ": 16, "church organ": 19, "accordion": 21, "harmonica": 22, "nylon guitar": 24,
    "acoustic guitar": 25, "jazz guitar": 26, "electric guitar": 27, "distorted guitar": 30, "double bass": 32,
    "electric bass": 33, "slap bass": 36, "synth bass": 38, "violin": 40, "cello": 42, "pizzicato strings": 45,
    "harp": 46, "timpani": 47, "strings": 48, "choir": 52, "trumpet": 56, "french horn": 60, "brass": 61,
    "saxophone": 65, "oboe": 68, "clarinet": 71, "flute": 73, "pan flute": 75, "square synth": 80,
    "saw synth": 81, "warm pad": 89, "halo pad": 94, "banjo": 105, "drums": 0,
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Part:
    """One player: a texture of `nexus.data.music.patterns` on one of several instruments around MIDI pitch `centre`."""

    role: str  # melody, chords, pad or bass
    texture: str
    instruments: tuple[str, ...]
    centre: int
    volume: int = 90
    chance: float | int = 1.0


@dataclass(frozen=True, kw_only=True)
class Style:
    name: str
    moods: tuple[str, ...]  # adjectives true in every key and tempo of the style
    tempo: tuple[int, int]  # bpm
    minor: float | int  # how often
    parts: tuple[Part, ...]
    meter: int = 4
    harmony: Harmony = "triad"
    drums: str | None = None
    swing: float | int = 0.5  # where the off-beat eighth lies in its beat
    chords_per_bar: int = 1
    reverb: int = 40
    velocity: int = 80


def _part(role: str, texture: str, instruments: str, centre: int, volume: int = 90, chance: float | int = 1.0) -> Part:
    names = tuple(instruments.split(", "))
    return Part(role=role, texture=texture, instruments=names, centre=centre, volume=volume, chance=chance)


STYLES = (
    Style(
        name="calm piano", moods=("calm", "gentle", "peaceful", "quiet"), tempo=(60, 84), minor=0.4, velocity=62,
        reverb=60, parts=(
            _part("melody", "lyrical", "piano", 74, 100), _part("chords", "arpeggio", "piano", 57, 78),
            _part("bass", "root", "piano", 40, 80), _part("pad", "sustain", "strings", 62, 50, 0.4)),
    ),
    Style(
        name="lo-fi beat", moods=("relaxed", "mellow", "laid-back", "warm"), tempo=(70, 92), minor=0.6, swing=0.58,
        harmony="seventh", drums="lo-fi", velocity=72, parts=(
            _part("melody", "sparse", "vibraphone, jazz guitar, electric piano, flute", 72, 84),
            _part("chords", "halves", "electric piano", 60, 92), _part("bass", "lazy", "electric bass", 36, 100)),
    ),
    Style(
        name="slow strings", moods=("slow", "tender", "solemn", "emotional"), tempo=(60, 84), minor=0.5, velocity=74,
        reverb=75, chords_per_bar=1, parts=(
            _part("melody", "lyrical", "violin, oboe, cello", 74, 96), _part("pad", "sustain", "strings", 60, 84),
            _part("bass", "root", "cello", 40, 80), _part("chords", "arpeggio", "harp", 64, 64, 0.4)),
    ),
    Style(
        name="folk guitar", moods=("warm", "homely", "rustic", "simple"), tempo=(84, 124), minor=0.3, drums=None,
        parts=(
            _part("melody", "flowing", "harmonica, flute, violin, accordion", 74, 78),
            _part("chords", "strum", "acoustic guitar", 57, 96), _part("bass", "halves", "double bass", 38, 92)),
    ),
    Style(
        name="fingerpicked guitar", moods=("intimate", "soft", "thoughtful"), tempo=(72, 108), minor=0.4, velocity=70,
        parts=(
            _part("melody", "lyrical", "nylon guitar", 70, 104), _part("chords", "picking", "nylon guitar", 57, 84),
            _part("bass", "halves", "nylon guitar", 43, 90)),
    ),
    Style(
        name="electronic dance", moods=("energetic", "driving", "bright", "pumping"), tempo=(118, 140), minor=0.6,
        drums="four-on-the-floor", velocity=96, reverb=30, parts=(
            _part("melody", "busy", "saw synth, square synth", 74, 72), _part("chords", "stabs", "saw synth", 60, 60),
            _part("bass", "offbeat", "synth bass", 36, 104), _part("pad", "sustain", "warm pad", 62, 50, 0.4)),
    ),
    Style(
        name="jazz trio", moods=("swinging", "smoky", "cool", "playful"), tempo=(100, 150), minor=0.4, swing=0.64,
        harmony="seventh", drums="jazz", parts=(
            _part("melody", "swinging", "piano, vibraphone, saxophone, jazz guitar", 72, 100),
            _part("chords", "comp", "piano", 58, 76), _part("bass", "walking", "double bass", 38, 108)),
    ),
    Style(
        name="waltz", moods=("graceful", "turning", "old-fashioned", "charming"), tempo=(90, 150), minor=0.4, meter=3,
        parts=(
            _part("melody", "lyrical", "violin, clarinet, accordion, flute", 76, 96),
            _part("chords", "oompah", "accordion, piano, strings", 60, 78), _part("bass", "oompah", "double bass", 38)),
    ),
    Style(
        name="music box", moods=("delicate", "dreamy", "childlike", "tiny"), tempo=(66, 112), minor=0.3, meter=3,
        velocity=70, reverb=55, parts=(
            _part("melody", "flowing", "music box, celesta", 84, 104),
            _part("chords", "arpeggio", "music box", 67, 80)),
    ),
    Style(
        name="rock", moods=("loud", "heavy", "powerful", "raw"), tempo=(100, 150), minor=0.6, harmony="power",
        drums="rock", velocity=100, reverb=25, parts=(
            _part("melody", "flowing", "distorted guitar, organ", 72, 78),
            _part("chords", "eighths", "distorted guitar", 50, 72), _part("bass", "rock", "electric bass", 34, 104)),
    ),
    Style(
        name="ambient pads", moods=("floating", "spacious", "still", "atmospheric"), tempo=(60, 80), minor=0.5,
        harmony="ninth", velocity=66, reverb=100, parts=(
            _part("pad", "sustain", "warm pad, halo pad, choir", 60, 96), _part("bass", "root", "warm pad", 38, 84),
            _part("melody", "sparse", "tubular bells, celesta, pan flute", 74, 74),
            _part("chords", "arpeggio", "electric piano, harp", 67, 56, 0.4)),
    ),
    Style(
        name="orchestral march", moods=("proud", "heroic", "bold", "triumphant"), tempo=(96, 132), minor=0.3,
        drums="march", velocity=100, reverb=65, parts=(
            _part("melody", "march", "trumpet, brass, french horn", 70, 100),
            _part("chords", "pulse", "strings", 60, 78),
            _part("bass", "oompah", "timpani", 41, 92), _part("pad", "sustain", "french horn", 55, 66)),
    ),
    Style(
        name="bossa nova", moods=("breezy", "smooth", "sunny", "easy-going"), tempo=(104, 140), minor=0.4,
        harmony="seventh", drums="bossa nova", velocity=74, parts=(
            _part("melody", "lyrical", "flute, saxophone, vibraphone", 74, 92),
            _part("chords", "bossa", "nylon guitar", 58, 100), _part("bass", "bossa", "double bass", 38, 100)),
    ),
    Style(
        name="funk", moods=("groovy", "funky", "tight", "punchy"), tempo=(96, 120), minor=0.6, harmony="seventh",
        drums="funk", velocity=92, reverb=20, parts=(
            _part("melody", "swinging", "brass, organ, saxophone", 70, 84),
            _part("chords", "funk", "electric guitar", 62, 92),
            _part("bass", "funk", "slap bass, electric bass", 36, 104)),
    ),
    Style(
        name="chiptune", moods=("retro", "8-bit", "blippy", "video-game"), tempo=(112, 150), minor=0.4, drums="chip",
        velocity=92, reverb=5, parts=(
            _part("melody", "busy", "square synth", 76, 80), _part("chords", "rolling", "square synth", 64, 52),
            _part("bass", "eighths", "square synth", 40, 86)),
    ),
    Style(
        name="church choir", moods=("sacred", "solemn", "reverent", "majestic"), tempo=(60, 84), minor=0.4,
        velocity=82, reverb=110, chords_per_bar=2, parts=(
            _part("melody", "lyrical", "choir", 72, 104), _part("pad", "sustain", "choir, church organ", 60, 88),
            _part("bass", "halves", "church organ", 40, 84)),
    ),
)  # fmt: skip

BY_NAME = {style.name: style for style in STYLES}
