"""How many of the thousand kinds of stacked digits a model makes, and how evenly (PacGAN, arXiv:1712.04086,
section 4.2).

The judge always reads a digit in a colour: beside the kinds stands how far what it read is from digits.
Axes: N pictures, H height, W width.
"""

import time
from collections.abc import Mapping
from functools import cache
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from nexus.data.digits import digits
from nexus.data.stacked_digits import N_KINDS, PLANES, StackedDigits, kinds, planes
from nexus.metrics.digit_judge import digit_classifier, nearest_training
from nexus.metrics.evaluate_digits import NOVELTY, SECONDS
from nexus.metrics.figures import Card, Evaluation, Figure, Item, figure
from nexus.metrics.judging import Progress
from nexus.metrics.modes import divergence_from_even, kinds_covered

KINDS, DIVERGENCE = "kinds covered", "divergence from even, nats"
BATCH, SHOWN, NEAR = 500, 100, 500  # pictures made at a time, shown, and whose digits are compared with the training's


def kinds_seen(image: Float[Tensor, "N 3 H W"]) -> Int[Tensor, " N"]:
    """What the judge of the digits reads in the three colours, from 0 to 999."""
    classes = torch.from_numpy(digit_classifier(image.shape[2]).classify(planes(image)))
    return kinds(classes.view(-1, PLANES))


def evaluate_stacked(model: Any, *, items: int = 10_000, seed: int = 0, progress: Progress | None = None) -> Evaluation:
    """Figures of a model that was trained on stacked digits, beside those of held-out digits and of noise.

    Args:
        model: has `generate(n, *, seed)`, which gives pictures.
        items: pictures; of ten thousand even ones less than one kind in 20,000 is missing by chance.

    Raises:
        ValueError: fewer pictures than there are kinds.
    """
    if items < N_KINDS:
        raise ValueError(f"{N_KINDS} kinds are looked for among the pictures: needs at least so many, got {items}")
    made, seconds = [], []
    for start in range(0, items, BATCH):
        begun, n = time.perf_counter(), min(BATCH, items - start)
        made += model.generate(n, seed=seed + start)
        seconds.append((time.perf_counter() - begun) / n)
        if progress is not None:
            progress(len(made), items, "making stacked digits")
    image = torch.stack([picture.tensor() for picture in made])
    clock = Card(judge="wall clock", version="nexus 1", weights="", items=items, resampling="", crop="", seed=seed)
    spelt = [f"{kind:03d}" for kind in kinds_seen(image[:SHOWN]).tolist()]
    return Evaluation(
        kind="image",
        model=model.info.name if hasattr(model, "info") else type(model).__name__,
        data="stacked digits",
        figures=(*judged(image), figure(SECONDS, seconds, unit="s", better="lower", card=clock)),
        baselines=baselines(image.shape[2], items, seed),
        items=tuple(
            Item(prompt="", made=picture, reference=None, values={}, note=f"seen as {to}")
            for picture, to in zip(made, spelt, strict=False)
        ),
        left_out=(),
    )


@cache
def baselines(size: int, items: int, seed: int) -> Mapping[str, tuple[Figure, ...]]:
    """Figures of held-out digits, stacked, and of noise."""
    noise = torch.randn(items, PLANES, size, size, generator=torch.Generator().manual_seed(seed)).clamp(-1, 1)
    real = StackedDigits("valid", items, seed, size)[0]["image"]
    return {"held-out digits, stacked": judged(real), "noise": judged(noise)}


def judged(image: Float[Tensor, "N 3 H W"]) -> tuple[Figure, ...]:
    classifier, seen = digit_classifier(image.shape[2]), kinds_seen(image)
    card = Card(
        judge=classifier.name, version=classifier.version, weights="", items=len(seen), resampling="", crop="", seed=0
    )
    covered, divergence = float(kinds_covered(seen, N_KINDS)), divergence_from_even(seen, N_KINDS)
    far = nearest_training(digits("valid", image.shape[2]).image).mean()
    near = (nearest_training(planes(image[:NEAR])) / far).tolist()
    return (
        Figure(name=KINDS, value=covered, low=covered, high=covered, unit="", better="higher", card=card),
        Figure(name=DIVERGENCE, value=divergence, low=divergence, high=divergence, unit="", better="lower", card=card),
        figure(NOVELTY, near, unit="", better="lower", card=card),
    )
