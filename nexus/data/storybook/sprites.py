"""Pictures of nouns: glyphs of Noto Color Emoji, cut out and tinted, and a lighthouse drawn by hand."""

import functools
import os
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from nexus.data.storybook.nouns import Noun

GLYPH_SIZE = 109  # the only size in which the font holds its bitmaps
FONT_FILE = "NotoColorEmoji.ttf"
FONT_FOLDERS = (
    "/usr/share/fonts/truetype/noto",
    "/usr/share/fonts",
    "/usr/local/share/fonts",
    "~/.fonts",
    "~/.local/share/fonts",
)

# Hue in degrees and a factor on saturation.
COLOURS = {
    "red": (0, 1.0),
    "orange": (28, 1.0),
    "yellow": (50, 1.0),
    "green": (125, 0.9),
    "blue": (215, 1.0),
    "purple": (275, 0.9),
    "pink": (325, 0.7),
}


def font_path() -> Path:
    """Where Noto Color Emoji is installed.

    Raises:
        FileNotFoundError: it is nowhere; says how to install it.
    """
    for folder in map(os.path.expanduser, FONT_FOLDERS):
        if (path := Path(folder) / FONT_FILE).is_file():
            return path
        if found := sorted(Path(folder).glob(f"**/{FONT_FILE}")):
            return found[0]
    raise FileNotFoundError(
        f"{FONT_FILE} is not in {', '.join(FONT_FOLDERS)}: the storybook world draws its things with it; "
        "install the Debian package fonts-noto-color-emoji"
    )


@functools.cache
def _font() -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(str(font_path()), GLYPH_SIZE)


@functools.lru_cache(maxsize=1024)
def sprite(noun: Noun, colour: str | None = None, looks_right: bool = False) -> Image.Image:
    """The noun's picture, RGBA, cropped to what is drawn; `looks_right` mirrors it where it has a side."""
    picture = _lighthouse() if not noun.glyph else _glyph(noun.glyph)
    if colour is not None:
        picture = _tint(picture, colour)
    if noun.faces != "both" and looks_right != (noun.faces == "right"):
        picture = picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    return picture


def _glyph(glyph: str) -> Image.Image:
    canvas = Image.new("RGBA", (2 * GLYPH_SIZE, 2 * GLYPH_SIZE))
    ImageDraw.Draw(canvas).text((20, 20), glyph, font=_font(), embedded_color=True)
    box = canvas.getbbox()
    if box is None:
        raise ValueError(f"{FONT_FILE} has no picture for {glyph!r}; a newer version of the font has")
    return canvas.crop(box)


def _tint(picture: Image.Image, colour: str) -> Image.Image:
    """Turns every coloured pixel to the colour's hue; greys, black and white stay."""
    hue, vividness = COLOURS[colour]
    rgba = np.asarray(picture)
    hsv = np.array(picture.convert("RGB").convert("HSV")).astype(np.float32)
    coloured = hsv[..., 1] > 50
    hsv[..., 0] = np.where(coloured, hue / 360 * 255, hsv[..., 0])
    hsv[..., 1] = np.where(coloured, np.clip(hsv[..., 1] * vividness, 90 * vividness, 235), hsv[..., 1])
    rgb = np.asarray(Image.fromarray(hsv.astype(np.uint8), "HSV").convert("RGB"))
    return Image.fromarray(np.concatenate([rgb, rgba[..., 3:]], axis=-1))


def _lighthouse() -> Image.Image:
    """A red and white tower with a lit lamp, on a rock."""
    scale = 3  # drawn large, shrunk for smooth edges
    image = Image.new("RGBA", (96 * scale, 150 * scale))
    draw = ImageDraw.Draw(image)

    def polygon(points: list[tuple[float | int, float | int]], fill: tuple[int, int, int]) -> None:
        draw.polygon([(x * scale, y * scale) for x, y in points], fill=fill)

    polygon([(2, 150), (8, 132), (24, 122), (46, 117), (72, 122), (88, 134), (94, 150)], (104, 96, 98))
    polygon([(8, 150), (18, 134), (40, 126), (52, 136), (46, 150)], (134, 126, 126))
    top, bottom = 44.0, 124.0
    for stripe in range(5):
        y0, y1 = (top + (bottom - top) * (stripe + k) / 5 for k in (0, 1))
        w0, w1 = (17 + 11 * (y - top) / (bottom - top) for y in (y0, y1))
        polygon(
            [(48 - w0, y0), (48 + w0, y0), (48 + w1, y1), (48 - w1, y1)], [(214, 48, 44), (250, 246, 238)][stripe % 2]
        )
        polygon(
            [(48 + w0 * 0.45, y0), (48 + w0, y0), (48 + w1, y1), (48 + w1 * 0.45, y1)],
            [(178, 34, 36), (222, 216, 210)][stripe % 2],
        )
    polygon([(44, 124), (44, 112), (48, 108), (52, 112), (52, 124)], (92, 58, 44))
    polygon([(45, 80), (45, 72), (51, 72), (51, 80)], (70, 84, 110))
    polygon([(25, 46), (25, 39), (71, 39), (71, 46)], (52, 56, 70))
    polygon([(33, 39), (33, 21), (63, 21), (63, 39)], (255, 226, 110))
    polygon([(45, 39), (45, 21), (51, 21), (51, 39)], (255, 250, 205))
    polygon([(28, 22), (37, 11), (48, 5), (59, 11), (68, 22)], (206, 42, 40))
    polygon([(46.5, 8), (46.5, 0), (49.5, 0), (49.5, 8)], (60, 60, 70))
    return image.resize((96, 150), Image.Resampling.LANCZOS)
