"""`nexus say`: speech from text, in a given voice."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from nexus.cli.clip import SOUND, Maker, Settings
from nexus.cli.options import Device, Json, Model, Output, Seed, Stream, Text

if TYPE_CHECKING:
    from nexus.media.audio import Audio

LONGEST_TEXT = 20_000  # characters
SHORTEST_VOICE, LONGEST_VOICE = 1.0, 60.0  # seconds

SPEECH = Maker(doing="speaking", kinds=("F5TTS",), default_output="speech.wav", suffixes=SOUND, longest=LONGEST_TEXT)


def say(
    text: Text,
    voice: Annotated[
        Path | None,
        typer.Option(
            "--voice", help="A recording of whom to sound like, 1 to 60 s, best 3 to 6 s; else a default voice."
        ),
    ] = None,
    voice_text: Annotated[
        str | None,
        typer.Option("--voice-text", help="What the recording says; our weights do without."),
    ] = None,
    speed: Annotated[float, typer.Option("--speed", min=0.25, max=4.0, help="2 is twice as fast.")] = 1.0,
    accent: Annotated[
        Literal["us", "gb"] | None, typer.Option("--accent", help="Whose pronunciation.", show_default="the voice's")
    ] = None,
    stream: Stream = False,
    model: Model = "nexus/f5tts-tiny",
    seed: Seed = None,
    device: Device = "auto",
    output: Output = None,
    as_json: Json = False,
) -> None:
    """Speaks TEXT. Writes speech.wav unless -o says otherwise.

    nexus say "Good evening." --voice me.wav -o hi.wav
    """
    clip = SPEECH.clip(text, output, model, seed, device, as_json, stream)
    heard = None if voice is None else read_voice(voice)
    if voice_text is not None and voice is None:
        raise ValueError("--voice-text says what the recording of --voice says; give --voice too")
    settings = {"voice": heard, "voice_text": voice_text, "accent": accent, "speed": speed}
    if not stream or not reads_phonemes(model):
        clip.make(**settings)
        return

    from nexus.text.beside import PhonemizerBeside

    with PhonemizerBeside() as front_end:

        def prepare(loaded: Any, given: Settings) -> Settings:
            loaded.front_end = front_end
            return given

        clip.make(prepare, **settings)


def reads_phonemes(model: str) -> bool:
    """Whether a model is known, before anything large is imported, to have our front end."""
    from nexus.hub.source import embedded_names, find

    there = model in embedded_names() or Path(model).expanduser().is_dir()
    return there and find(model).config.get("parts", {}).get("front_end") == "misaki"


def read_voice(path: Path) -> "Audio":
    """A recording short enough and long enough to learn a voice from."""
    from nexus.media.audio import Audio

    voice = Audio.load(path)
    if not SHORTEST_VOICE <= voice.seconds <= LONGEST_VOICE:
        raise ValueError(
            f"{path} lasts {voice.seconds:.1f} s; a voice of {SHORTEST_VOICE:g} to {LONGEST_VOICE:g} s is needed, "
            "3 to 6 s are best"
        )
    if voice.peak == 0:
        raise ValueError(f"{path} is silent; give a recording of someone speaking")
    return voice
