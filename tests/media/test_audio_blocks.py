"""Sounds piece by piece are to the bit the sounds as a whole."""

import numpy as np
import pytest

from nexus.media.audio import Audio
from nexus.media.audio_blocks import BLOCK, open_blocks, regular
from nexus.media.audio_io import WRITABLE, save_blocks, supported_rate


def noise(length, rate=24000, channels=1):
    return Audio(np.random.default_rng(0).uniform(-0.5, 0.5, (channels, length)), rate)


def joined(sound):
    return Audio(np.concatenate([np.zeros((sound.channels, 0), np.float32), *sound.blocks], axis=1), sound.rate)


@pytest.mark.parametrize("suffix", WRITABLE)
def test_pieces_are_the_whole(tmp_path, suffix):
    noise(30_001, supported_rate(suffix, 24000), 2).save(tmp_path / f"a{suffix}")
    whole = Audio.load(tmp_path / f"a{suffix}")
    assert whole.length > 30_000
    assert joined(open_blocks(tmp_path / f"a{suffix}", 7000)) == whole
    assert joined(open_blocks(tmp_path / f"a{suffix}", 7000).resample(16000)) == whole.resample(16000)


@pytest.mark.parametrize("suffix", WRITABLE)
def test_written_in_pieces_or_at_once_the_bytes_are_the_same(tmp_path, suffix):
    sound = noise(30_001, supported_rate(suffix, 24000), 2)
    sound.save(tmp_path / f"a{suffix}")
    pieces = np.split(sound.samples, [1, 9000, 25_000], axis=1)
    save_blocks(tmp_path / f"b{suffix}", pieces, sound.rate, 2)
    assert (tmp_path / f"a{suffix}").read_bytes() == (tmp_path / f"b{suffix}").read_bytes()


@pytest.mark.parametrize("length", [1, 2, 5000])
@pytest.mark.parametrize(("rate", "to"), [(8000, 24000), (192000, 24000), (44100, 16000)])
def test_resampled_lengths(tmp_path, length, rate, to):
    noise(length, rate).save(tmp_path / "a.wav")
    whole = Audio.load(tmp_path / "a.wav", rate=to)
    assert whole.length == -(-length * to // rate)
    assert joined(open_blocks(tmp_path / "a.wav", 900).resample(to)) == whole


def test_an_empty_sound(tmp_path):
    for suffix in (".wav", ".flac"):
        Audio.silence(0, 8000, 2).save(tmp_path / f"a{suffix}")
        sound = open_blocks(tmp_path / f"a{suffix}")
        assert (sound.rate, sound.channels) == (8000, 2) and joined(sound).length == 0
    assert joined(open_blocks(tmp_path / "a.wav").resample(24000)).length == 0


@pytest.mark.parametrize("suffix", [".wav", ".flac", ".ogg", ".m4a"])
def test_a_cut_file_is_refused(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    noise(200_000, 24000).save(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 6 // 10])
    with pytest.raises(ValueError, match="is damaged"):
        joined(open_blocks(path))


def test_a_sample_that_is_no_number_is_met_when_it_is_read(tmp_path):
    import soundfile

    samples = np.zeros(3 * BLOCK, np.float32)
    samples[2 * BLOCK + 5] = np.nan
    soundfile.write(tmp_path / "a.wav", samples, 8000, subtype="FLOAT")
    blocks = open_blocks(tmp_path / "a.wav").blocks
    assert next(blocks).shape == next(blocks).shape == (1, BLOCK)
    with pytest.raises(ValueError, match="not finite numbers"):
        next(blocks)


def test_nothing_is_left_of_pieces_that_fail(tmp_path):
    def pieces():
        yield np.zeros((1, 100), np.float32)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        save_blocks(tmp_path / "a.wav", pieces(), 8000, 1)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("cuts", [[], [7], [3, 3, 10, 11], [20]])
def test_regular_pieces(cuts):
    samples = np.arange(21, dtype=np.float32)[None]
    pieces = list(regular(np.split(samples, cuts, axis=1), 7))
    assert [piece.shape[1] for piece in pieces] == [7, 7, 7]
    assert np.array_equal(np.concatenate(pieces, axis=1), samples)
    assert [piece.shape[1] for piece in regular(np.split(samples, cuts, axis=1), 8)] == [8, 8, 5]
    assert list(regular([], 8)) == []
