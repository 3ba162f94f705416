"""`nexus sound`: noises and sound effects from a description."""

from typing import Annotated

import typer

from nexus.cli.clip import SOUND, Maker
from nexus.cli.options import Candidates, Device, Json, Model, Output, Prompt, Seed, Stream

NOISE = Maker(doing="sounding", kinds=("MusicGen",), default_output="sound.wav", suffixes=SOUND)


def sound(
    prompt: Prompt,
    duration: Annotated[float, typer.Option("--duration", min=0.1, help="Seconds of sound.")] = 5.0,
    candidates: Candidates = None,
    stream: Stream = False,
    model: Model = "nexus/sound-tiny",
    seed: Seed = None,
    device: Device = "auto",
    output: Output = None,
    as_json: Json = False,
) -> None:
    """Makes the noise that PROMPT describes. Writes sound.wav unless -o says otherwise.

    nexus sound "rain on a tin roof" --duration 8 -o rain.wav
    """
    clip = NOISE.clip(prompt, output, model, seed, device, as_json, stream)
    clip.make(duration=duration, candidates=candidates)
