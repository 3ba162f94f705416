"""From a storyboard to the assets it needs, each with a key made of everything it depends on.

The lines are planned first, for they decide how long shots are. Pictures, sounds and music are made in their model's
own length and fitted to the film afterwards, so their keys do not change when a line gets longer.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

from nexus.film.storyboard import Storyboard, Voice
from nexus.media.audio import Audio

Kind = Literal["speech", "video", "sound", "music"]
KINDS: tuple[Kind, ...] = ("speech", "video", "sound", "music")
DEFAULT_MODELS: dict[str, str] = {
    "speech": "nexus/f5tts-tiny",
    "video": "nexus/cogvideox-tiny",
    "sound": "nexus/sound-tiny",
    "music": "nexus/musicgen-tiny",
}
SOUND_SECONDS = 4.0  # made of a sound, which is then repeated or cut
MUSIC_SECONDS = 12.0
SHORTEST_VOICE, LONGEST_VOICE = 1.0, 300.0  # seconds
FORMAT = 1  # of the assets: raised when the same settings begin to give other results


@runtime_checkable
class Identity(Protocol):
    """What is known of a model before it is loaded; `nexus.hub.load.ModelInfo` is one."""

    @property
    def name(self) -> str: ...
    @property
    def weights_hash(self) -> str: ...
    @property
    def config_hash(self) -> str: ...
    @property
    def licence(self) -> str: ...


@dataclass(frozen=True, kw_only=True)
class Asset:
    """One thing to make. `scene` and `index` say where it belongs; they are not part of the key."""

    kind: Kind
    scene: int | None  # None for the score
    index: int  # among its kind in the scene
    prompt: str
    seed: int
    model: Identity
    settings: dict[str, Any] = field(default_factory=dict)  # what `generate` is given, and what it depends on

    @property
    def key(self) -> str:
        """SHA-256 over all that the result depends on."""
        model = [self.model.name, self.model.weights_hash, self.model.config_hash]
        facts = [FORMAT, self.kind, *model, self.prompt, self.seed, self.settings]
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()

    @property
    def title(self) -> str:
        """What a progress bar says."""
        kind = {"speech": "line", "video": "shot", "sound": "sound", "music": "score"}[self.kind]
        place = "" if self.scene is None else f" of scene {self.scene + 1}"
        return f"{kind}{place}: {self.prompt if len(self.prompt) < 40 else self.prompt[:37] + '...'}"


def plan(storyboard: Storyboard, models: Mapping[Kind, Identity], seed: int = 0) -> tuple[Asset, ...]:
    """Every asset of the film: lines, shots, sounds, score.

    Raises:
        ValueError, OSError: a voice file that cannot be used.
    """
    seeds = _Seeds(seed)
    voices = {name: voice_settings(name, voice) for name, voice in storyboard.cast.items()}
    assets = []
    for s, scene in enumerate(storyboard.scenes):
        for i, spoken in enumerate(scene.say):
            own = seeds.of("speech", f"{spoken.who}: {spoken.line}", spoken.seed)
            assets.append(_asset("speech", s, i, spoken.line, own, models, voices[spoken.who]))
    for s, scene in enumerate(storyboard.scenes):
        assets.append(_asset("video", s, 0, scene.shot, seeds.of("video", scene.shot, scene.seed), models))
    for s, scene in enumerate(storyboard.scenes):
        for i, noise in enumerate(scene.sound):
            own = seeds.of("sound", noise.prompt, noise.seed)
            assets.append(_asset("sound", s, i, noise.prompt, own, models, {"duration": SOUND_SECONDS}))
    if storyboard.score and storyboard.score_scenes() != ():
        prompt = storyboard.score.prompt
        own = seeds.of("music", prompt, storyboard.score.seed)
        assets.append(_asset("music", None, 0, prompt, own, models, {"duration": MUSIC_SECONDS}))
    return tuple(assets)


def _asset(
    kind: Kind, scene: int | None, index: int, prompt: str, seed: int, models: Mapping[Kind, Identity],
    settings: dict[str, Any] | None = None,
) -> Asset:  # fmt: skip
    return Asset(
        kind=kind, scene=scene, index=index, prompt=prompt, seed=seed, model=models[kind], settings=settings or {}
    )


class _Seeds:
    """A seed for what has none of its own: of its words, and of how often they came before in this film."""

    def __init__(self, base: int) -> None:
        self.base, self.seen = base, Counter[str]()

    def of(self, kind: str, words: str, given: int | None) -> int:
        if given is not None:
            return given
        text = f"{kind}\n{words}"
        self.seen[text] += 1
        digest = hashlib.sha256(f"{self.base}\n{self.seen[text]}\n{text}".encode()).digest()
        return int.from_bytes(digest[:4], "big") >> 1


def voice_settings(name: str, voice: Voice) -> dict[str, Any]:
    """What a line depends on besides its words; the voice file counts by its content, wherever it lies.

    Raises:
        ValueError, OSError: the file cannot be read, is too short or too long.
    """
    settings: dict[str, Any] = {"speed": voice.speed}
    if voice.accent:
        settings["accent"] = voice.accent
    if voice.voice:
        path = Path(voice.voice).expanduser()
        if not path.is_file():
            raise FileNotFoundError(f"cast, {name}: the voice file {path} does not exist")
        seconds = Audio.load(path).seconds
        if not SHORTEST_VOICE <= seconds <= LONGEST_VOICE:
            raise ValueError(
                f"cast, {name}: the voice in {path} lasts {seconds:.1f} s; 3 to 6 s are best, "
                f"{SHORTEST_VOICE:g} to {LONGEST_VOICE:g} s are allowed"
            )
        settings["voice_sha256"] = hashlib.sha256(path.read_bytes()).hexdigest()
    if voice.voice_text:
        settings["voice_text"] = voice.voice_text
    return settings
