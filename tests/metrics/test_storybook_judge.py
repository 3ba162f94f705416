"""The judge of videos: what it learns, what it tracks, how it counts."""

import importlib.util
from collections import Counter

import numpy as np
import pytest
import torch

from nexus.data.storybook import clip
from nexus.data.storybook.backgrounds import PLACES
from nexus.media.video import Video
from nexus.metrics.agreement import agreement, ratio
from nexus.metrics.motion import drift
from nexus.metrics.picture_features import PACKAGE
from nexus.metrics.softmax_regression import fit
from nexus.metrics.storybook_clips import clips_in_turn, empty_place, everywhere
from nexus.metrics.storybook_judge import StorybookJudge, asked_direction

pytestmark = pytest.mark.emoji

NOUNS = ("lighthouse", "balloon")


@pytest.fixture(scope="module")
def judge():
    if importlib.util.find_spec(PACKAGE) is None:
        pytest.skip(f"{PACKAGE} is not installed")
    return StorybookJudge(NOUNS, examples=1, frames=5)


def test_a_few_dozen_clips_teach_it(judge):
    clips = clips_in_turn(NOUNS, 10, size=64, frames=5)
    seen = [judge.look(Video(c.frames, c.fps)) for c in clips]
    thing = agreement([s.thing for s in seen], [c.facts.noun for c in clips])
    place = agreement([s.place for s in seen], [c.facts.place for c in clips])
    assert thing.right.low > thing.chance + 0.1 and thing.right.value > 0.8
    assert place.right.low > place.chance + 0.1 and place.right.value > 0.5
    assert sum(s.time == c.facts.time for s, c in zip(seen, clips, strict=True)) > 6


def test_a_judge_needs_something_to_tell_apart(judge):
    with pytest.raises(ValueError, match="two nouns and one example of each, got 1 and 3"):
        StorybookJudge(("cat",))
    with pytest.raises(ValueError, match="unknown noun 'zeppelin'; there are"):
        StorybookJudge(("cat", "zeppelin"))
    with pytest.raises(ValueError, match="motion needs at least two frames, got 1"):
        judge.look(Video(np.zeros((1, 64, 64, 3), np.uint8), 8))


def test_every_thing_stands_in_every_place_and_is_tried_on_others():
    learnt = everywhere(NOUNS, 1, size=16, frames=1)
    assert set(Counter((c.facts.noun, c.facts.place) for c in learnt).values()) == {1}
    assert len(learnt) == len(NOUNS) * len(PLACES)
    tried = [clips_in_turn(NOUNS, 5, size=16, frames=1, seed=seed) for seed in (0, 1)]
    assert [c.facts.noun for c in tried[0]] == [NOUNS[i % 2] for i in range(5)]
    clips = learnt + tried[0] + tried[1]
    assert all(c.facts.weather == "clear" and c.facts.companion is None for c in clips)
    assert len({c.frames.tobytes() for c in clips}) == len(clips)
    other = clips_in_turn(NOUNS, 5, size=16, frames=1, split="train")
    assert [c.facts.noun for c in other] == [c.facts.noun for c in tried[0]]
    assert not {c.frames.tobytes() for c in other} & {c.frames.tobytes() for c in tried[0]}


def test_an_empty_place_is_still_and_of_the_clips_size():
    video = empty_place(clips_in_turn(("cat",), 1, size=48, frames=5)[0], 3)
    assert video.frames.shape == (5, 48, 48, 3)
    assert (video.frames == video.frames[:1]).all()


def square(step: tuple[int, int], background: int = 0) -> Video:
    """A bright square that goes `step` pixels (x, y) a frame over noise that goes `background` pixels to the right."""
    rng = np.random.default_rng(0)
    far = rng.integers(0, 90, (64, 128, 3)).astype(np.uint8).repeat(2, 0).repeat(2, 1)
    frames = []
    for i in range(9):
        frame = far[:64, 60 - background * i : 124 - background * i].copy()
        x, y = 24 + step[0] * (i - 4), 24 + step[1] * (i - 4)
        frame[max(y, 0) : y + 16, max(x, 0) : x + 16] = (250, 220, 40)
        frames.append(frame)
    return Video(np.stack(frames), 8)


@pytest.mark.parametrize(
    ("step", "direction"),
    [((4, 0), "right"), ((-4, 0), "left"), ((0, -4), "up"), ((0, 4), "down"), ((0, 0), "nowhere")],
)
def test_a_square_goes_where_it_goes(step, direction):
    found = drift(square(step))
    assert found.direction == direction
    assert found.x == pytest.approx(8 * step[0] / 64, abs=0.1) and found.y == pytest.approx(8 * step[1] / 64, abs=0.1)


def test_the_camera_is_not_the_thing():
    """What goes along with the background stays where it is; what stays in the middle goes the other way."""
    assert drift(square((2, 0), background=2)).direction == "nowhere"
    assert drift(square((0, 0), background=2)).x == pytest.approx(-8 * 2 / 64, abs=0.1)


def test_flicker_goes_nowhere():
    noise = np.random.default_rng(0).integers(0, 255, (9, 64, 64, 3), np.uint8)
    assert drift(Video(noise, 8)).direction == "nowhere"


def test_real_clips_go_as_they_were_drawn():
    clips = [
        c
        for c in (clip(i, "valid", frames=17, nouns=("boat", "gull", "balloon")) for i in range(40))
        if c.facts.weather == "clear"
    ]
    clips = [c for c in clips if asked_direction(c.facts) not in (None, "nowhere")][:8]
    right = [drift(Video(c.frames, c.fps)).direction == asked_direction(c.facts) for c in clips]
    assert len(right) == 8 and np.mean(right) >= 0.85


def test_agreement_by_hand():
    """Against the others' requests: b to a, b is one of two; a to b, b none; b to b, a one: 2 of 6."""
    share = agreement(["b", "a", "b", "x"], ["b", "a", "b", None])
    assert share.right.value == share.right.low == share.right.high == 1 and share.right.n_items == 3
    assert share.chance == pytest.approx(2 / 6)
    share = agreement(["b", "b", "b"], ["b", "a", "b"])
    assert share.right.value == pytest.approx(2 / 3) and share.chance == pytest.approx(4 / 6)
    assert share.right.low < 2 / 3 < share.right.high


def test_a_ratio_of_sums_by_hand():
    estimate = ratio(np.array([1.0, 3.0]), np.array([1.0, 1.0]))
    assert (estimate.value, estimate.low, estimate.high, estimate.n_items) == (2, 1, 3, 2)
    with pytest.raises(ValueError, match="a ratio needs something to divide by"):
        ratio(np.ones(2), np.zeros(2))


def test_what_cannot_be_counted_is_refused():
    with pytest.raises(ValueError, match="need as many requests as answers, got 0 for 1"):
        agreement(["a"], [])
    with pytest.raises(ValueError, match="at least two items that ask for something, got 1"):
        agreement(["a", "b"], ["a", None])


def test_regression_separates_what_can_be_separated():
    generator = torch.Generator().manual_seed(0)
    centres = {"a": (0.0, 5.0, 0.0), "b": (5.0, 0.0, 0.0), "c": (0.0, 0.0, 5.0)}
    labels = [name for name in centres for _ in range(9)]
    rows = torch.tensor([centres[name] for name in labels]) + torch.randn(27, 3, generator=generator)
    judge = fit(rows, labels)
    assert judge.classify(rows) == labels
    assert judge.classify(torch.tensor([[0.0, 9.0, 0.0]])) == ["a"]
    assert fit(rows + 100, labels, decay=1e3).classify(rows[:0]) == []


def test_regression_refuses_what_it_cannot_learn():
    with pytest.raises(ValueError, match="one label for each example, got 1 for 2"):
        fit(torch.zeros(2, 3), ["a"])
    with pytest.raises(ValueError, match="at least two classes apart, got a"):
        fit(torch.zeros(2, 3), ["a", "a"])
