"""What a model makes of the digits: right ones, like the data, unlike one another, and at what cost."""

import inspect
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from nexus.data.digits import N_CLASSES, SIZE, digits, enlarged
from nexus.media import Image
from nexus.metrics.digit_judge import digit_classifier, digit_features, nearest_training
from nexus.metrics.figures import Card, Evaluation, Figure, Item, figure
from nexus.metrics.frechet import frechet_figure
from nexus.metrics.judge import MissingJudge
from nexus.metrics.judging import Progress
from nexus.metrics.modes import classes_covered
from nexus.metrics.ms_ssim import ms_ssim

RIGHT, FRECHET, LIKENESS, COVERED = "class right", "Fréchet distance", "MS-SSIM within class", "classes covered"
NOVELTY = "distance to the nearest training digit, over held-out digits'"
EVALUATIONS, SECONDS = "network evaluations a picture", "seconds a picture"
PARTNERS = 8  # of the same class that each picture is compared with
BATCH = 50

Make = Callable[[Sequence[int], int], list[Image]]  # (classes, seed) to pictures, item i by seed + i


@dataclass(frozen=True, kw_only=True)
class Made:
    pictures: list[Image]
    asked: list[int] | None  # classes; None of a model that knows none
    seconds: list[float]  # a picture, of each batch
    evaluations: float | None  # of `model.network`, a picture; None where a model calls it otherwise


def evaluate_digits(
    model: Any,
    *,
    items: int = 500,
    seed: int = 0,
    settings: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
) -> Evaluation:
    """Figures of a model that was trained on the digits, beside those of held-out digits and of noise.

    A model has `generate(classes, *, seed)`, or `generate(n, *, seed)` and perhaps `labels=`, and gives pictures.

    Args:
        items: pictures, the ten classes in turn.
        settings: further keywords of `generate`.

    Raises:
        ValueError: fewer than two pictures of a class, or of a size that the digits do not have.
    """
    if items < 2 * N_CLASSES:
        raise ValueError(f"digits are judged by pairs within each class: needs at least {2 * N_CLASSES}, got {items}")
    made = make_digits(model, items, seed, settings or {}, progress)
    image = pixels(made.pictures)
    figures, left_out = judged(image, made.asked, seed)
    asked = [i % N_CLASSES for i in range(items)]
    seen = digit_classifier(image.shape[2]).classify(image).tolist()
    shown = [
        Item(prompt=str(asked[i]) if made.asked else "", made=picture, reference=None, values={}, note=f"seen as {to}")
        for i, (picture, to) in enumerate(zip(made.pictures[:100], seen, strict=False))
    ]
    return Evaluation(
        kind="image",
        model=model.info.name if hasattr(model, "info") else type(model).__name__,
        data="digits",
        figures=(*figures, *_costs(made, seed)),
        baselines=baselines(image.shape[2], items, seed),
        items=tuple(shown),
        left_out=left_out,
    )


@cache
def baselines(size: int, items: int, seed: int) -> Mapping[str, tuple[Figure, ...]]:
    """Figures of held-out digits and of noise."""
    valid, asked = digits("valid", size), [i % N_CLASSES for i in range(items)]
    noise = torch.randn(items, 1, size, size, generator=torch.Generator().manual_seed(seed)).clamp(-1, 1)
    return {
        "held-out digits": judged(valid.image, valid.label.tolist(), seed)[0],
        "noise": judged(noise, asked, seed)[0],
    }


def make_digits(
    model: Any, items: int, seed: int, settings: Mapping[str, Any], progress: Progress | None = None
) -> Made:
    """Pictures of the ten classes in turn, where the model knows classes."""
    make, knows = maker(model, settings)
    pictures: list[Image] = []
    seconds, rows = [], [0]

    def count(module: torch.nn.Module, args: tuple[Tensor, ...]) -> None:
        rows[0] += len(args[0])

    network = getattr(model, "network", None)
    hook = network.register_forward_pre_hook(count) if isinstance(network, torch.nn.Module) else None
    for start in range(0, items, BATCH):
        classes = [i % N_CLASSES for i in range(start, min(start + BATCH, items))]
        begun = time.perf_counter()
        pictures += make(classes, seed + start)
        seconds.append((time.perf_counter() - begun) / len(classes))
        if progress is not None:
            progress(len(pictures), items, "making digits")
    if hook is not None:
        hook.remove()
    asked = [i % N_CLASSES for i in range(items)] if knows else None
    return Made(pictures=pictures, asked=asked, seconds=seconds, evaluations=rows[0] / items or None)


def maker(model: Any, settings: Mapping[str, Any]) -> tuple[Make, bool]:
    """How a model is asked for classes, and whether it knows any."""
    parameters = inspect.signature(model.generate).parameters
    if next(iter(parameters)) == "classes":
        return lambda classes, seed: model.generate(list(classes), seed=seed, **settings), True
    network = getattr(model.config, "network", model.config)
    if "labels" in parameters and getattr(network, "n_classes", None):
        return lambda classes, seed: model.generate(len(classes), labels=list(classes), seed=seed, **settings), True
    return lambda classes, seed: model.generate(len(classes), seed=seed, **settings), False


def pixels(pictures: Sequence[Image]) -> Tensor:
    """[N, 1, H, W] in [-1, 1], the mean of the colours; smaller ones than 16 pixels are enlarged as the data is.

    Raises:
        ValueError: pictures that are not square or below 8 pixels: they are no digits.
    """
    image = torch.stack([picture.tensor()[:3].mean(0, keepdim=True) for picture in pictures])
    height, width = image.shape[2:]
    if height != width or height < 8:
        raise ValueError(f"digits are square and at least 8 pixels a side; the model makes {height} x {width}")
    return image if height >= SIZE else enlarged(image, SIZE)


def judged(image: Tensor, asked: Sequence[int] | None, seed: int) -> tuple[tuple[Figure, ...], tuple[str, ...]]:
    """Every figure of these pictures [N, 1, H, W], and what could not be told."""
    size, n = image.shape[2], len(image)
    classifier, left_out = digit_classifier(size), []
    classes = classifier.classify(image)
    told = Card(judge=classifier.name, version=classifier.version, weights="", items=n, resampling="", crop="", seed=0)
    figures = []
    if asked is not None:
        right = (100.0 * (classes == np.array(asked))).tolist()
        figures.append(figure(RIGHT, right, unit="%", better="higher", card=told))
    try:
        figures.append(frechet(image, seed))
    except (MissingJudge, ValueError) as why:
        left_out.append(str(why))
    plain = Card(judge="pixels", version="nexus 1", weights="", items=n, resampling="", crop="", seed=seed)
    alike = likeness_within(image, classes if asked is None else np.array(asked), seed)
    figures.append(figure(LIKENESS, alike, unit="", better="lower", card=plain))
    far = nearest_training(digits("valid", size).image).mean()
    figures.append(figure(NOVELTY, (nearest_training(image) / far).tolist(), unit="", better="higher", card=plain))
    covered = float(classes_covered(torch.from_numpy(classes), N_CLASSES))
    figures.append(Figure(name=COVERED, value=covered, low=covered, high=covered, unit="", better="higher", card=told))
    return tuple(figures), tuple(left_out)


def frechet(image: Tensor, seed: int) -> Figure:
    """Distance to the training digits, as infinitely many pictures would have it.

    Raises:
        MissingJudge: the network's weights are not installed.
        ValueError: too few pictures.
    """
    features = digit_features(image.shape[2])
    card = Card(
        judge=features.name,
        version=features.version,
        weights=features.weights,
        items=len(image),
        resampling="",
        crop="",
        seed=seed,
    )
    return frechet_figure(FRECHET, features(image), features.own, card=card, seed=seed)


def likeness_within(image: Tensor, classes: np.ndarray, seed: int) -> list[float]:
    """Mean MS-SSIM of each picture to others of its class (AC-GAN, arXiv:1610.09585, section 4.2); NaN where alone."""
    rng, values = np.random.default_rng(seed), np.full(len(image), np.nan)
    for kind in np.unique(classes):
        members = np.flatnonzero(classes == kind)
        if len(members) < 2:
            continue
        # By 1 to len - 1 places on in a shuffled ring: never itself.
        ring = rng.permutation(members)
        shifts = rng.permutation(len(ring) - 1)[:PARTNERS] + 1
        found = [ms_ssim(image[ring, 0], image[np.roll(ring, -shift), 0]).numpy() for shift in shifts]
        values[ring] = np.mean(found, axis=0)
    return values.tolist()


def _costs(made: Made, seed: int) -> list[Figure]:
    card = Card(judge="wall clock", version="nexus 1", weights="", items=0, resampling="", crop="", seed=seed)
    figures = [figure(SECONDS, made.seconds, unit="s", better="lower", card=card)] if len(made.seconds) > 1 else []
    if made.evaluations is not None:
        n = made.evaluations
        card = Card(judge="count", version="nexus 1", weights="", items=0, resampling="", crop="", seed=seed)
        figures.append(Figure(name=EVALUATIONS, value=n, low=n, high=n, unit="", better="lower", card=card))
    return figures
