"""What pictures are put together by: lines of small pictures with words beside them, and plots."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from nexus.media.audio import Audio
from nexus.media.features import MelConfig, log_mel
from nexus.media.image import Image
from nexus.media.sheet import contact_sheet

DPI = 100
MEL = MelConfig.vocos()  # of sounds at 24 kHz


def plot(n: int = 1, width: float = 8.0, height: float = 3.2, sharey: bool = False) -> tuple[Figure, list[Axes]]:
    """A figure, in inches, with n plots side by side."""
    figure = Figure(figsize=(width, height), dpi=DPI, layout="constrained")
    FigureCanvasAgg(figure)
    axes = list(figure.subplots(1, n, squeeze=False, sharey=sharey)[0])
    for axis in axes:
        axis.spines[["top", "right"]].set_visible(False)
        axis.grid(alpha=0.25, linewidth=0.6)
    return figure, axes


def drawn(figure: Figure) -> Image:
    canvas = figure.canvas
    assert isinstance(canvas, FigureCanvasAgg)
    canvas.draw()
    return Image(np.asarray(canvas.buffer_rgba())[..., :3])


@dataclass(frozen=True)
class Line:
    """Pictures of one size, side by side."""

    words: str
    pictures: Sequence[Image]


def lines(rows: Sequence[Line], *, side: int, words_width: int = 150, heads: Sequence[str] = ()) -> Image:
    """Rows of pictures, each made `side` pixels high, with their words to the left and perhaps words on top."""
    shown = [[picture.resize(side, side * picture.width // picture.height) for picture in row.pictures] for row in rows]
    sheets = [contact_sheet(pictures, len(pictures), gap=2).pixels for pictures in shown]
    top, gap = (20 if heads else 0), 4
    height = top + sum(sheet.shape[0] + gap for sheet in sheets)
    width = words_width + max(sheet.shape[1] for sheet in sheets)
    figure = Figure(figsize=(width / DPI, height / DPI), dpi=DPI)
    FigureCanvasAgg(figure)
    at = top
    for row, sheet in zip(rows, sheets, strict=True):
        figure.figimage(sheet, words_width, height - at - sheet.shape[0], origin="upper")
        middle = 1 - (at + sheet.shape[0] / 2) / height
        figure.text((words_width - 8) / width, middle, row.words, ha="right", va="center", fontsize=8)
        at += sheet.shape[0] + gap
    for i, head in enumerate(heads):
        middle = (words_width + (i + 0.5) * (shown[0][0].width + 2)) / width
        figure.text(middle, 1 - 9 / height, head, ha="center", va="center", fontsize=8)
    return drawn(figure)


def spectrograms(sounds: Mapping[str, Audio], *, columns: int = 1, height: float = 1.5) -> Image:
    """Log-mel spectrograms at 24 kHz on one scale of colours and one axis of time, each under its name."""
    longest = max(sound.seconds for sound in sounds.values())
    n_rows = -(-len(sounds) // columns)
    figure = Figure(figsize=(8, height * n_rows + 0.3), dpi=DPI, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(n_rows, columns, squeeze=False, sharey=True)
    for axis, (name, sound) in zip(axes.flat, sounds.items(), strict=False):
        mel = log_mel(sound.resample(MEL.sample_rate).mono().tensor(), MEL)[0].numpy()
        extent = (0, sound.seconds, 0, len(mel))
        axis.imshow(mel, origin="lower", aspect="auto", vmin=-9, vmax=3, cmap="magma", extent=extent)
        axis.set_title(name, fontsize=8, loc="left", pad=2)
        axis.set_xlim(0, longest)
        axis.set_facecolor("black")
        axis.tick_params(labelsize=7)
    for axis in axes[:, 0]:
        axis.set_ylabel("mel bin", fontsize=7)
    for axis in axes[-1]:
        axis.set_xlabel("seconds", fontsize=7)
    return drawn(figure)
