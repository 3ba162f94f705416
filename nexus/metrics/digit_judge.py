"""Two that know digits and never saw a model: a support-vector classifier taught on the training digits, and the
64 principal components of EfficientNet-Lite0's features in which Fréchet distances are taken.

Axes: N pictures, H height, W width, D components.
"""

from functools import cache

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from numpy import ndarray
from torch import Tensor

from nexus.data.digits import digits
from nexus.metrics.judge import MissingJudge, digest, version
from nexus.metrics.picture_features import DEVIATION, MEAN, PACKAGE, PictureNetwork, weights_file

SPREAD = 100.0  # total variance of the training digits: the unit of the Fréchet distance
COMPONENTS = 64  # of 1,280: as many as 360 held-out digits can bear
SIDE = 32  # pixels that digits are enlarged to for the network
_AT_ONCE = 100


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


class DigitFeatures:
    """EfficientNet-Lite0's features of digits in the principal directions of the training digits' own.

    Raises:
        MissingJudge: the package with the network's weights is not installed.
    """

    name = f"EfficientNet-Lite0 at {SIDE} pixels, {COMPONENTS} principal components"

    def __init__(self, size: int):
        try:
            self.network = PictureNetwork().network
        except ModuleNotFoundError as missing:
            raise MissingJudge(str(missing)) from None
        seen = self._seen(digits("train", size).image)
        self.mean = seen.mean(0)
        directions = np.linalg.svd(seen - self.mean, full_matrices=False)[2][:COMPONENTS].T
        variance = ((seen - self.mean) @ directions).var(0, ddof=1).sum()
        self.directions = directions * (SPREAD / variance) ** 0.5
        self.train = (seen - self.mean) @ self.directions

    def __call__(self, image: Float[Tensor, "N 1 H W"]) -> Float[ndarray, "N D"]:
        return (self._seen(image) - self.mean) @ self.directions

    @torch.no_grad()
    def _seen(self, image: Tensor) -> ndarray:
        pixels = (((image + 1) * 127.5) - MEAN) / DEVIATION
        large = F.interpolate(pixels, (SIDE, SIDE), mode="bicubic", align_corners=False).expand(-1, 3, -1, -1)
        return torch.cat([self.network.features(part) for part in large.split(_AT_ONCE)]).double().numpy()

    @property
    def version(self) -> str:
        return version(PACKAGE.replace("_", "-"))

    @property
    def weights(self) -> str:
        return digest(weights_file())


@cache
def digit_classifier(size: int) -> DigitClassifier:
    return DigitClassifier(size)


@cache
def digit_features(size: int) -> DigitFeatures:
    return DigitFeatures(size)


def nearest_training(image: Float[Tensor, "N 1 H W"]) -> Float[Tensor, " N"]:
    """How far (in pixels' root mean square) each picture is from the training digit most like it."""
    known = digits("train", image.shape[2]).image.flatten(1)
    return torch.cdist(image.flatten(1), known).amin(1) / known.shape[1] ** 0.5
