"""A ControlNet of a transformer with its picture, as an adapter of `generate`: weight, part of the steps, mode."""

from dataclasses import dataclass, replace

from torch import Tensor

from nexus.adapters.flux_controlnet import MODES, FluxControlNet
from nexus.adapters.pixart_controlnet import PixArtControlNet
from nexus.adapters.sd3_controlnet import SD3ControlNet, SD35ControlNet
from nexus.adapters.shown import Shown
from nexus.models.diffusion.brief import Brief
from nexus.nn.beside import NOTHING, Beside

BlockControlNet = SD3ControlNet | SD35ControlNet | FluxControlNet | PixArtControlNet


@dataclass(frozen=True, eq=False)
class BlockControl(Shown):
    """For Stable Diffusion 3, FLUX and PixArt; what several add is added up.

    Args:
        mode: what the picture shows, for a network that learnt several kinds ("union"): one of `MODES`, or its number.
    """

    network: BlockControlNet
    mode: str | int | None = None

    def __post_init__(self):
        super().__post_init__()
        if isinstance(self.mode, str) and self.mode not in MODES:
            raise ValueError(f"a control's mode must be one of {', '.join(MODES)}, got {self.mode!r}")
        if isinstance(self.network, FluxControlNet):
            self.network.check_mode(self._number)
        elif self.mode is not None:
            raise ValueError(f"this {type(self.network).__name__} is for one kind of pictures: leave mode out")

    @property
    def _number(self) -> int | None:
        return MODES.index(self.mode) if isinstance(self.mode, str) else self.mode

    def __call__(self, brief: Brief) -> Brief:
        """What is told, with what the ControlNet adds to it.

        Raises:
            ValueError: a ControlNet for another base, pictures of another size or too few of them.
        """
        self.network.checked(brief)
        pixels = self.pixels(brief.asked.n, brief.asked.size).to(next(self.network.parameters()))
        seen = self.network.see(pixels, brief)
        seen = seen.repeat(len(brief.text) // len(seen), 1, 1, 1)
        listen = self.network.listen(brief, seen, *(() if self.mode is None else (self._number,)))

        def beside(x_t: Tensor, time: Tensor) -> Beside:
            speaks = self.speaks(float(time[0]), brief.path)
            return listen(x_t, time).scaled(self.weight) if speaks else NOTHING

        return replace(brief, besides=(*brief.besides, beside))
