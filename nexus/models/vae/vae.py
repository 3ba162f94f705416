"""Variational autoencoder (arXiv:1312.6114): pictures to a Gaussian over codes and back.

Trained by the evidence lower bound, log p(x|z) - KL(q(z|x) || p(z)), each summed over pixels and units and averaged
over the batch. No official weights exist.
Axes: B batch, C channels, H height, W width, D units of the code, K samples.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from nexus.media.image import Image
from nexus.media.sheet import contact_sheet
from nexus.models.vae.networks import CoderConfig, Pictures, decoder, encoder
from nexus.process.noise import gaussian, generators
from nexus.process.variational import (
    Posterior,
    active_units,
    free_bits,
    gaussian_log_prob,
    importance_weighted_bound,
    warm_up,
)


@dataclass(frozen=True, kw_only=True)
class VAEConfig:
    """`noise` is the deviation of the Gaussian likelihood, for pictures in [-1, 1]."""

    coder: CoderConfig = field(default_factory=CoderConfig)
    likelihood: Literal["bernoulli", "gaussian"] = "gaussian"
    noise: float = 0.25
    free_nats: float = 0.0  # of each unit, that the KL does not charge
    warm_up_steps: int = 0  # until the KL has its whole weight

    def __post_init__(self):
        if self.likelihood not in ("bernoulli", "gaussian"):
            raise ValueError(f"likelihood must be bernoulli or gaussian, got {self.likelihood!r}")
        if not (self.noise > 0 and self.free_nats >= 0 and self.warm_up_steps >= 0):
            raise ValueError(f"noise must be positive, free_nats and warm_up_steps not negative, got {self}")


class VAE(nn.Module):
    def __init__(self, config: VAEConfig):
        super().__init__()
        self.config = config
        self.encoder, self.decoder = encoder(config.coder), decoder(config.coder)

    def encode(self, x: Pictures) -> Posterior:
        mean, log_variance = self.encoder(x).chunk(2, dim=1)
        return Posterior(mean, log_variance.clamp(-20, 20))  # e^20 is beyond use; without it a bad step ends in NaN

    def decode(self, z: Float[Tensor, "B D"]) -> Pictures:
        """The mean picture, in [-1, 1] (a Gaussian's may pass beyond)."""
        out = self.decoder(z)
        return 2 * out.sigmoid() - 1 if self.config.likelihood == "bernoulli" else out

    def forward(self, x: Pictures) -> Pictures:
        """What the posterior's mean is decoded to."""
        return self.decode(self.encode(x).mean)

    def log_likelihood(self, x: Pictures, z: Float[Tensor, "B D"]) -> Float[Tensor, " B"]:
        """log p(x|z), in nats a picture; Bernoulli's takes (x + 1) / 2 for the probability that a pixel is on."""
        out = self.decoder(z)
        if self.config.likelihood == "bernoulli":
            return -F.binary_cross_entropy_with_logits(out, (x + 1) / 2, reduction="none").sum((1, 2, 3))
        return gaussian_log_prob(x, out, 2 * math.log(self.config.noise)).sum((1, 2, 3))

    def loss(self, batch: dict[str, Tensor], generator: torch.Generator | None = None) -> dict[str, Tensor]:
        """The negative bound, one sample a picture, and its parts.

        Args:
            batch: image [B, C, H, W] in [-1, 1], and step [1] for the warm-up.
        """
        posterior = self.encode(batch["image"])
        z = posterior.sample(generator or generators(None, 1)[0])
        distortion = -self.log_likelihood(batch["image"], z).mean()
        kl = posterior.kl()
        step = int(batch["step"][0]) if "step" in batch and self.training else self.config.warm_up_steps
        rate = self.charge(kl, warm_up(step, self.config.warm_up_steps))
        return {
            "loss": distortion + rate,
            "distortion": distortion.detach(),
            "kl": kl.detach().sum(1).mean(),
            "active": active_units(posterior.mean.detach()).sum().float(),
        }

    def charge(self, kl: Float[Tensor, "B D"], weight: float) -> Float[Tensor, ""]:
        """What the KL costs; `weight` rises to 1 as the warm-up ends."""
        return weight * free_bits(kl, self.config.free_nats)

    @torch.no_grad()
    def bound(self, x: Pictures, k: int, rng: torch.Generator) -> Float[Tensor, " B"]:
        """The importance-weighted bound of log p(x) with k samples (arXiv:1509.00519); the ELBO for k = 1."""
        posterior, weights = self.encode(x), []
        for _ in range(k):
            z = posterior.sample(rng)
            prior = gaussian_log_prob(z, 0.0, 0.0).sum(1)
            weights.append(self.log_likelihood(x, z) + prior - posterior.log_prob(z))
        return importance_weighted_bound(torch.stack(weights))

    @torch.no_grad()
    def generate(self, n: int = 1, *, seed: int | None = None) -> list[Image]:
        """n pictures from the prior, picture i from the code of `seed + i` alone.

        Raises:
            ValueError: n below 1.
        """
        if n < 1:
            raise ValueError(f"n must be at least 1, got {n}")
        weight = next(self.parameters())
        z = gaussian((self.config.coder.latent_dim,), generators(seed, n), device=weight.device, dtype=weight.dtype)
        return [Image.from_tensor(x) for x in self.decode(z)]

    @torch.no_grad()
    def traverse(
        self,
        units: Sequence[int] | None = None,
        *,
        image: Image | None = None,
        reach: float = 2.5,
        steps: int = 9,
    ) -> Image:
        """A picture of pictures: a row for each unit, which goes from -reach to reach while the others stay.

        Args:
            units: which of the code, all by default.
            image: what the others say, the prior's mean by default.

        Raises:
            ValueError: units that there are not, or a picture of another size.
        """
        dim, weight = self.config.coder.latent_dim, next(self.parameters())
        units = range(dim) if units is None else units
        if steps < 1 or not units or not all(0 <= unit < dim for unit in units):
            raise ValueError(f"units must be numbers from 0 to {dim - 1} and steps at least 1, got {units} and {steps}")
        z = weight.new_zeros(dim) if image is None else self.encode(self.tensor(image)[None]).mean[0]
        codes = z.repeat(len(units), steps, 1)
        for row, unit in enumerate(units):
            codes[row, :, unit] = torch.linspace(-reach, reach, steps).to(codes)
        return contact_sheet([Image.from_tensor(x) for x in self.decode(codes.flatten(0, 1))], steps)

    def tensor(self, image: Image) -> Float[Tensor, "C H W"]:
        """A picture as the encoder takes it.

        Raises:
            ValueError: another size than the network's.
        """
        if (image.height, image.width) != tuple(self.config.coder.size):
            height, width = self.config.coder.size
            raise ValueError(f"the picture must be {width}x{height} pixels, got {image.width}x{image.height}")
        x = image.over_white().tensor().to(next(self.parameters()))
        return x if self.config.coder.channels == 3 else x.mean(0, keepdim=True)
