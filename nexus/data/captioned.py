"""Pictures with words: a folder of picture files, each beside a text file of the same name."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from nexus.media.image import Image

SUFFIXES = (".png", ".jpg", ".jpeg")


@dataclass(frozen=True)
class CaptionedPictures:
    """Endless batches: image [B, 3, H, H] in [-1, 1], the middle of each picture, and caption [B], where in `captions`
    its words are; the last are none.

    Args:
        size: pixels of a side.
        drop_text: how often a picture comes without its words, so that a model can be guided.

    Raises (when it is first read):
        ValueError: no pictures, or a picture without words.
    """

    folder: str | Path
    size: int
    batch_size: int
    seed: int = 0
    drop_text: float = 0.1

    @cached_property
    def files(self) -> list[Path]:
        files = sorted(path for path in Path(self.folder).rglob("*") if path.suffix.lower() in SUFFIXES)
        if not files:
            raise ValueError(
                f"{self.folder}: no pictures; put PNG or JPEG files there, each with its words in a .txt beside it"
            )
        mute = next((path for path in files if not path.with_suffix(".txt").is_file()), None)
        if mute is not None:
            raise ValueError(f"{mute} has no words: write what it shows in {mute.with_suffix('.txt').name} beside it")
        return files

    @cached_property
    def captions(self) -> list[str]:
        return [*(path.with_suffix(".txt").read_text(encoding="utf-8").strip() for path in self.files), ""]

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        rng = np.random.default_rng((self.seed, index))
        chosen = rng.integers(len(self.files), size=self.batch_size)
        caption = np.where(rng.random(self.batch_size) < self.drop_text, len(self.files), chosen)
        pictures = [middle(Image.load(self.files[i]), self.size).tensor() for i in chosen]
        return {"image": torch.stack(pictures), "caption": torch.from_numpy(caption)}


def middle(image: Image, size: int) -> Image:
    """The largest square in the middle, at `size` pixels a side."""
    image, side = image.over_white(), min(image.height, image.width)
    top, left = (image.height - side) // 2, (image.width - side) // 2
    return Image(image.pixels[top : top + side, left : left + side]).resize(size, size)
