"""Files of other projects' models: what is none of what it should be is named, with what to do."""

import json
from pathlib import Path
from typing import Any

POINTER = "a pointer of Git LFS in its place: fetch it by `git lfs pull`"


def is_pointer(path: Path) -> bool:
    """Whether a repository was cloned without its large files, of which this was one."""
    with path.open("rb") as file:
        return file.read(40).startswith(b"version https://git-lfs")


def read_json(path: Path) -> Any:
    """Raises ValueError where a file is not JSON."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: {POINTER if is_pointer(path) else f'not valid JSON ({error})'}") from None


def check_folder(folder: str | Path) -> None:
    """Raises ValueError where one of a folder's files is a pointer, or should be JSON and is not."""
    for path in sorted(Path(folder).iterdir()):
        if path.suffix == ".json":
            read_json(path)
        elif path.is_file() and is_pointer(path):
            raise ValueError(f"{path}: {POINTER}")
