"""Drawn clips on disk: whole, in order, and never others than were asked for."""

import pytest

from nexus.data.storybook import StoryClips, cache_clips

pytestmark = pytest.mark.emoji
SMALL = {"shard": 2, "frames": 2, "size": 32}


def test_what_is_read_is_what_the_stream_gives(tmp_path):
    whole, read = StoryClips(0, "valid", frames=2, size=32), list(cache_clips(tmp_path, 3, "valid", **SMALL))
    assert len(read) == 3
    for index, clip in enumerate(read):
        assert (clip.frames == whole[index].frames).all() and (clip.thing == whole[index].thing).all()
        assert (clip.caption, clip.facts) == (whole[index].caption, whole[index].facts)


def test_a_stopped_run_goes_on(tmp_path):
    cache_clips(tmp_path, 3, "valid", **SMALL)
    (tmp_path / "valid-00001.npy").unlink()
    first = (tmp_path / "valid-00000.npy").stat().st_mtime_ns
    assert len(list(cache_clips(tmp_path, 3, "valid", **SMALL))) == 3
    assert (tmp_path / "valid-00000.npy").stat().st_mtime_ns == first


def test_more_may_be_asked_for_later_and_fewer(tmp_path):
    """The last shard of three clips holds one; of five, two."""
    three, five, two = (list(cache_clips(tmp_path, n, **SMALL)) for n in (3, 5, 2))
    assert [len(clips) for clips in (three, five, two)] == [3, 5, 2]
    assert [clip.caption for clip in five[:3]] == [clip.caption for clip in three]
    assert [len(frames) for frames in cache_clips(tmp_path, 3, **SMALL).frames] == [2, 1]


def test_other_clips_are_not_taken_for_these(tmp_path):
    cache_clips(tmp_path, 2, **SMALL)
    with pytest.raises(ValueError, match=r"holds other clips: their variety is 1\.0, and 0\.5 is asked for"):
        cache_clips(tmp_path, 2, variety=0.5, **SMALL)
    with pytest.raises(ValueError, match="their nouns is"):
        cache_clips(tmp_path, 2, nouns=("cat",), **SMALL)
    (tmp_path / "train.json").unlink()
    with pytest.raises(ValueError, match="holds clips of an earlier version"):
        cache_clips(tmp_path, 2, **SMALL)
    assert len(list(cache_clips(tmp_path, 2, "valid", **SMALL))) == 2  # the other split is another matter
