"""The storybook world: drawn clips with captions, endless and deterministic by seed."""

from nexus.data.storybook.cache import CachedClip, CachedStories, cache_clips
from nexus.data.storybook.clip import StoryClip, StoryClips, clip, clip_facts, still, still_facts
from nexus.data.storybook.nouns import ALL, CORE_NOUNS

__all__ = [
    "ALL",
    "CORE_NOUNS",
    "CachedClip",
    "CachedStories",
    "StoryClip",
    "StoryClips",
    "cache_clips",
    "clip",
    "clip_facts",
    "still",
    "still_facts",
]
