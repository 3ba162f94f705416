"""A codebook that is searched as one packed matrix with a bias (see `nexus.nn.packed`).

The nearest of its vectors c is where x c - |c|^2 / 2 is greatest. A stream asks for few frames at a time, where
squaring all vectors anew would take as long as the search.

Axes: R rows, D width.
"""

from jaxtyping import Float, Int
from torch import Tensor

from nexus.nn.packed import PackedMatrix
from nexus.nn.packed_beside import PackedBeside
from nexus.nn.quantize import Codebook


class PackedCodebook(PackedBeside, Codebook):
    @staticmethod
    def suits(layer: Codebook) -> bool:
        return layer.vectors.numel() >= 1 << 16

    def prepare(self) -> tuple[PackedMatrix, Tensor]:
        vectors = self.vectors.float()
        return PackedMatrix(vectors), -vectors.square().sum(-1) / 2

    def nearest(self, x: Float[Tensor, "R D"]) -> Int[Tensor, " R"]:
        matrix, bias = self.prepared()
        return matrix(x, bias).argmax(-1)
