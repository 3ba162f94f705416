"""What systems over latents share: requests checked, parts of paths, the walk."""

import numpy as np
import pytest
import torch

from nexus.media.image import Image
from nexus.models.diffusion.latent_pictures import check_steps, check_whole, listed, negatives, part_of, size_of, walked
from nexus.process.levels import flow_sigmas, straight

PICTURE = Image(np.zeros((32, 48, 3), dtype=np.uint8))


def test_prompts_are_a_list():
    assert listed("a boat") == ["a boat"] and listed(("a boat", "a whale")) == ["a boat", "a whale"]
    for empty in ("", " ", [], ["a boat", ""]):
        with pytest.raises(ValueError, match="the prompt is empty"):
            listed(empty)


def test_negative_prompts_are_one_each():
    assert negatives(None, 2) == ["", ""] and negatives("sea", 2) == ["sea", "sea"]
    assert negatives(["sea", "sky"], 2) == ["sea", "sky"]
    with pytest.raises(ValueError, match="one text or 2 of them, one a prompt, got 1"):
        negatives(["sea"], 2)


def test_sizes_come_from_the_request_then_the_picture_then_the_model():
    assert size_of(None, None, None, (64, 64), 16) == (64, 64)
    assert size_of(None, None, PICTURE, (64, 64), 16) == (32, 48)
    assert size_of(16, None, PICTURE, (64, 64), 16) == (16, 48)
    with pytest.raises(ValueError, match="multiples of 32, got 48x32; nearest is 64x32"):
        size_of(None, None, PICTURE, (64, 64), 32)
    with pytest.raises(ValueError, match="got 64x0; nearest is 64x16"):
        size_of(0, None, None, (64, 64), 16)


@pytest.mark.parametrize(("strength", "steps"), [(1, 7), (0.5, 4), (0.3, 3), (0.01, 1)])
def test_strength_is_the_share_of_steps_that_is_taken(strength, steps):
    """As diffusers rounds it: up."""
    path = straight(flow_sigmas(7))
    part = part_of(path, strength, PICTURE)
    assert len(part) == steps + 1 and part[-1] == path[-1]
    assert part_of(path, strength, None) == path


def test_strengths_that_mean_nothing_are_refused():
    for strength in (0, -0.1, 1.1):
        with pytest.raises(ValueError, match="strength must be above 0"):
            part_of(straight(flow_sigmas(7)), strength, PICTURE)
    with pytest.raises(ValueError, match="n_steps must be from 1 to 9, got 10"):
        check_steps(10, 9)


def test_the_walk_ends_with_its_last_state():
    seen = []
    assert walked(iter([torch.zeros(1), torch.ones(1)]), 2, lambda *done: seen.append(done)) == 1
    assert seen == [(1, 2), (2, 2)]


def test_a_network_alone_says_what_it_lacks():
    model = torch.nn.Linear(1, 1)
    model.text_encoder = len
    check_whole(model, "text_encoder")
    with pytest.raises(ValueError, match="this Linear is a network without image_vae: load a pipeline's whole folder"):
        check_whole(model, "image_vae", "text_encoder")
