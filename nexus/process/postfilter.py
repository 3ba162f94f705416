"""What gives made spectra back the contrast that a network averaged away.

A network that is unsure gives the mean of what could be, and voices sound muffled; parametric speech synthesis has
filtered that out again since Toda and Tokuda (2007, doi:10.1093/ietisy/e90-d.5.816), who restored the variance.
Axes: B batch, M mel bins, T frames.
"""

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor


def sharpen(log_mel: Float[Tensor, "B M T"], amount: float) -> Float[Tensor, "B M T"]:
    """Adds `amount` times what a bin has beyond its neighbours (weights 1/4, 1/2, 1/4): an unsharp mask over frequency.

    A slope stays as it is; what alternates from bin to bin becomes 1 + `amount` times as strong.
    """
    padded = F.pad(log_mel.mT, (1, 1), mode="replicate").mT  # [B, M + 2, T]
    smooth = padded[:, :-2] / 4 + log_mel / 2 + padded[:, 2:] / 4
    return log_mel + amount * (log_mel - smooth)
