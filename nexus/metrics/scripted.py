"""Networks that others published as TorchScript: I3D of StyleGAN-V (FVD) and Inception v3 of StyleGAN3 (FID, IS).

Both take pixels of 0 to 255 at any size and bring them to their own.

Axes: N items, D width of the features, C classes.
"""

import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from numpy import ndarray

from nexus.media import Image, Video
from nexus.metrics.judge import MissingJudge
from nexus.metrics.judge_weights import judge_file

I3D, I3D_FILE, I3D_SOURCE = "I3D", "i3d_torchscript.pt", "i3d_torchscript.pt of universome/stylegan-v"
INCEPTION, INCEPTION_FILE = "Inception v3", "inception-2015-12-05.pt"
INCEPTION_SOURCE = "inception-2015-12-05.pt of NVlabs/stylegan3"
I3D_FRAMES = 10  # it cannot do with fewer
_AT_ONCE = 8


def scripted(file: Path, judge: str, source: str) -> torch.jit.ScriptModule:
    """Raises MissingJudge for a file that is no TorchScript."""
    try:
        with warnings.catch_warnings():  # PyTorch would have no more of it made; these files exist
            warnings.simplefilter("ignore", DeprecationWarning)
            return torch.jit.load(file, map_location="cpu").eval()
    except (RuntimeError, ValueError) as error:
        said = str(error).strip().split("\n")[0]
        raise MissingJudge(f"{judge} wants {source}; {file} is something else: {said}") from None


class VideoNetwork:
    """I3D taught on Kinetics-400, 400 features a film (arXiv:1812.01717).

    Raises:
        MissingJudge: the file is not there.
    """

    def __init__(self):
        self.file = judge_file(I3D, I3D_FILE, I3D_SOURCE)
        self._network = scripted(self.file, I3D, I3D_SOURCE)

    @torch.no_grad()
    def features(self, videos: Sequence[Video]) -> Float[ndarray, "N D"]:
        """Raises ValueError for a film of fewer than 10 frames."""
        rows = []
        for i, video in enumerate(videos):
            if video.length < I3D_FRAMES:
                raise ValueError(f"{I3D} needs films of {I3D_FRAMES} frames or more, film {i} has {video.length}")
            frames = torch.tensor(video.frames).permute(3, 0, 1, 2)[None]  # [1, 3, F, H, W]
            rows.append(self._network(frames, rescale=True, resize=True, return_features=True))
        return torch.cat(rows).numpy().astype(np.float64)


class InceptionNetwork:
    """Inception v3 as the first FID had it (arXiv:1706.08500): 2048 features, 1008 classes.

    Raises:
        MissingJudge: the file is not there.
    """

    def __init__(self):
        self.file = judge_file(INCEPTION, INCEPTION_FILE, INCEPTION_SOURCE)
        self._network = scripted(self.file, INCEPTION, INCEPTION_SOURCE)

    def features(self, pictures: Sequence[Image]) -> Float[ndarray, "N D"]:
        return self._over(pictures, return_features=True)

    def probabilities(self, pictures: Sequence[Image]) -> Float[ndarray, "N C"]:
        """Of its classes, without the last bias, as in published Inception Scores."""
        return self._over(pictures, no_output_bias=True)

    @torch.no_grad()
    def _over(self, pictures: Sequence[Image], **how: bool) -> Float[ndarray, "N D"]:
        rows = []
        for start in range(0, len(pictures), _AT_ONCE):
            part = [picture.over_white().pixels for picture in pictures[start : start + _AT_ONCE]]
            rows.append(self._network(torch.from_numpy(np.stack(part)).permute(0, 3, 1, 2), **how))
        return torch.cat(rows).numpy().astype(np.float64)
