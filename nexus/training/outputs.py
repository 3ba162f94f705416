"""What a run leaves to hear, see and load: samples and the exported weights folder."""

import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

from nexus.media.audio import Audio
from nexus.media.image import Image
from nexus.media.video import Video

SUFFIX: dict[type, str] = {Audio: ".wav", Image: ".png", Video: ".mp4"}


def save_samples(samples: Mapping[str, Audio | Image | Video], folder: Path, step: int) -> None:
    """Writes `folder/step-000500/<name>.wav`, `.png` or `.mp4`."""
    if not samples:
        return
    place = folder / f"step-{step:06d}"
    place.mkdir(parents=True, exist_ok=True)
    for name, value in samples.items():
        value.save(place / f"{name}{SUFFIX[type(value)]}")


def save_weights(export: Callable[[Path], None], folder: Path) -> None:
    """Exports into a draft folder that takes the place of `folder` when it is complete."""
    draft, old = folder.with_name(".weights-draft"), folder.with_name(".weights-old")
    for leftover in (draft, old):
        shutil.rmtree(leftover, ignore_errors=True)
    draft.mkdir(parents=True)
    export(draft)
    if folder.exists():
        os.rename(folder, old)
    os.rename(draft, folder)
    shutil.rmtree(old, ignore_errors=True)
