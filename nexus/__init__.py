"""Nexus: words into speech, music, sound and moving pictures, cut into a film.

Public names are resolved on first use, so that `import nexus` stays cheap (no torch import).
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from nexus import film
    from nexus.hub.load import load
    from nexus.media.audio import Audio
    from nexus.media.image import Image
    from nexus.media.video import Video
    from nexus.nn.prepack import prepack

_PUBLIC = {
    "Audio": "nexus.media.audio",
    "Image": "nexus.media.image",
    "Video": "nexus.media.video",
    "load": "nexus.hub.load",
    "prepack": "nexus.nn.prepack",
}

__all__ = ["Audio", "Image", "Video", "__version__", "film", "load", "prepack"]


def __getattr__(name: str) -> Any:
    if name == "film":
        return import_module("nexus.film")
    if name not in _PUBLIC:
        raise AttributeError(f"module 'nexus' has no attribute {name!r}")
    return getattr(import_module(_PUBLIC[name]), name)
