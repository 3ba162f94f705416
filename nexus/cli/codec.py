"""`nexus codec`: sound to codes and back, codecs side by side, codes for training."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nexus.cli import codec_compare
from nexus.cli.clip import SOUND, check_output
from nexus.cli.codec_files import FORMATS, Job, format_of, read_file
from nexus.cli.codec_models import CODECS, choose, load_codec, load_lm
from nexus.cli.options import Device, Json
from nexus.cli.progress import Watch

if TYPE_CHECKING:
    from nexus.media.audio_blocks import SoundBlocks

app = typer.Typer(no_args_is_help=True, help="Turn sound into codes and back, compare codecs, write codes to train on.")

LARGEST_WAV = (1 << 32) - (1 << 16)  # bytes: its sizes are of 32 bits

Input = Annotated[Path, typer.Argument(help="A sound file, or a video with sound, of any length.", show_default=False)]
Folder = Annotated[Path, typer.Argument(help="A folder of sound files, at any depth.", show_default=False)]
Model = Annotated[
    str | None,
    typer.Option("--model", "-m", help="A codec: a name from `nexus models`, a folder or file, or a Hugging Face id."),
]
Bitrate = Annotated[
    float | None, typer.Option("--bitrate", min=0.01, help="At most so many kb/s a channel.", show_default="all")
]
Codebooks = Annotated[int | None, typer.Option("--codebooks", min=1, help="The first so many.", show_default="all")]
LM = Annotated[
    str | None,
    typer.Option("--lm", help="A language model of EnCodec's codes: smaller .ecdc files, slowly made and read."),
]

app.command()(codec_compare.compare)


@app.callback()
def root() -> None:
    pass


@app.command()
def encode(
    sound: Input,
    output: Annotated[Path, typer.Option("--output", "-o", help="x.nxc (any codec), .ecdc (EnCodec), .dac (DAC).")],
    model: Model = None,
    bitrate: Bitrate = None,
    codebooks: Codebooks = None,
    lm: LM = None,
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """Writes the codes of SOUND; resampled and, for a codec of one channel, channel by channel, as it then says.

    nexus codec encode in.wav -o x.ecdc
    """
    from nexus.media.audio_blocks import open_blocks
    from nexus.media.io import write_atomically

    kind = format_of(output)
    check_output(output, tuple(FORMATS))
    source = open_blocks(sound)
    if source.length == 0:
        raise ValueError(f"{sound} is empty; a codec needs at least one sample")
    with Watch() as watch:
        codec = load_codec(model or kind.default_model, kind.kinds or CODECS, device, watch)
        job = Job(codec=codec, lm=load_lm(lm, kind, device, watch), codebooks=choose(codec, bitrate, codebooks))
        watch.stage(f"encoding {sound}")
        started = time.monotonic()
        notes: list[str] = []
        with refusing(sound):
            made = kind.encode(job, watched(source, watch, notes), notes)
        write_atomically(output, made.data)
    rate = made.rows * codec.bitrate_of(made.codebooks) / 1000
    facts = {
        "path": str(output),
        "bytes": len(made.data),
        "codebooks": made.codebooks,
        "bitrate": round(rate, 3),  # kb/s, without what the file adds or a language model saves
        "channels": made.channels,
        "notes": notes,
    }
    tell(codec, facts, f"{len(made.data)} bytes, {rate:.4g} kb/s", made.seconds, time.monotonic() - started, as_json)


@app.command()
def decode(
    codes: Annotated[Path, typer.Argument(help="A .nxc, .ecdc or .dac file.", show_default=False)],
    output: Annotated[Path, typer.Option("--output", "-o", help="The sound file to write.", show_default=False)],
    model: Annotated[
        str | None, typer.Option("--model", "-m", help="Other weights than the file names.", show_default="the file's")
    ] = None,
    rate: Annotated[
        int | None,
        typer.Option("--rate", min=1, max=768_000, help="Resample to so many Hz.", show_default="the codec's"),
    ] = None,
    lm: LM = None,
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """Writes the sound of CODES, as long as it was.

    nexus codec decode x.ecdc -o out.wav
    """
    from nexus.media.audio_io import save_blocks, supported_rate

    kind = format_of(codes)
    check_output(output, SOUND)
    data, notes = read_file(codes), []
    with Watch() as watch, refusing(codes):
        codec = load_codec(model or kind.named(data), kind.kinds or CODECS, device, watch)
        job = Job(codec=codec, lm=load_lm(lm, kind, device, watch), chosen=model is not None)
        started = time.monotonic()
        sound = kind.decode(job, data)
        wanted = supported_rate(output.suffix.lower(), rate or sound.rate)
        if wanted != sound.rate:
            notes.append(f"resampled from {sound.rate} to {wanted} Hz")
            sound = sound.resample(wanted)
        check_size(output, sound)
        watch.stage(f"decoding {codes}")
        save_blocks(output, watched(sound, watch, []).blocks, sound.rate, sound.channels)
    facts = {"path": str(output), "sample_rate": sound.rate, "channels": sound.channels, "notes": notes}
    seconds = (sound.length or 0) / sound.rate
    tell(codec, facts, f"{sound.rate} Hz", seconds, time.monotonic() - started, as_json)


@app.command()
def tokens(
    folder: Folder,
    output: Annotated[Path, typer.Option("--output", "-o", help="A new folder, or one to go on with.")],
    model: Model = "nexus/encodec-tiny",
    bitrate: Bitrate = None,
    codebooks: Codebooks = None,
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """Writes the codes of every sound under FOLDER and a Lhotse manifest of them; stopped and started again it goes on.

    nexus codec tokens DIR -o codes
    """
    from nexus.data.code_manifest import MANIFEST, write_manifest
    from nexus.data.sound_files import find_sounds

    find_sounds(folder)
    with Watch() as watch:
        codec = load_codec(model or "nexus/encodec-tiny", (*CODECS, "SemanticTokens"), device, watch)
        n_codebooks = choose(codec, bitrate, codebooks)
        watch.stage(f"encoding {folder}")
        done = write_manifest(folder, output, codec, n_codebooks=n_codebooks, progress=watch)
    facts = {"path": str(output / MANIFEST), "cuts": done.cuts, "encoded": done.fresh}
    facts["seconds"] = round(done.seconds, 3)
    if as_json:
        typer.echo(json.dumps(facts | {"model": codec.info.name, "left_out": done.left_out}, ensure_ascii=False))
        return
    typer.echo(f"{facts['path']}: {done.cuts} cuts, {lasting(done.seconds)}, {done.fresh} files encoded now")
    for sentence in done.left_out:
        typer.echo(f"  left out: {sentence}")


@app.command(name="fit-semantic")
def fit_semantic(
    folder: Folder,
    output: Annotated[Path, typer.Option("--output", "-o", help="The folder for centres and config; new or empty.")],
    model: Annotated[
        str, typer.Option("--model", "-m", help="A folder or Hugging Face id of wav2vec 2.0, HuBERT or w2v-BERT.")
    ],
    layer: Annotated[int, typer.Option("--layer", min=1, help="Whose output is clustered; 1 is the first.")] = 7,
    clusters: Annotated[int, typer.Option("--clusters", min=1, help="How many tokens there are.")] = 1000,
    rows: Annotated[int, typer.Option("--rows", min=1, help="Frames held and clustered, drawn from all.")] = 100_000,
    seed: Annotated[int, typer.Option("--seed", min=0, max=2**31, help="The same seed makes the same.")] = 0,
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """Learns semantic tokens from the sounds under FOLDER: k-means over what a speech encoder hears of them.

    nexus codec fit-semantic DIR --model facebook/hubert-base-ls960 --layer 7 --clusters 1000 -o hubert-7
    """
    from nexus.data.fit_semantic import fit_semantic as fit
    from nexus.data.sound_files import find_sounds
    from nexus.hub.load import _device as place_of
    from nexus.hub.source import find
    from nexus.hub.speech_encoder import load_speech_encoder

    files = find_sounds(folder)
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise ValueError(f"{output} is there already; give -o a new folder")
    place = place_of(device)
    with Watch() as watch:
        watch.stage(f"loading {model}")
        source = find(model)
        encoder = load_speech_encoder(source, layer).to(place)
        found = fit(files, encoder, layer=layer, n_clusters=clusters, rows=rows, seed=seed, progress=watch.during)
        local = Path(model).expanduser()
        found.tokens.save(output, str(local.absolute()) if local.exists() else source.name)
    facts = {"path": str(output), "model": model, "layer": layer, "clusters": clusters, "seed": seed}
    facts |= {name: value for name, value in vars(found).items() if name != "tokens"}
    if as_json:
        typer.echo(json.dumps(facts, ensure_ascii=False))
        return
    explained = 1 - found.distance / found.variance if found.variance else 1.0
    typer.echo(
        f"{output}: {clusters} tokens of {found.rows} frames of {lasting(found.seconds)}; they tell "
        f"{100 * explained:.1f} % of the variance, {found.perplexity:.0f} are in use"
    )
    for sentence in found.left_out:
        typer.echo(f"  left out: {sentence}")


def lasting(seconds: float) -> str:
    return f"{seconds / 3600:.3g} h" if seconds >= 3600 else f"{seconds:.3g} s"


def watched(sound: "SoundBlocks", watch: Watch, notes: list[str]) -> "SoundBlocks":
    """The same sound; moves the progress on, and notes silence and samples beyond full scale at its end."""
    import numpy as np

    def blocks() -> Iterator[Any]:
        done, peak = 0, 0.0
        for block in sound.blocks:
            done, peak = done + block.shape[1], max(peak, float(np.abs(block).max(initial=0)))
            if sound.length:
                watch(min(done, sound.length), sound.length)
            yield block
        if done and peak == 0:
            notes.append("silent")
        if peak > 1:
            notes.append(f"peaks at {peak:.3g}, beyond the full scale of 1 that codecs are made for")

    return replace(sound, blocks=blocks())


@contextmanager
def refusing(path: Path) -> Iterator[None]:
    """What is wrong with a file is told with its name."""
    try:
        yield
    except ValueError as error:
        said = str(error)
        raise ValueError(said if str(path) in said else f"{path}: {said}") from error


def check_size(output: Path, sound: "SoundBlocks") -> None:
    """Refuses, before work starts, more channels or samples than the format holds."""
    from nexus.media.audio_io import max_channels

    suffix, most = output.suffix.lower(), max_channels(output.suffix.lower())
    if sound.channels > most:
        raise ValueError(f"{suffix} holds up to {most} channels, the sound has {sound.channels}; .wav holds them")
    if suffix == ".wav" and 4 * sound.channels * (sound.length or 0) > LARGEST_WAV:
        raise ValueError("the sound is longer than a .wav file can be; .flac holds it")


def tell(codec: Any, facts: dict[str, Any], words: str, seconds: float, elapsed: float, as_json: bool) -> None:
    """One line of JSON, or a sentence."""
    if as_json:
        of = {"model": codec.info.name, "weights_hash": codec.info.weights_hash, "licence": codec.info.licence}
        times = {"seconds": round(seconds, 3), "elapsed": round(elapsed, 3)}
        typer.echo(json.dumps(facts | of | times, ensure_ascii=False))
        return
    typer.echo(f"{facts['path']}: {seconds:.2f} s, {words}, {codec.info.name}, made in {elapsed:.1f} s")
    for note in facts["notes"]:
        typer.echo(f"  {note}")
