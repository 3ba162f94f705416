"""Our codecs and vocoders beside those of transformers, on the same random weights at the official widths."""

import math
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrize import is_parametrized

import nexus
from nexus.codecs.encodec_windows import WindowedCodes


@dataclass(frozen=True)
class Task:
    """One direction: an input of so many items and seconds, and how each side works on it.

    `judged` is what the error of bf16 is measured on: the output, or the latent where the output is codes.
    """

    name: str
    make: Callable[[int, float], Tensor]
    ours: Callable[[Any, Tensor], Tensor]
    theirs: Callable[[Any, Tensor], Tensor]
    judged: Callable[[Any, Tensor], Tensor]


@dataclass(frozen=True)
class Pair:
    name: str
    ours: Any
    reference: Any
    tasks: tuple[Task, ...]


@torch.no_grad()
def redraw(model: nn.Module, gain: float = 1.0) -> None:
    """Convolutions that keep the size of signals: as initialised they fade to nothing over the depth."""
    torch.manual_seed(0)
    model.requires_grad_(False)
    for module in model.modules():
        if isinstance(module, nn.Conv1d | nn.ConvTranspose1d):
            transposed = isinstance(module, nn.ConvTranspose1d)
            fan = module.in_channels * module.kernel_size[0] // (module.stride[0] if transposed else 1)
            weight = gain * torch.randn_like(module.weight) * fan**-0.5
            if hasattr(module, "weight_g"):  # torch's old weight norm
                module.weight_v.data, module.weight_g.data = weight, torch.norm_except_dim(weight)  # type: ignore[union-attr]
            else:
                module.weight = weight if is_parametrized(module) else nn.Parameter(weight, requires_grad=False)  # type: ignore[assignment]
        if hasattr(module, "weight_g"):  # what it computed, with gradients, could not be copied
            module.weight = torch._weight_norm(module.weight_v, module.weight_g)  # type: ignore[arg-type]


def loaded(reference: Any) -> Any:
    with tempfile.TemporaryDirectory() as folder:
        reference.save_pretrained(folder)
        return nexus.load(folder, device="cpu")


def waveforms(codec: Any) -> Callable[[int, float], Tensor]:
    return lambda n, seconds: 0.3 * torch.randn(n, codec.config.channels, round(seconds * codec.sample_rate))


def codes(codec: Any, n_codebooks: int) -> Callable[[int, float], Tensor]:
    return lambda n, seconds: torch.randint(
        codec.codebook_size, (n, n_codebooks, math.ceil(seconds * codec.frame_rate))
    )


@torch.no_grad()
def encodec_reference(**options: Any) -> Any:
    from transformers import EncodecConfig, EncodecModel

    torch.manual_seed(0)
    reference: Any = EncodecModel(EncodecConfig(**options)).eval()
    scale = reference.encoder(torch.randn(1, reference.config.audio_channels, 16000)).std()
    for layer in reference.quantizer.layers:
        layer.codebook.embed.copy_(torch.randn_like(layer.codebook.embed) * scale / 4)
    return reference


def encodec_24khz() -> Pair:
    reference = encodec_reference()
    ours = loaded(reference)
    encode = Task(
        "encode, 6 kb/s",
        waveforms(ours),
        lambda codec, x: codec.encode(x, bandwidth=6.0),
        lambda codec, x: codec.encode(x, bandwidth=6.0).audio_codes[0],
        lambda codec, x: codec.encoder(x),
    )
    decode = Task(
        "decode, 6 kb/s",
        codes(ours, 8),
        lambda codec, x: codec.decode(x),
        lambda codec, x: codec.decode(x[None], [None]).audio_values,
        lambda codec, x: codec.decode(x),
    )
    return Pair("EnCodec 24 kHz", ours, reference, (encode, decode))


def encodec_48khz() -> Pair:
    """In stereo; of one window, 0.99 s, at most: longer sounds are coded window by window on both sides."""
    reference = encodec_reference(
        target_bandwidths=[3.0, 6.0, 12.0, 24.0],
        sampling_rate=48000,
        audio_channels=2,
        normalize=True,
        chunk_length_s=1.0,
        overlap=0.01,
        norm_type="time_group_norm",
        use_causal_conv=False,
    )
    ours = loaded(reference)

    def stereo(n: int, seconds: float) -> Tensor:
        if seconds > 0.99:  # a whole second is two windows in EnCodec's own package, the second of two frames
            raise SystemExit("EnCodec at 48 kHz is raced on one window: --seconds 0.99 at most")
        return 0.3 * torch.randn(n, 2, round(48000 * seconds))

    def windows(codec: Any, x: Tensor) -> Tensor:
        scales = torch.ones(len(x), 1, dtype=next(codec.parameters()).dtype)
        return codec.decode(WindowedCodes(x, scales, x.shape[-1] * codec.hop_length))

    encode = Task(
        "encode, 6 kb/s",
        stereo,
        lambda codec, x: codec.encode(x, bandwidth=6.0).codes,
        lambda codec, x: codec.encode(x, bandwidth=6.0).audio_codes[0],
        lambda codec, x: codec.codec.encoder(x),
    )
    decode = Task(
        "decode, 6 kb/s",
        lambda n, seconds: codes(ours, 4)(n, min(seconds, 1.0)),
        windows,
        lambda codec, x: codec.decode(x[None], [None]).audio_values,
        windows,
    )
    return Pair("EnCodec 48 kHz, stereo", ours, reference, (encode, decode))


def dac_44khz() -> Pair:
    from transformers import DacConfig, DacModel

    reference: Any = DacModel(DacConfig(sampling_rate=44100)).eval()
    redraw(reference, 0.8)
    ours = loaded(reference)
    encode = Task(
        "encode",
        lambda n, seconds: 0.3 * torch.randn(n, 1, round(seconds * 44100 / 512) * 512),
        lambda codec, x: codec.encode(x),
        lambda codec, x: codec.encode(x).audio_codes,
        lambda codec, x: codec.encoder(x),
    )
    decode = Task(
        "decode",
        codes(ours, 9),
        lambda codec, x: codec.decode(x),
        lambda codec, x: codec.decode(audio_codes=x).audio_values[:, None],
        lambda codec, x: codec.decode(x),
    )
    return Pair("DAC 44.1 kHz", ours, reference, (encode, decode))


def mimi() -> Pair:
    from transformers import MimiConfig, MimiModel

    torch.manual_seed(0)
    reference: Any = MimiModel(MimiConfig()).eval()
    with torch.no_grad():
        latent, quantizer = reference.encoder(torch.randn(1, 1, 19200)).latents, reference.quantizer
        for part in (quantizer.semantic_residual_vector_quantizer, quantizer.acoustic_residual_vector_quantizer):
            for layer in part.layers:
                layer.codebook.embed_sum.normal_().mul_(part.input_proj(latent).std())
                layer.codebook._embed = None
    ours = loaded(reference)
    encode = Task(
        "encode, 8 codebooks",
        waveforms(ours),
        lambda codec, x: codec.encode(x, 8),
        lambda codec, x: codec.encode(x, num_quantizers=8).audio_codes,
        lambda codec, x: codec.latent(x),
    )
    decode = Task(
        "decode, 8 codebooks",
        codes(ours, 8),
        lambda codec, x: codec.decode(x),
        lambda codec, x: codec.decode(x).audio_values,
        lambda codec, x: codec.decode(x),
    )
    return Pair("Mimi", ours, reference, (encode, decode))


def vocoder(name: str, ours: Any, reference: Any, theirs: Callable[[Any, Tensor], Tensor]) -> Pair:
    mel = ours.config.mel
    n_mels = mel if isinstance(mel, int) else mel.n_mels
    task = Task(
        "decode",
        lambda n, seconds: torch.randn(n, n_mels, round(seconds * ours.frame_rate)),
        lambda model, x: model.decode(x),
        theirs,
        lambda model, x: model.decode(x),
    )
    return Pair(name, ours, reference, (task,))


def hifigan() -> Pair:
    from transformers import SpeechT5HifiGan, SpeechT5HifiGanConfig

    reference = SpeechT5HifiGan(SpeechT5HifiGanConfig()).eval()
    redraw(reference, 0.7)
    return vocoder("HiFi-GAN (SpeechT5)", loaded(reference), reference, lambda model, x: model(x.mT)[:, None])


PAIRS: dict[str, Callable[[], Pair]] = {
    "dac": dac_44khz,
    "encodec": encodec_24khz,
    "encodec-48khz": encodec_48khz,
    "mimi": mimi,
    "hifigan": hifigan,
}
