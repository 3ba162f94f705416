"""Drawn places: skies, seas, meadows, streets. Each is a still picture wider than the frame, so that a camera can pan.

Coordinates are frame units: the frame is [0, 1] by [0, 1], y down; the picture covers x in [-MARGIN, 1 + MARGIN].
"""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

MARGIN = 0.3
Colour = tuple[int, int, int]

# Top and bottom of the sky.
SKIES: dict[str, tuple[tuple[Colour, Colour], ...]] = {
    "day": (((92, 170, 235), (205, 235, 250)), ((120, 190, 240), (235, 245, 235)), ((80, 155, 225), (190, 225, 250))),
    "sunset": (((92, 70, 140), (255, 170, 100)), ((215, 95, 110), (255, 205, 120)), ((60, 80, 150), (250, 150, 130))),
    "night": (((14, 18, 52), (50, 62, 118)), ((10, 22, 58), (38, 70, 120)), ((26, 16, 60), (72, 56, 120))),
}
# How the ground is lit: factor and the colour that it is mixed with.
LIGHT: dict[str, tuple[float, Colour, float]] = {
    "day": (1.0, (255, 255, 255), 0.0),
    "sunset": (0.88, (235, 120, 80), 0.18),
    "night": (0.62, (30, 40, 110), 0.25),
}


class Pen:
    """Draws in frame units on a canvas of `height` pixels; colours are lit by the time of day unless `glow`."""

    def __init__(self, height: int, time: str, rng: np.random.Generator) -> None:
        self.height, self.time, self.rng = height, time, rng
        self.image = Image.new("RGB", (round((1 + 2 * MARGIN) * height), height))
        self.draw = ImageDraw.Draw(self.image)

    def lit(self, colour: Colour) -> Colour:
        factor, tint, share = LIGHT[self.time]
        r, g, b = (round((1 - share) * factor * c + share * t) for c, t in zip(colour, tint, strict=True))
        return r, g, b

    def at(self, x: float, y: float) -> tuple[float, float]:
        return (x + MARGIN) * self.height, y * self.height

    def gradient(self, y0: float, y1: float, top: Colour, bottom: Colour) -> None:
        r0, r1 = round(y0 * self.height), round(y1 * self.height)
        mix = np.linspace(0, 1, max(r1 - r0, 1))[:, None]
        rows = (1 - mix) * np.array(top) + mix * np.array(bottom)
        strip = Image.fromarray(rows.astype(np.uint8)[:, None, :])
        self.image.paste(strip.resize((self.image.width, r1 - r0), Image.Resampling.NEAREST), (0, r0))

    def ground(self, y0: float, y1: float, top: Colour, bottom: Colour) -> None:
        self.gradient(y0, y1, self.lit(top), self.lit(bottom))

    def polygon(self, points: Iterable[tuple[float, float]], colour: Colour, glow: bool = False) -> None:
        self.draw.polygon([self.at(x, y) for x, y in points], fill=colour if glow else self.lit(colour))

    def box(self, x0: float, y0: float, x1: float, y1: float, colour: Colour, glow: bool = False) -> None:
        self.draw.rectangle([*self.at(x0, y0), *self.at(x1, y1)], fill=colour if glow else self.lit(colour))

    def ellipse(self, x: float, y: float, rx: float, ry: float, colour: Colour, glow: bool = False) -> None:
        self.draw.ellipse(
            [*self.at(x - rx, y - ry), *self.at(x + rx, y + ry)], fill=colour if glow else self.lit(colour)
        )

    def hill(self, y: float, height: float, colour: Colour, waves: float = 1.5) -> None:
        """A rolling line from edge to edge, filled down to the bottom."""
        phase, second = self.rng.uniform(0, 2 * math.pi, 2)
        xs = np.linspace(-MARGIN, 1 + MARGIN, 40)
        tops = y + height * (
            0.7 * np.sin(2 * math.pi * waves * xs / 1.6 + phase) + 0.3 * np.sin(6 * math.pi * waves * xs / 1.6 + second)
        )
        self.polygon([(-MARGIN, 1.01), *zip(xs, tops, strict=True), (1 + MARGIN, 1.01)], colour)

    def scatter(self, n: int, y0: float, y1: float) -> list[tuple[float, float]]:
        """`n` points, spread evenly in x and sorted from far to near."""
        xs = -MARGIN + (1 + 2 * MARGIN) * (np.arange(n) + self.rng.uniform(0.15, 0.85, n)) / n
        return sorted(zip(xs.tolist(), self.rng.uniform(y0, y1, n).tolist(), strict=True), key=lambda point: point[1])

    def sky(self, bottom: float) -> None:
        palettes = SKIES[self.time]
        self.gradient(0.0, bottom, *palettes[self.rng.integers(len(palettes))])
        if self.time == "night":
            for x, y in self.scatter(26, 0.0, bottom * 0.9):
                self.ellipse(x, y, 0.008, 0.008, (250, 245, 215), glow=True)
        else:
            cloud = (255, 255, 255) if self.time == "day" else (255, 205, 175)
            for x, y in self.scatter(int(self.rng.integers(2, 5)), 0.06, bottom * 0.45):
                for dx, size in ((-0.07, 0.6), (0.0, 1.0), (0.07, 0.7)):
                    self.ellipse(x + dx, y, 0.075 * size, 0.045 * size, cloud, glow=True)


def _sea(pen: Pen) -> None:
    pen.sky(0.6)
    if pen.time == "sunset":
        x = pen.rng.uniform(0.1, 0.9)
        pen.ellipse(x, 0.58, 0.11, 0.11, (255, 226, 150), glow=True)
    pen.ground(0.58, 1.0, (64, 150, 205), (24, 84, 150))
    for x, y in pen.scatter(18, 0.62, 0.98):
        width = 0.03 + 0.1 * (y - 0.58)
        pen.box(x - width, y, x + width, y + 0.006, (140, 205, 235))


def _meadow(pen: Pen) -> None:
    pen.sky(0.7)
    pen.hill(0.6, 0.05, (120, 185, 110))
    pen.hill(0.7, 0.03, (104, 190, 84))
    pen.ground(0.78, 1.0, (112, 200, 84), (66, 150, 58))
    petals = ((250, 240, 120), (250, 150, 180), (250, 250, 250))
    for x, y in pen.scatter(16, 0.82, 0.98):
        pen.ellipse(x, y, 0.014, 0.014, petals[pen.rng.integers(3)])


def _desert(pen: Pen) -> None:
    pen.sky(0.7)
    pen.hill(0.62, 0.05, (236, 190, 120), waves=1.2)
    pen.hill(0.72, 0.04, (228, 172, 96), waves=0.9)
    pen.ground(0.8, 1.0, (240, 196, 118), (208, 150, 84))
    for x, y in pen.scatter(9, 0.83, 0.98):
        pen.box(x - 0.06, y, x + 0.06, y + 0.007, (214, 160, 92))


def _city(pen: Pen) -> None:
    pen.sky(0.8)
    for colour, low, high in (((92, 98, 132), 0.18, 0.45), ((62, 66, 100), 0.36, 0.6)):
        x = -MARGIN
        while x < 1 + MARGIN:
            width, top = pen.rng.uniform(0.11, 0.2), pen.rng.uniform(low, high)
            pen.box(x, top, x + width - 0.012, 0.8, colour)
            for row in np.arange(top + 0.04, 0.74, 0.075):
                for column in np.arange(x + 0.025, x + width - 0.04, 0.05):
                    if pen.rng.random() < 0.5:
                        pen.box(column, row, column + 0.022, row + 0.03, (255, 222, 130), glow=True)
            x += width
    pen.ground(0.8, 1.0, (120, 122, 138), (82, 84, 100))
    for x in np.arange(-MARGIN, 1 + MARGIN, 0.2):
        pen.box(x, 0.9, x + 0.1, 0.915, (240, 230, 190))


def _space(pen: Pen) -> None:
    tops: tuple[Colour, ...] = ((16, 8, 44), (6, 12, 40), (30, 10, 58))
    pen.gradient(0.0, 1.0, tops[pen.rng.integers(3)], (20, 34, 84))
    x, y = pen.rng.uniform(-0.1, 1.1), pen.rng.choice([0.15, 0.85])
    hue: Colour = ((196, 110, 84), (110, 160, 190), (176, 140, 200))[pen.rng.integers(3)]
    pen.ellipse(x, y, 0.12, 0.12, hue, glow=True)
    pen.ellipse(x - 0.03, y - 0.03, 0.07, 0.07, (hue[0] + 25, hue[1] + 25, hue[2] + 25), glow=True)
    for x, y in pen.scatter(44, 0.0, 1.0):
        size = pen.rng.choice([0.006, 0.009, 0.012])
        pen.ellipse(x, y, size, size, (250, 246, 225), glow=True)


def _mountains(pen: Pen) -> None:
    pen.sky(0.75)
    for base, colour, cap in ((0.42, (136, 150, 180), 0.13), (0.5, (104, 118, 150), 0.1)):
        for x, _ in pen.scatter(5, 0.0, 1.0):
            top = base - pen.rng.uniform(0.08, 0.26)
            half = (0.8 - top) * 0.62
            pen.polygon([(x, top), (x - half, 0.82), (x + half, 0.82)], colour)
            edge = half * cap / (0.82 - top)
            pen.polygon(
                [
                    (x, top),
                    (x - edge, top + cap),
                    (x - edge * 0.2, top + cap * 0.7),
                    (x + edge * 0.3, top + cap * 1.1),
                    (x + edge, top + cap),
                ],
                (245, 248, 252),
            )
    pen.ground(0.78, 1.0, (120, 172, 104), (72, 124, 74))


def _snow(pen: Pen) -> None:
    pen.sky(0.72)
    pen.hill(0.6, 0.05, (206, 222, 240))
    for x, y in pen.scatter(6, 0.66, 0.74):
        for k in range(3):
            w, top = 0.035 + 0.018 * k, y - 0.2 + 0.05 * k
            pen.polygon([(x, top), (x - w, top + 0.08), (x + w, top + 0.08)], (76, 128, 118))
    pen.hill(0.75, 0.02, (226, 236, 248))
    pen.ground(0.8, 1.0, (244, 248, 254), (206, 220, 240))


def _forest(pen: Pen) -> None:
    pen.sky(0.6)
    pen.hill(0.35, 0.04, (96, 150, 104), waves=3.0)
    for n, low, tone in ((9, 0.7, (62, 118, 78)), (6, 0.8, (44, 98, 62))):
        for x, y in pen.scatter(n, low, low + 0.02):
            size = pen.rng.uniform(0.8, 1.15)
            pen.box(x - 0.018, y - 0.2, x + 0.018, y, (104, 76, 54))
            for k in range(3):
                w, top = (0.07 + 0.028 * k) * size, y - (0.56 - 0.13 * k) * size
                pen.polygon([(x, top), (x - w, top + 0.2 * size), (x + w, top + 0.2 * size)], tone)
    pen.ground(0.79, 1.0, (96, 148, 76), (62, 104, 54))


def _beach(pen: Pen) -> None:
    pen.sky(0.5)
    pen.ground(0.48, 0.8, (76, 172, 214), (120, 210, 222))
    for x, y in pen.scatter(9, 0.52, 0.68):
        pen.box(x - 0.05, y, x + 0.05, y + 0.006, (190, 232, 242))
    pen.hill(0.72, 0.012, (240, 250, 250), waves=2.0)
    pen.hill(0.745, 0.012, (244, 216, 156), waves=2.0)
    pen.ground(0.8, 1.0, (246, 220, 162), (226, 192, 130))
    for x, y in pen.scatter(8, 0.84, 0.98):
        pen.ellipse(x, y, 0.013, 0.01, (250, 240, 226))


def _clouds(pen: Pen) -> None:
    pen.sky(1.0)
    cloud = {"day": (255, 255, 255), "sunset": (255, 200, 170), "night": (90, 100, 150)}[pen.time]
    for x, y in pen.scatter(7, 0.82, 0.98):
        for dx, size in ((-0.1, 0.7), (0.0, 1.0), (0.1, 0.75)):
            pen.ellipse(x + dx, y, 0.13 * size, 0.085 * size, cloud, glow=True)


def _underwater(pen: Pen) -> None:
    pen.gradient(0.0, 1.0, (72, 186, 214), (14, 62, 122))
    for x, _ in pen.scatter(4, 0.0, 1.0):
        pen.polygon([(x, 0.0), (x + 0.08, 0.0), (x + 0.02, 0.8), (x - 0.12, 0.8)], (78, 180, 208), glow=True)
    pen.hill(0.9, 0.02, (222, 200, 140))
    for x, y in pen.scatter(6, 0.92, 0.98):
        coral = ((226, 110, 120), (70, 150, 96), (236, 160, 90))[pen.rng.integers(3)]
        for dx in (-0.03, 0.0, 0.03):
            pen.ellipse(x + dx, y - 0.05, 0.013, 0.075, coral, glow=True)


def _room(pen: Pen) -> None:
    walls: tuple[Colour, ...] = ((236, 206, 170), (176, 206, 196), (214, 186, 206))
    wall = walls[pen.rng.integers(3)]
    pen.ground(0.0, 0.74, wall, wall)
    x = pen.rng.choice([0.12, 0.8])
    sky = SKIES[pen.time][0][1]
    pen.box(x - 0.15, 0.14, x + 0.15, 0.46, (250, 246, 238))
    pen.box(x - 0.125, 0.165, x + 0.125, 0.435, sky, glow=True)
    pen.box(x - 0.01, 0.14, x + 0.01, 0.46, (250, 246, 238))
    pen.box(-MARGIN, 0.72, 1 + MARGIN, 0.75, (250, 246, 238))
    pen.ground(0.75, 1.0, (186, 130, 84), (150, 100, 62))
    pen.ellipse(0.5, 0.9, 0.42, 0.075, (196, 84, 84))


@dataclass(frozen=True, kw_only=True)
class Place:
    """A background: `ground` is the y on which things stand; `realms` are the nouns at home there."""

    draw: Callable[[Pen], None]
    phrases: tuple[str, ...]
    ground: float
    realms: tuple[str, ...]
    times: tuple[str, ...] = ("day", "sunset", "night")


_LAND = ("land", "fixed", "thing", "person", "air")
_SEA = Place(draw=_sea, phrases=("on the sea", "on the waves", "at sea"), ground=0.78, realms=("water", "swim", "air"))
_SPACE = Place(
    draw=_space,
    phrases=("in space", "in outer space", "among the stars"),
    ground=0.75,
    realms=("space",),
    times=("night",),
)
_UNDERWATER = Place(
    draw=_underwater, phrases=("under the sea", "under water"), ground=0.86, realms=("swim",), times=("day",)
)


def _on_land(draw: Callable[[Pen], None], ground: float, *phrases: str) -> Place:
    return Place(draw=draw, phrases=phrases, ground=ground, realms=_LAND)


PLACES: dict[str, Place] = {
    "sea": _SEA,
    "meadow": _on_land(_meadow, 0.88, "in a green meadow", "on a meadow", "in the grass"),
    "desert": _on_land(_desert, 0.88, "in the desert", "among sand dunes"),
    "city": _on_land(_city, 0.9, "in the city", "in a street of tall houses"),
    "space": _SPACE,
    "mountains": _on_land(_mountains, 0.88, "in the mountains", "before high mountains"),
    "snow": _on_land(_snow, 0.88, "in the snow", "in a snowy land"),
    "forest": _on_land(_forest, 0.9, "in the forest", "in the woods"),
    "beach": _on_land(_beach, 0.88, "on the beach", "by the sea"),
    "clouds": Place(draw=_clouds, phrases=("in the sky", "above the clouds"), ground=0.82, realms=("air", "space")),
    "underwater": _UNDERWATER,
    "room": Place(draw=_room, phrases=("in a room", "indoors"), ground=0.9, realms=("thing", "person")),
}


def draw_place(place: Place, time: str, height: int, rng: np.random.Generator) -> Image.Image:
    """The place at that time of day, RGB, `height` pixels high and (1 + 2 MARGIN) times as wide."""
    pen = Pen(height, time, rng)
    place.draw(pen)
    return pen.image
