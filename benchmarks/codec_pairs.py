"""Our codecs and vocoders beside their references, on the same random weights at the official widths."""

import math
import sys
import tempfile
import types
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

import nexus
from nexus.codecs.bigvgan import BigVGANConfig
from nexus.codecs.vocos import VocosConfig
from nexus.hub import bigvgan as bigvgan_layout
from nexus.hub import vocos as vocos_layout


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
    for module in model.modules():
        if isinstance(module, nn.Conv1d | nn.ConvTranspose1d):
            transposed = isinstance(module, nn.ConvTranspose1d)
            fan = module.in_channels * module.kernel_size[0] // (module.stride[0] if transposed else 1)
            module.weight = nn.Parameter(gain * torch.randn_like(module.weight) * fan**-0.5)


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


def encodec_24khz() -> Pair:
    from transformers import EncodecConfig, EncodecModel

    torch.manual_seed(0)
    reference: Any = EncodecModel(EncodecConfig()).eval()
    with torch.no_grad():
        scale = reference.encoder(torch.randn(1, 1, 16000)).std()
        for layer in reference.quantizer.layers:
            layer.codebook.embed.copy_(torch.randn_like(layer.codebook.embed) * scale / 4)
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


def bigvgan() -> Pair:
    """The smallest official one, `nvidia/bigvgan_base_24khz_100band`."""
    for name in ("matplotlib", "matplotlib.pylab"):  # its training plots with it
        sys.modules[name] = types.ModuleType(name)
    sys.modules["matplotlib"].use = lambda backend: None  # type: ignore[attr-defined]
    sys.modules["matplotlib"].pylab = sys.modules["matplotlib.pylab"]  # type: ignore[attr-defined]
    from bigvgan.bigvgan import BigVGAN as Reference  # type: ignore[import-not-found]
    from bigvgan.env import AttrDict  # type: ignore[import-not-found]

    config = BigVGANConfig.v1_base_24khz()
    sizes = config.upsampler
    values = {
        "resblock": "1",
        "num_mels": config.mel.n_mels,
        "upsample_initial_channel": sizes.dim,
        "upsample_rates": sizes.ratios,
        "upsample_kernel_sizes": sizes.kernel_sizes,
        "resblock_kernel_sizes": sizes.block_kernel_sizes,
        "resblock_dilation_sizes": sizes.dilations,
        "activation": "snakebeta",
        "snake_logscale": True,
    }
    reference = Reference(AttrDict(values)).eval()
    reference.remove_weight_norm()
    redraw(reference, 0.5)
    ours = bigvgan_layout.build(config, reference.state_dict(), "reference").eval().requires_grad_(False)
    return vocoder("BigVGAN base", ours, reference, lambda model, x: model(x))


def stub_torchaudio() -> None:
    """The reference imports torchaudio and encodec, which it needs for features only."""
    for name in ("torchaudio", "torchaudio.transforms", "torchaudio.functional", "torchaudio.functional.functional"):
        sys.modules[name] = types.ModuleType(name)
    sys.modules["torchaudio"].transforms = sys.modules["torchaudio.transforms"]  # type: ignore[attr-defined]
    sys.modules["torchaudio.transforms"].MelSpectrogram = nn.Identity  # type: ignore[attr-defined]
    functional = sys.modules["torchaudio.functional.functional"]
    functional._hz_to_mel = functional._mel_to_hz = None  # type: ignore[attr-defined]
    sys.modules["encodec"] = types.ModuleType("encodec")
    sys.modules["encodec"].EncodecModel = object  # type: ignore[attr-defined]


def vocos() -> Pair:
    import transformers  # noqa: F401  looks for torchaudio too, and must not find the stub

    stub_torchaudio()
    from vocos.heads import ISTFTHead
    from vocos.models import VocosBackbone
    from vocos.pretrained import Vocos

    torch.manual_seed(0)
    backbone, head = VocosBackbone(100, 512, 1536, 8), ISTFTHead(512, 1024, 256, padding="center")
    reference = Vocos(nn.Identity(), backbone, head).eval()  # type: ignore[arg-type]
    ours = vocos_layout.build(VocosConfig.mel_24khz(), reference.state_dict(), "reference").eval().requires_grad_(False)
    return vocoder("Vocos mel 24 kHz", ours, reference, lambda model, x: model.decode(x)[:, None])


PAIRS: dict[str, Callable[[], Pair]] = {
    "dac": dac_44khz,
    "encodec": encodec_24khz,
    "mimi": mimi,
    "hifigan": hifigan,
    "bigvgan": bigvgan,
    "vocos": vocos,
}
