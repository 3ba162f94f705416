"""`nexus music`: music from a description and, where given, a melody."""

from pathlib import Path
from typing import Annotated

import typer

from nexus.cli.clip import SOUND, Maker
from nexus.cli.options import Candidates, Device, Json, Model, Output, Prompt, Seed, Stream

MUSIC = Maker(doing="playing", kinds=("MusicGen",), default_output="music.wav", suffixes=SOUND)


def music(
    prompt: Prompt,
    duration: Annotated[float, typer.Option("--duration", min=0.1, help="Seconds of music.")] = 10.0,
    melody: Annotated[Path | None, typer.Option("--melody", help="A sound file whose tune is followed.")] = None,
    bpm: Annotated[float | None, typer.Option("--bpm", help="Beats a minute, unless PROMPT says it.")] = None,
    key: Annotated[str | None, typer.Option("--key", help='Such as "A minor", unless PROMPT says it.')] = None,
    chords: Annotated[str | None, typer.Option("--chords", help='One a bar, such as "Am F C G".')] = None,
    candidates: Candidates = None,
    stream: Stream = False,
    model: Model = "nexus/musicgen-tiny",
    seed: Seed = None,
    device: Device = "auto",
    output: Output = None,
    as_json: Json = False,
) -> None:
    """Plays what PROMPT describes. Writes music.wav unless -o says otherwise.

    nexus music "calm piano, 70 bpm, C major" --duration 12 -o calm.ogg
    """
    from nexus.media.audio import Audio

    clip = MUSIC.clip(prompt, output, model, seed, device, as_json, stream)
    tune = None if melody is None else Audio.load(melody)
    clip.make(duration=duration, candidates=candidates, melody=tune, bpm=bpm, key=key, chords=chords)
