"""`film.json`: what the film is made of, where each part came from, and what its licences allow."""

from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from nexus.film.plan import Asset, Identity
from nexus.film.storyboard import Storyboard
from nexus.film.timeline import Timeline

_RESTRICTED = ("-nc", "noncommercial", "non-commercial", "research")


def is_non_commercial(licence: str) -> bool:
    """Whether the licence, by its name, forbids commercial use."""
    return any(word in licence.lower().replace("_", "-") for word in _RESTRICTED)


def film_licence(models: Sequence[Identity]) -> dict[str, Any]:
    """What the models' licences mean for a film made with all of them."""
    licences = sorted({model.licence for model in models})
    restricted = sorted({model.name for model in models if is_non_commercial(model.licence)})
    unknown = sorted({model.name for model in models if model.licence == "unknown"})
    use = "non-commercial" if restricted else ("unknown" if unknown else "commercial")
    return {"use": use, "licences": licences, "non_commercial_models": restricted, "unknown_models": unknown}


def manifest(
    storyboard: Storyboard, assets: Sequence[Asset], timeline: Timeline, mix: dict[str, float]
) -> dict[str, Any]:
    """Everything about the film, as plain values for JSON; times are in seconds from its start."""
    width, height = storyboard.size
    return {
        "title": storyboard.title,
        "made_with": f"nexus {_version()}",
        "duration": float(timeline.duration),
        "size": [width, height],
        "fps": float(timeline.fps),
        "frames": timeline.frames,
        "sound": {"rate": timeline.rate, "samples": timeline.length, **mix},
        "licence": film_licence([asset.model for asset in assets]),
        "assets": [_entry(asset, times) for asset in assets for times in [_times(asset, timeline)]],
    }


def _entry(asset: Asset, times: list[tuple[float, float]]) -> dict[str, Any]:
    return {
        "kind": asset.kind,
        "scene": None if asset.scene is None else asset.scene + 1,
        "prompt": asset.prompt,
        "model": asset.model.name,
        "weights_hash": asset.model.weights_hash,
        "licence": asset.model.licence,
        "seed": asset.seed,
        "settings": asset.settings,
        "key": asset.key,
        "times": [{"start": round(start, 6), "end": round(end, 6)} for start, end in times],
    }


def _times(asset: Asset, timeline: Timeline) -> list[tuple[float, float]]:
    """Where the asset is in the film; the score may be in several places."""
    if asset.kind == "video":
        shot = timeline.shots[asset.scene or 0]
        return [(float(shot.start_frame / timeline.fps), float(shot.end_frame / timeline.fps))]
    if asset.kind == "speech":
        lines = [line for line in timeline.lines if line.scene == asset.scene]
        placed = lines[asset.index : asset.index + 1]
    elif asset.kind == "sound":
        placed = [sound for sound in timeline.sounds if (sound.scene, sound.index) == (asset.scene, asset.index)]
    else:
        placed = timeline.score
    return [(p.start_sample / timeline.rate, (p.start_sample + p.length) / timeline.rate) for p in placed]


def _version() -> str:
    try:
        return version("nexus-media")
    except PackageNotFoundError:
        return "unreleased"
