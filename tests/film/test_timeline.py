from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nexus.film.timeline import (
    LEAD,
    PAUSE,
    TAIL,
    UNSPOKEN,
    LineTimes,
    Region,
    SceneTimes,
    SoundTimes,
    Transition,
    place,
)
from nexus.media.clock import sample_at

RATE = 48000
CUT, DISSOLVE, FADE = Transition(), Transition(kind="dissolve", frames=4), Transition(kind="fade", frames=5)


def line(seconds: float, text: str = "words", at: Fraction | None = None) -> LineTimes:
    return LineTimes(who="keeper", text=text, length=round(seconds * RATE), at=at)


plans = st.lists(
    st.tuples(
        st.one_of(st.none(), st.fractions(Fraction(1, 10), 6, max_denominator=30)),
        st.lists(st.integers(1, 3 * RATE), max_size=3),
        st.integers(0, 2),
        st.integers(0, 2),
    ),
    min_size=1,
    max_size=6,
)


@given(plans, st.sampled_from([Fraction(8), Fraction(24000, 1001), Fraction(25, 2)]))
@settings(deadline=None, max_examples=60)
def test_whatever_is_placed_fits(plan, fps):
    """plan: (duration, lengths of the lines in samples, number of sounds, which transition) of each scene."""
    scenes = [
        SceneTimes(
            duration=duration,
            lines=tuple(LineTimes(who="a", text="b", length=n) for n in lengths),
            sounds=(SoundTimes(),) * n_sounds,
            transition=(CUT, DISSOLVE, FADE)[which],
        )
        for duration, lengths, n_sounds, which in plan
    ]
    timeline = place(scenes, fps, RATE)
    frame = 1 / fps
    assert abs(Fraction(timeline.length, RATE) - timeline.duration) <= Fraction(1, RATE)
    for shot, scene, following in zip(timeline.shots, scenes, [*timeline.shots[1:], None], strict=True):
        assert shot.frames >= 1
        if scene.duration is not None:
            assert shot.frames * frame >= scene.duration
        if following is not None:
            assert following.start_frame == shot.end_frame - shot.transition.overlap
            assert shot.transition == scene.transition
    assert [item.length for item in timeline.lines] == [n for _, lengths, _, _ in plan for n in lengths]
    assert len(timeline.sounds) == sum(n for _, _, n, _ in plan)
    for spoken, after in zip(timeline.lines, timeline.lines[1:], strict=False):
        assert spoken.start_sample + spoken.length <= after.start_sample
    for spoken in timeline.lines:
        shot = timeline.shots[spoken.scene]
        alone = (shot.end_frame - shot.transition.overlap) / fps  # while the next shot is not yet to be seen
        assert sample_at(shot.start_frame, fps, RATE) < spoken.start_sample
        assert Fraction(spoken.start_sample + spoken.length, RATE) <= alone + Fraction(1, RATE)
    for sound in timeline.sounds:
        assert sound.start_sample + sound.length <= timeline.length
    assert sum(region.length for region in timeline.score) == timeline.length


def test_lines_decide_how_long_a_shot_lasts():
    fps = Fraction(8)
    scenes = [SceneTimes(duration=Fraction(2), lines=(line(3), line(1.5)))]
    timeline = place(scenes, fps, RATE)
    first, second = timeline.lines
    assert first.start_sample == LEAD * RATE
    assert second.start_sample == first.start_sample + 3 * RATE + PAUSE * RATE
    needed = LEAD + 3 + PAUSE + Fraction(3, 2) + TAIL
    assert timeline.frames == -(-needed * 8 // 1)
    assert place([SceneTimes(duration=Fraction(20), lines=(line(3),))], fps).duration == 20
    assert place([SceneTimes()], fps).duration == UNSPOKEN


def test_dissolves_overlap_and_fades_do_not():
    timeline = place([SceneTimes(duration=Fraction(2), transition=t) for t in (DISSOLVE, FADE, CUT)], Fraction(8))
    assert [(shot.start_frame, shot.frames) for shot in timeline.shots] == [(0, 16), (12, 16), (28, 16)]
    assert timeline.frames == 44 and (FADE.fade_out, FADE.fade_in) == (3, 2)
    last = place([SceneTimes(duration=Fraction(2), transition=DISSOLVE)], Fraction(8)).shots[0]
    assert last.transition.kind == "fade" and last.transition.fade_out == 4 and last.frames == 16


def test_lines_wait_for_a_long_dissolve():
    slow = Transition(kind="dissolve", frames=16)
    scenes = [SceneTimes(duration=Fraction(3), transition=slow), SceneTimes(lines=(line(1),))]
    timeline = place(scenes, Fraction(8), RATE)
    assert timeline.lines[0].start_sample == sample_at(timeline.shots[0].end_frame, Fraction(8), RATE)


def test_a_line_goes_where_it_says():
    scenes = [SceneTimes(lines=(line(1, at=Fraction(2)), line(1), line(1, at=Fraction(7))))]
    starts = [spoken.start_sample / RATE for spoken in place(scenes, Fraction(8), RATE).lines]
    assert starts == [2.0, 3.3, 7.0]


@pytest.mark.parametrize(
    ("scene", "message"),
    [
        (SceneTimes(duration=Fraction(0)), "scene 2: a duration must be more than 0"),
        (SceneTimes(duration=Fraction(-1)), "scene 2: a duration"),
        (SceneTimes(lines=(line(2), line(1, "too early", Fraction(1)))), "'too early' begins at 1.00 s.*until 2.40 s"),
        (SceneTimes(lines=(line(1, at=Fraction(-1)),)), "before its scene"),
        (SceneTimes(duration=Fraction(2), sounds=(SoundTimes(at=Fraction(2)),)), "outside its scene of 2.00 s"),
        (SceneTimes(sounds=(SoundTimes(duration=Fraction(0)),)), "more than 0 seconds"),
    ],
)
def test_impossible_scenes_are_refused(scene, message):
    with pytest.raises(ValueError, match=message):
        place([SceneTimes(), scene], Fraction(8), RATE)


def test_impossible_transitions_are_refused():
    for kind, frames in (("cut", 2), ("dissolve", 0), ("fade", -1)):
        with pytest.raises(ValueError, match=f"a {kind} cannot last {frames} frames"):
            Transition(kind=kind, frames=frames)


def test_sounds_are_cut_to_their_shot():
    sounds = (SoundTimes(at=Fraction(1), gain_db=-3.0), SoundTimes(at=Fraction(1, 2), duration=Fraction(1)))
    scenes = [SceneTimes(duration=Fraction(2)), SceneTimes(duration=Fraction(3), sounds=sounds)]
    long, short = place(scenes, Fraction(8), RATE).sounds
    assert (long.start_sample, long.length, long.gain_db, long.index) == (3 * RATE, 2 * RATE, -3.0, 0)
    assert (short.start_sample, short.length, short.index) == (2 * RATE + RATE // 2, RATE, 1)


def test_score_regions_join_neighbours():
    scenes = [SceneTimes(duration=Fraction(1))] * 5
    regions = place(scenes, Fraction(8), RATE, score_under=[3, 0, 1]).score
    assert regions == (Region(start_sample=0, length=2 * RATE), Region(start_sample=3 * RATE, length=RATE))
    assert place(scenes, Fraction(8), RATE).score == (Region(start_sample=0, length=5 * RATE),)
    assert place(scenes, Fraction(8), RATE, score_under=()).score == ()
    with pytest.raises(ValueError, match="scenes are 0 to 4"):
        place(scenes, Fraction(8), RATE, score_under=[5])
    assert place([], Fraction(8)).length == 0
