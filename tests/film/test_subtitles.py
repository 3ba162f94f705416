from fractions import Fraction

import av
import numpy as np
import pysubs2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nexus.film.mix import mix
from nexus.film.subtitles import COLUMNS, ROWS, chapters, cues, save_subtitles
from nexus.film.timeline import LineTimes, SceneTimes, Timeline, Transition, place
from nexus.film.transitions import assemble
from nexus.media.audio import Audio
from nexus.media.video_io import Cue, write_video

RATE, FPS = 48000, Fraction(8)
LONG = "The night was long and the sea was loud, but the lamp went round and round, " * 3


def timeline_of(*texts: str, seconds: float = 2.0) -> Timeline:
    lines = tuple(LineTimes(who="keeper", text=text, length=round(seconds * RATE)) for text in texts)
    fade = Transition(kind="dissolve", frames=4)
    return place([SceneTimes(lines=lines, transition=fade), SceneTimes(duration=Fraction(1))], FPS, RATE)


@given(st.lists(st.text(min_size=1, max_size=300), min_size=1, max_size=4), st.floats(0.05, 5))
@settings(deadline=None, max_examples=40)
def test_cues_are_in_order_and_fit_the_screen(texts, seconds):
    timeline = timeline_of(*texts, seconds=seconds)
    shown = cues(timeline)
    for cue, following in zip(shown, [*shown, None][1:], strict=True):  # of blank lines there are none
        assert 0 <= cue.start < cue.stop <= (following.start if following else timeline.duration)
        rows = cue.text.split("\n")
        assert len(rows) <= ROWS and all(len(row) <= COLUMNS for row in rows)
    spoken = "".join("".join(texts).split())
    assert "".join("".join(cue.text for cue in shown).split()) == spoken


def test_times_come_from_the_lines():
    timeline = timeline_of("One.", LONG)
    first, *rest = cues(timeline)
    assert first.start == Fraction(timeline.lines[0].start_sample, RATE) and first.text == "One."
    assert first.stop == Fraction(timeline.lines[1].start_sample, RATE)  # lingers, but not into the next
    assert len(rest) > 2 and rest[0].start == first.stop and rest[-1].stop <= timeline.duration


def test_files_are_read_back(tmp_path):
    shown = cues(timeline_of("Every night I light the lamp.", "Is it <late>, {Anna} & Tom?", LONG))
    for suffix in (".srt", ".vtt"):
        save_subtitles(tmp_path / f"x{suffix}", shown)
        events = pysubs2.load(str(tmp_path / f"x{suffix}")).events
        assert [(event.start, event.end) for event in events] == [
            (round(cue.start * 1000), round(cue.stop * 1000)) for cue in shown
        ]
        assert events[0].plaintext == shown[0].text
    assert (tmp_path / "x.vtt").read_text().startswith("WEBVTT") and "&lt;late&gt;" in (tmp_path / "x.vtt").read_text()
    assert "<late>, (Anna) & Tom" in (tmp_path / "x.srt").read_text() and "," in (tmp_path / "x.srt").read_text()
    save_subtitles(tmp_path / "none.srt", ())
    assert (tmp_path / "none.srt").read_text().strip() == ""
    with pytest.raises(ValueError, match=r"\.srt, \.vtt"):
        save_subtitles(tmp_path / "x.txt", shown)


def test_a_film_is_written_and_read_back(tmp_path):
    timeline = timeline_of("Every night I light the lamp.", "Ünd ich auch.")
    shown, marks = cues(timeline), chapters(timeline, ["The lamp", "The sea"])
    t = np.arange(2 * RATE) / RATE
    clip = Audio(0.3 * np.sin(2 * np.pi * 300 * t) * (1 + np.sin(2 * np.pi * 3 * t)), RATE)
    placed = [(clip, line.start_sample, 0.0) for line in timeline.lines]
    mixed = mix({"dialogue": placed}, timeline.length, RATE)
    frames = assemble(timeline, lambda shot: np.full((shot.frames, 32, 48, 3), 90 * shot.scene + 60, np.uint8))
    path = tmp_path / "film.mp4"
    count = write_video(
        path, frames, FPS, (32, 48), mixed.master, subtitles=shown, chapters=marks, metadata={"title": "Lamp"}
    )
    assert count == timeline.frames
    with av.open(str(path)) as film:
        assert film.metadata["title"] == "Lamp"
        assert [mark["metadata"]["title"] for mark in film.chapters()] == ["The lamp", "The sea"]
        assert sum(1 for _ in film.decode(video=0)) == timeline.frames
        sound = film.streams.audio[0]
        assert abs(sound.duration * sound.time_base - timeline.duration) <= 1 / FPS
    with av.open(str(path)) as film:
        track = film.streams.subtitles[0]
        found = [
            (p.pts * p.time_base, p.duration * p.time_base, bytes(p)[2:].decode())
            for p in film.demux(track)
            if p.pts is not None
        ]
    spoken = [(float(start), float(length), text) for start, length, text in found if text]
    expected = [(float(cue.start), float(cue.stop - cue.start), cue.text) for cue in shown]
    for (start, length, text), (start_, length_, text_) in zip(spoken, expected, strict=True):
        assert text == text_ and abs(start - start_) < 0.002 and abs(length - length_) < 0.003
    encoded = Audio.load(path)
    assert abs(encoded.loudness() + 16) < 0.5 and encoded.true_peak() <= -1


def test_nothing_is_left_of_a_film_that_failed(tmp_path):
    def broken():
        yield np.zeros((32, 48, 3), np.uint8)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_video(tmp_path / "x.mp4", broken(), FPS, (32, 48))
    with pytest.raises(ValueError, match="does not fit 1 frames"):
        write_video(tmp_path / "x.mp4", [np.zeros((32, 48, 3), np.uint8)], FPS, (32, 48), Audio.silence(RATE, RATE))
    with pytest.raises(ValueError, match="at least one frame"):
        write_video(tmp_path / "x.mp4", [], FPS, (32, 48))
    with pytest.raises(ValueError, match="frames must be uint8"):
        write_video(tmp_path / "x.mp4", [np.zeros((8, 8, 3), np.uint8)], FPS, (32, 48))
    cue = Cue(start=Fraction(0), stop=Fraction(1), text="a")
    with pytest.raises(ValueError, match=r"needs \.mp4"):
        write_video(tmp_path / "x.webm", [], FPS, (32, 48), subtitles=[cue])
    with pytest.raises(FileNotFoundError, match="does not exist"):
        write_video(tmp_path / "no" / "x.mp4", broken(), FPS, (32, 48))
    assert not list(tmp_path.iterdir())
    with pytest.raises(ValueError, match="2 scenes"):
        chapters(timeline_of("a"), ["one"])
