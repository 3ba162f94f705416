import numpy as np
import pytest

from nexus.data.clips import SHARD, CachedClips, Clip, cache


class Ramp:
    rate = 100

    def __init__(self, name="ramp"):
        self.name, self.made = name, []

    def __getitem__(self, index):
        self.made.append(index)
        return Clip(np.full(50, index / 100, np.float32), f"clip {index}", {"index": index})

    def describe(self):
        return {"world": self.name}


def test_a_cache_reads_back_and_goes_on_where_it_stopped(tmp_path):
    class Stopped(Exception):
        pass

    def stop(done, total):
        raise Stopped

    with pytest.raises(Stopped):
        cache(Ramp(), tmp_path, 45, stop)
    stream = Ramp()
    cache(stream, tmp_path, 45)
    assert stream.made == list(range(SHARD, 45))
    clips = CachedClips(tmp_path)
    assert len(clips) == 45 and clips.rate == 100
    assert clips[44].caption == "clip 44" and clips[44].facts == {"index": 44}
    np.testing.assert_allclose(clips[44].samples, 0.44, atol=1e-4)
    assert len(list(clips)) == 45
    with pytest.raises(IndexError):
        clips[45]
    cache(Ramp(), tmp_path, 50)
    assert len(CachedClips(tmp_path)) == 50
    assert not list(tmp_path.glob("*.tmp")) and not list(tmp_path.glob(".*"))


def test_other_clips_are_refused(tmp_path):
    cache(Ramp(), tmp_path, 2)
    with pytest.raises(ValueError, match="other clips"):
        cache(Ramp("other"), tmp_path, 2)
    with pytest.raises(ValueError, match="nexus data build"):
        CachedClips(tmp_path / "nothing")
