import shutil
import struct
from fractions import Fraction

import av
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nexus.media.audio import Audio
from nexus.media.clock import exact_rate, sample_at
from nexus.media.image import Image
from nexus.media.io import PathLike
from nexus.media.video import Video

RATES = [Fraction(8), Fraction(24000, 1001), Fraction(25, 2)]


def moving(length=9, height=48, width=64, fps: Fraction | int = 8, rate: int | None = None, channels=2):
    y, x = np.mgrid[:height, :width]
    frames = [np.stack([(4 * x + 9 * i) % 256, 5 * y, np.full_like(x, 25 * (i % 10))], axis=2) for i in range(length)]
    video = Video(np.stack(frames).astype(np.uint8) if frames else np.zeros((0, height, width, 3), np.uint8), fps)
    if rate is None:
        return video
    t = np.arange(sample_at(length, video.fps, rate)) / rate
    wave = np.stack([0.3 * np.sin(2 * np.pi * 300 * (c + 1) * t) * (t > 0.1) for c in range(channels)])
    return video.with_audio(Audio(wave, rate))


def track_lengths(path: PathLike) -> tuple[Fraction, Fraction]:
    """Seconds of picture and of sound, counted by decoding every packet apart from our reader."""
    with av.open(str(path)) as source:
        frames = sum(1 for _ in source.decode(video=0))
        fps = source.streams.video[0].average_rate
    with av.open(str(path)) as source:
        stream = source.streams.audio[0]
        declared = None if stream.duration is None else stream.duration * stream.time_base
        samples = sum(frame.samples for frame in source.decode(stream))
    return Fraction(frames) / fps, declared if declared is not None else Fraction(samples, stream.rate)


def test_a_value():
    video = moving(rate=8000)
    assert video == moving(rate=8000) and hash(video) == hash(moving(rate=8000)) and video != moving() and video != 1
    assert (video.length, video.height, video.width, video.duration) == (9, 48, 64, Fraction(9, 8))
    with pytest.raises(ValueError, match="read-only"):
        video.frames[0, 0, 0, 0] = 1
    assert "fps" in repr(video) and "<video" in video._repr_html_() and "<div>" in moving(height=3)._repr_html_()
    with pytest.raises(ValueError, match="with_audio"):
        Video(video.frames, 8, Audio.silence(100, 8000))
    with pytest.raises(ValueError, match="uint8"):
        Video(np.zeros((2, 4, 4, 3)), 8)
    with pytest.raises(ValueError, match="positive"):
        Video(video.frames, 0)
    assert video.frame(3) == Image(video.frames[3])


def test_rates_are_exact():
    assert exact_rate(23.976) == Fraction(24000, 1001) and exact_rate(29.97) == Fraction(30000, 1001)
    assert (exact_rate(8.0), exact_rate(12.5), exact_rate("24000/1001")) == (8, Fraction(25, 2), Fraction(24000, 1001))


def test_tensor_round_trip():
    tensor = moving().tensor()
    assert tensor.shape == (3, 9, 48, 64) and tensor.min() >= -1 and tensor.max() <= 1
    assert Video.from_tensor(tensor, 8) == moving()
    assert Video.from_tensor(torch.zeros(1, 2, 4, 4), 8).frames.shape == (2, 4, 4, 3)
    with pytest.raises(ValueError, match="NaN"):
        Video.from_tensor(torch.full((3, 1, 2, 2), float("nan")), 8)


@given(
    st.lists(st.integers(0, 7), min_size=1, max_size=6), st.sampled_from(RATES), st.sampled_from([None, 8000, 44100])
)
@settings(deadline=None, max_examples=25)
def test_concatenation_never_drifts(lengths, fps, rate):
    parts = [moving(n, 4, 4, fps, rate if i % 2 == 0 else None) for i, n in enumerate(lengths)]
    whole = Video.concatenate(parts)
    assert whole.length == sum(lengths)
    assert (whole.audio is None) == (rate is None)
    if whole.audio is not None and rate is not None:
        assert whole.audio.length == sample_at(sum(lengths), fps, rate)
    at = 0
    for part in parts:
        piece = whole.cut(at, at + part.length)
        assert np.array_equal(piece.frames, part.frames)
        assert piece.audio is None or abs(piece.audio.duration - piece.duration) <= Fraction(1, piece.audio.rate)
        at += part.length


def test_editing():
    video = moving(rate=8000)
    assert video.with_audio(None).audio is None
    longer = video.with_audio(Audio.silence(100, 8000)).audio
    assert longer is not None and longer.length == 9000
    small = video.resize(24, 32)
    assert (small.height, small.width, small.audio) == (24, 32, video.audio) and video.resize(48, 64) is video
    assert moving(0).resize(2, 2).frames.shape == (0, 2, 2, 3)
    for start, stop in ((-1, 3), (4, 3), (0, 10)):
        with pytest.raises(ValueError, match=r"0\.\.9"):
            video.cut(start, stop)
    with pytest.raises(ValueError, match="one size and rate"):
        Video.concatenate([video, small])
    with pytest.raises(ValueError, match="none"):
        Video.concatenate([])


def test_contact_sheet():
    video = moving()
    sheet = video.contact_sheet(4)
    assert sheet.pixels.shape == (3 * 48, 4 * 64, 3)
    assert np.array_equal(sheet.pixels[48:96, :64], video.frames[4]) and (sheet.pixels[96:, 64:] == 255).all()
    assert np.array_equal(video.contact_sheet(1, count=1).pixels, video.frames[4])
    with pytest.raises(ValueError, match="without frames"):
        moving(0).contact_sheet()
    with pytest.raises(ValueError, match="columns"):
        video.contact_sheet(0)


def test_empty():
    empty = Video.empty(4, 6, 8)
    assert (empty.duration, empty.frames.shape) == (0, (0, 4, 6, 3)) and Video.concatenate([empty, empty]) == empty
    assert empty.cut(0, 0).with_audio(Audio.silence(5, 8000)).audio == Audio.silence(0, 8000)
    with pytest.raises(ValueError, match="without frames"):
        empty.save("/tmp/x.mp4")


@pytest.mark.parametrize("fps", RATES)
@pytest.mark.parametrize(("suffix", "rate"), [(".mp4", 44100), (".mp4", 24000), (".webm", 48000)])
def test_files_round_trip_with_sound(tmp_path, suffix, rate, fps):
    path = tmp_path / f"x{suffix}"
    video = moving(17, 64, 96, fps, rate)
    video.save(path)
    loaded = Video.load(path)
    assert (loaded.fps, loaded.frames.shape) == (fps, video.frames.shape)
    difference = np.abs(loaded.frames.astype(int) - video.frames).mean(axis=(1, 2, 3))
    assert difference.max() < 6, difference
    assert loaded.audio is not None and video.audio is not None
    assert (loaded.audio.rate, loaded.audio.length) == (rate, video.audio.length)
    error = np.sum((loaded.audio.samples - video.audio.samples) ** 2) / np.sum(video.audio.samples**2)
    assert error < 0.01  # a shift of one sample at 600 Hz would already be 0.7 %, of three 6 %
    picture, sound = track_lengths(path)
    assert abs(picture - sound) <= 1 / fps and picture == video.duration
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("length", [1, 2, 5])
def test_short_videos_round_trip(tmp_path, length):
    for suffix in (".mp4", ".webm", ".gif"):
        video = moving(length, rate=24000)
        video.save(tmp_path / f"x{suffix}")
        loaded = Video.load(tmp_path / f"x{suffix}")
        assert loaded.length == length and abs(loaded.duration - video.duration) <= Fraction(1, 100)
        if length > 1:
            assert loaded.fps == 8


# (a, b, c, d) of a display matrix: x and y of a picture are shown at a x + c y and b x + d y
TURNS = {
    "as it is": ((1, 0, 0, 1), lambda f: f),
    "a phone held upright": ((0, 1, -1, 0), lambda f: np.rot90(f, -1, axes=(1, 2))),
    "upside down": ((-1, 0, 0, -1), lambda f: np.rot90(f, 2, axes=(1, 2))),
    "a phone upright on its head": ((0, -1, 1, 0), lambda f: np.rot90(f, 1, axes=(1, 2))),
    "a mirror": ((-1, 0, 0, 1), lambda f: f[:, :, ::-1]),
    "a lake": ((1, 0, 0, -1), lambda f: f[:, ::-1]),
    "x and y exchanged": ((0, 1, 1, 0), lambda f: f.swapaxes(1, 2)),
    "a phone upright, in a mirror": ((0, -1, -1, 0), lambda f: np.rot90(f, 2, axes=(1, 2)).swapaxes(1, 2)),
    "no matrix at all": ((0, 0, 0, 0), lambda f: f),
}


@pytest.mark.parametrize(("matrix", "turned"), TURNS.values(), ids=TURNS.keys())
def test_turned_files_load_upright(tmp_path, matrix, turned):
    path = tmp_path / "x.mp4"
    moving(5, 32, 48, rate=24000).save(path)
    stored = Video.load(path).frames
    file = bytearray(path.read_bytes())
    at = file.index(b"tkhd") + 44  # of the first track, the pictures; version 0 (ISO/IEC 14496-12, 8.3.2)
    assert struct.unpack_from(">9i", file, at) == (1 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30)
    a, b, c, d = (number << 16 for number in matrix)
    struct.pack_into(">9i", file, at, a, b, 0, c, d, 0, 0, 0, 1 << 30)
    path.write_bytes(file)
    video = Video.load(path)
    assert np.array_equal(video.frames, turned(stored)) and video.frames.flags.c_contiguous
    assert video.audio is not None and video.fps == 8


@pytest.mark.parametrize("suffix", [".mp4", ".webm", ".gif"])
def test_equal_frames_are_equal_bytes(tmp_path, suffix):
    for name in "ab":
        moving(3, rate=48000).save(tmp_path / f"{name}{suffix}")
    assert (tmp_path / f"a{suffix}").read_bytes() == (tmp_path / f"b{suffix}").read_bytes()


def test_colours_survive(tmp_path):
    frames = np.zeros((3, 32, 48, 3), np.uint8)
    frames[:, :, :16], frames[:, :, 16:32], frames[:, :, 32:] = (220, 30, 30), (30, 220, 30), (30, 30, 220)
    for suffix in (".mp4", ".webm", ".gif"):
        Video(frames, 8).save(tmp_path / f"x{suffix}")
        loaded = Video.load(tmp_path / f"x{suffix}").frames[0, 16, [8, 24, 40]].astype(int)
        assert np.abs(loaded - frames[0, 16, [8, 24, 40]]).max() < 8


@pytest.mark.parametrize("fps", [Fraction(8), Fraction(24), Fraction(25, 2)])
def test_gif_keeps_time(tmp_path, fps):
    video = moving(13, fps=fps)
    video.save(tmp_path / "x.gif")
    loaded = Video.load(tmp_path / "x.gif")
    assert (loaded.fps, loaded.length) == (fps, 13)
    assert np.abs(loaded.frames.astype(int) - video.frames).mean() < 8
    with pytest.raises(ValueError, match="up to 50"):
        moving(fps=60).save(tmp_path / "y.gif")


def test_odd_sizes_are_refused_with_the_nearest(tmp_path):
    with pytest.raises(ValueError, match="48x66"):
        moving(height=47, width=65).save(tmp_path / "x.mp4")
    assert not list(tmp_path.iterdir())
    moving(height=47, width=65).save(tmp_path / "x.gif")
    assert Video.load(tmp_path / "x.gif").width == 65


def test_mono_and_surround_sound(tmp_path):
    for channels in (1, 2, 6):
        moving(rate=48000, channels=channels).save(tmp_path / "x.mp4")
        audio = Audio.load(tmp_path / "x.mp4")
        assert (audio.channels, audio.rate) == (channels, 48000) and audio.peak > 0.2
    with pytest.raises(ValueError, match="1, 2 or 6"):
        moving(rate=48000, channels=4).save(tmp_path / "y.mp4")
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("suffix", [".mp4", ".webm", ".gif"])
@pytest.mark.parametrize("kept", [0.0, 0.01, 0.5, 0.9])
def test_cut_files_are_refused_by_name(tmp_path, suffix, kept):
    path = tmp_path / f"x{suffix}"
    moving(30, rate=24000).save(path)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * kept)])
    with pytest.raises(ValueError, match=str(path)):
        Video.load(path)


def test_mislabelled_files_are_refused_by_name(tmp_path):
    moving().save(tmp_path / "good.mp4")
    shutil.copy(tmp_path / "good.mp4", tmp_path / "bad.webm")
    shutil.copy(tmp_path / "good.mp4", tmp_path / "bad.gif")
    Audio.silence(8000, 8000).save(tmp_path / "sound.m4a")
    shutil.copy(tmp_path / "sound.m4a", tmp_path / "sound.mp4")
    (tmp_path / "text.mp4").write_text("not a film")
    for name, message in {"bad.webm": "MP4", "bad.gif": "MP4", "sound.mp4": "no pictures", "text.mp4": "text"}.items():
        with pytest.raises(ValueError, match=message) as error:
            Video.load(tmp_path / name)
        assert name in str(error.value)
    with pytest.raises(ValueError, match="no sound"):
        Audio.load(tmp_path / "good.mp4")
    with pytest.raises(FileNotFoundError):
        Video.load(tmp_path / "missing.mp4")
    with pytest.raises(ValueError, match="must end in one of"):
        moving().save(tmp_path / "x.avi")
    with pytest.raises(FileNotFoundError, match="does not exist"):
        moving().save(tmp_path / "no" / "x.mp4")
