"""Stacked digits: a thousand kinds, spelt by the colours of a picture, and what is counted of them."""

import math

import pytest
import torch

pytest.importorskip("sklearn")

from nexus.data.digits import digits
from nexus.data.stacked_digits import N_KINDS, StackedDigits, kinds, planes
from nexus.metrics.evaluate_stacked import DIVERGENCE, KINDS, evaluate_stacked, kinds_seen
from nexus.metrics.modes import divergence_from_even, kinds_covered


def test_each_colour_is_a_digit_of_the_split_and_the_label_spells_them():
    data, batch = digits("valid", 8), StackedDigits("valid", 5, seed=3)[7]
    assert batch["image"].shape == (5, 3, 8, 8)
    for image, label in zip(batch["image"], batch["label"].tolist(), strict=True):
        for plane, digit in zip(image, f"{label:03d}", strict=True):
            same = (data.image[:, 0] == plane).all((1, 2)).nonzero()[:, 0]
            assert int(digit) in data.label[same].tolist()
    assert kinds(torch.tensor([[9, 0, 4], [0, 0, 7]])).tolist() == [904, 7]


def test_batches_are_drawn_by_seed_and_place_evenly():
    assert torch.equal(StackedDigits("train", 4, 1)[2]["image"], StackedDigits("train", 4, 1)[2]["image"])
    others = (StackedDigits("train", 4, 1)[3], StackedDigits("train", 4, 2)[2])
    assert not any(torch.equal(StackedDigits("train", 4, 1)[2]["image"], other["image"]) for other in others)
    label = StackedDigits("train", 20_000, 0)[0]["label"]
    assert kinds_covered(label, N_KINDS) == N_KINDS and divergence_from_even(label, N_KINDS) < 0.05


def test_kinds_counted_by_hand():
    seen = torch.tensor([3, 3, 3, 7])
    assert kinds_covered(seen, 8) == 2
    assert divergence_from_even(seen, 8) == pytest.approx(0.75 * math.log(6) + 0.25 * math.log(2))
    assert divergence_from_even(torch.arange(8), 8) == 0 and divergence_from_even(seen[:3], 8) == pytest.approx(
        math.log(8)
    )


def test_the_judge_reads_held_out_stacks():
    batch = StackedDigits("valid", 200, 0)[0]
    assert (kinds_seen(batch["image"]) == batch["label"]).float().mean() > 0.9
    assert torch.equal(planes(batch["image"])[3:6, 0], batch["image"][1])


class Same:
    """Makes one picture over and over, a batch at a time as it was asked."""

    def __init__(self):
        self.asked = []

    def generate(self, n, *, seed):
        from nexus.media import Image

        self.asked.append((n, seed))
        return [Image.from_tensor(StackedDigits("valid", 1, 0)[0]["image"][0])] * n


def test_a_collapsed_generator_covers_one_kind():
    model = Same()
    evaluation = evaluate_stacked(model, items=1200, seed=5)
    found = {figure.name: figure.value for figure in evaluation.figures}
    assert found[KINDS] == 1 and found[DIVERGENCE] == pytest.approx(math.log(1000))
    assert model.asked == [(500, 5), (500, 505), (200, 1005)]
    real, noise = ({figure.name: figure.value for figure in figures} for figures in evaluation.baselines.values())
    assert real[KINDS] > 600 > noise[KINDS] and real[DIVERGENCE] < 1
    with pytest.raises(ValueError, match="at least so many, got 999"):
        evaluate_stacked(model, items=999)
