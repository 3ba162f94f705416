"""The folder of a listening or viewing test: one folder a system, the same file names in each."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from nexus.media import Audio, Image, Video

Medium = Literal["sound", "film", "picture"]

SUFFIXES: dict[str, Medium] = {
    **dict.fromkeys((".wav", ".flac", ".ogg", ".opus", ".mp3", ".m4a"), "sound"),
    **dict.fromkeys((".mp4", ".webm", ".gif"), "film"),
    **dict.fromkeys((".png", ".jpg", ".jpeg"), "picture"),
}
MOST_NAMED = 5  # files, in a sentence that names what is wrong


@dataclass(frozen=True, kw_only=True)
class MediaSet:
    folder: Path
    medium: Medium
    systems: tuple[str, ...]
    items: tuple[str, ...]  # file names, in every system's folder
    digests: dict[str, str]  # "system/item" -> SHA-256 of the file
    passed_over: int  # files that are not media, such as the records beside clips


def read_set(folder: Path) -> MediaSet:
    """Finds systems and items, and decodes every file once.

    Raises:
        FileNotFoundError, NotADirectoryError: there is no such folder.
        ValueError: under two systems, unequal sets, media of several kinds, damaged, empty or silent files; named.
    """
    if not folder.exists():
        raise FileNotFoundError(f"{folder}: there is no such folder")
    if not folder.is_dir():
        raise NotADirectoryError(f"{folder} is not a folder")
    places = sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    files = {place.name: sorted(p for p in place.iterdir() if p.is_file() and p.name[0] != ".") for place in places}
    media = {name: {p.name for p in paths if p.suffix.lower() in SUFFIXES} for name, paths in files.items()}
    if len(media) < 2:
        raise ValueError(
            f"{folder} must hold a folder of media for each of two systems or more, got {', '.join(media) or 'none'}"
        )
    _check_equal(folder, media)
    items = tuple(sorted(next(iter(media.values()))))
    kinds: set[Medium] = {SUFFIXES[Path(item).suffix.lower()] for item in items}
    if len(kinds) > 1:
        raise ValueError(f"{folder} mixes {' and '.join(sorted(kinds))}; rate one kind of media at a time")
    _check_sound([folder / system / item for system in media for item in items])
    digests = {
        f"{system}/{item}": hashlib.sha256((folder / system / item).read_bytes()).hexdigest()
        for system in media
        for item in items
    }
    others = sum(len(paths) for paths in files.values()) - len(digests)
    return MediaSet(
        folder=folder, medium=kinds.pop(), systems=tuple(media), items=items, digests=digests, passed_over=others
    )


def _check_equal(folder: Path, media: dict[str, set[str]]) -> None:
    everything = set().union(*media.values())
    if not everything:
        raise ValueError(f"{folder}: there are no media files in {', '.join(media)}")
    lacking = [f"{name} lacks {_few(everything - found)}" for name, found in media.items() if found != everything]
    if lacking:
        raise ValueError(f"every system needs the same file names, but {'; '.join(lacking)}")


def _check_sound(paths: list[Path]) -> None:
    """Decodes everything, so that a rater never meets a file that does not play."""
    faults = [fault for path in paths if (fault := _fault(path))]
    if faults:
        more = f"; and {len(faults) - MOST_NAMED} more" if len(faults) > MOST_NAMED else ""
        raise ValueError(f"{len(faults)} of {len(paths)} files cannot be rated: {'; '.join(faults[:MOST_NAMED])}{more}")


def _fault(path: Path) -> str | None:
    try:
        medium = SUFFIXES[path.suffix.lower()]
        if medium == "sound":
            return f"{path} is silent" if Audio.load(path).peak == 0 else None
        if medium == "film":
            return f"{path} has no frames" if not Video.load(path).length else None
        Image.load(path)
    except ValueError as error:
        return str(error)
    return None


def _few(names: set[str]) -> str:
    """The first of them in words: "a.wav, b.wav and 3 more"."""
    first = ", ".join(sorted(names)[:MOST_NAMED])
    return first + (f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else "")
