"""A folder with an evaluation: `evaluation.json`, and the media of its items under `media/`."""

import json
from pathlib import Path

from nexus.media import Audio, Image, Video
from nexus.media.io import write_atomically
from nexus.metrics.figures import Evaluation, to_json

SUFFIXES = {Audio: ".wav", Video: ".mp4", Image: ".png"}


def write_results(evaluation: Evaluation, folder: Path) -> None:
    """Writes the media, then the JSON, in which each item names its files; its presence says that all is there.

    Raises:
        OSError: a file could not be written.
    """
    media = folder / "media"
    media.mkdir(parents=True, exist_ok=True)
    data = json.loads(to_json(evaluation))
    for i, (item, row) in enumerate(zip(evaluation.items, data["items"], strict=True)):
        for role, medium in (("made", item.made), ("reference", item.reference)):
            row[role] = None
            if medium is not None:
                path = media / f"{i:03d}-{role}{SUFFIXES[type(medium)]}"
                medium.save(path)
                row[role] = path.relative_to(folder).as_posix()
    write_atomically(folder / "evaluation.json", json.dumps(data, ensure_ascii=False, indent=1).encode())
