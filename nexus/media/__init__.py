"""Media as values: sound, pictures and moving pictures."""

from nexus.media.audio import Audio
from nexus.media.image import Image
from nexus.media.video import Video

__all__ = ["Audio", "Image", "Video"]
