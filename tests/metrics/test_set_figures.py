"""Figures of whole sets of pictures and films: Inception Score, FID and FVD by networks in TorchScript."""

import warnings

import numpy as np
import pytest
import torch
from torch import nn

from nexus.media import Image, Video
from nexus.metrics import fvd as fvd_module
from nexus.metrics import picture_distance as distances
from nexus.metrics.fvd import fvd
from nexus.metrics.inception_score import by_efficientnet, by_inception, inception_figures, inception_score
from nexus.metrics.jackknife import half_width
from nexus.metrics.judge import MissingJudge
from nexus.metrics.picture_distance import inception_distance
from nexus.metrics.scripted import I3D_FILE, INCEPTION_FILE, InceptionNetwork, VideoNetwork


class TinyI3D(nn.Module):
    """Called as the published I3D is; says what it was told to do."""

    def forward(self, x: torch.Tensor, rescale: bool = False, resize: bool = False, return_features: bool = False):
        assert rescale and resize and return_features and x.dtype == torch.uint8 and x.dim() == 5
        frames = x.float()
        return torch.stack([frames.mean([1, 2, 3, 4]), frames.std([1, 2, 3, 4])], dim=1)


class TinyInception(nn.Module):
    def forward(self, x: torch.Tensor, return_features: bool = False, no_output_bias: bool = False):
        assert x.dtype == torch.uint8 and return_features != no_output_bias
        means = x.float().mean([2, 3])
        return means if return_features else torch.softmax(means / 4, dim=1)


def write(network, file):
    with warnings.catch_warnings():  # PyTorch would have no more of these made
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.jit.script(network).save(str(file))


def films(n, level, frames=10, seed=0):
    rng = np.random.default_rng(seed)
    spread = rng.normal(level, 10, n).clip(0, 250)
    return [Video((rng.normal(one, 5, (frames, 4, 6, 3)).clip(0, 255)).astype(np.uint8), 8) for one in spread]


def pictures(n, seed=0):
    rng = np.random.default_rng(seed)
    return [Image(np.full((4, 6, 3), rng.integers(0, 250, 3), np.uint8)) for _ in range(n)]


def test_inception_score_in_closed_form():
    assert inception_score(np.eye(7)) == pytest.approx(7)  # sure of each, all classes alike
    assert inception_score(np.full((5, 7), 1 / 7)) == pytest.approx(1)
    two = np.array([[0.9, 0.1], [0.1, 0.9]])
    assert inception_score(two) == pytest.approx(np.exp(0.9 * np.log(1.8) + 0.1 * np.log(0.2)))
    with pytest.raises(ValueError, match="got none"):
        inception_score(np.zeros((0, 3)))


def test_the_jackknife_of_a_mean_is_students_interval():
    values = np.random.default_rng(0).normal(0, 1, 400)
    half = half_width(lambda kept: float(values[kept].mean()), 400, seed=0)
    assert half == pytest.approx(2.262 * values.std(ddof=1) / 20, rel=0.35)


def test_inception_score_of_pictures(judges):
    write(TinyInception(), judges / INCEPTION_FILE)
    shown = pictures(40)
    found = by_inception(shown, seed=0)
    means = np.stack([one.pixels.astype(np.float64).mean((0, 1)) for one in shown]) / 4
    sure = np.exp(means) / np.exp(means).sum(1, keepdims=True)
    assert found.value == pytest.approx(inception_score(sure), rel=1e-4) and found.low < found.value < found.high
    assert found.card.judge == "Inception v3" and found.card.items == 40 and len(found.card.weights) == 16
    with pytest.raises(ValueError, match="at least 20 items, got 3"):
        by_inception(shown[:3], seed=0)


def test_inception_score_by_the_network_at_hand():
    try:
        found = by_efficientnet([*pictures(10), *pictures(10)], seed=0)
    except MissingJudge as missing:
        pytest.skip(str(missing))
    assert found.name == "Inception Score (EfficientNet-Lite0)" and found.value > 1


def test_fid_by_inception(judges, monkeypatch):
    write(TinyInception(), judges / INCEPTION_FILE)
    few = inception_distance(pictures(30), pictures(30), seed=0)
    assert few.found == () and "FID∞ (Inception v3) of 2048 features needs at least 4554 items, got 30" in few.left_out
    monkeypatch.setattr(distances, "INCEPTION_FEATURES", 3)
    dark = [Image(one.pixels // 4) for one in pictures(300, 2)]
    near, far = (inception_distance(pictures(300, 1), others, seed=0).found[0] for others in (pictures(300, 2), dark))
    assert near.value < 0.05 * far.value and near.card.items == 300
    np.testing.assert_allclose(InceptionNetwork().features(pictures(9))[8], pictures(9)[8].pixels[0, 0], atol=1e-4)


def test_fvd(judges, monkeypatch):
    write(TinyI3D(), judges / I3D_FILE)
    with pytest.raises(ValueError, match="FVD∞ of 400 features needs at least 892 items, got 2"):
        fvd(films(2, 100), films(2, 100), seed=0)
    monkeypatch.setattr(fvd_module, "FEATURES", 2)
    near, far = (fvd(films(60, level), films(60, 100, seed=1), seed=0) for level in (100, 140))
    assert near.value < 20 and far.value == pytest.approx(40**2, rel=0.25)
    assert far.card.judge == "I3D" and far.card.crop == "whole films" and far.low < far.value < far.high
    with pytest.raises(ValueError, match="films of 10 frames or more, film 0 has 9"):
        VideoNetwork().features(films(1, 100, frames=9))


def test_files_that_are_missing_or_something_else(judges):
    wanted = ("Inception v3 wants inception-2015-12-05.pt of NVlabs/stylegan3 as ", str(judges))
    left_out = inception_figures(pictures(3), seed=0).left_out
    assert all(word in left_out[0] for word in wanted)
    with pytest.raises(MissingJudge, match=r"I3D wants i3d_torchscript\.pt of universome/stylegan-v as "):
        fvd([], [], seed=0)
    (judges / I3D_FILE).write_bytes(b"no network")
    with pytest.raises(MissingJudge, match="is something else"):
        VideoNetwork()
