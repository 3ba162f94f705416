"""The shapes that PixArt was trained in ("multi-aspect", arXiv:2310.00426, section 2.4), of about the same area each.

Networks for 256, 512 and 1024 pixels know the same shapes, that for 2048 some more; heights and widths are sixteenths
of that side. A picture of another size is painted in the nearest shape, and then scaled and cut.
"""

_SHAPES = (
    *((8, 32), (8, 29), (9, 28), (9, 27), (9, 26), (10, 25), (10, 24), (11, 23), (11, 22), (11, 21), (12, 21)),
    *((12, 20), (13, 19), (13, 18), (14, 18), (14, 17), (15, 17), (15, 16), (16, 16), (16, 15), (17, 15), (17, 14)),
    *((18, 14), (18, 13), (19, 13), (20, 12), (21, 12), (22, 11), (23, 11), (24, 10), (25, 10), (27, 9), (32, 8)),
)
_MORE = ((8, 31), (8, 30), (26, 9), (28, 9), (29, 8), (30, 8), (31, 8))
_LEARNT = {
    256: _SHAPES,
    512: _SHAPES,
    1024: _SHAPES,
    2048: tuple(sorted((*_SHAPES, *_MORE), key=lambda s: s[0] / s[1])),
}


def knows_shapes(side: int) -> bool:
    """Whether a network for squares of that side was trained in other shapes too."""
    return side in _LEARNT


def nearest_shape(size: tuple[int, int], side: int) -> tuple[int, int]:
    """Height and width of the shape that is nearest in its aspect, which is compared in two decimals as published."""
    wanted = size[0] / size[1]
    height, width = min(_LEARNT[side], key=lambda shape: abs(round(shape[0] / shape[1], 2) - wanted))
    return height * side // 16, width * side // 16
