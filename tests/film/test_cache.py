import subprocess
import sys

import numpy as np
import pytest

from nexus.film.cache import Cache, default_folder
from nexus.media.audio import Audio
from nexus.media.video import Video

KEY = "ab" + "0" * 62


@pytest.fixture
def sound():
    return Audio(np.linspace(-1, 1, 1001, dtype=np.float32)[None], 24000)


@pytest.mark.parametrize("kind", ["audio", "video"])
def test_what_is_put_is_got(tmp_path, sound, kind):
    media = (
        sound if kind == "audio" else Video(np.arange(5 * 4 * 6 * 3, dtype=np.uint8).reshape(5, 4, 6, 3), "24000/1001")
    )
    cache = Cache(tmp_path / "new" / "folder")
    assert cache.get(KEY) is None and not cache.has(KEY)
    cache.put(KEY, media)
    assert cache.has(KEY) and cache.get(KEY) == media


@pytest.mark.parametrize("damage", ["cut", "flip", "empty", "text"])
def test_damage_is_noticed_and_removed(tmp_path, sound, damage):
    cache = Cache(tmp_path)
    cache.put(KEY, sound)
    whole = cache.path(KEY).read_bytes()
    flipped = whole[:-100] + bytes([whole[-100] ^ 1]) + whole[-99:]
    cache.path(KEY).write_bytes({"cut": whole[:-7], "flip": flipped, "empty": b"", "text": b"hello\nworld"}[damage])
    assert cache.get(KEY) is None
    assert not cache.has(KEY)


def test_one_process_waits_for_another(tmp_path, sound):
    """The other process holds the key while it makes the asset; we then find it made."""
    script = """
import sys
from nexus.film.cache import Cache
cache = Cache(sys.argv[1])
with cache.making(sys.argv[2]):
    print("held", flush=True)
    sys.stdin.readline()
    cache.put(sys.argv[2], cache.get("cd"))
"""
    cache = Cache(tmp_path)
    cache.put("cd", sound)
    other = subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path), KEY], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert other.stdout and other.stdin
    with other:
        assert other.stdout.readline() == "held\n"
        other.stdin.write("go\n")
        other.stdin.flush()
        with cache.making(KEY):
            assert cache.get(KEY) == sound


def test_the_default_place_can_be_chosen(monkeypatch, tmp_path):
    monkeypatch.setenv("NEXUS_CACHE", str(tmp_path))
    assert default_folder() == tmp_path
    monkeypatch.delenv("NEXUS_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_folder() == tmp_path / "nexus" / "film"
