"""The storybook world: drawn clips with captions, endless and deterministic by seed."""

from nexus.data.storybook.clip import (
    StoryClip,
    StoryClips,
    cache_clips,
    cached_clips,
    clip,
    clip_facts,
    still,
    still_facts,
)
from nexus.data.storybook.nouns import ALL, CORE_NOUNS

__all__ = [
    "ALL",
    "CORE_NOUNS",
    "StoryClip",
    "StoryClips",
    "cache_clips",
    "cached_clips",
    "clip",
    "clip_facts",
    "still",
    "still_facts",
]
