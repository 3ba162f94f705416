"""Least squares of discriminators, and the matching of their features, as HiFi-GAN and those after it weigh them.

HiFi-GAN (arXiv:2010.05646) and DAC (arXiv:2306.06546) sum over judges and layers, NeMo's codecs (arXiv:2406.05298)
take means; DAC leaves logits out of the features.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from nexus.process.adversarial import Judgement, discriminator_least_squares, generator_least_squares

FEATURE_WEIGHT = 2.0  # of feature matching beside the adversarial loss (HiFi-GAN, eq. 6; DAC too)


def discriminator_sum(real: Judgement, fake: Judgement) -> Float[Tensor, ""]:
    """(1 - D(x))^2 + D(x')^2, summed over judges (HiFi-GAN, eq. 7)."""
    return len(real.logits) * discriminator_least_squares(real, fake)


def generator_sum(fake: Judgement) -> Float[Tensor, ""]:
    """(1 - D(x'))^2, summed over judges (HiFi-GAN, eq. 6)."""
    return len(fake.logits) * generator_least_squares(fake)


def feature_distances(real: Judgement, fake: Judgement) -> list[Float[Tensor, " N"]]:
    """Mean L1 distance of every layer, for each judge."""
    return [
        torch.stack([F.l1_loss(f, r.detach()) for r, f in zip(layers_r, layers_f, strict=True)])
        for layers_r, layers_f in zip(real.features, fake.features, strict=True)
    ]


def feature_sum(real: Judgement, fake: Judgement) -> Float[Tensor, ""]:
    """Over layers and judges (HiFi-GAN, eq. 4)."""
    return torch.cat(feature_distances(real, fake)).sum()


def feature_mean(real: Judgement, fake: Judgement) -> Float[Tensor, ""]:
    """Over the layers of a judge, then over judges."""
    return torch.stack([distances.mean() for distances in feature_distances(real, fake)]).mean()


def with_logits(judgement: Judgement) -> Judgement:
    """Logits as one more layer of features (HiFi-GAN and NeMo)."""
    pairs = zip(judgement.features, judgement.logits, strict=True)
    return Judgement(judgement.logits, [[*features, logits] for features, logits in pairs])
