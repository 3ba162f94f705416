"""A video autoencoder as one of pictures: each is a clip of one frame, as causal autoencoders take them."""

from jaxtyping import Float
from torch import Tensor, nn

from nexus.codecs.cogvideox_vae import CogVideoXVAE, LatentDistribution


class Stills(nn.Module):
    """Codes pictures [B, 3, Y, X] in [-1, 1] as latents [B, D, H, W], and back."""

    def __init__(self, video_vae: CogVideoXVAE):
        super().__init__()
        self.video_vae = video_vae
        self.config = video_vae.config

    def encode(self, image: Float[Tensor, "B 3 Y X"]) -> LatentDistribution:
        coded = self.video_vae.encode(image[:, :, None])
        return LatentDistribution(coded.mean[:, :, 0], coded.log_variance[:, :, 0])

    def decode(self, latent: Float[Tensor, "B D H W"]) -> Float[Tensor, "B 3 Y X"]:
        return self.video_vae.decode(latent[:, :, None])[:, :, 0]

    def scaled(self, latent: Float[Tensor, "B D H W"]) -> Float[Tensor, "B D H W"]:
        """Near unit deviation, as diffusion models are given them."""
        return latent * self.config.scaling_factor

    def unscaled(self, latent: Float[Tensor, "B D H W"]) -> Float[Tensor, "B D H W"]:
        """Latents to decode, of those that diffusion made."""
        return latent / self.config.scaling_factor
