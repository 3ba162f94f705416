"""Whether a film shows the same thing from first to last, to DINO (arXiv:2104.14294; `facebook/dino-vitb16`), the
features that VBench's subject consistency is made of (arXiv:2311.17982).

Axes: F frames, D width of the features.
"""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from nexus.media import Video
from nexus.metrics.judge import Judge, Measure, Sample, Verdict, digest, version
from nexus.metrics.judge_weights import from_folder, judge_weights
from nexus.metrics.video_quality import consistency

JUDGE, FOLDER, SOURCE = "DINO", "dino-vitb16", "facebook/dino-vitb16"
NAME = "subject consistency"
# Means and deviations of red, green and blue in ImageNet.
_MEAN = torch.tensor([0.485, 0.456, 0.406])[:, None, None]
_DEVIATION = torch.tensor([0.229, 0.224, 0.225])[:, None, None]


class Dino:
    """The vision transformer on the CPU, as `transformers` computes it.

    Raises:
        MissingJudge: the weights are not there.
    """

    def __init__(self):
        from transformers import ViTModel

        self.weights = judge_weights(JUDGE, FOLDER, SOURCE)
        self._network = from_folder(ViTModel, self.weights.parent, JUDGE, add_pooling_layer=False)[0]
        self._side: int = self._network.config.image_size

    @torch.no_grad()
    def features(self, video: Video) -> Float[Tensor, "F D"]:
        """The class token of each frame, which is stretched where it is not square."""
        pixels = torch.tensor(video.frames).permute(0, 3, 1, 2).float() / 255
        pixels = functional.interpolate(
            pixels, (self._side, self._side), mode="bicubic", align_corners=False, antialias=True
        )
        return self._network((pixels.clamp(0, 1) - _MEAN) / _DEVIATION).last_hidden_state[:, 0]


def dino_judge() -> Judge:
    """Raises MissingJudge."""
    dino = Dino()

    def values(sample: Sample) -> Verdict:
        try:
            return Verdict(values={NAME: consistency(dino.features(sample.made).numpy())})
        except ValueError as error:
            return Verdict(values={NAME: float("nan")}, note=f"{NAME}: {error}")

    return Judge(
        name=JUDGE, version=version("transformers"), weights=digest(dino.weights), measures=(Measure(name=NAME),),
        values=values,
    )  # fmt: skip
