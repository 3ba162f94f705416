"""The digits: a split that stays, batches that depend on seed and index alone."""

import sys

import pytest
import torch

pytest.importorskip("sklearn")

from nexus.data.digits import DigitBatches, _all, digits


def test_splits_share_nothing_and_hold_every_class():
    train, valid = digits("train", 8), digits("valid", 8)
    assert train.image.shape == (1437, 1, 8, 8) and valid.image.shape == (360, 1, 8, 8)
    assert train.image.min() == -1 and train.image.max() == 1
    assert len(train.label.unique()) == len(valid.label.unique()) == 10
    both = torch.cat([train.image, valid.image]).flatten(1)
    known = _all()[0].flatten(1) / 8 - 1
    assert torch.equal(both[both.sum(1).argsort()].sum(1), known[known.sum(1).argsort()].sum(1))


def test_the_split_is_the_same_for_ever():
    assert digits("valid").label[:12].tolist() == [0, 8, 8, 9, 8, 3, 7, 5, 0, 6, 6, 3]


def test_enlarging_keeps_the_picture():
    small, large = digits("train", 8).image, digits("train").image
    assert large.shape == (1437, 1, 16, 16) and large.min() >= -1 and large.max() <= 1
    averaged = torch.nn.functional.avg_pool2d(large, 2)
    assert (averaged - small).abs().mean() < 0.1
    assert (averaged.flip(3) - small).abs().mean() > 0.3


def test_batches():
    batches = DigitBatches("valid", batch_size=100, seed=3, size=8)
    one = batches[5]
    assert one["image"].shape == (100, 1, 8, 8) and one["label"].dtype == torch.int64
    assert torch.equal(one["image"], batches[5]["image"])
    assert not torch.equal(one["image"], DigitBatches("valid", batch_size=100, seed=4, size=8)[5]["image"])
    # 18 batches are five epochs: each picture five times.
    seen = torch.cat([batches[i]["image"] for i in range(18)]).flatten(1)
    assert (torch.unique(seen, dim=0, return_counts=True)[1] % 5 == 0).all()


def test_bad_input():
    with pytest.raises(ValueError, match="at least 8 pixels"):
        digits("train", 4)
    with pytest.raises(ValueError, match="batch_size"):
        DigitBatches("train", batch_size=0, seed=0)


def test_without_scikit_learn_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(ModuleNotFoundError, match=r"nexus-media\[train\]"):
        _all()
