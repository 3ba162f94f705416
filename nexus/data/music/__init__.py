"""Music by rules: composed, captioned and rendered, deterministic by seed."""

from nexus.data.music.caption import caption as caption
from nexus.data.music.clips import MusicClips as MusicClips
from nexus.data.music.clips import cache_clips as cache_clips
from nexus.data.music.composer import compose as compose
from nexus.data.music.piece import Note as Note
from nexus.data.music.piece import Piece as Piece
from nexus.data.music.piece import Track as Track
from nexus.data.music.render import midi as midi
from nexus.data.music.render import render as render
