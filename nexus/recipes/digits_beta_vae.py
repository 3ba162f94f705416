"""beta-VAE of the digits. No weights come along."""

from dataclasses import dataclass, field
from pathlib import Path

from torch import nn

from nexus.data.digits import SIZE
from nexus.models.vae.beta_vae import BetaVAE, BetaVAEConfig
from nexus.models.vae.networks import CoderConfig
from nexus.models.vae.vae import VAEConfig
from nexus.nn.checkpoint import save_folder
from nexus.recipes.digits_vae import DigitsVAE


@dataclass(frozen=True, kw_only=True)
class DigitsBetaVAE(DigitsVAE):
    name: str = "digits-beta-vae"
    model: VAEConfig = field(
        default_factory=lambda: BetaVAEConfig(
            beta=4.0, coder=CoderConfig(kind="conv", channels=1, size=(SIZE, SIZE), dims=(32, 64), latent_dim=16)
        )
    )

    def networks(self) -> dict[str, nn.Module]:
        assert isinstance(self.model, BetaVAEConfig)
        return {"model": BetaVAE(self.model)}

    def export(self, model: nn.Module, folder: Path) -> None:
        save_folder(model, folder, kind="beta-vae", config=self.model)


recipe = DigitsBetaVAE()
