"""DiT (arXiv:2212.09748): pictures of a class, by a transformer over an image autoencoder's latents.

Official weights: facebook/DiT-XL-2-256 and -512 (CC-BY-NC-4.0), and the authors' DiT-XL-2-256x256.pt.
Axes: B batch, D latent channels, H height, W width.
"""

import difflib
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from jaxtyping import Float, Int, Num
from torch import Tensor, nn

from nexus.codecs.image_vae import ImageVAE
from nexus.media.image import Image
from nexus.models.diffusion.dit_transformer import DiTTransformer, DiTTransformerConfig
from nexus.models.diffusion.latent_pictures import painted
from nexus.models.diffusion.latent_start import began
from nexus.models.diffusion.request import Limits, check_whole
from nexus.process.diffusion import Network, data_field, diffusion_loss, spread_steps
from nexus.process.guidance import extrapolate
from nexus.process.levels import Path
from nexus.process.noise import generators
from nexus.process.schedule import NoiseSchedule, leading, linear, without_last
from nexus.process.walk import Progress

Label = int | str
SOLVERS = ("ddim", "ddpm", "euler", "euler-ancestral", "heun", "dpmpp-2m", "dpmpp-2m-sde", "unipc")
_MULTISTEP = ("dpmpp-2m", "dpmpp-2m-sde", "unipc")  # they do better without the lowest step


@dataclass(frozen=True, kw_only=True)
class DiTConfig:
    """DiT-XL/2 for 256 pixels; `size`, `steps`, `guidance_scale` and `solver` are `generate`'s."""

    network: DiTTransformerConfig = field(default_factory=DiTTransformerConfig)
    labels: tuple[str, ...] = ()  # what each class is called, several names parted by commas
    drop: float = 0.1  # share of the labels that training hides, for guidance
    guided_channels: int = 3  # of the latents; the others are the condition's (so the authors sample)
    size: tuple[int, int] = (256, 256)
    steps: int = 50
    guidance_scale: float = 4.0
    solver: str = "ddim"

    def __post_init__(self):
        if len(self.labels) not in (0, self.network.n_classes):
            raise ValueError(f"labels must name all {self.network.n_classes} classes, got {len(self.labels)}")
        if not 0 < self.guided_channels <= self.network.in_channels:
            raise ValueError(f"guided_channels are 1 to {self.network.in_channels}, got {self.guided_channels}")


class DiT(nn.Module):
    """`image_vae` completes the network; `nexus.load` attaches it."""

    image_vae: ImageVAE

    def __init__(self, config: DiTConfig):
        super().__init__()
        self.config = config
        self.network = DiTTransformer(config.network)

    @property
    def schedule(self) -> NoiseSchedule:
        return linear()

    def forward(
        self, x_t: Float[Tensor, "B D H W"], step: Num[Tensor, " B"], label: Int[Tensor, " B"]
    ) -> Float[Tensor, "B D H W"]:
        """The noise in `x_t`, without the network's learnt variance."""
        return self.network(x_t, step, label)[:, : x_t.shape[1]]

    def loss(self, batch: dict[str, Tensor], generator: torch.Generator | None = None) -> dict[str, Tensor]:
        """The simple loss at steps drawn evenly, some labels hidden; a learnt variance is not taught by it.

        Args:
            batch: latents [B, D, H, W] (scaled) and label [B].
        """
        rng = generator or generators(None, 1)[0]
        latents, n = batch["latents"], len(batch["latents"])
        step = spread_steps(n, self.schedule, rng).to(latents.device)
        hidden = (torch.rand(n, generator=rng) < self.config.drop).to(latents.device)
        label = torch.where(hidden, self.config.network.n_classes, batch["label"])
        noise = torch.randn(latents.shape, generator=rng).to(latents)

        def network(x_t: Tensor, step: Tensor) -> Tensor:
            return self(x_t, step, label)

        return {"loss": diffusion_loss(network, self.schedule, latents, noise, step, "noise").mean()}

    @torch.no_grad()
    def generate(
        self,
        prompt: Label | Sequence[Label],
        *,
        height: int | None = None,
        width: int | None = None,
        steps: int | None = None,
        guidance_scale: float | int | None = None,
        solver: str | None = None,
        cache: float | int = 0.0,
        seed: int | None = None,
        progress: Progress | None = None,
    ) -> Image | list[Image]:
        """Makes one picture of a class, or one for each of a list.

        Args:
            prompt: a class, by its number or by one of its names.
            height, width: in pixels, in multiples of 16 (officially); else the model's own.
            guidance_scale: `null + guidance_scale * (cond - null)`; 1 is no guidance.
            solver: one of ddim, ddpm, euler, euler-ancestral, heun, dpmpp-2m, dpmpp-2m-sde, unipc.
            cache: skips steps over which the noise hardly changes (`nexus.process.step_cache`), many at 0.5.
            seed: item i of a list has the noise of `seed + i` alone.
            progress: called with steps done and steps in all; an exception raised in it stops the call.

        Raises:
            ValueError: a class that is not known, or a size, steps or a solver that can't be.
        """
        like, labels = self.network.proj_out.weight, [prompt] if isinstance(prompt, int | str) else list(prompt)
        numbers = [self.class_of(label) for label in labels]
        asked = self.limits.pictures(
            len(numbers), alone=isinstance(prompt, int | str), height=height, width=width, steps=steps,
            guidance_scale=guidance_scale, solver=solver, cache=cache, seed=seed,
        )  # fmt: skip
        path = self.path(asked.steps, asked.solver)
        noise = self.guided(torch.tensor(numbers, device=like.device), asked.scale)
        start = began(self.image_vae, asked, path[0], like)
        return painted(self.image_vae, asked, start, path, data_field(noise, "noise"), progress)

    @property
    def limits(self) -> Limits:
        """What it can be asked for."""
        check_whole(self, "image_vae")
        multiple = self.image_vae.config.spatial_compression_ratio * self.config.network.patch_size
        return Limits(own=self.config, multiple=multiple, most_steps=self.schedule.n_steps - 1, solvers=SOLVERS)

    def class_of(self, label: Label) -> int:
        """The number of a class.

        Raises:
            ValueError: it is not known; the nearest names are offered.
        """
        n_classes = self.config.network.n_classes
        if isinstance(label, str) and label.strip().isdigit():
            label = int(label)
        if isinstance(label, int):
            if not 0 <= label < n_classes:
                raise ValueError(f"classes are numbered from 0 to {n_classes - 1}, got {label}")
            return label
        numbers = {name.strip().lower(): i for i, names in enumerate(self.config.labels) for name in names.split(",")}
        if label.strip().lower() not in numbers:
            near = difflib.get_close_matches(label.strip().lower(), numbers, n=3, cutoff=0.5)
            known = f"nearest: {', '.join(near)}" if near else f"give a number from 0 to {n_classes - 1}"
            raise ValueError(f"no class is called {label!r}; {known}")
        return numbers[label.strip().lower()]

    def path(self, steps: int, solver: str) -> Path:
        """The levels that a solver visits."""
        if solver in _MULTISTEP:
            return self.schedule.path(without_last(leading(self.schedule.n_steps, steps + 1)))
        return self.schedule.path(leading(self.schedule.n_steps, steps))

    def guided(self, label: Int[Tensor, " B"], scale: float | int) -> Network:
        """Both halves of guidance in one batch; channels that are not guided are the condition's."""
        if scale == 1:
            return lambda x_t, step: self(x_t, step, label)
        labels = torch.cat([label, torch.full_like(label, self.config.network.n_classes)])
        n = self.config.guided_channels

        def noise(x_t: Tensor, step: Tensor) -> Tensor:
            cond, null = self(torch.cat([x_t, x_t]), torch.cat([step, step]), labels).chunk(2)
            return torch.cat([extrapolate(cond[:, :n], null[:, :n], scale), cond[:, n:]], dim=1)

        return noise
