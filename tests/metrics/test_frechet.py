import sys
import types
import warnings

import numpy as np
import pytest
import scipy.linalg

from nexus.metrics.figures import Card
from nexus.metrics.frechet import (
    frechet_distance,
    frechet_figure,
    frechet_infinity,
    gaussian_distance,
    moments,
    needed_items,
)

CARD = Card(judge="a network", version="1", weights="", items=0, resampling="", crop="", seed=0)


def covariance(dim, seed):
    root = np.random.default_rng(seed).standard_normal((dim, dim))
    return root @ root.T


def test_closed_form_of_diagonal_gaussians():
    a, b = np.array([1.0, 4.0, 9.0]), np.array([4.0, 1.0, 9.0])
    found = gaussian_distance(np.zeros(3), np.diag(a), np.array([2.0, 0, 0]), np.diag(b))
    assert found == pytest.approx(4 + ((np.sqrt(a) - np.sqrt(b)) ** 2).sum())


@pytest.mark.parametrize("dim", [1, 2, 17])
def test_equal_to_scipys_matrix_root(dim):
    rng = np.random.default_rng(dim)
    a, b, gap = covariance(dim, 1), covariance(dim, 2), rng.standard_normal(dim)
    expected = gap @ gap + np.trace(a + b - 2 * scipy.linalg.sqrtm(a @ b).real)
    assert gaussian_distance(gap, a, 0 * gap, b) == pytest.approx(expected, rel=1e-6)


def test_equal_to_pytorch_fid(monkeypatch):
    """Its pictures need torchvision, its arithmetic does not."""
    for name in ("torchvision", "torchvision.transforms", "torchvision.models"):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    monkeypatch.setitem(
        sys.modules,
        "pytorch_fid.inception",
        types.SimpleNamespace(InceptionV3=types.SimpleNamespace(BLOCK_INDEX_BY_DIM={})),
    )
    package = pytest.importorskip("pytorch_fid.fid_score", exc_type=ImportError)
    a, b, gap = covariance(9, 1), covariance(9, 2), np.random.default_rng(0).standard_normal(9)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # SciPy's, of how it is called
        expected = package.calculate_frechet_distance(gap, a, 0 * gap, b)
    assert gaussian_distance(gap, a, 0 * gap, b) == pytest.approx(expected, rel=1e-8) and expected > 1


def test_of_samples():
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((40_000, 3)), 2 * rng.standard_normal((40_000, 3)) + 1
    assert frechet_distance(a, b) == pytest.approx(3 * 1 + 3 * 1, rel=0.02)
    assert frechet_distance(a, a) == pytest.approx(0, abs=1e-9)


def test_a_singular_covariance_is_no_trouble():
    flat = np.random.default_rng(0).standard_normal((50, 3)) * np.array([1, 1, 0])
    assert frechet_distance(flat, flat) == pytest.approx(0, abs=1e-6)


def test_infinity_takes_the_bias_of_small_sets_away():
    rng = np.random.default_rng(0)
    reference = rng.standard_normal((20_000, 8))
    plain, corrected = [], []
    for seed in range(20):
        made = rng.standard_normal((120, 8))
        plain.append(frechet_distance(made, reference))
        corrected.append(frechet_infinity(made, reference, seed=seed))
    assert np.mean(plain) > 0.2 and abs(np.mean(corrected)) < 0.3 * np.mean(plain)


def test_the_figure_and_its_interval():
    rng = np.random.default_rng(0)
    reference, made = rng.standard_normal((5000, 3)), rng.standard_normal((400, 3)) + 1
    found = frechet_figure("FAD", made, reference, card=CARD)
    assert found.low < 3 < found.high and found.high - found.low < 2 and found.items == ()
    assert found == frechet_figure("FAD", made, reference, card=CARD)


def test_too_few_items_are_refused_with_the_number_needed():
    few = np.random.default_rng(0).standard_normal((8, 8))
    with pytest.raises(ValueError, match="needs at least 9 items, got 8"):
        frechet_distance(few, few)
    with pytest.raises(ValueError, match="needs at least 18 items, got 8"):
        frechet_infinity(few, few)
    assert needed_items(8) == 20
    with pytest.raises(ValueError, match="FAD of 8 features needs at least 20 items, got 8"):
        frechet_figure("FAD", few, few, card=CARD)
    with pytest.raises(ValueError, match="finite"):
        moments(np.full((9, 2), np.nan))
