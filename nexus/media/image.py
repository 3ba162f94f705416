"""A still picture as a value: immutable 8-bit RGB or RGBA pixels [H, W, C]."""

import io
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float, UInt8
from numpy import ndarray

from nexus.media.io import PathLike, atomic, check_suffix, recognise

if TYPE_CHECKING:
    import torch

SUFFIXES = (".png", ".jpg", ".jpeg", ".gif")


@dataclass(frozen=True, slots=True, eq=False, init=False, repr=False)
class Image:
    """Pixels [H, W, 3] or [H, W, 4], uint8. Equal when every pixel is equal."""

    pixels: UInt8[ndarray, "H W C"]

    def __init__(self, pixels: Any):
        """`pixels`: an array [H, W], [H, W, 3] or [H, W, 4] of uint8, copied; grey becomes RGB."""
        array = np.asarray(pixels)
        if array.dtype != np.uint8:
            raise ValueError(f"pixels must be uint8, got {array.dtype}; Image.from_tensor takes numbers in [-1, 1]")
        if array.ndim == 2:
            array = np.repeat(array[..., None], 3, axis=2)
        if array.ndim != 3 or array.shape[2] not in (3, 4):
            raise ValueError(f"pixels must be [height, width, 3 or 4], got shape {list(array.shape)}")
        array = np.array(array, order="C")
        array.flags.writeable = False
        object.__setattr__(self, "pixels", array)

    @classmethod
    def load(cls, path: PathLike) -> "Image":
        """Reads PNG, JPEG or the first picture of a GIF, upright.

        Raises:
            OSError: the file cannot be opened.
            ValueError: it is damaged, cut short, or not what its name says.
        """
        import PIL.Image
        import PIL.ImageOps

        recognise(path, SUFFIXES)
        try:
            with warnings.catch_warnings(), PIL.Image.open(path) as picture:
                warnings.simplefilter("error", PIL.Image.DecompressionBombWarning)
                upright = PIL.ImageOps.exif_transpose(picture)
                alpha = upright.has_transparency_data
                return cls(np.asarray(upright.convert("RGBA" if alpha else "RGB")))
        except Exception as error:  # Pillow meets damage with errors of many kinds
            raise ValueError(f"{path} is damaged: {error}") from error

    @classmethod
    def from_tensor(cls, tensor: "Float[torch.Tensor, 'C H W']") -> "Image":
        """From numbers in [-1, 1], clamped; one channel becomes grey."""
        values = tensor.detach().cpu().float().clamp(-1, 1)
        if not bool(values.isfinite().all()):
            raise ValueError("an image must be finite numbers in [-1, 1], got NaN or infinity")
        pixels = ((values + 1) * 127.5).round().byte().permute(1, 2, 0).numpy()
        return cls(np.repeat(pixels, 3, axis=2) if pixels.shape[2] == 1 else pixels)

    @property
    def height(self) -> int:
        return self.pixels.shape[0]

    @property
    def width(self) -> int:
        return self.pixels.shape[1]

    @property
    def channels(self) -> int:
        return self.pixels.shape[2]

    def save(self, path: PathLike) -> None:
        """Writes PNG, JPEG (over white where transparent) or GIF, all of it or nothing."""
        suffix = check_suffix(path, SUFFIXES)
        if not self.pixels.size:
            raise ValueError("an image without pixels cannot be saved")
        picture = (self.over_white() if suffix in (".jpg", ".jpeg") else self)._picture()
        with atomic(path) as temporary:
            if suffix in (".jpg", ".jpeg"):
                picture.save(temporary, quality=95, subsampling=0)
            else:
                picture.save(temporary)

    def over_white(self) -> "Image":
        """Without transparency, on a white ground."""
        if self.channels == 3:
            return self
        alpha = self.pixels[..., 3:].astype(np.float32) / 255
        return Image((self.pixels[..., :3] * alpha + 255 * (1 - alpha)).round().astype(np.uint8))

    def resize(self, height: int, width: int) -> "Image":
        """Antialiased (Lanczos), to exactly this size."""
        import PIL.Image

        if min(height, width) < 1 or not self.pixels.size:
            raise ValueError(f"cannot resize {self.height}x{self.width} pixels to {height}x{width}")
        return Image(np.asarray(self._picture().resize((width, height), PIL.Image.Resampling.LANCZOS)))

    def tensor(self) -> "Float[torch.Tensor, 'C H W']":
        """float32 in [-1, 1]."""
        import torch

        return torch.from_numpy(self.pixels.transpose(2, 0, 1).astype(np.float32) / 127.5 - 1)

    def _picture(self):
        import PIL.Image

        return PIL.Image.fromarray(self.pixels)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Image) and np.array_equal(self.pixels, other.pixels)

    def __hash__(self) -> int:
        return hash((self.pixels.shape, self.pixels.tobytes()))

    def __repr__(self) -> str:
        return f"Image({self.width}x{self.height}, {'RGBA' if self.channels == 4 else 'RGB'})"

    def _repr_png_(self) -> bytes:
        buffer = io.BytesIO()
        self._picture().save(buffer, format="PNG")
        return buffer.getvalue()
