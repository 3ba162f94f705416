"""Sound and pictures inside a page: players and drawings as data URIs, so that the page needs no other file."""

import base64
import tempfile
from pathlib import Path
from xml.etree.ElementTree import Element

import numpy as np
from jaxtyping import Float, UInt8
from numpy import ndarray

from nexus.media import Audio, Image, Video
from nexus.metrics.markup import element

BITRATE = 64_000  # of Opus, bits per second and channel
RANGE = 80.0  # dB between the brightest and the darkest colour of a spectrogram
SPECTROGRAM = (96, 640)  # pixels: height, greatest width
SHEET = (8, 4)  # frames, columns
WIDEST = 768  # pixels of a picture's longer side
COLOURS = ((0, 0, 8), (60, 15, 110), (170, 45, 105), (245, 125, 60), (252, 245, 190))  # dark to bright


def shown(media: Audio | Video | Image, label: str) -> Element:
    """A player (sound, film) and a picture of it, captioned; what cannot be played says so."""
    show = {Audio: _sound, Video: _film, Image: _picture}[type(media)]
    return element("figure", *show(media, label))


def _sound(audio: Audio, label: str) -> list[Element]:
    if not audio.length:
        return [element("figcaption", f"{label}: an empty sound")]
    player = element("audio", controls="", preload="metadata", src=sound_uri(audio), aria_label=label)
    facts = f"{audio.seconds:.2f} s, {audio.rate / 1000:g} kHz" + (", silent" if audio.peak == 0 else "")
    drawn = f"mel spectrogram to {audio.rate / 2000:g} kHz over {RANGE:g} dB"
    return [
        element("figcaption", f"{label}: {facts}"),
        player,
        _drawing(spectrogram(audio), f"{label}: {drawn}", "spectrogram"),
    ]


def _film(video: Video, label: str) -> list[Element]:
    if not video.length:
        return [element("figcaption", f"{label}: a film without frames")]
    player = element("video", controls="", loop="", preload="metadata", src=film_uri(video), aria_label=label)
    facts = f"{video.seconds:.2f} s, {video.width}×{video.height}, {float(video.fps):g} frames a second"
    frames, columns = SHEET
    sheet = _at_most(video.contact_sheet(columns=columns, count=frames), WIDEST)
    return [
        element("figcaption", f"{label}: {facts}"),
        player,
        _drawing(sheet, f"{label}: {min(frames, video.length)} frames, evenly spread", "sheet"),
    ]


def _picture(image: Image, label: str) -> list[Element]:
    facts = f"{label}: {image.width}×{image.height}"
    if not image.pixels.size:
        return [element("figcaption", f"{facts}, no pixels")]
    return [element("figcaption", facts), _drawing(_at_most(image, WIDEST), label, "picture")]


def _at_most(image: Image, side: int) -> Image:
    """Made smaller where its longer side is over `side` pixels."""
    scale = side / max(image.width, image.height)
    return (
        image if scale >= 1 else image.resize(max(1, round(image.height * scale)), max(1, round(image.width * scale)))
    )


def _drawing(image: Image, words: str, kind: str) -> Element:
    source = _uri("image/png", image._repr_png_())
    return element("img", src=source, alt=words, width=image.width, height=image.height, class_=kind)


def sound_uri(audio: Audio) -> str:
    """Opus in Ogg; over two channels are mixed down."""
    from nexus.media.audio_io import encode, supported_rate

    audio = audio if audio.channels <= 2 else audio.mono()
    audio = audio.resample(supported_rate(".opus", audio.rate))
    return _uri("audio/ogg", encode(audio.samples, audio.rate, ".opus", BITRATE * audio.channels))


def film_uri(video: Video) -> str:
    """MP4; odd sizes, which H.264 has not, get their last row or column twice."""
    odd = ((0, 0), (0, video.height % 2), (0, video.width % 2), (0, 0))
    even = Video(np.pad(video.frames, odd, mode="edge"), video.fps, video.audio)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "film.mp4"
        even.save(path)
        return _uri("video/mp4", path.read_bytes())


def _uri(kind: str, data: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


def spectrogram(audio: Audio) -> Image:
    """Log-mel, time to the right, pitch upwards, 80 dB below the loudest point; channels are mixed down."""
    from nexus.media.features import MelConfig, log_mel

    config = MelConfig(sample_rate=audio.rate, n_mels=80, f_max=audio.rate / 2)
    mono = audio.mono()
    waveform = mono.fit(max(mono.length, config.n_fft)).tensor()
    level = log_mel(waveform, config)[0].numpy() * (20 / np.log(10))  # dB
    height, widest = SPECTROGRAM
    drawn = Image(coloured((level[::-1] - level.max()) / RANGE + 1 if audio.peak else np.zeros_like(level)))
    return drawn.resize(height, min(drawn.width * 2, widest))


def coloured(values: Float[ndarray, "H W"]) -> UInt8[ndarray, "H W 3"]:
    """0 to 1 as colours from dark to bright; what lies outside is clipped."""
    stops = np.linspace(0, 1, len(COLOURS))
    channels = [np.interp(values, stops, channel) for channel in np.array(COLOURS, float).T]
    return np.stack(channels, axis=-1).round().astype(np.uint8)
