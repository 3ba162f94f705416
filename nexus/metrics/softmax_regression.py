"""Multinomial logistic regression on fixed features: the smallest judge that can be taught classes.

Axes: N examples, D features, K classes.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional


@dataclass(frozen=True, eq=False)
class SoftmaxRegression:
    """`classes` in the order of the columns; features are standardised first."""

    classes: tuple[str, ...]
    mean: Float[Tensor, " D"]
    scale: Float[Tensor, " D"]
    weight: Float[Tensor, "D K"]
    bias: Float[Tensor, " K"]

    def classify(self, features: Float[Tensor, "N D"]) -> list[str]:
        """The likeliest class of each row."""
        scores = (features - self.mean) / self.scale @ self.weight + self.bias
        return [self.classes[i] for i in scores.argmax(1).tolist()]


def fit(features: Float[Tensor, "N D"], labels: Sequence[str], *, decay: float = 1e-4) -> SoftmaxRegression:
    """The regression of least mean cross-entropy plus `decay` times the squared weights (convex, so without a seed).

    Raises:
        ValueError: not one label for each row, or fewer than two classes.
    """
    if len(labels) != len(features):
        raise ValueError(f"need one label for each example, got {len(labels)} for {len(features)}")
    classes = tuple(sorted(set(labels)))
    if len(classes) < 2:
        raise ValueError(f"a judge tells at least two classes apart, got {', '.join(classes) or 'none'}")
    target = torch.tensor([classes.index(label) for label in labels])
    mean = features.mean(0)
    # The root of D keeps `decay` comparable between widths of features.
    scale = (features.std(0, correction=0) + 1e-6) * features.shape[1] ** 0.5
    x = (features - mean) / scale
    weight = torch.zeros(x.shape[1], len(classes), requires_grad=True)
    bias = torch.zeros(len(classes), requires_grad=True)
    optimizer = torch.optim.LBFGS([weight, bias], max_iter=100, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = functional.cross_entropy(x @ weight + bias, target) + decay * weight.square().sum()
        loss.backward()
        return loss

    with torch.enable_grad():
        optimizer.step(closure)
    return SoftmaxRegression(classes, mean, scale, weight.detach(), bias.detach())
