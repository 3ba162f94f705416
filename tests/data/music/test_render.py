"""What is heard is what was written: key and tempo are found again by estimators that know nothing of the composer."""

import warnings
from pathlib import Path

import numpy as np
import pytest

from nexus.data.music import MusicClips, cache_clips, compose, fluidsynth, render
from nexus.data.music.theory import ALL_KEYS

MAJOR = (6.35, 2.23, 3.48, 2.33, 4.38, 4.09, 2.52, 5.19, 2.39, 3.66, 2.29, 2.88)  # Krumhansl & Kessler, 1982
MINOR = (6.33, 2.68, 3.52, 5.38, 2.60, 3.53, 2.54, 4.75, 3.98, 2.69, 3.34, 3.17)


@pytest.fixture(scope="module", autouse=True)
def instruments():
    try:
        fluidsynth.library()
        fluidsynth.find_font()
    except (ImportError, FileNotFoundError) as missing:
        pytest.skip(str(missing))


def estimate_key(samples: np.ndarray, rate: int) -> str:
    """Krumhansl-Schmuckler on a chroma of spectral peaks between 100 Hz and 2 kHz."""
    frames = np.lib.stride_tricks.sliding_window_view(samples, 8192)[::4096] * np.hanning(8192)
    spectrum = np.sqrt(np.abs(np.fft.rfft(frames)).mean(0))
    frequencies = np.fft.rfftfreq(8192, 1 / rate)
    chroma = np.zeros(12)
    for k in range(1, len(spectrum) - 1):
        if 100 < frequencies[k] < 2000 and spectrum[k] > max(spectrum[k - 1], spectrum[k + 1]):
            chroma[round(12 * np.log2(frequencies[k] / 440) + 69) % 12] += spectrum[k] ** 2
    profiles = {key: np.roll(MAJOR if key.mode == "major" else MINOR, key.tonic) for key in ALL_KEYS}
    return max(ALL_KEYS, key=lambda key: float(np.corrcoef(chroma, profiles[key])[0, 1])).name


def test_key_is_heard_in_most_pieces():
    pieces = [compose(seed, "valid", seconds=12) for seed in range(8)]
    found = [estimate_key(render(p, 12.0).samples[0], 24000) for p in pieces]
    assert np.mean([name == piece.key.name for name, piece in zip(found, pieces, strict=True)]) > 0.5


def test_tempo_is_heard_where_there_are_drums():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        librosa = pytest.importorskip("librosa")
        right = []
        for i, style in enumerate(("lo-fi beat", "electronic dance", "rock", "funk")):
            piece = compose(i, style=style, seconds=12)
            audio = render(piece, 12.0)
            heard = float(np.atleast_1d(librosa.feature.tempo(y=audio.samples[0], sr=24000, start_bpm=110))[0])
            right.append(any(abs(heard * m / piece.tempo - 1) < 0.06 for m in (0.5, 1, 2)))
    assert np.mean(right) > 0.6


def test_sound_is_exact_level_deterministic_and_starts_on_the_downbeat():
    for seed in (0, 4, 9):
        piece = compose(seed, seconds=3.3)
        audio = render(piece, 3.3, 24000)
        assert audio.samples.shape == (1, 79200) and audio == render(piece, 3.3, 24000)
        assert 0.03 < np.sqrt(np.mean(audio.samples**2)) <= 0.101 and np.abs(audio.samples).max() <= 0.91
        assert abs(audio.samples.mean()) < 2e-3
        assert np.abs(audio.samples[0, :6000]).max() > 0.01
    stereo = render(piece, 2.0, 44100, channels=2)
    assert stereo.samples.shape == (2, 88200) and not np.allclose(stereo.samples[0], stereo.samples[1])


def test_one_role_can_be_heard_alone():
    piece = compose(2, style="folk guitar", seconds=3)
    melody = render(piece, 3.0, roles=("melody",))
    assert not np.allclose(melody.samples, render(piece, 3.0).samples)


def test_too_much_is_refused():
    with pytest.raises(ValueError, match="compose it longer"):
        render(compose(0, seconds=4), 400.0)
    with pytest.raises(ValueError, match="1 or 2"):
        render(compose(0, seconds=4), 1.0, channels=5)


def test_a_missing_font_names_the_packages(monkeypatch):
    monkeypatch.setattr(fluidsynth, "FOLDERS", (Path("/nowhere"),))
    with pytest.raises(FileNotFoundError, match="fluid-soundfont-gm"):
        fluidsynth.find_font()


def test_clips_say_what_was_played(tmp_path):
    clips = MusicClips(seconds=2.0)
    clip = clips[5]
    assert clip.samples.shape == (48000,) and clip.caption in clip.facts["captions"]
    assert len(clip.facts["captions"]) > 4
    assert all(0 <= start < 2.0 and length > 0 for start, length, _ in clip.facts["melody"])
    assert np.array_equal(clip.samples, clips[5].samples)
    cache_clips(tmp_path, 2, 2.0)
    assert (tmp_path / "00000.npy").exists()
