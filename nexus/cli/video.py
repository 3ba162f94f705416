"""`nexus video`: moving pictures from a description."""

from typing import Annotated, Any

import typer

from nexus.cli.clip import PICTURES, Maker, Settings
from nexus.cli.options import Cache, Device, Json, Model, Output, Prompt, Seed

PICTURE = Maker(doing="filming", kinds=("CogVideoX",), default_output="video.mp4", suffixes=PICTURES)


def video(
    prompt: Prompt,
    frames: Annotated[int | None, typer.Option("--frames", min=1, help="How many; else the model's own.")] = None,
    duration: Annotated[float | None, typer.Option("--duration", min=0.05, help="Seconds, instead of frames.")] = None,
    size: Annotated[str | None, typer.Option("--size", help="WIDTHxHEIGHT in pixels; else the model's own.")] = None,
    steps: Annotated[
        int | None, typer.Option("--steps", min=1, help="Denoising steps: more are finer, slower.")
    ] = None,
    cache: Cache = None,
    model: Model = "nexus/cogvideox-tiny",
    seed: Seed = None,
    device: Device = "auto",
    output: Output = None,
    as_json: Json = False,
) -> None:
    """Films what PROMPT describes. Writes video.mp4 unless -o says otherwise.

    nexus video "a red boat crosses the sea from left to right" -o boat.mp4
    """
    if frames is not None and duration is not None:
        raise ValueError("--frames and --duration both say how long; give one of them")
    clip = PICTURE.clip(prompt, output, model, seed, device, as_json, stream=False)
    shown = None if size is None else read_size(size)
    clip.make(_in_frames, frames=frames, duration=duration, size=shown, steps=steps, cache=cache)


def _in_frames(model: Any, settings: Settings) -> Settings:
    """A duration as the nearest number of frames that the model can make, 8k + 1."""
    duration = settings.pop("duration", None)
    if duration is None:
        return settings
    return settings | {"frames": max(0, round((duration * model.config.fps - 1) / 8)) * 8 + 1}


def read_size(size: str) -> tuple[int, int]:
    """Height and width of `256x144` (width first, as screens are called)."""
    width, _, height = size.lower().partition("x")
    if not (width.isdigit() and height.isdigit() and int(width) and int(height)):
        raise ValueError(f"--size {size!r} is not WIDTHxHEIGHT in pixels, such as 256x144")
    return int(height), int(width)
