import numpy as np
import pytest
import torch

from nexus.data.storybook.backgrounds import PLACES
from nexus.media.image import Image
from nexus.metrics import still_judge
from nexus.metrics.hues import hues
from nexus.metrics.softmax_regression import fit
from nexus.metrics.still_judge import (
    StillJudge,
    coloured_stills,
    empty_still,
    stills_everywhere,
    stills_in_turn,
)

pytestmark = pytest.mark.emoji

NOUNS = ("boat", "cat", "star")


def test_stills_of_the_judge_and_of_the_trial_are_apart():
    taught = stills_everywhere(NOUNS, 2, size=16)
    assert len(taught) == 2 * len(NOUNS) * len(PLACES)
    for noun in NOUNS:
        for place in PLACES:
            assert sum((one.facts.noun, one.facts.place) == (noun, place) for one in taught) == 2
    tried = stills_in_turn(NOUNS, 7, size=16)
    assert [one.facts.noun for one in tried] == ["boat", "cat", "star", "boat", "cat", "star", "boat"]
    assert not {one.frames.tobytes() for one in taught} & {one.frames.tobytes() for one in tried}
    assert all(one.facts.weather == "clear" and one.facts.companion is None for one in (*taught, *tried))
    assert not {one.frames.tobytes() for one in stills_in_turn(NOUNS, 7, size=16, split="train")} & {
        one.frames.tobytes() for one in tried
    }


def test_an_empty_place_has_no_thing():
    shown = stills_in_turn(("star",), 1, size=64)[0]
    empty = empty_still(shown, 3)
    assert (empty.height, empty.width) == (64, 64)
    middle = shown.thing[0] > 200
    assert np.abs(empty.pixels[middle].astype(int) - shown.frames[0][middle]).mean() > 30


def test_colours_can_be_read_off_hues():
    """Taught on the train split, tried on the valid one."""
    taught = coloured_stills(NOUNS, 150, size=32)
    judge = fit(
        torch.from_numpy(np.stack([hues(Image(one.frames[0])) for one in taught])), [one.facts.colour for one in taught]
    )
    tried = [one for one in stills_in_turn(("boat", "star"), 80, size=32) if one.facts.colour]
    seen = judge.classify(torch.from_numpy(np.stack([hues(Image(one.frames[0])) for one in tried])))
    assert len(tried) > 20
    assert np.mean([a == one.facts.colour for a, one in zip(seen, tried, strict=True)]) > 0.9


def test_hues_are_shares_of_the_middle_and_of_the_whole():
    red = np.zeros((12, 20, 3), np.uint8)
    red[..., 0] = 255
    assert sorted(np.square(hues(Image(red))))[-2:] == pytest.approx([1, 1])
    red[:, :4] = (0, 0, 255)
    middle, whole = np.split(np.square(hues(Image(red))), 2)
    assert max(whole) == pytest.approx(0.8) and max(middle) > 0.9


def test_a_judge_sees_with_its_network(monkeypatch):
    class Means:
        """Sees each frame as its mean colour and those of its quarters."""

        def features(self, video):
            frames = torch.tensor(video.frames).float()
            quarters = frames.unfold(1, 8, 8).unfold(2, 8, 8).mean((-1, -2)).flatten(1)
            return torch.cat([frames.mean((1, 2)), quarters], 1)

    monkeypatch.setattr(still_judge, "PictureNetwork", Means)
    judge = StillJudge(("boat", "star"), examples=2, size=16)
    tried = stills_in_turn(("boat", "star"), 30, size=16)
    seen = [judge.look(Image(one.frames[0])) for one in tried]
    assert np.mean([a.time == one.facts.time for a, one in zip(seen, tried, strict=True)]) > 0.8


def test_what_cannot_be_taught_is_refused():
    with pytest.raises(ValueError, match="needs two nouns"):
        StillJudge(("boat",))
    with pytest.raises(ValueError, match="none of cat is ever given a colour"):
        coloured_stills(("cat",), 3, size=16)
