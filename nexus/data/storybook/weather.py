"""Rain, snow and twinkling stars over a finished frame; particles move at constant speed and wrap around."""

import numpy as np
from PIL import Image, ImageDraw

WEATHERS = ("clear", "rain", "snow", "stars")


class Weather:
    """The particles of one clip; `draw(frame, seconds)` paints them as they are then."""

    def __init__(self, kind: str, rng: np.random.Generator) -> None:
        self.kind = kind
        n = {"rain": 30, "snow": 20, "stars": 22}.get(kind, 0)
        self.start = rng.uniform(0, 1, (n, 2))
        self.pace = rng.uniform(0.8, 1.2, n)

    def draw(self, frame: Image.Image, seconds: float) -> None:
        side = frame.width
        draw = ImageDraw.Draw(frame, "RGBA")
        for (x, y), pace in zip(self.start, self.pace, strict=True):
            if self.kind == "rain":
                x, y = (x - 0.25 * seconds * pace) % 1 * side, (y + 1.3 * seconds * pace) % 1 * side
                draw.line([x, y, x - 0.02 * side, y + 0.09 * side], fill=(205, 225, 245, 190), width=max(1, side // 64))
            elif self.kind == "snow":
                sway = 0.03 * np.sin(3 * seconds * pace + 40 * x)
                x, y = (x + sway) % 1 * side, (y + 0.25 * seconds * pace) % 1 * side
                draw.ellipse([x, y, x + 0.024 * side, y + 0.024 * side], fill=(255, 255, 255, 235))
            else:
                glow = 0.5 + 0.5 * np.sin(5 * seconds * pace + 60 * x)
                x, y, r = x * side, y * 0.5 * side, (0.006 + 0.012 * glow) * side
                draw.ellipse([x - r, y - r, x + r, y + r], fill=(255, 250, 205, int(90 + 165 * glow)))
