from fractions import Fraction

import numpy as np
import pytest

from nexus.film.timeline import SceneTimes, Transition, place
from nexus.film.transitions import assemble, dissolve, fade_from_black, fade_to_black


def grey(level: int, frames: int) -> np.ndarray:
    return np.full((frames, 4, 6, 3), level, np.uint8)


def test_a_dissolve_moves_evenly():
    levels = dissolve(grey(0, 4), grey(100, 4))[:, 0, 0, 0].tolist()
    assert levels == [20, 40, 60, 80]


def test_fades_reach_black():
    assert fade_to_black(grey(90, 4))[:, 0, 0, 0].tolist() == [68, 45, 22, 0]
    assert fade_from_black(grey(90, 4))[:, 0, 0, 0].tolist() == [0, 22, 45, 68]
    assert fade_to_black(grey(90, 1)).max() == 0 and len(fade_to_black(grey(9, 0))) == 0


def test_the_film_has_every_frame_once():
    kinds = [("dissolve", 3), ("cut", 0), ("fade", 5), ("dissolve", 2)]
    scenes = [SceneTimes(duration=Fraction(1), transition=Transition(kind=k, frames=n)) for k, n in kinds]
    timeline = place(scenes, Fraction(8))
    film = list(assemble(timeline, lambda shot: grey(50 * (shot.scene + 1), shot.frames)))
    assert len(film) == timeline.frames == 8 * 4 - 3
    levels = [int(frame[0, 0, 0]) for frame in film]
    assert levels[:8] == [50, 50, 50, 50, 50, 62, 75, 88] and levels[8:13] == [100] * 5
    third = levels[13:21]
    assert third[:5] == [150] * 5 and third[5:] == [100, 50, 0]
    assert levels[21:23] == [0, 100] and levels[23:27] == [200] * 4 and levels[27:] == [100, 0]


def test_shots_stay_as_they_were_and_must_fit():
    timeline = place([SceneTimes(transition=Transition(kind="fade", frames=4))], Fraction(8))
    picture = grey(80, timeline.frames)
    picture.flags.writeable = False
    assert list(assemble(timeline, lambda _: picture))[-1].max() == 0 and picture.min() == 80
    with pytest.raises(ValueError, match="shot 1 has 3 frames"):
        list(assemble(timeline, lambda _: grey(0, 3)))
