import numpy as np
import pytest

from nexus.data.storybook import (
    ALL,
    CORE_NOUNS,
    StoryClips,
    clip,
    clip_facts,
    still,
    still_facts,
)
from nexus.data.storybook.backgrounds import PLACES, draw_place
from nexus.data.storybook.caption import Facts, caption
from nexus.data.storybook.motion import PATHS, camera_window
from nexus.data.storybook.sprites import COLOURS, sprite

pytestmark = pytest.mark.emoji


def _facts(**changes):
    facts = {"noun": "boat", "colour": None, "companion": None, "place": "sea", "time": "day", "motion": "stand"}
    return Facts(**{**facts, "camera": "still", "weather": "clear", **changes})


def test_a_clip_is_its_seed():
    one, same, other = clip(7, frames=5), clip(7, frames=5), clip(8, frames=5)
    assert one.frames.shape == (5, 64, 64, 3) and one.frames.dtype == np.uint8
    assert (one.frames == same.frames).all() and one.caption == same.caption and one.facts == same.facts
    assert (one.frames != other.frames).any()


def test_the_splits_are_apart():
    train = {clip(seed, "train", frames=1).frames.tobytes() for seed in range(40)}
    valid = {clip(seed, "valid", frames=1).frames.tobytes() for seed in range(40)}
    assert len(train) == len(valid) == 40
    assert not train & valid


def test_sizes_and_lengths_are_as_asked():
    assert clip(1, size=48, frames=1).frames.shape == (1, 48, 48, 3)
    clips = StoryClips(3, "valid", size=32, frames=3, nouns=("cat",))
    assert clips[2].facts.noun == "cat" and clips[2].frames.shape == (3, 32, 32, 3)
    assert clips[2].caption == StoryClips(3, "valid", size=32, frames=3, nouns=("cat",))[2].caption


def test_without_variety_the_same_facts_put_the_thing_in_the_same_place():
    seeds = {}
    for seed in range(200):
        seeds.setdefault(clip_facts(seed, nouns=("moon",)), []).append(seed)
    one, other = next(alike for alike in seeds.values() if len(alike) > 1)[:2]

    def covered(seed, variety):
        return clip(seed, frames=5, nouns=("moon",), variety=variety)

    assert (covered(one, 0).thing == covered(other, 0).thing).all()
    assert (covered(one, 0).frames != covered(other, 0).frames).any()  # places are drawn anew
    apart = [np.abs(covered(one, v).thing.astype(int) - covered(other, v).thing).mean() for v in (0.25, 1)]
    assert 0 < apart[0] < apart[1]
    assert (covered(one, 1).frames == clip(one, frames=5, nouns=("moon",)).frames).all()
    with pytest.raises(ValueError, match="variety must be from 0 to 1, got 2"):
        covered(one, 2)


def test_with_little_variety_things_look_left_unless_their_path_turns_them():
    def looks_right(seed, variety):
        """A rocket that looks right points up and to the right."""
        frame = clip(seed, frames=3, nouns=("rocket",), variety=variety).thing[1]
        y, x = np.nonzero(frame > 127)
        return bool(np.cov(x, y)[0, 1] < 0)

    turns = {seed: PATHS[clip_facts(seed, nouns=("rocket",)).motion].turns for seed in range(60)}
    assert set(turns.values()) == {-1, 0, 1}
    assert {looks_right(seed, 1) for seed, way in turns.items() if way == 0} == {False, True}
    for variety in (0, 0.25, 0.5):
        assert all(looks_right(seed, variety) == (way > 0) for seed, way in turns.items())


def test_the_thing_moves_as_the_caption_says():
    """What differs from the last frame of a leaving thing is where the thing is."""
    for seed in range(400):
        shown = clip(seed, frames=9, nouns=("cat",))
        if shown.facts.motion == "cross_right" and shown.facts.weather == "clear":
            break
    else:
        raise AssertionError("no cat crosses to the right")
    still = np.median(shown.frames, axis=0)
    columns = [np.abs(shown.frames[k] - still).sum(axis=(0, 2)) for k in (2, 4, 6)]
    middles = [(column * np.arange(64)).sum() / column.sum() for column in columns]
    assert middles[0] < middles[1] < middles[2]
    assert any(words in shown.caption for words in ("from left to right", "to the right"))


def test_everything_is_drawn_at_home():
    """Each noun shows in a frame of its clips: the picture differs from its place without it."""
    for key in ALL:
        frames = clip(5, frames=9, nouns=(key,), size=32).frames.astype(int)
        assert frames.std() > 5, key


@pytest.mark.parametrize("place", PLACES)
def test_places_are_drawn_wide_at_every_hour(place):
    for time in PLACES[place].times:
        image = draw_place(PLACES[place], time, 64, np.random.default_rng(0))
        pixels = np.asarray(image)
        assert pixels.shape == (64, 102, 3)
        assert not (pixels == 0).all(axis=2).any(), "a gap was left undrawn"


def test_pictures_are_tinted_and_turned():
    boat = ALL["boat"]
    assert sprite(boat, "green").convert("RGB").resize((1, 1)).getpixel((0, 0)) != sprite(boat, "red").convert(
        "RGB"
    ).resize((1, 1)).getpixel((0, 0))
    fish = ALL["fish"]
    left, right = np.asarray(sprite(fish)), np.asarray(sprite(fish, None, True))
    assert (left == right[:, ::-1]).all() and (left != right).any()
    assert sprite(ALL["lighthouse"]).mode == "RGBA"


def test_captions_say_all_that_is_seen():
    rng = np.random.default_rng(0)
    facts = _facts(colour="red", motion="cross_right", time="night", weather="rain", camera="zoom_in")
    said = {caption(facts, rng) for _ in range(50)}
    assert len(said) > 15
    for words in said:
        assert "red" in words and "boat" in words and "right" in words
        assert "night" in words and "rain" in words and ("zooms in" in words or "closer" in words)


@pytest.mark.parametrize("motion", PATHS)
def test_every_motion_has_its_words_and_ends_somewhere(motion):
    words = caption(_facts(motion=motion), np.random.default_rng(1))
    assert words and "  " not in words
    for u in (0.0, 0.5, 1.0):
        x, y, factor = PATHS[motion].at(u, 0.5, 0.8)
        assert -0.5 <= x <= 1.5 and -0.2 <= y <= 1.3 and 0.3 <= factor <= 1.3


def test_an_and_a():
    rng = np.random.default_rng(0)
    assert all("an owl" in caption(_facts(noun="owl"), rng) for _ in range(9))
    words = caption(_facts(noun="umbrella", place="room"), rng)
    assert words.startswith("an umbrella") or "an umbrella" in words


def test_the_camera_stays_on_the_picture():
    for camera in ("still", "pan_left", "pan_right", "zoom_in", "zoom_out"):
        for u in (0.0, 0.3, 1.0):
            left, top, side = camera_window(camera, u, (0.4, 0.9))
            assert left >= -0.3 and left + side <= 1.3 and top >= 0 and top + side <= 1.0001
    assert camera_window("pan_right", 1.0, (0.0, 0.0))[0] > camera_window("pan_right", 0.0, (0.0, 0.0))[0]
    assert camera_window("zoom_in", 1.0, (0.5, 0.5))[2] < camera_window("zoom_in", 0.0, (0.5, 0.5))[2]


def test_wrong_arguments_are_refused():
    with pytest.raises(ValueError, match="unknown noun 'catt'"):
        clip(0, nouns=("catt",))
    with pytest.raises(ValueError, match="no nouns"):
        clip(0, nouns=())
    with pytest.raises(ValueError, match="at least 1"):
        clip(0, frames=0)


def test_the_core_is_part_of_all():
    assert set(CORE_NOUNS) <= set(ALL) and len(CORE_NOUNS) >= 40 and len(ALL) >= 100
    assert len(COLOURS) == 7


def test_a_still_is_a_thing_at_rest_that_its_caption_names():
    stills = [still(seed, "valid", nouns=("boat", "cat", "rocket")) for seed in range(40)]
    for one in stills:
        assert one.frames.shape == (1, 64, 64, 3) and one.thing.max() > 200
        assert (one.facts.motion, one.facts.camera) == ("stand", "still")
        assert one.caption.strip() and "camera" not in one.caption and not one.caption.endswith(" is")
    again = still(7, "valid", nouns=("boat", "cat", "rocket"))
    assert (again.frames == stills[7].frames).all() and again.caption == stills[7].caption
    assert len({one.frames.tobytes() for one in stills}) == 40
    assert {one.facts.noun for one in stills} == {"boat", "cat", "rocket"}
    with pytest.raises(ValueError, match="size is at least 16"):
        still(0, size=8)


def test_facts_are_known_without_drawing():
    for seed in range(20):
        assert clip_facts(seed, "valid") == clip(seed, "valid", size=16, frames=1).facts
        assert still_facts(seed, "train", nouns=("boat",)) == still(seed, "train", size=16, nouns=("boat",)).facts
