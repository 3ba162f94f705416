"""EfficientNet-Lite0's features of small pictures in the directions in which a set's own vary most: a space for
Fréchet distances of as few pictures as there are.

Axes: N pictures, C channels, H height, W width, D components.
"""

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from numpy import ndarray
from torch import Tensor

from nexus.metrics.judge import MissingJudge, digest, version
from nexus.metrics.picture_features import DEVIATION, MEAN, PACKAGE, PictureNetwork, weights_file

SPREAD = 100.0  # total variance of the set in its directions: the unit of the Fréchet distance
COMPONENTS = 64  # of 1,280
SIDE = 32  # pixels that pictures are enlarged to for the network
_AT_ONCE = 100


class PrincipalFeatures:
    """Features of any pictures in the directions of a set's; `own` are the set's.

    Raises:
        MissingJudge: the package with the network's weights is not installed.
    """

    name = f"EfficientNet-Lite0 at {SIDE} pixels, {COMPONENTS} principal components"

    def __init__(self, image: Float[Tensor, "N C H W"]):
        try:
            self.network = PictureNetwork().network
        except ModuleNotFoundError as missing:
            raise MissingJudge(str(missing)) from None
        seen = self._seen(image)
        self.mean = seen.mean(0)
        directions = np.linalg.svd(seen - self.mean, full_matrices=False)[2][:COMPONENTS].T
        variance = ((seen - self.mean) @ directions).var(0, ddof=1).sum()
        self.directions = directions * (SPREAD / variance) ** 0.5
        self.own = (seen - self.mean) @ self.directions

    def __call__(self, image: Float[Tensor, "N C H W"]) -> Float[ndarray, "N D"]:
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
