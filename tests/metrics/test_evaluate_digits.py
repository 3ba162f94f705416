"""Digits judged: real ones pass, noise and single classes do not, and models are asked in either way."""

import importlib.util
from types import SimpleNamespace

import pytest
import torch

pytest.importorskip("sklearn")

from nexus.data.digits import digits
from nexus.media import Image
from nexus.metrics import evaluate_digits as of
from nexus.metrics.picture_features import PACKAGE


class Copier:
    """Hands out training digits of the class that is asked for."""

    config = SimpleNamespace()

    def __init__(self, size=16, only=None):
        self.size, self.only = size, only

    def generate(self, classes, *, seed=None, dim=1.0):
        data = digits("train", self.size)
        places = [
            torch.nonzero(data.label == (self.only or kind))[(seed + i) % 100, 0] for i, kind in enumerate(classes)
        ]
        return [Image.from_tensor((data.image[place] + 1) * dim - 1) for place in places]


class Counter(Copier):
    """Knows no classes."""

    def generate(self, n=1, *, seed=None):
        return super().generate([seed % 10] * n, seed=0)


def values(evaluation):
    return {figure.name: figure.value for figure in evaluation.figures}


@pytest.fixture(scope="module")
def copied():
    return of.evaluate_digits(Copier(), items=150)


def test_copies_of_the_data_are_right_and_give_themselves_away(copied):
    found = values(copied)
    assert found[of.RIGHT] == 100 and found[of.COVERED] == 10
    assert found[of.NOVELTY] < 0.05  # 8-bit pictures of training digits
    assert found[of.SECONDS] > 0 and of.EVALUATIONS not in found
    held_out = {figure.name: figure.value for figure in copied.baselines["held-out digits"]}
    assert held_out[of.RIGHT] > 98 and held_out[of.NOVELTY] == pytest.approx(1)
    assert abs(found[of.LIKENESS] - held_out[of.LIKENESS]) < 0.1
    noise = {figure.name: figure.value for figure in copied.baselines["noise"]}
    assert noise[of.RIGHT] < 25 and noise[of.LIKENESS] < 0.1


@pytest.mark.skipif(importlib.util.find_spec(PACKAGE) is None, reason=f"{PACKAGE} is not installed")
def test_frechet_distance_tells_data_from_noise(copied):
    held_out = {figure.name: figure.value for figure in copied.baselines["held-out digits"]}
    noise = {figure.name: figure.value for figure in copied.baselines["noise"]}
    assert abs(held_out[of.FRECHET]) < 3
    assert noise[of.FRECHET] > 100
    assert abs(values(copied)[of.FRECHET]) < 10


def test_one_class_alone_is_not_covering(copied):
    found = values(of.evaluate_digits(Copier(only=3), items=60, settings={"dim": 0.9}))
    assert found[of.COVERED] == 1 and found[of.RIGHT] == pytest.approx(10, abs=2)


def test_models_without_classes_have_no_right_ones():
    found = values(of.evaluate_digits(Counter(), items=100))
    assert of.RIGHT not in found and found[of.COVERED] <= 2


def test_evaluations_are_counted():
    class Net(Counter):
        network = torch.nn.Identity()

        def generate(self, n=1, *, seed=None):
            for _ in range(3):
                self.network(torch.zeros(2 * n, 1))
            return super().generate(n, seed=seed)

    assert values(of.evaluate_digits(Net(), items=20))[of.EVALUATIONS] == 6


def test_pairs_are_of_one_class_and_never_a_picture_with_itself():
    picture = digits("train").image[:2]
    image = picture[[0, 0, 1, 0]]
    alike = of.likeness_within(image, torch.tensor([1, 1, 1, 2]).numpy(), seed=0)
    assert alike[2] < 0.9 and alike[0] == alike[1] == pytest.approx((1 + alike[2]) / 2)
    assert torch.tensor(alike[3]).isnan()


def test_bad_input():
    with pytest.raises(ValueError, match="at least 20, got 3"):
        of.evaluate_digits(Copier(), items=3)
    with pytest.raises(ValueError, match="square and at least 8 pixels a side; the model makes 8 x 9"):
        of.pixels([Image.from_tensor(torch.zeros(1, 8, 9))])
