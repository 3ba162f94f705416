"""Augmentations: what they change by how much, gradients through them, and randomness by picture."""

import pytest
import torch
import torch.nn.functional as F

from nexus.process.augment import AUGMENTATIONS, augmented, colour, cutout, translation


def test_colour_keeps_what_it_promises(rng):
    x = torch.rand(4000, 3, 2, 2, generator=rng) * 2 - 1
    out = colour(x, rng)
    shift = (out - x).mean((1, 2, 3))  # contrast and saturation keep the mean
    assert shift.abs().max() <= 0.5 + 1e-5 and shift.mean().abs() < 0.02
    assert shift.std().item() == pytest.approx(12**-0.5, abs=0.01)
    grey, before = out.mean(1), x.mean(1)
    contrast = (grey - grey.mean((1, 2), keepdim=True)).norm(dim=(1, 2)) / (
        before - before.mean((1, 2), keepdim=True)
    ).norm(dim=(1, 2))
    assert contrast.min() >= 0.5 - 1e-3 and contrast.max() <= 1.5 + 1e-3
    spread = (out - out.mean(1, keepdim=True)).flatten(1).norm(dim=1) / (
        (x - x.mean(1, keepdim=True)).flatten(1).norm(dim=1)
    )
    saturation = spread / contrast
    assert saturation.max() <= 2 + 1e-2 and saturation.mean().item() == pytest.approx(1, abs=0.03)


@pytest.mark.parametrize("size", [(16, 24), (9, 17)])
def test_translation_shifts_by_whole_pixels(size, rng):
    height, width = size
    x = torch.arange(1.0, height * width + 1).view(1, height, width).expand(2, -1, -1)
    out = translation(x.expand(300, -1, -1, -1), rng)
    found = {}
    for down in range(-(height // 8), height // 8 + 1):
        for right in range(-(width // 8), width // 8 + 1):
            found[down, right] = (out == moved(x, down, right)).all((1, 2, 3)).sum().item()
    assert sum(found.values()) == 300 and all(found.values())


def moved(x, down, right):
    """With zeros where nothing was."""
    height, width = x.shape[1:]
    padded = F.pad(x, (width, width, height, height))
    return padded[:, height - down : 2 * height - down, width - right : 2 * width - right]


@pytest.mark.parametrize(("size", "corner"), [(8, 2 * 2), (7, 2 * 2)])
def test_cutout_takes_a_rectangle(size, corner, rng):
    out = cutout(torch.ones(3000, 3, size, size), rng)
    assert torch.equal(out[:, 0], out[:, 1])
    gone = out[:, 0] == 0
    sizes = gone.sum((1, 2))
    assert sizes.max() == (size // 2) ** 2  # whole where it does not hang over the edge
    for mask in gone[:50]:
        rows, columns = mask.any(1), mask.any(0)
        assert torch.equal(mask, rows[:, None] & columns[None])
        assert rows.float().diff().abs().sum() <= 2 and columns.float().diff().abs().sum() <= 2  # one stretch each
    assert gone.float().mean((1, 2)).mean() > 0.1 and gone[:, 0, 0].any() and gone[:, -1, -1].any()
    assert sizes[sizes > 0].min() <= corner


def test_pictures_differ_and_gradients_pass(rng):
    x = torch.rand(1, 3, 16, 16, generator=rng).expand(4, -1, -1, -1).clone().requires_grad_()
    for change in AUGMENTATIONS.values():
        out = change(x, rng)
        assert out.shape == x.shape and not torch.equal(out[0], out[1])
        (gradient,) = torch.autograd.grad(out.sum(), x)
        assert gradient.abs().sum() > 0


def test_names(rng):
    x = torch.rand(2, 1, 8, 8, generator=rng)
    same = torch.Generator().manual_seed(3)
    wanted = cutout(translation(x, same), same)
    assert torch.equal(augmented(x, ("translation", "cutout"), torch.Generator().manual_seed(3)), wanted)
    assert augmented(x, (), rng) is x
    with pytest.raises(ValueError, match="augmentations are colour, translation, cutout, got 'color'"):
        augmented(x, ("color",), rng)
