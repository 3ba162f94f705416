"""Finished assets on disk, by content key: written whole or not at all, verified when read, shared by processes."""

import hashlib
import io
import json
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path

import numpy as np
from filelock import FileLock

from nexus.media.audio import Audio
from nexus.media.io import write_atomically
from nexus.media.video import Video

_LOG = logging.getLogger(__name__)


def default_folder() -> Path:
    """`NEXUS_CACHE`, or the place that this system keeps for caches."""
    if chosen := os.environ.get("NEXUS_CACHE"):
        return Path(chosen)
    base = os.environ.get("XDG_CACHE_HOME") or os.environ.get("LOCALAPPDATA")
    return (Path(base) if base else Path.home() / ".cache") / "nexus" / "film"


class Cache:
    """A folder of files, one an asset: a line of JSON (SHA-256 and size of the rest), then a NumPy archive."""

    def __init__(self, folder: str | Path | None = None) -> None:
        self.folder = Path(folder) if folder is not None else default_folder()
        self.folder.mkdir(parents=True, exist_ok=True)

    def path(self, key: str) -> Path:
        return self.folder / key[:2] / f"{key}.asset"

    def has(self, key: str) -> bool:
        """Whether there is an entry; it may still turn out to be damaged."""
        return self.path(key).is_file()

    def get(self, key: str) -> Audio | Video | None:
        """The asset, or None where there is none; a damaged one is removed."""
        path = self.path(key)
        try:
            head, _, body = path.read_bytes().partition(b"\n")
        except FileNotFoundError:
            return None
        try:
            said = json.loads(head)
            if said != _seal(body):
                raise ValueError("its content is not what was written")
            return _unpack(body)
        except (ValueError, KeyError, OSError) as error:
            _LOG.warning("%s is damaged (%s) and is made again", path, error)
            path.unlink(missing_ok=True)
            return None

    def put(self, key: str, media: Audio | Video) -> None:
        path = self.path(key)
        path.parent.mkdir(exist_ok=True)
        body = _pack(media)
        write_atomically(path, json.dumps(_seal(body)).encode() + b"\n" + body)

    @contextmanager
    def making(self, key: str) -> Iterator[None]:
        """Held while an asset is made, so that a second process waits for it and does not make it too."""
        path = self.path(key)
        path.parent.mkdir(exist_ok=True)
        with FileLock(path.with_suffix(".lock")):
            yield


def _seal(body: bytes) -> dict[str, str | int]:
    return {"sha256": hashlib.sha256(body).hexdigest(), "size": len(body)}


def _pack(media: Audio | Video) -> bytes:
    file = io.BytesIO()
    if isinstance(media, Audio):
        np.savez_compressed(file, samples=media.samples, rate=media.rate)
    else:
        np.savez_compressed(file, frames=media.frames, fps=str(media.fps))
    return file.getvalue()


def _unpack(body: bytes) -> Audio | Video:
    with np.load(io.BytesIO(body), allow_pickle=False) as archive:
        if "samples" in archive:
            return Audio(archive["samples"], int(archive["rate"]))
        return Video(archive["frames"], Fraction(str(archive["fps"])))
