"""Sound effects by procedural synthesis, captioned, deterministic by seed."""

from nexus.data.sound.world import KINDS as KINDS
from nexus.data.sound.world import SoundClip as SoundClip
from nexus.data.sound.world import SoundClips as SoundClips
from nexus.data.sound.world import cache_clips as cache_clips
from nexus.data.sound.world import synthesize as synthesize
