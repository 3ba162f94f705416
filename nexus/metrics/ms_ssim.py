"""Multi-scale structural similarity (Wang, Simoncelli and Bovik, 2003), for pictures as small as 16 pixels.

Axes: N pairs, H height, W width.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)  # of the scales, the finest first
K = (0.01, 0.03)
SIGMA = 1.5  # pixels
WINDOW = 7  # Deviation: the paper's 11 pixels would leave a picture of 16 a single scale
RANGE = 2.0  # of pixels in [-1, 1]


def ms_ssim(one: Float[Tensor, "N H W"], other: Float[Tensor, "N H W"]) -> Float[Tensor, " N"]:
    """Likeness of each pair in [0, 1], over as many of the five scales as the window fits (two at 16 pixels).

    Raises:
        ValueError: pictures smaller than the window.
    """
    side = min(one.shape[1:])
    if side < WINDOW:
        raise ValueError(f"MS-SSIM needs pictures of at least {WINDOW} pixels a side, got {side}")
    n_scales = next(n for n in range(len(WEIGHTS), 0, -1) if side >> (n - 1) >= WINDOW)
    weights = torch.tensor(WEIGHTS[:n_scales]) / sum(WEIGHTS[:n_scales])
    x, y = one[:, None].double(), other[:, None].double()
    product = torch.ones(len(one), dtype=torch.float64)
    for i, weight in enumerate(weights.tolist()):
        light, structure = _parts(x, y)
        # Luminance counts at the coarsest scale alone (eq. 7).
        at_scale = structure if i < n_scales - 1 else light * structure
        product = product * at_scale.mean((1, 2, 3)).clamp(min=0) ** weight
        x, y = F.avg_pool2d(x, 2), F.avg_pool2d(y, 2)
    return product


def _parts(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Luminance, and contrast times structure, at every place where the window fits."""
    c1, c2 = ((k * RANGE) ** 2 for k in K)
    mean_x, mean_y = _blurred(x), _blurred(y)
    var_x, var_y = _blurred(x * x) - mean_x**2, _blurred(y * y) - mean_y**2
    covariance = _blurred(x * y) - mean_x * mean_y
    light = (2 * mean_x * mean_y + c1) / (mean_x**2 + mean_y**2 + c1)
    return light, (2 * covariance + c2) / (var_x + var_y + c2)


def _blurred(x: Tensor) -> Tensor:
    places = torch.arange(WINDOW, dtype=x.dtype) - WINDOW // 2
    bell = torch.exp(-(places**2) / (2 * SIGMA**2))
    bell = bell / bell.sum()
    return F.conv2d(x, (bell[:, None] * bell)[None, None])
