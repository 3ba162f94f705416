"""ControlNets of FLUX.1: the first blocks of both kinds, which see a second picture beside x_t.

The picture comes in as latents, or (XLabs') through convolutions of its own. One network may have learnt several kinds
of pictures ("union"), which it is told by one more token before the text.

Official weights: InstantX/FLUX.1-dev-Controlnet-Canny and -Union, Shakker-Labs/FLUX.1-dev-ControlNet-Union-Pro and
-Depth, XLabs-AI/flux-controlnet-canny-diffusers (FLUX.1 [dev] non-commercial licence).
Axes: B batch, C latent channels, H height, W width, S text tokens, T patches, D width, P width of the text's summary.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor, nn

from nexus.adapters.block_controlnet import check_sizes, latents_of, zero
from nexus.adapters.controlnet import Hint
from nexus.models.diffusion.brief import Brief
from nexus.models.diffusion.flux_transformer import FluxTransformer, FluxTransformerConfig, Trunk, turns
from nexus.nn.beside import Beside
from nexus.nn.patch import PatchEmbed

Latents = Float[Tensor, "B C H W"]
Patches = Float[Tensor, "B T D"]
MODES = ("canny", "tile", "depth", "blur", "pose", "gray", "low-quality")  # of InstantX' and Shakker Labs' unions


@dataclass(frozen=True, kw_only=True)
class FluxControlNetConfig:
    """InstantX' for canny edges; `network` says how many blocks of each kind there are."""

    network: FluxTransformerConfig = field(
        default_factory=lambda: FluxTransformerConfig(n_double_layers=5, n_single_layers=10)
    )
    n_modes: int | None = None  # kinds of pictures that it was trained to tell apart
    hint_dims: tuple[int, ...] | None = None  # of convolutions that the picture comes in through

    def __post_init__(self):
        if self.network.n_double_layers < 1:
            raise ValueError("a FLUX ControlNet has one block of two streams at least")
        if self.n_modes is not None and self.hint_dims is not None:
            raise ValueError("a picture comes in through convolutions or as one of several modes, not both")


class FluxControlNet(Trunk):
    """`(x_t, time, text, summary, seen, guidance, mode)` to what each block finds, those of two streams first."""

    def __init__(self, config: FluxControlNetConfig):
        network = config.network
        super().__init__(network)
        self.control, dim = config, network.dim
        self.hint = None if config.hint_dims is None else Hint(3, config.hint_dims, network.in_channels)
        self.picture_in = PatchEmbed(network.in_channels, dim, network.patch_size)
        zero(self.picture_in.proj)
        self.mode_embed = None if config.n_modes is None else nn.Embedding(config.n_modes, dim)
        n_blocks = network.n_double_layers + network.n_single_layers
        self.outs = nn.ModuleList(zero(nn.Linear(dim, dim)) for _ in range(n_blocks))

    def forward(
        self,
        x_t: Latents,
        time: Float[Tensor, " B"],
        text: Float[Tensor, "B S E"],
        summary: Float[Tensor, "B P"],
        seen: Latents,
        guidance: Float[Tensor, " B"] | None = None,
        mode: int | None = None,
    ) -> list[Patches]:
        """`seen` is what `see` made of the picture.

        Raises:
            ValueError: a guidance or a mode too many or too few, or a mode that there is not.
        """
        self.check_mode(mode)
        vector, text = self.vector(time, summary, guidance), self.text_in(text)
        if self.mode_embed is not None:
            told = self.mode_embed.weight[mode].expand(len(text), 1, -1)
            text = torch.cat([told, text], dim=1)
        rows, columns = (side // self.config.patch_size for side in x_t.shape[2:])
        rotation = turns(self.config.rope_dims, rows, columns, x_t.device)
        x = self.patches_in(x_t) + self.picture_in(seen)
        states = self.walk(x, text, vector, rotation)
        return [out(state) for out, state in zip(self.outs, states, strict=True)]

    def check_mode(self, mode: int | None) -> None:
        n = self.control.n_modes
        if (mode is None) != (n is None) or (n is not None and mode is not None and not 0 <= mode < n):
            kinds = ", ".join(f"{i} {name}" for i, name in enumerate(MODES[:n]))
            wanted = "is for one kind of pictures: leave mode out" if n is None else f"has modes 0 to {n - 1} ({kinds})"
            raise ValueError(f"this ControlNet {wanted}; {'say which' if mode is None else f'got {mode}'}")

    def see(self, pixels: Float[Tensor, "N 3 Y X"], brief: Brief) -> Latents:
        """What comes in for pictures in [0, 1]: latents, drawn with what is asked for as diffusers draws them."""
        if self.hint is not None:
            return self.hint(2 * pixels - 1)
        return brief.vae.scaled(latents_of(brief.vae, 2 * pixels - 1, brief.asked.rngs))

    def listen(self, brief: Brief, seen: Latents, mode: int | None = None) -> Callable[[Tensor, Tensor], Beside]:
        """What it adds to the base's blocks at every step.

        Raises:
            ValueError: another base than the one it was made for, or a mode that it has not.
        """
        self.check_mode(mode)
        base, text, summary = self.checked(brief), brief.text, brief.summary
        guidance = brief.guidance if self.config.guidance else None
        assert summary is not None
        return lambda x_t, time: self.for_blocks(self(x_t, time, text, summary, seen, guidance, mode), base)

    def for_blocks(self, found: list[Patches], base: FluxTransformer) -> Beside:
        """XLabs' findings go round, the others' stay for some blocks in a row."""
        n, n_base = self.config.n_double_layers, base.config.n_double_layers
        double = [found[i % n] for i in range(n_base)] if self.hint is not None else in_rows(found[:n], n_base)
        return Beside((*double, *in_rows(found[n:], base.config.n_single_layers)))

    def checked(self, brief: Brief) -> FluxTransformer:
        base = brief.network
        if not isinstance(base, FluxTransformer):
            raise ValueError(f"the ControlNet is for another base: FLUX.1, this is a {type(base).__name__}")
        names = ("dim", "in_channels", "patch_size", "text_dim", "summary_dim", "head_dim")
        check_sizes(base, *({name: getattr(config, name) for name in names} for config in (self.config, base.config)))
        return base


def in_rows(found: list[Patches], n_blocks: int) -> list[Patches | None]:
    """Each for as many blocks in a row, rounded up, as FLUX' ControlNets were trained."""
    each = math.ceil(n_blocks / len(found)) if found else 1
    return [found[i // each] if found else None for i in range(n_blocks)]
