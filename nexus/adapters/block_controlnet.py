"""What ControlNets of transformers have in common: copies of some blocks whose findings go to all of the base's.

Axes: B batch, C channels, H height, W width, T patches, D width.
"""

from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from nexus.codecs.banded import encode_large
from nexus.codecs.image_vae import ImageVAE
from nexus.codecs.stills import Stills
from nexus.process.noise import gaussian


def zero(layer: nn.Linear) -> nn.Linear:
    """A layer that adds nothing yet."""
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer


def spread(found: Sequence[Float[Tensor, "B T D"]], n_blocks: int) -> list[Float[Tensor, "B T D"]]:
    """A few findings over more blocks, each for as many in a row."""
    return [found[i * len(found) // n_blocks] for i in range(n_blocks)]


def check_sizes(base: object, own: Mapping[str, int], theirs: Mapping[str, int]) -> None:
    """Raises ValueError for a ControlNet whose sizes are not the base's: names the first."""
    name = next((name for name in own if own[name] != theirs[name]), None)
    if name is not None:
        raise ValueError(
            f"the ControlNet is for another base: its {name} is {own[name]}, that of this {type(base).__name__} is "
            f"{theirs[name]}"
        )


def grow(network: nn.Module, base: nn.Module) -> None:
    """Gives a ControlNet that is to be trained the base's weights, where it has layers of the same names and shapes."""
    own = network.state_dict()
    same = {name: t for name, t in base.state_dict().items() if name in own and own[name].shape == t.shape}
    network.load_state_dict(same, strict=False)


def latents_of(
    vae: ImageVAE | Stills, pixels: Float[Tensor, "N 3 H W"], rngs: list[torch.Generator] | None = None
) -> Float[Tensor, "M C I J"]:
    """Latents (not scaled) of pictures with values from -1 to 1: the likeliest, or drawn, one for each of `rngs`."""
    seen = encode_large(vae, pixels)
    if rngs is None:
        return seen.mean
    return seen.sample(gaussian(tuple(seen.mean.shape[1:]), rngs, device=pixels.device, dtype=pixels.dtype))
