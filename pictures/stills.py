"""What `nexus/image-tiny` paints, as `nexus image` does; and what holds for every model that walks its latents."""

from collections.abc import Sequence
from typing import Any

import torch

from nexus.codecs.stills import Stills
from nexus.media.image import Image
from nexus.models.diffusion.outpainting import extended
from nexus.models.diffusion.pixart_alpha import PixArt
from pictures.plots import Line, lines
from pictures.registry import Picture

SIDE = 96
PROMPTS = (
    *("a red boat on the sea", "a black cat in a meadow", "a lighthouse on a rock at night"),
    *("a snowman in the mountains", "a castle in the forest at sunset", "a yellow car in a city"),
)
LAND = "a castle in the forest at sunset"


def image_tiny(model: PixArt) -> Image:
    return lines([Line(prompt, _painted(model, [prompt] * 6)) for prompt in PROMPTS], side=SIDE, words_width=190)


def image_guidance(model: PixArt) -> Image:
    scales = {"guidance 1 (none)": 1.0, "2": 2.0, "3 (the default)": 3.0, "6": 6.0, "12": 12.0}
    rows = [Line(words, _painted(model, PROMPTS, guidance_scale=scale)) for words, scale in scales.items()]
    return lines(rows, side=SIDE)


def image_steps(model: PixArt) -> Image:
    """The same noise by three solvers in few steps and in many."""
    ways = [("euler", 4), ("dpmpp-2m", 4), ("unipc", 4), ("euler", 8), ("dpmpp-2m", 8), ("dpmpp-2m", 20)]
    rows = [Line(f"{way}, {steps} steps", _painted(model, PROMPTS, solver=way, steps=steps)) for way, steps in ways]
    return lines(rows, side=SIDE)


def image_strength(model: PixArt) -> Image:
    """A castle at sunset asked to be one at night and a boat, from more and more noise."""
    start = _one(model, LAND)
    strengths = (0.2, 0.4, 0.6, 0.8, 1.0)
    rows = []
    for prompt in ("a castle in the forest at night", "a red boat on the sea"):
        changed = [_one(model, prompt, image=start, strength=strength, seed=1) for strength in strengths]
        rows.append(Line(prompt, [start, *changed]))
    return lines(rows, side=SIDE, words_width=200, heads=["picture", *(f"{s:g}" for s in strengths)])


def image_inpainting(model: PixArt) -> Image:
    """A part painted anew, and a picture that goes on beyond its edges."""
    start = _one(model, "a red boat on the sea")
    mask = _square(start)
    prompts = ("a yellow boat on the sea", "a whale in the sea", "a house on the sea")
    inside = [_one(model, prompt, image=start, mask=mask, strength=1.0, seed=2) for prompt in prompts]
    canvas, new = extended(start, left=32, right=32, overlap=4, multiple=16)
    wider = _one(model, "a red boat on the sea", image=canvas, mask=new, strength=1.0)
    rows = [Line("inpainting", [start, mask, *inside]), Line("outpainting", [canvas, new, wider])]
    return lines(rows, side=SIDE, words_width=90)


@torch.no_grad()
def hidden_by_noise(model: PixArt) -> Image:
    """A picture at three sizes under noise of one level, all shown at one size; below, levels shifted by size."""
    codec = model.image_vae
    assert isinstance(codec, Stills)
    still = _one(model, "a lighthouse on a rock at night")
    rows = []
    for words, shifts in (("sigma 0.7 for all", (1, 1, 1)), ("shifted: 0.7, 0.82, 0.9", (1, 2, 4))):
        line = []
        for times, shift in zip((1, 2, 4), shifts, strict=True):
            large = still.resize(64 * times, 64 * times).tensor()
            sigma = shift * 0.7 / (1 + (shift - 1) * 0.7)
            noise = torch.randn(large.shape, generator=torch.Generator().manual_seed(0))
            mixed = (1 - sigma) * large + sigma * noise
            seen = torch.nn.functional.avg_pool2d(mixed[None], times)[0]  # as an eye sees it that takes in the whole
            line.append(Image.from_tensor(seen / (1 - sigma) / 2))
        rows.append(Line(words, line))
    return lines(rows, side=128, heads=["64 px", "128 px", "256 px"])


def _one(model: PixArt, prompt: str, *, seed: int = 0, **settings: Any) -> Image:
    picture = model.generate(prompt, seed=seed, **settings)
    assert isinstance(picture, Image)
    return picture


def _painted(model: PixArt, prompts: Sequence[str], **settings: Any) -> list[Image]:
    pictures = model.generate(list(prompts), seed=0, **settings)
    assert isinstance(pictures, list)
    return pictures


def _square(like: Image) -> Image:
    pixels = like.pixels.copy()
    pixels[:] = 0
    pixels[16:56, 8:56] = 255
    return Image(pixels)


TINY = ("nexus/image-tiny",)
PICTURES = {
    "image-tiny": Picture(draw=image_tiny, models=TINY),
    "image-guidance": Picture(draw=image_guidance, models=TINY),
    "image-steps": Picture(draw=image_steps, models=TINY),
    "image-strength": Picture(draw=image_strength, models=TINY),
    "image-inpainting": Picture(draw=image_inpainting, models=TINY),
    "hidden-by-noise": Picture(draw=hidden_by_noise, models=TINY),
}
