"""What a film is made of, as its maker writes it: a YAML or JSON file, checked before any work is done.

The same rules as a JSON schema are in `docs/storyboard.schema.json`; the words are explained in `docs/film.md`.
"""

import json
import re
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from nexus.film.timeline import UNSPOKEN
from nexus.film.wrong import broken, first_problem, nearest

FASTEST_SPEECH = 35.0  # characters a second that nobody exceeds
MOST_SECONDS = 600.0
MOST_CHARACTERS = 600  # of a prompt or a line


def _words(text: str) -> str:
    if not re.search(r"\w", text):
        raise broken("it is empty: say what is to be made, in words")
    if len(text) > MOST_CHARACTERS:
        raise broken(f"it has {len(text)} characters; at most {MOST_CHARACTERS} are allowed")
    return text.strip()


def _under(value: Any) -> Any:
    """Scenes as text or a list; a single number may be written plainly."""
    text = str(value) if type(value) is int else value
    if isinstance(text, str) and re.fullmatch(r"all|none|\d+(-\d+)?", text):
        return text
    if isinstance(text, list) and text and all(type(scene) is int for scene in text):
        return text
    raise broken(f"it is all, none, scenes such as 2-4, or a list such as [1, 3]; got {value!r}")


Words = Annotated[str, AfterValidator(_words), Field(json_schema_extra={"maxLength": MOST_CHARACTERS})]
Seconds = Annotated[float, Field(gt=0, le=MOST_SECONDS, allow_inf_nan=False)]
Offset = Annotated[float, Field(ge=0, le=MOST_SECONDS, allow_inf_nan=False)]
Seed = Annotated[int, Field(ge=0, lt=2**31)]


def exact(seconds: float) -> Fraction:
    """The fraction that was written: 0.1 is 1/10."""
    return Fraction(str(seconds))


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Voice(_Part):
    """Who speaks: like the voice in a sound file, or the voice that came with the weights."""

    voice: str | None = Field(None, description="sound file to sound like, relative to the storyboard")
    voice_text: str | None = Field(None, description="what is said in that file, where known")
    accent: Literal["us", "gb"] | None = None
    speed: float = Field(1.0, ge=0.5, le=2.0)


class Spoken(_Part):
    """A line that somebody says."""

    who: str = Field(description="a name of the cast")
    line: Words
    at: Offset | None = Field(None, description="seconds into the scene; after the line before, where not given")
    seed: Seed | None = None


class Noise(_Part):
    """A sound effect."""

    prompt: Words
    at: Offset = Field(0.0, description="seconds into the scene")
    duration: Seconds | None = Field(None, description="seconds; to the end of the scene where not given")
    gain: float = Field(0.0, ge=-60, le=20, description="decibels")
    seed: Seed | None = None


class Score(_Part):
    """The music: under all scenes, none, a range such as "2-4", or a list of scenes counted from 1."""

    prompt: Words
    under: Annotated[str | int | list[int], BeforeValidator(_under)] = "all"
    gain: float = Field(0.0, ge=-60, le=20, description="decibels")
    seed: Seed | None = None


class Scene(_Part):
    """One shot: what is seen, said and heard, and how it gives way to the next."""

    shot: Words
    duration: Seconds | None = Field(None, description="seconds at least; lines make it longer where they need to")
    say: list[Spoken] = []
    sound: list[Noise] = []
    transition: Literal["cut", "dissolve", "fade"] = "cut"
    seed: Seed | None = None

    @model_validator(mode="after")
    def _in_order(self) -> "Scene":
        for before, after in zip(self.say, self.say[1:], strict=False):
            if after.at is not None:
                earliest = (before.at or 0.0) + len(before.line) / FASTEST_SPEECH
                if after.at < earliest:
                    raise broken(
                        f"the line {after.line!r} at {after.at:g} s overlaps the line before it, which cannot end "
                        f"before {earliest:.1f} s; begin it later, or leave `at` out"
                    )
        return self

    @model_validator(mode="after")
    def _inside(self) -> "Scene":
        if not self.say:
            length = float(UNSPOKEN) if self.duration is None else self.duration
            for sound in self.sound:
                if sound.at >= length:
                    raise broken(f"the sound {sound.prompt!r} at {sound.at:g} s is outside its scene of {length:g} s")
        return self


class Storyboard(_Part):
    """A film."""

    title: Words
    size: list[Annotated[int, Field(ge=32, le=2160)]] = Field([256, 256], min_length=2, max_length=2)
    fps: float = Field(8.0, gt=0, le=60, allow_inf_nan=False)
    cast: dict[str, Annotated[Voice, BeforeValidator(lambda voice: {} if voice is None else voice)]] = {}
    score: Score | None = None
    scenes: list[Scene] = Field(min_length=1)

    @field_validator("size")
    @classmethod
    def _even(cls, size: list[int]) -> list[int]:
        if odd := [side for side in size if side % 2]:
            raise broken(f"width and height must be even for MP4; {odd[0]} is not, {odd[0] + 1} is")
        return size

    @model_validator(mode="after")
    def _known_speakers(self) -> "Storyboard":
        for index, scene in enumerate(self.scenes):
            for spoken in scene.say:
                if spoken.who not in self.cast:
                    raise broken(
                        f"scene {index + 1}: nobody is called {spoken.who!r}; {nearest(spoken.who, list(self.cast))}"
                    )
        return self

    @model_validator(mode="after")
    def _score_in_film(self) -> "Storyboard":
        if self.score and (outside := [k + 1 for k in self.score_scenes() or () if not 0 <= k < len(self.scenes)]):
            raise broken(f"the score is under scene {outside[0]}, but scenes are 1 to {len(self.scenes)}")
        return self

    def score_scenes(self) -> tuple[int, ...] | None:
        """Indices of the scenes with music, from 0; None is all of them."""
        if self.score is None or self.score.under == "none":
            return ()
        if self.score.under == "all":
            return None
        if isinstance(self.score.under, list):
            return tuple(scene - 1 for scene in self.score.under)
        first, _, last = str(self.score.under).partition("-")
        return tuple(range(int(first) - 1, int(last or first)))


def read_storyboard(path: str | Path) -> Storyboard:
    """Reads a .yaml, .yml or .json file; voice files are taken from its folder.

    Raises:
        FileNotFoundError: no such file.
        ValueError: what is wrong, where in the file, and what is allowed.
    """
    path = Path(path)
    if path.suffix.lower() not in (".yaml", ".yml", ".json"):
        raise ValueError(f"{path}: a storyboard is a .yaml or .json file")
    try:
        text = path.read_text(encoding="utf-8")
        tree = yaml.compose(text, Loader=yaml.SafeLoader)  # JSON is YAML too
        values = json.loads(text) if path.suffix.lower() == ".json" else yaml.safe_load(text)
    except UnicodeDecodeError:
        raise ValueError(f"{path}: not a text file in UTF-8") from None
    except (yaml.YAMLError, json.JSONDecodeError, RecursionError) as error:
        kind = "JSON" if path.suffix.lower() == ".json" else "YAML"
        raise ValueError(f"{path}: not valid {kind}: {' '.join(str(error).split()) or 'nested too deep'}") from None
    storyboard = parse_storyboard(values, where=str(path), tree=tree)
    cast = {name: _beside(voice, path.parent) for name, voice in storyboard.cast.items()}
    return storyboard.model_copy(update={"cast": cast})


def parse_storyboard(values: Any, where: str = "storyboard", tree: yaml.Node | None = None) -> Storyboard:
    """Checks plain values; `tree` is the YAML they came from, so that messages can name its lines."""
    if not isinstance(values, dict):
        raise ValueError(f"{where}: a storyboard is a mapping with title and scenes, got {type(values).__name__}")
    try:
        return Storyboard.model_validate(values)
    except ValidationError as error:
        raise ValueError(first_problem(error, Storyboard, where, tree)) from None


def _beside(voice: Voice, folder: Path) -> Voice:
    if voice.voice is None or Path(voice.voice).expanduser().is_absolute():
        return voice
    return voice.model_copy(update={"voice": str(folder / voice.voice)})


def schema() -> dict[str, Any]:
    """The JSON schema that editors check a storyboard with."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **Storyboard.model_json_schema()}
