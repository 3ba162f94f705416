"""Files: told apart by their first bytes, written under a temporary name and then renamed."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PathLike = str | os.PathLike[str]

CONTAINERS = {  # what the first bytes say -> suffixes it may have
    "WAV": (".wav",),
    "FLAC": (".flac",),
    "Ogg": (".ogg", ".opus", ".oga"),
    "MP3": (".mp3",),
    "MP4": (".m4a", ".mp4", ".m4v", ".mov"),
    "WebM": (".webm", ".mkv"),
    "PNG": (".png",),
    "JPEG": (".jpg", ".jpeg"),
    "GIF": (".gif",),
}


def found_in(head: bytes) -> str:
    """What a file is, from its first bytes: a key of `CONTAINERS`, or words for anything else."""
    if not head:
        return "an empty file"
    if head[:4] in (b"RIFF", b"RF64") and head[8:12] == b"WAVE":
        return "WAV"
    if head[4:8] == b"ftyp":
        return "MP4"
    if len(head) > 3 and head[0] == 0xFF and head[1] & 0xE6 in (0xE2, 0xE4, 0xE6) and head[2] & 0xF0 != 0xF0:
        return "MP3"
    magics = {b"fLaC": "FLAC", b"OggS": "Ogg", b"ID3": "MP3", b"\x1aE\xdf\xa3": "WebM", b"GIF8": "GIF"}
    magics |= {b"\x89PNG\r\n\x1a\n": "PNG", b"\xff\xd8\xff": "JPEG", b"PK\x03\x04": "a zip archive", b"%PDF": "a PDF"}
    for magic, name in magics.items():
        if head.startswith(magic):
            return name
    try:
        text = head.decode("utf-8", errors="strict" if len(head) < 64 else "ignore")
        return "text" if text.isprintable() or all(c.isprintable() or c.isspace() for c in text) else "unknown bytes"
    except UnicodeDecodeError:
        return "unknown bytes"


def recognise(path: PathLike, allowed: tuple[str, ...]) -> str:
    """The container of a file that is about to be read.

    Raises:
        OSError: it is missing, a folder, or not readable.
        ValueError: its suffix is not allowed, or it holds something else than its suffix says.
    """
    path = Path(path)
    with path.open("rb") as file:
        head = file.read(512)
    check_suffix(path, allowed)
    found = found_in(head)
    if path.suffix.lower() not in CONTAINERS.get(found, ()):
        raise ValueError(f"{path} is not a {path.suffix.lower()} file: it holds {found}")
    return found


def check_suffix(path: PathLike, allowed: tuple[str, ...]) -> str:
    """The lower-case suffix of `path`, refused when it is not one of `allowed`."""
    suffix = Path(path).suffix.lower()
    if suffix not in allowed:
        raise ValueError(
            f"{path}: the file name must end in one of {', '.join(allowed)}, got {suffix or 'no suffix'!r}"
        )
    return suffix


def check_writable(path: PathLike) -> None:
    """Raises OSError, before any work is done, where a file at `path` could not be written."""
    folder = Path(path).absolute().parent
    if not folder.exists():
        raise FileNotFoundError(f"the folder {folder} does not exist: make it first, or choose another")
    if not folder.is_dir():
        raise NotADirectoryError(f"{folder} is not a folder")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise PermissionError(f"the folder {folder} may not be written to")
    if Path(path).is_dir():
        raise IsADirectoryError(f"{path} is a folder, and a file was to be written there")


@contextmanager
def atomic(path: PathLike) -> Iterator[Path]:
    """A temporary name beside `path`, with its suffix; renamed to `path` at the end, or removed on any failure."""
    path = Path(path)
    check_writable(path)
    handle, name = tempfile.mkstemp(prefix=f".{path.stem}-", suffix=path.suffix, dir=path.absolute().parent)
    os.close(handle)
    try:
        yield Path(name)
        umask = os.umask(0)
        os.umask(umask)
        os.chmod(name, 0o666 & ~umask)
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def write_atomically(path: PathLike, data: bytes) -> None:
    """Writes all of `data` or nothing."""
    with atomic(path) as temporary:
        temporary.write_bytes(data)
