"""A history of fakes for discriminators (arXiv:1612.07828, section 2.3; CycleGAN, section 4): they keep knowing what
the generator used to make, so that it can't return to it."""

import torch
from jaxtyping import Float
from torch import Tensor, nn


class ImagePool(nn.Module):
    """Keeps `size` pictures; once full, half of what it is given is exchanged for an older one.

    The pictures are buffers, so that a checkpoint holds them.
    """

    images: Tensor
    filled: Tensor

    def __init__(self, size: int, shape: tuple[int, int, int]):
        super().__init__()
        if size < 1:
            raise ValueError(f"size must be at least 1 picture, got {size}")
        self.register_buffer("images", torch.zeros(size, *shape))
        self.register_buffer("filled", torch.zeros((), dtype=torch.int64))

    @torch.no_grad()
    def forward(self, fakes: Float[Tensor, "B C H W"], rng: torch.Generator) -> Float[Tensor, "B C H W"]:
        """`fakes`, some of them exchanged; while the pool fills it keeps and returns each."""
        return torch.stack([self._exchange(fake, rng) for fake in fakes.detach()])

    def _exchange(self, fake: Tensor, rng: torch.Generator) -> Tensor:
        if self.filled < len(self.images):
            self.images[self.filled] = fake
            self.filled += 1
            return fake
        if torch.rand((), generator=rng) < 0.5:
            return fake
        place = int(torch.randint(len(self.images), (), generator=rng))
        older = self.images[place].clone()
        self.images[place] = fake
        return older
