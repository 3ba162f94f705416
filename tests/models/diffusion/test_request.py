"""Requests of models that paint by latents: defaults are filled in, what can't be is refused with what can."""

from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch

from nexus.media.image import Image
from nexus.models.diffusion.request import Limits, check_image, check_rescale, check_whole, check_whole_number
from nexus.process.levels import flow_sigmas, straight

PICTURE = Image(np.zeros((32, 48, 3), dtype=np.uint8))
WHITE = Image(np.full((32, 48), 255, dtype=np.uint8))


@dataclass(frozen=True)
class Own:
    size: tuple[int, int] = (64, 80)
    steps: int = 7
    guidance_scale: float = 3.0
    solver: str = "euler"


LIMITS = Limits(own=Own(), multiple=16, most_steps=999, longest=128)


def test_what_is_not_said_is_the_models_own():
    asked = LIMITS.words("a boat", seed=5)
    assert (asked.size, asked.steps, asked.solver, asked.scale) == ((64, 80), 7, "euler", 3.0)
    assert asked.alone and asked.guided and asked.n == 1 and asked.strength == 1
    assert asked.halves == ["a boat", ""] and asked.negative is None
    assert asked.rngs[0].initial_seed() == 5
    assert asked.given([PICTURE]) is PICTURE


def test_lists_are_lists():
    asked = LIMITS.words(("a boat", "a whale"), "sea", seed=5, guidance_scale=2)
    assert asked.halves == ["a boat", "a whale", "sea", "sea"] and not asked.alone
    assert [rng.initial_seed() for rng in asked.rngs] == [5, 6]
    assert LIMITS.words(["a"], ["b"]).halves == ["a", "b"] and LIMITS.words(["a"]).given([PICTURE]) == [PICTURE]
    assert LIMITS.words("a", guidance_scale=1).halves == ["a"]


def test_sizes_come_from_the_request_then_the_picture_then_the_model():
    assert LIMITS.words("a", image=PICTURE).size == (32, 48)
    assert LIMITS.words("a", image=PICTURE, height=16).size == (16, 48)
    assert LIMITS.words("a", width=16).size == (64, 16)


@pytest.mark.parametrize(("strength", "steps"), [(1, 7), (0.5, 4), (0.3, 3), (0.01, 1)])
def test_strength_is_the_share_of_steps_that_is_taken(strength, steps):
    """As diffusers rounds it: up."""
    path = straight(flow_sigmas(7))
    part = LIMITS.words("a", image=PICTURE, strength=strength).rest_of(path)
    assert len(part) == steps + 1 and part[-1] == path[-1]
    assert LIMITS.words("a").rest_of(path) == path


def test_a_masked_part_is_wholly_anew_unless_it_is_said():
    assert LIMITS.words("a", image=PICTURE).strength == 0.6
    assert LIMITS.words("a", image=PICTURE, mask=WHITE).strength == 1
    assert LIMITS.words("a", image=PICTURE, mask=WHITE, strength=0.4).strength == 0.4


def test_a_distilled_model_has_one_half():
    told, learnt = replace(LIMITS, guidance="told"), replace(LIMITS, guidance="learnt")
    assert not told.words("a", guidance_scale=8).guided and told.words("a", guidance_scale=8).scale == 8
    assert learnt.words("a").scale == learnt.words("a", "", guidance_scale=1).scale == 1


SMALL = Image(np.zeros((32, 32, 3), dtype=np.uint8))
REFUSED = {
    "no words": ({"prompt": " "}, "the prompt is empty"),
    "one of none": ({"prompt": ["a boat", ""]}, "the prompt is empty"),
    "no prompts": ({"prompt": []}, "one picture at least"),
    "negatives of another number": ({"prompt": ["a", "b"], "negative_prompt": ["c"] * 3}, "one text or 2 of them"),
    "a negative without guidance": ({"negative_prompt": "sea", "guidance_scale": 1}, "would not be heard"),
    "a width in between": ({"width": 40}, "multiples of 16, got 40x64; nearest is 32x64"),
    "no height": ({"height": 0}, "got 80x0; nearest is 80x16"),
    "a height below none": ({"height": -64}, "nearest is 80x16"),
    "a picture that is odd": ({"image": Image(np.zeros((30, 48, 3), np.uint8))}, "got 48x30; nearest is 48x32"),
    "too wide": ({"width": 1024}, "at most 128, got 1024x64; nearest is 128x64"),
    "no steps": ({"steps": 0}, "steps must be from 1 to 999, got 0"),
    "steps below none": ({"steps": -1}, "steps must be from 1 to 999, got -1"),
    "a million steps": ({"steps": 10**6}, "steps must be from 1 to 999, got 1000000"),
    "guidance that is none": ({"guidance_scale": float("nan")}, "from 0 to 100, such as 3, got nan"),
    "guidance without end": ({"guidance_scale": float("inf")}, "from 0 to 100, such as 3, got inf"),
    "guidance backwards": ({"guidance_scale": -1.0}, "from 0 to 100, such as 3, got -1"),
    "a cache below none": ({"cache": -0.1}, "cache must be from 0 .* to 2: .* got -0.1"),
    "a cache without end": ({"cache": 5}, "cache must be from 0 .* got 5"),
    "a cache of two steps": ({"cache": 0.3, "steps": 2}, "of 2 none is: leave cache out"),
    "a solver misspelt": ({"solver": "dpmpp2m"}, "solver must be one of euler, .* nearest is dpmpp-2m"),
    "a seed below none": ({"seed": -1}, r"seed must be from 0 to 2\*\*63 - 1, got -1"),
    "a seed too large": ({"seed": 2**63}, r"seed must be from 0 to 2\*\*63 - 1"),
    "strength of nothing": ({"strength": 0.5}, "strength says how much of image is changed; give image too"),
    "no strength": ({"image": PICTURE, "strength": 0}, "strength must be above 0"),
    "too much strength": ({"image": PICTURE, "strength": 1.1}, "strength must be above 0 and at most 1"),
    "a mask of nothing": ({"mask": WHITE}, "a mask says where image is painted anew; give image too"),
    "a mask of another size": ({"image": PICTURE, "mask": SMALL}, "of the image's size, 48x32, got 32x32"),
    "a mask and a size": ({"image": PICTURE, "mask": WHITE, "width": 32}, "keeps its size, 48x32; got 32x32"),
    "a black mask": ({"image": PICTURE, "mask": PICTURE}, "black everywhere"),
}


@pytest.mark.parametrize(("settings", "message"), REFUSED.values(), ids=REFUSED.keys())
def test_what_cannot_be_is_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        LIMITS.words(**({"prompt": "a boat"} | settings))


def test_things_of_other_kinds_are_refused():
    """What the tests' types would stop, and a program's do not."""
    for value in (64.5, "64", True, None):
        with pytest.raises(ValueError, match=f"steps must be a whole number, got {value!r}"):
            check_whole_number("steps", value)
    check_whole_number("steps", np.int64(3))
    with pytest.raises(ValueError, match=r"mask must be a nexus Image, got a str; Image.load reads a file"):
        check_image("mask", "mask.png")


def test_distilled_models_say_so():
    told, learnt = replace(LIMITS, guidance="told"), replace(LIMITS, guidance="learnt")
    with pytest.raises(ValueError, match="guidance is learnt into this distilled model: leave guidance_scale out"):
        learnt.words("a", guidance_scale=3.5)
    for distilled in (told, learnt):
        with pytest.raises(ValueError, match="one pass, in which nothing turns away from a negative_prompt"):
            distilled.words("a", "sea")


def test_where_every_step_is_needed_none_is_skipped():
    limits = replace(LIMITS, own=Own(solver="lcm"), solvers=("lcm",), guidance="learnt")
    assert limits.words("a").cache == 0 and LIMITS.words("a", cache=0.3).cache == 0.3
    with pytest.raises(ValueError, match="in lcm each says the whole picture anew; leave cache out"):
        limits.words("a", cache=0.3)


def test_models_that_inpaint_need_both():
    inpaints = replace(LIMITS, inpaints=True, wordless=True)
    with pytest.raises(ValueError, match=r"trained to inpaint: give image and mask too \(a white mask"):
        inpaints.words("a")
    with pytest.raises(ValueError, match="trained to inpaint: give mask too"):
        inpaints.words("a", image=PICTURE)
    assert inpaints.words("", image=PICTURE, mask=WHITE).prompts == [""]


def test_a_network_alone_says_what_it_lacks():
    model = torch.nn.Linear(1, 1)
    model.text_encoder = len
    check_whole(model, "text_encoder")
    with pytest.raises(ValueError, match="this Linear is a network without image_vae: load a pipeline's whole folder"):
        check_whole(model, "image_vae", "text_encoder")


def test_rescaling_needs_guidance():
    check_rescale(0, LIMITS.words("a", guidance_scale=1))
    check_rescale(0.7, LIMITS.words("a"))
    for share, scale, message in ((1.5, 3, r"from 0 to 1, got 1\.5"), (0.5, 1, "there is no guidance here")):
        with pytest.raises(ValueError, match=message):
            check_rescale(share, LIMITS.words("a", guidance_scale=scale))
