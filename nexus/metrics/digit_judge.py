"""Two that know digits and never saw a model: a support-vector classifier taught on the training digits, and the
64 principal components of EfficientNet-Lite0's features in which Fréchet distances are taken.

Axes: N pictures, H height, W width.
"""

from functools import cache

import torch
from jaxtyping import Float, Int
from numpy import ndarray
from torch import Tensor

from nexus.data.digits import digits
from nexus.metrics.judge import version
from nexus.metrics.principal_features import PrincipalFeatures


class DigitClassifier:
    """A support-vector machine on the pixels (RBF kernel, scikit-learn's defaults); `accuracy` on held-out digits."""

    def __init__(self, size: int):
        from sklearn.svm import SVC

        train, valid = digits("train", size), digits("valid", size)
        self.machine = SVC().fit(train.image.flatten(1).numpy(), train.label.numpy())
        self.accuracy = float((self.classify(valid.image) == valid.label.numpy()).mean())

    def classify(self, image: Float[Tensor, "N 1 H W"]) -> Int[ndarray, " N"]:
        return self.machine.predict(image.flatten(1).numpy())

    @property
    def name(self) -> str:
        return f"support-vector machine on pixels, {100 * self.accuracy:.1f} % of held-out digits right"

    @property
    def version(self) -> str:
        return version("scikit-learn")


@cache
def digit_classifier(size: int) -> DigitClassifier:
    return DigitClassifier(size)


@cache
def digit_features(size: int) -> PrincipalFeatures:
    """Of the training digits."""
    return PrincipalFeatures(digits("train", size).image)


def nearest_training(image: Float[Tensor, "N 1 H W"]) -> Float[Tensor, " N"]:
    """How far (in pixels' root mean square) each picture is from the training digit most like it."""
    known = digits("train", image.shape[2]).image.flatten(1)
    return torch.cdist(image.flatten(1), known).amin(1) / known.shape[1] ** 0.5
