"""The sound files of a folder."""

from pathlib import Path

from nexus.media.audio_blocks import READABLE


def find_sounds(folder: Path) -> list[Path]:
    """Every sound file under `folder`, in order of their paths; hidden ones are left out.

    Raises:
        FileNotFoundError, NotADirectoryError: there is no such folder.
        ValueError: it holds no sound.
    """
    if not folder.exists():
        raise FileNotFoundError(2, "no such folder", str(folder))
    if not folder.is_dir():
        raise NotADirectoryError(20, "not a folder", str(folder))
    found = [path for path in sorted(folder.rglob("*")) if path.suffix.lower() in READABLE and path.is_file()]
    found = [path for path in found if not any(part.startswith(".") for part in path.relative_to(folder).parts)]
    if not found:
        raise ValueError(f"{folder} holds no sound: no file in it ends in one of {', '.join(READABLE)}")
    return found
