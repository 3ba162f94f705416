import io
import pickle
import time
from fractions import Fraction

import numpy as np
import pytest
import soundfile
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nexus.media.audio import Audio
from nexus.media.audio_io import WRITABLE, encode


def tone(length=24001, rate=24000, channels=1, hertz=440.0):
    t = np.arange(length) / rate
    return Audio(np.stack([0.5 * np.sin(2 * np.pi * hertz * (c + 1) * t) for c in range(channels)]), rate)


def error_db(a: Audio, b: Audio) -> float:
    """Energy of the difference under the energy of the sound, in dB; both must have one length and rate."""
    assert (a.rate, a.channels, a.length) == (b.rate, b.channels, b.length)
    return float(10 * np.log10(np.sum((a.samples - b.samples) ** 2) / np.sum(a.samples**2) + 1e-20))


lengths = st.integers(0, 300)


def test_a_value():
    source = np.zeros((2, 5))
    audio = Audio(source, 8000)
    source[0, 0] = 1
    assert audio.peak == 0 and audio.samples.dtype == np.float32 and audio.samples.shape == (2, 5)
    with pytest.raises(ValueError, match="read-only"):
        audio.samples[0, 0] = 1
    with pytest.raises(AttributeError):
        audio.rate = 1  # pyright: ignore
    assert audio == Audio(torch.zeros(2, 5), 8000) and hash(audio) == hash(Audio(torch.zeros(2, 5), 8000))
    assert audio != audio.pad(after=1) and audio != Audio(audio.samples, 8001) and audio != "audio"
    assert pickle.loads(pickle.dumps(audio)) == audio
    assert audio.duration == Fraction(5, 8000) and Audio(np.zeros(3), 3).seconds == 1
    assert torch.equal(tone(10).tensor(), torch.from_numpy(tone(10).samples.copy()))
    assert "mono" in repr(tone()) and "<audio" in tone()._repr_html_() and Audio([], 8000).length == 0


@pytest.mark.parametrize(
    ("samples", "rate", "message"),
    [
        (np.array([0.0, np.nan]), 8000, "NaN"),
        (np.array([0.0, np.inf]), 8000, "infinity"),
        (np.zeros((1, 2, 3)), 8000, "shape"),
        (np.zeros((0, 3)), 8000, "shape"),
        (np.zeros(3, np.int16), 8000, "int16"),
        (np.zeros(3), 0, "rate"),
        (np.zeros(3), -1, "rate"),
    ],
)
def test_wrong_samples_are_refused(samples, rate, message):
    with pytest.raises(ValueError, match=message):
        Audio(samples, rate)


@given(st.lists(st.tuples(lengths, st.sampled_from([1, 2])), min_size=1, max_size=5))
@settings(deadline=None, max_examples=30)
def test_concatenating_and_cutting_are_inverse(sizes):
    parts = [Audio(np.random.default_rng(i).normal(size=(c, n)), 8000) for i, (n, c) in enumerate(sizes)]
    whole = Audio.concatenate(parts)
    assert whole.length == sum(n for n, _ in sizes) and whole.channels == max(c for _, c in sizes)
    at = 0
    for part in parts:
        assert whole.cut(at, at + part.length) == part.to_channels(whole.channels)
        at += part.length


@given(st.lists(st.tuples(lengths, lengths, st.floats(-20, 6)), min_size=1, max_size=4))
@settings(deadline=None, max_examples=30)
def test_a_mix_is_the_sum_of_its_parts(placed):
    parts = [(Audio(np.random.default_rng(i).normal(size=n), 8000), at, db) for i, (n, at, db) in enumerate(placed)]
    mixed = Audio.mix(parts)
    assert mixed.length == max(n + at for n, at, _ in placed)
    expected = sum(a.pad(at, mixed.length - at - a.length).samples * 10 ** (db / 20) for a, at, db in parts)
    np.testing.assert_allclose(mixed.samples, expected, atol=1e-5)
    assert Audio.mix(parts, length=7) == mixed.fit(7)


def test_editing():
    a = tone(1000, channels=2)
    assert a.pad(3, 4).length == 1007 and a.pad(3, 4).cut(3, 1003) == a and a.fit(10).length == 10
    assert abs(a.gain(-6.0206).peak - a.peak / 2) < 1e-4
    faded = a.fade(100, 2000)
    assert abs(faded.samples[0, 0]) < 1e-4 and abs(faded.samples[:, -1]).max() < 1e-4 and faded.length == 1000
    assert Audio(np.ones(1000), 8000).fade(100, 100).samples[0, 100:900].min() == 1
    assert a.mono().channels == 1 and a.mono().to_channels(5).channels == 5
    folded = Audio(np.ones((6, 4)), 8000).to_channels(2)
    assert folded.channels == 2 and np.allclose(folded.samples, 1, atol=1e-6)
    with pytest.raises(ValueError, match="channels cannot become"):
        a.to_channels(3)
    with pytest.raises(ValueError, match=r"0\.\.1000"):
        a.cut(0, 1001)
    with pytest.raises(ValueError, match="one rate"):
        Audio.concatenate([a, tone(rate=8000)])
    with pytest.raises(ValueError, match="none"):
        Audio.mix([])
    with pytest.raises(ValueError, match="offset"):
        Audio.mix([(a, -1, 0.0)])


@pytest.mark.parametrize(("old", "new"), [(24000, 48000), (44100, 24000), (48000, 44100), (24000, 7001)])
@pytest.mark.parametrize("length", [0, 1, 999, 24001])
def test_resampled_length_is_exact(old, new, length):
    a = tone(length, old, 2)
    b = a.resample(new)
    assert (b.rate, b.length) == (new, -(-length * new // old))
    assert a.resample(old) is a


def test_resampling_keeps_time_and_pitch():
    a, expected = tone(24000, 24000), tone(44100, 44100)
    b = a.resample(44100)
    assert np.abs(b.samples - expected.samples)[:, 500:-500].max() < 1e-4
    with pytest.raises(ValueError, match="rate"):
        a.resample(0)


@pytest.mark.parametrize("channels", [1, 2, 6])
@pytest.mark.parametrize(
    ("suffix", "worst"), [(".wav", -190), (".flac", -120), (".ogg", -20), (".opus", -20), (".m4a", -20), (".mp3", -20)]
)
def test_files_round_trip(tmp_path, suffix, worst, channels):
    path = tmp_path / f"x{suffix}"
    a = tone(24001, 24000, channels)
    if suffix == ".mp3" and channels == 6:
        with pytest.raises(ValueError, match="up to 2 channels"):
            a.save(path)
        return
    a.save(path)
    b = Audio.load(path)
    assert b.rate == (48000 if suffix == ".opus" else 24000)
    compared = a.resample(b.rate)
    if channels == 6 and worst == -20:  # codecs may low-pass channel 4, the one for low frequencies
        keep = [0, 1, 2, 4, 5]
        compared, b = (Audio(x.samples[keep], x.rate) for x in (compared, b))
    assert error_db(compared, b) < worst
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("rate", [7000, 44100, 96000])
@pytest.mark.parametrize("suffix", [".wav", ".flac", ".ogg", ".opus", ".m4a", ".mp3"])
def test_any_rate_is_kept_or_raised_to_a_supported_one(tmp_path, suffix, rate):
    a = tone(5001, rate, 2)
    a.save(tmp_path / f"x{suffix}")
    b = Audio.load(tmp_path / f"x{suffix}", rate=rate)
    assert b.rate == rate and a.length <= b.length <= a.length + 1


def test_equal_samples_are_equal_bytes_at_another_time():
    samples = np.random.default_rng(0).uniform(-0.3, 0.3, (2, 60_000)).astype(np.float32)
    first = {suffix: encode(samples, 24000, suffix) for suffix in WRITABLE if suffix != ".opus"}
    first[".opus"] = encode(samples, 48000, ".opus")
    time.sleep(1.1)  # libsndfile's stamps count seconds
    for suffix, written in first.items():
        assert encode(samples, 48000 if suffix == ".opus" else 24000, suffix) == written, suffix
        if suffix in (".ogg", ".opus"):
            assert written.count(b"OggS") > 2 and soundfile.read(io.BytesIO(written))[0].shape == (60_000, 2)


def test_only_the_time_is_taken_out_of_a_wav():
    samples = np.frombuffer(b"PEAK\x10\0\0\0" + b"PEAK" * 6, np.float32).reshape(1, 8)  # 16 would be its length
    plain = io.BytesIO()
    soundfile.write(plain, samples.T, 8000, format="WAV", subtype="FLOAT")
    theirs, ours = plain.getvalue(), encode(samples, 8000, ".wav")
    at = theirs.index(b"PEAK")
    assert theirs[at + 12 : at + 16] != bytes(4)
    assert ours == theirs[: at + 12] + bytes(4) + theirs[at + 16 :]


@pytest.mark.parametrize("suffix", [".wav", ".flac", ".ogg"])
def test_empty_files_round_trip(tmp_path, suffix):
    a = Audio.silence(0, 32000, 2)
    a.save(tmp_path / f"x{suffix}")
    assert Audio.load(tmp_path / f"x{suffix}") == a
    assert Audio.load(tmp_path / f"x{suffix}", rate=8000, mono=True) == Audio.silence(0, 8000)


def test_empty_sound_everywhere():
    a = Audio.silence(0, 8000, 2)
    assert (a.peak, a.loudness(), a.true_peak(), a.duration) == (0, -np.inf, -np.inf, 0)
    assert a.resample(16000).mono().gain(3).fade(5, 5).cut(0, 0).to_channels(2) == Audio.silence(0, 16000, 2)
    assert Audio.concatenate([a, a]) == a and Audio.mix([(a, 0, 0.0)]) == a and a.pad(2).length == 2
    with pytest.raises(ValueError, match=r"\.wav, \.flac and \.ogg can"):
        a.save("/tmp/x.mp3")


def test_load_resamples_and_mixes_down(tmp_path):
    tone(24001, channels=2).save(tmp_path / "x.wav")
    b = Audio.load(tmp_path / "x.wav", rate=16000, mono=True)
    assert (b.rate, b.channels, b.length) == (16000, 1, 16001)


def test_bitrate_changes_the_size(tmp_path):
    a = Audio(np.random.default_rng(0).normal(size=(2, 96000)) * 0.1, 48000)
    for suffix in (".mp3", ".opus", ".m4a"):
        a.save(tmp_path / f"low{suffix}", bitrate=64_000)
        a.save(tmp_path / f"high{suffix}", bitrate=192_000)
        low, high = ((tmp_path / f"{name}{suffix}").stat().st_size for name in ("low", "high"))
        assert 2 < high / low < 4
    with pytest.raises(ValueError, match="bitrate"):
        a.save(tmp_path / "x.wav", bitrate=64_000)


@pytest.mark.parametrize("suffix", [".wav", ".flac", ".ogg", ".opus", ".m4a", ".mp3"])
@pytest.mark.parametrize("kept", [0.0, 0.001, 0.03, 0.6, 0.9])
def test_cut_files_are_refused_by_name(tmp_path, suffix, kept):
    path = tmp_path / f"x{suffix}"
    Audio(np.random.default_rng(0).normal(size=(2, 60000)) * 0.1, 48000).save(path)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * kept)])
    with pytest.raises(ValueError, match=str(path)):
        Audio.load(path)


def test_damaged_and_mislabelled_files_are_refused_by_name(tmp_path):
    tone().save(tmp_path / "good.m4a")
    tone().save(tmp_path / "good.wav")
    cases = {
        "text.mp3": (b"hello there, I am a text file\n" * 40, "holds text"),
        "movie.wav": ((tmp_path / "good.m4a").read_bytes(), "holds MP4"),
        "sound.flac": ((tmp_path / "good.wav").read_bytes(), "holds WAV"),
        "noise.ogg": (np.random.default_rng(0).bytes(5000), "unknown bytes"),
        "empty.wav": (b"", "an empty file"),
        "header.wav": ((tmp_path / "good.wav").read_bytes()[:20], "damaged"),
        "x.xyz": (b"abc", "must end in one of"),
    }
    for name, (data, message) in cases.items():
        (tmp_path / name).write_bytes(data)
        with pytest.raises(ValueError, match=message) as error:
            Audio.load(tmp_path / name)
        assert name in str(error.value)
    with pytest.raises(FileNotFoundError, match="missing"):
        Audio.load(tmp_path / "missing.wav")
    with pytest.raises(IsADirectoryError):
        Audio.load(tmp_path)
    soundfile.write(tmp_path / "nan.wav", np.array([0.0, np.nan]), 8000, subtype="FLOAT")
    with pytest.raises(ValueError, match=r"nan\.wav"):
        Audio.load(tmp_path / "nan.wav")


def test_flac_with_flipped_bytes_is_refused(tmp_path):
    path = tmp_path / "x.flac"
    Audio(np.random.default_rng(0).normal(size=60000) * 0.1, 48000).save(path)
    data = bytearray(path.read_bytes())
    data[len(data) // 2 : len(data) // 2 + 3000] = bytes(3000)
    path.write_bytes(data)
    with pytest.raises(ValueError, match=str(path)):
        Audio.load(path)


def test_wav_of_other_sample_formats_and_streamed_headers(tmp_path):
    x = tone(5000).samples[0]
    for subtype in ("PCM_16", "PCM_24", "PCM_U8", "DOUBLE"):
        soundfile.write(tmp_path / "x.wav", x, 24000, subtype=subtype)
        np.testing.assert_allclose(Audio.load(tmp_path / "x.wav").samples[0], x, atol=0.01)
    soundfile.write(tmp_path / "x.wav", x, 24000, subtype="PCM_16")
    data = bytearray((tmp_path / "x.wav").read_bytes())
    at = data.index(b"data") + 4
    data[at : at + 4] = b"\xff\xff\xff\xff"  # what a program writes that could not seek back
    (tmp_path / "x.wav").write_bytes(data)
    assert Audio.load(tmp_path / "x.wav").length == 5000


def test_a_failed_save_leaves_nothing(tmp_path, monkeypatch):
    with pytest.raises(ValueError, match="must end in one of"):
        tone().save(tmp_path / "x.aiff")
    with pytest.raises(FileNotFoundError, match="does not exist"):
        tone().save(tmp_path / "nowhere" / "x.wav")
    (tmp_path / "x.wav").write_bytes(b"old")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("nexus.media.io.Path.write_bytes", full)
    with pytest.raises(OSError, match="No space"):
        tone().save(tmp_path / "x.wav")
    assert (tmp_path / "x.wav").read_bytes() == b"old" and len(list(tmp_path.iterdir())) == 1
