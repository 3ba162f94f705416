"""Frames of what `nexus/cogvideox-tiny` films, and what its autoencoder keeps."""

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch

from nexus.codecs.cogvideox_vae import CogVideoXVAE
from nexus.data.storybook import clip
from nexus.film import render
from nexus.media.image import Image
from nexus.media.video import Video
from nexus.models.video.cogvideox import CogVideoX
from pictures.plots import Line, lines
from pictures.registry import Picture
from pictures.runs import KEPT

PROMPTS = (
    "a red boat crosses the sea from left to right",
    "a black cat walks through a meadow",
    "a balloon rises over the mountains",
)
SIDE = 80
FILMS = {name: f"examples/{name}.yaml" for name in ("lighthouse", "two_at_the_window", "the_whale")}
ITS_MODELS = ("nexus/cogvideox-tiny", "nexus/f5tts-tiny", "nexus/musicgen-tiny", "nexus/sound-tiny")


def cogvideox(model: CogVideoX) -> Image:
    rows = []
    for prompt in PROMPTS:
        video = model.generate(prompt, seed=1)
        assert isinstance(video, Video)
        rows.append(Line(prompt, _some(video, 7)))
    return lines(rows, side=SIDE, words_width=260)


@torch.no_grad()
def video_vae(model: CogVideoXVAE) -> Image:
    """A held-out clip, what comes back, and where they differ."""
    drawn = clip(3, "valid")
    x = torch.from_numpy(drawn.frames).float().permute(3, 0, 1, 2)[None] / 127.5 - 1
    back = model.decode(model.encode(x).mean).clamp(-1, 1)
    wrong = (4 * (back - x).abs() - 1).clamp(max=1)
    psnr = -10 * np.log10(float(((back - x) / 2).square().mean()))
    words = ("a held-out clip", f"back: {psnr:.1f} dB PSNR", "difference, four times")
    rows = [
        Line(word, _some(Video.from_tensor(part[0], 8), 9)) for word, part in zip(words, (x, back, wrong), strict=True)
    ]
    return lines(rows, side=SIDE)


def film(name: str) -> Image:
    """Fifteen frames of an example film, which is rendered for them."""
    with TemporaryDirectory() as folder:
        made = render(FILMS[name], Path(folder) / "film.mp4", cache=KEPT / "film")
        return Video.load(made.path).contact_sheet(5, 15)


def film_lighthouse() -> Image:
    return film("lighthouse")


def film_dialogue() -> Image:
    return film("two_at_the_window")


def film_story() -> Image:
    return film("the_whale")


def _some(video: Video, n: int) -> list[Image]:
    """n frames, evenly spread, the first and the last among them."""
    return [video.frame(round(i * (video.length - 1) / (n - 1))) for i in range(n)]


PICTURES = {
    "cogvideox": Picture(draw=cogvideox, models=("nexus/cogvideox-tiny",)),
    "film": Picture(draw=film_lighthouse, besides=(FILMS["lighthouse"], *ITS_MODELS)),
    "film-dialogue": Picture(draw=film_dialogue, besides=(FILMS["two_at_the_window"], *ITS_MODELS)),
    "film-story": Picture(draw=film_story, besides=(FILMS["the_whale"], *ITS_MODELS)),
    "video-vae": Picture(draw=video_vae, models=("nexus/video-vae-tiny",)),
}
