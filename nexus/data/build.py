"""`nexus data build`: a world written out as files with captions, in splits, resumable.

A folder holds `world.json` (what it is), `train/` and `valid/` with a FLAC or MP4 file a clip and its facts in a JSON
file beside it, and `train.jsonl`, `valid.jsonl`: for music and sound, Lhotse cuts (`CutSet.from_file`) whose
supervision text is the caption; for the storybook a line {"video", "caption", "facts"} a clip.
"""

import dataclasses
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

from nexus.data.clips import replace
from nexus.media.audio import Audio
from nexus.media.video import Video

World = Literal["music", "sound", "storybook"]
Split = Literal["train", "valid"]
SECONDS = {"music": 12.0, "sound": 4.0, "storybook": 33 / 8}  # a clip
VALID_PART = 20  # one clip in so many is for validation
AUDIO_RATE = 24000


class AudioMaker:
    """Writes clip `index` of a split to `path`; returns its manifest line, whose paths are relative to the folder."""

    suffix = ".flac"

    def __init__(self, world: str, seed: int):
        from nexus.data.music import MusicClips
        from nexus.data.sound import SoundClips

        stream = MusicClips if world == "music" else SoundClips
        seconds = SECONDS[world]
        self.streams = {split: stream(seed, seconds, split, AUDIO_RATE) for split in ("train", "valid")}

    def __call__(self, index: int, split: Split, path: Path, name: str) -> dict[str, Any]:
        clip = self.streams[split][index]
        audio = Audio(clip.samples, AUDIO_RATE)
        audio.save(path)
        return cut(name, audio, clip.caption, clip.facts)


def cut(name: str, audio: Audio, caption: str, facts: dict[str, Any]) -> dict[str, Any]:
    """A Lhotse MonoCut as JSON."""
    key, duration = name.rpartition(".")[0].replace("/", "-"), audio.length / audio.rate
    sources = [{"type": "file", "channels": [0], "source": name}]
    supervision = {"id": key, "recording_id": key, "start": 0.0, "duration": duration, "channel": 0, "text": caption}
    recording = {"id": key, "sources": sources, "sampling_rate": audio.rate, "num_samples": audio.length}
    return {
        "id": key,
        "start": 0.0,
        "duration": duration,
        "channel": 0,
        "supervisions": [{**supervision, "custom": facts}],
        "recording": {**recording, "duration": duration, "channel_ids": [0]},
        "type": "MonoCut",
    }


class VideoMaker:
    """The same for drawn clips."""

    suffix = ".mp4"

    def __init__(self, seed: int):
        from nexus.data.storybook import StoryClips

        self.streams = {split: StoryClips(seed, split) for split in ("train", "valid")}

    def __call__(self, index: int, split: Split, path: Path, name: str) -> dict[str, Any]:
        clip = self.streams[split][index]
        Video(clip.frames, clip.fps).save(path)
        return {"video": name, "caption": clip.caption, "facts": dataclasses.asdict(clip.facts)}


def build(
    world: str,
    folder: Path | str,
    *,
    hours: float | int,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Fills `folder` with `hours` of a world; what is there is kept, so a stopped build goes on, and may grow.

    Raises:
        ValueError: an unknown world, no time at all, or a folder that holds another world or seed.
    """
    if world not in SECONDS:
        raise ValueError(f"unknown world {world!r}; there are {', '.join(SECONDS)}")
    if not (0 < hours < math.inf) or seed < 0:
        raise ValueError(f"hours must be above 0 and seed not negative, got {hours} and {seed}")
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    claim(folder, {"world": world, "seed": seed, "seconds": SECONDS[world]})
    total = math.ceil(hours * 3600 / SECONDS[world])
    n_valid = math.ceil(total / VALID_PART)
    make = VideoMaker(seed) if world == "storybook" else AudioMaker(world, seed)
    done = 0
    splits: tuple[tuple[Split, int], ...] = (("valid", n_valid), ("train", total - n_valid))
    for split, count in splits:
        (folder / split).mkdir(exist_ok=True)
        lines = []
        for index in range(count):
            lines.append(clip_line(make, index, split, folder))
            done += 1
            if progress:
                progress(done, total)
        replace(folder / f"{split}.jsonl", "".join(line + "\n" for line in lines).encode())


def claim(folder: Path, what: dict[str, Any]) -> None:
    """Marks a folder as one world's; refuses one that is marked as another's."""
    card = folder / "world.json"
    if card.exists():
        there = json.loads(card.read_text())
        if there != what:
            raise ValueError(f"{folder} holds {there}, not {what}; choose another folder or delete this one")
    elif any(folder.iterdir()):
        raise ValueError(f"{folder} is not empty and holds no world; choose another folder")
    else:
        replace(card, json.dumps(what).encode())


def clip_line(make: AudioMaker | VideoMaker, index: int, split: Split, folder: Path) -> str:
    """The clip's manifest line; it is made unless its facts, which are written last, are there."""
    name = f"{split}/{index:06d}{make.suffix}"
    facts = (folder / name).with_suffix(".json")
    if not facts.exists():
        replace(facts, json.dumps(make(index, split, folder / name, name)).encode())
    return facts.read_text()
