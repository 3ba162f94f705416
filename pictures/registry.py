"""A picture: the function that draws it and the models it is drawn from; drawn once for each state of both."""

import hashlib
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import nexus
from nexus.hub.load import config_hash, weights_hash
from nexus.hub.source import find
from nexus.media.image import Image
from pictures import plots
from pictures.runs import KEPT, Mode, Trained, trained


@dataclass(frozen=True, kw_only=True)
class Picture:
    """`models` are given to `draw` in this order: `nexus/…` come along, others are trainings (`pictures.runs`)."""

    draw: Callable[..., Image]
    models: tuple[str, ...] = ()
    besides: tuple[str, ...] = ()  # weights and files that it is drawn of too, without being given them
    brief: dict[str, Any] | None = None  # what `draw` is given besides in a brief build, where it trains by itself


@dataclass(frozen=True)
class Made:
    file: Path | None
    note: str  # of what, in words


def make(name: str, picture: Picture, mode: Mode) -> Made:
    """Draws a picture unless one of the same code, weights and settings is there."""
    places = [model if model.startswith("nexus/") else trained(model, mode) for model in picture.models]
    sources = [find(place.weights if isinstance(place, Trained) else place) for place in places]
    counted = [*sources, *map(find, picture.besides)]
    extra = (picture.brief or {}) if mode == "brief" else {}
    code = _source(picture.draw) + inspect.getsource(plots) + repr(extra)
    key = hashlib.sha256(
        "\n".join([code, *map(weights_hash, counted), *map(config_hash, counted)]).encode()
    ).hexdigest()[:12]
    file = KEPT / "pictures" / f"{name}-{key}.png"
    if not file.is_file():
        image = picture.draw(*(nexus.load(source.path, device="cpu") for source in sources), **extra)
        file.parent.mkdir(parents=True, exist_ok=True)
        image.save(file)
    return Made(file.resolve(), _note(picture, places, bool(extra)))


def _source(draw: Callable[..., Image]) -> str:
    module = inspect.getmodule(draw)
    assert isinstance(module, ModuleType)
    return inspect.getsource(module)


def _note(picture: Picture, places: list[str | Trained], cut: bool) -> str:
    file = Path(inspect.getfile(picture.draw)).name
    told = [f"Drawn by `pictures/{file}`, `{picture.draw.__name__}`"]
    if picture.models:
        told.append("of " + ", ".join(f"`{model}`" for model in picture.models))
    short = {
        model: p for model, p in zip(picture.models, places, strict=True) if isinstance(p, Trained) and p.cut_short
    }
    if short or cut:
        steps = ", ".join(f"`{model}` {p.steps} of {p.whole} steps" for model, p in short.items())
        told.append(f"**briefly trained{f': {steps}' if steps else ''}; `make docs PICTURES=full` trains to the end**")
    return ", ".join(told) + "."
