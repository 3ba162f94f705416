"""The first WGAN on the digits: weights clipped instead of a penalty. No weights come along.

Without momentum Adam is RMSprop, the paper's optimiser, but for the correction of its start.
"""

from dataclasses import replace

from nexus.process.gan import ClippedWasserstein
from nexus.recipes import digits_wgan
from nexus.training.gan import adam

recipe = replace(
    digits_wgan.recipe,
    name="digits-wgan-clipped",
    game=ClippedWasserstein(clip=0.05),  # at the paper's 0.01 so small a critic has hardly a slope
    norm="none",
    optimizer=adam(5e-4, 0.0, 0.99),
    critic_optimizer=adam(5e-4, 0.0, 0.99),
)
