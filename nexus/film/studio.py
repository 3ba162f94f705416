"""The models of a film: known by name before they are loaded, loaded when the first asset of their kind is made."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from nexus.film.plan import DEFAULT_MODELS, KINDS, Asset, Identity, Kind
from nexus.film.storyboard import Storyboard
from nexus.film.wrong import nearest
from nexus.media.audio import Audio
from nexus.media.video import Video

Progress = Callable[[int, int], None]
# The classes of models that can make a kind, as `nexus.hub.load.kind_of` names them.
MAKERS: dict[str, str] = {"speech": "F5TTS", "music": "MusicGen", "sound": "MusicGen", "video": "CogVideoX"}


class Studio:
    """Makes assets. `models` gives a kind another model: a name for `nexus.load`, or a loaded model."""

    def __init__(self, models: Mapping[str, Any] | None = None, device: str = "auto") -> None:
        for kind in models or {}:
            if kind not in KINDS:
                raise ValueError(f"no kind of model is called {kind!r}; {nearest(kind, KINDS)}")
        self.chosen: dict[str, Any] = {**DEFAULT_MODELS, **(models or {})}
        self.device = device
        self.loaded: dict[str, Any] = {}

    def identities(self, storyboard: Storyboard) -> dict[Kind, Identity]:
        """Name, hashes and licence of the models that the film needs; nothing is loaded.

        Raises:
            ValueError, FileNotFoundError: no such model (the nearest names are offered), or one of another kind.
        """
        needed = {
            "speech": any(scene.say for scene in storyboard.scenes),
            "video": True,
            "sound": any(scene.sound for scene in storyboard.scenes),
            "music": storyboard.score is not None,
        }
        return {kind: self._identity(kind) for kind in KINDS if needed[kind]}

    def _identity(self, kind: Kind) -> Identity:
        chosen = self.chosen[kind]
        if not isinstance(chosen, str | Path):
            return chosen.info
        from nexus.hub.load import describe, kind_of
        from nexus.hub.source import find

        if (there := kind_of(chosen)) != MAKERS[kind]:
            raise ValueError(f"{chosen} is a {there}; the film's {kind} needs a {MAKERS[kind]}")
        return describe(find(chosen), kind)

    def model(self, kind: str) -> Any:
        chosen = self.chosen[kind]
        if not isinstance(chosen, str | Path):
            return chosen
        if kind not in self.loaded:
            from nexus.hub.load import load
            from nexus.nn.prepack import prepack

            self.loaded[kind] = prepack(load(chosen, device=self.device))
        return self.loaded[kind]

    def make(self, asset: Asset, storyboard: Storyboard, progress: Progress) -> Audio | Video:
        """Generates one asset.

        Raises:
            ValueError: the model refuses the prompt or a setting; the message names the asset.
        """
        model = self.model(asset.kind)
        try:
            return model.generate(
                asset.prompt, seed=asset.seed, progress=progress, **_arguments(asset, storyboard, model)
            )
        except ValueError as error:
            raise ValueError(f"{asset.title}: {error}") from error


def _arguments(asset: Asset, storyboard: Storyboard, model: Any) -> dict[str, Any]:
    """What `generate` is given besides prompt and seed."""
    if asset.kind == "speech":
        assert asset.scene is not None
        voice = storyboard.cast[storyboard.scenes[asset.scene].say[asset.index].who]
        sample = Audio.load(Path(voice.voice).expanduser()) if voice.voice else None
        return {"voice": sample, "voice_text": voice.voice_text, "accent": voice.accent, "speed": voice.speed}
    if asset.kind == "video":
        return {}
    return {"duration": min(asset.settings["duration"], model.config.max_duration)}
