"""How well a picture or a film fits its caption, to CLIP (arXiv:2104.08718; `openai/clip-vit-large-patch14`).

Axes: B pictures, D width of the embedding.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from nexus.hub.clip_vision import pixels_of
from nexus.media import Image, Video
from nexus.metrics.judge import Judge, Measure, Sample, Verdict, digest, version
from nexus.metrics.judge_weights import from_folder, judge_weights

JUDGE, FOLDER, SOURCE = "CLIP", "clip-vit-large-patch14", "openai/clip-vit-large-patch14"
SCORE = "CLIP score"
FRAMES = 4  # of a film, evenly spread
CROP = f"{FRAMES} frames of a film; the middle square"


class Clip:
    """Both towers on the CPU, as `transformers` computes them.

    Raises:
        MissingJudge: the weights are not there.
    """

    def __init__(self):
        from transformers import AutoTokenizer, CLIPModel

        self.weights = judge_weights(JUDGE, FOLDER, SOURCE)
        self._network, self._tokenizer = from_folder(CLIPModel, self.weights.parent, JUDGE, AutoTokenizer)
        config = self._network.config
        self.dim: int = config.projection_dim
        self._side, self._window = config.vision_config.image_size, config.text_config.max_position_embeddings

    @torch.no_grad()
    def see(self, pictures: Sequence[Image]) -> Float[Tensor, "B D"]:
        """Vectors of unit norm."""
        pixels = torch.stack([pixels_of(picture, self._side) for picture in pictures])
        return functional.normalize(self._network.get_image_features(pixel_values=pixels).pooler_output, dim=-1)

    @torch.no_grad()
    def read(self, text: str) -> Float[Tensor, "1 D"]:
        """A vector of unit norm, of as much of the text as fits CLIP's 77 tokens."""
        words = self._tokenizer(text, return_tensors="pt", truncation=True, max_length=self._window)
        return functional.normalize(self._network.get_text_features(**words).pooler_output, dim=-1)

    def score(self, shown: Image | Video, text: str) -> float:
        """100 times the cosine, not under 0; of a film the mean over four frames."""
        return 100 * float((self.see(pictures_of(shown)) @ self.read(text).T).clamp(min=0).mean())


def pictures_of(shown: Image | Video) -> list[Image]:
    """The picture, or frames of the film, evenly spread from the first to the last.

    Raises:
        ValueError: a film without frames.
    """
    if isinstance(shown, Image):
        return [shown]
    if not shown.length:
        raise ValueError("a video without frames shows nothing to judge")
    places = torch.linspace(0, shown.length - 1, min(FRAMES, shown.length)).round().long().tolist()
    return [Image(shown.frames[place]) for place in places]


def clip_judge() -> Judge:
    """Raises MissingJudge."""
    clip = Clip()

    def values(sample: Sample) -> Verdict:
        return Verdict(values={SCORE: clip.score(sample.made, sample.prompt)})

    return Judge(
        name=JUDGE, version=version("transformers"), weights=digest(clip.weights), measures=(Measure(name=SCORE),),
        values=values, crop=CROP,
    )  # fmt: skip
