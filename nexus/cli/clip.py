"""What `say`, `music`, `sound`, `video` and `image` have in common: check, load, generate, write, tell."""

import inspect
import json
import secrets
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from nexus.cli.options import read_text
from nexus.cli.progress import Watch

if TYPE_CHECKING:
    from nexus.media.audio import Audio

SOUND = (".wav", ".flac", ".ogg", ".opus", ".mp3", ".m4a")
PICTURES = (".mp4", ".webm", ".gif")
STILLS = (".png", ".jpg", ".jpeg")

PLAIN = (str, int, float, bool, list, tuple)

Settings = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Maker:
    """A command that generates; `kinds` are the classes of models that can do it, `longest` counts characters.

    `options` has the names of options that are not those of the models' settings.
    """

    doing: str
    kinds: tuple[str, ...]
    default_output: str
    suffixes: tuple[str, ...]
    longest: int = 2_000
    options: dict[str, str] = field(default_factory=dict)

    def clip(
        self, text: str, output: Path | None, model: str, seed: int | None, device: str, as_json: bool, stream: bool
    ) -> "Clip":
        """What to make, checked as far as that goes without a model.

        Raises:
            ValueError: no text or too much, a file name of another kind, options that exclude each other.
            OSError: the file could not be written.
        """
        prompt = read_text(text, self.longest, "text")
        if stream and as_json:
            raise ValueError("--stream and --json both want standard output; use one of them")
        path = None if stream and output is None else output or Path(self.default_output)
        if path is not None:
            check_output(path, self.suffixes)
        seed = secrets.randbits(32) if seed is None else seed
        return Clip(
            maker=self, prompt=prompt, path=path, model=model, seed=seed, device=device, stream=stream, as_json=as_json
        )


@dataclass(frozen=True, kw_only=True)
class Clip:
    """One thing to make; `path` is None for a stream that is not kept."""

    maker: Maker
    prompt: str
    path: Path | None
    model: str
    seed: int
    device: str
    stream: bool
    as_json: bool

    def make(
        self,
        prepare: Callable[[Any, Settings], Settings] = lambda model, settings: settings,
        noted: Settings | None = None,
        /,
        **given: Any,
    ) -> None:
        """Generates, writes the file and its record, and says so.

        Settings that are None are left to the model; `prepare(model, settings)` may adapt them to it. What is `noted`
        is no setting, but belongs in the record.
        """
        from nexus.nn.prepack import prepack

        started = time.monotonic()
        with Watch() as watch:
            watch.stage(f"loading {self.model}")
            model = self.load()
            settings = prepare(model, {name: value for name, value in given.items() if value is not None})
            call = self.call_of(prepack(model), settings)
            watch.stage(f"{self.maker.doing} with {self.model}")
            watched = {"progress": watch} if accepts(call, "progress") else {}
            media = call(self.prompt, seed=self.seed, **settings, **watched)
            if self.stream:
                media = write_stream(media)
            record = self.record(model, settings | (noted or {}), media, time.monotonic() - started)
            if self.path is not None:
                watch.stage(f"writing {self.path}")
                save(media, self.path, record)
        if self.as_json:
            typer.echo(json.dumps(record, ensure_ascii=False))
        elif not self.stream:
            typer.echo(f"{self.path}: {extent(media)}, seed {self.seed}, made in {record['elapsed']:.1f} s")

    def load(self) -> Any:
        import nexus
        from nexus.hub.load import kind_of

        kind = kind_of(self.model)
        if kind not in self.maker.kinds:
            raise ValueError(
                f"{self.model} is a {kind}, and this command needs a {' or '.join(self.maker.kinds)}; "
                "`nexus models` lists what there is"
            )
        return nexus.load(self.model, device=self.device)

    def call_of(self, model: Any, settings: Settings) -> Callable[..., Any]:
        """The method to call, once it is known to take the settings."""
        if self.stream and not hasattr(model, "stream"):
            raise ValueError(f"{self.model} cannot stream; leave --stream out")
        call = model.stream if self.stream else model.generate
        for name in settings:
            if accepts(call, name):
                continue
            option = self.maker.options.get(name, name).replace("_", "-")
            if self.stream and accepts(model.generate, name):
                raise ValueError(f"a stream of {self.model} has no setting {name!r}; leave --{option} or --stream out")
            raise ValueError(f"{self.model} has no setting {name!r}; leave --{option} out")
        return call

    def record(self, model: Any, settings: Settings, media: Any, elapsed: float) -> dict[str, Any]:
        """Where a result came from; enough to make it again. Media among the settings are told by length and rate."""
        from nexus import __version__

        return {
            "path": None if self.path is None else str(self.path),
            "prompt": self.prompt,
            "model": model.info.name,
            "weights_hash": model.info.weights_hash,
            "licence": model.info.licence,
            "seed": self.seed,
            "settings": {name: plain(value) for name, value in settings.items() if name != "adapters"},  # noted
            **measure(media),
            "elapsed": round(elapsed, 3),
            "nexus": __version__,
        }


def plain(value: Any) -> Any:
    """As JSON has it; media are told by their size."""
    return value if isinstance(value, PLAIN) else repr(value)


def measure(media: Any) -> dict[str, Any]:
    """How long it is, or how large a picture is."""
    if hasattr(media, "seconds"):
        return {"seconds": round(float(media.seconds), 3)}
    return {"width": media.width, "height": media.height}


def extent(media: Any) -> str:
    return f"{media.seconds:.2f} s" if hasattr(media, "seconds") else f"{media.width}x{media.height}"


def accepts(call: Callable[..., Any], name: str) -> bool:
    parameters = inspect.signature(call).parameters
    return name in parameters or any(p.kind is p.VAR_KEYWORD for p in parameters.values())


def check_output(path: Path, suffixes: tuple[str, ...]) -> None:
    """Refuses, before work starts, a file of another kind or a place that can't be written to."""
    from nexus.media.io import check_suffix, check_writable

    check_suffix(path, suffixes)
    folder = path.absolute().parent
    if not folder.exists():
        nearest = next(parent for parent in folder.parents if parent.exists())
        raise FileNotFoundError(f"{path}: there is no folder {folder}; make it first (the nearest is {nearest})")
    check_writable(path)


def save(media: Any, path: Path, record: dict[str, Any]) -> None:
    """Writes the file, then its record beside it, `clip.wav.json`; each whole or not at all."""
    from nexus.media.io import write_atomically

    beside = path.with_name(f"{path.name}.json")
    beside.unlink(missing_ok=True)  # so that no record of an older file is left beside a newer one
    try:
        media.save(path)
        write_atomically(beside, (json.dumps(record, indent=2, ensure_ascii=False) + "\n").encode())
    except OSError as error:  # names the temporary file, or none
        raise OSError(error.errno, error.strerror or str(error), str(path)) from error


def write_stream(pieces: "Iterator[Audio]") -> "Audio":
    """Sends pieces to standard output as they come, as 16-bit WAV of unknown length; returns them joined."""
    import struct

    import numpy as np

    from nexus.media.audio import Audio

    out, kept = sys.stdout.buffer, []
    for piece in pieces:
        if not kept:
            n, rate, unknown = piece.channels, piece.rate, 0xFFFFFFFF
            form = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, n, rate, 2 * n * rate, 2 * n, 16)
            out.write(b"RIFF" + struct.pack("<I", unknown) + b"WAVE" + form + b"data" + struct.pack("<I", unknown))
        kept.append(piece)
        samples = np.clip(piece.samples.T, -1, 1) * 32767
        out.write(np.round(samples).astype("<i2").tobytes())
        out.flush()
    return Audio.concatenate(kept)
