"""Our codecs and vocoders beside their authors' packages, on the same random weights at the official widths.

What these import for training or for features only is stubbed. NeMo and Amphion are no packages: the environment says
where checkouts of them lie, NEXUS_NEMO_SOURCE and NEXUS_AMPHION_SOURCE, as in the tests.
"""

import importlib
import importlib.util
import os
import sys
import tempfile
import types
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from codec_pairs import Pair, Task, codes, redraw, vocoder
from torch import Tensor, nn

import nexus
from nexus.codecs.bigvgan import BigVGANConfig
from nexus.codecs.fsq_codec import FSQCodecConfig
from nexus.codecs.vocos import VocosConfig
from nexus.hub import bigvgan as bigvgan_layout
from nexus.hub import nemo as nemo_layout
from nexus.hub import vocos as vocos_layout


class Anything:
    """Stands for what only annotates."""

    def __init__(self, *args: object, **kwargs: object):
        pass


def stub(modules: Mapping[str, Mapping[str, object]]) -> None:
    """Modules that hold these values and no others, each beside the parents that it needs."""
    for name, values in modules.items():
        parts = name.split(".")
        for i in range(1, len(parts) + 1):
            sys.modules.setdefault(".".join(parts[:i]), types.ModuleType(".".join(parts[:i])))
            if i > 1:
                setattr(sys.modules[".".join(parts[: i - 1])], parts[i - 1], sys.modules[".".join(parts[:i])])
        vars(sys.modules[name]).update(values)


def checkout(variable: str, project: str) -> str:
    if not os.environ.get(variable):
        raise ImportError(f"{variable} names no checkout of {project}")
    return os.environ[variable]


def whole_frames(hop_length: int, sample_rate: int) -> Callable[[int, float], Tensor]:
    return lambda n, seconds: 0.3 * torch.randn(n, 1, round(seconds * sample_rate / hop_length) * hop_length)


def dac_package() -> Pair:
    """With weight norm computed at every call, as the package has it in use."""
    base = type("BaseModel", (nn.Module,), {"INTERN": [], "EXTERN": [], "device": torch.device("cpu")})
    stub(
        {
            "audiotools.ml": {"BaseModel": base, "Accelerator": object},
            "audiotools": {"AudioSignal": object, "STFTParams": object},
            "argbind": {"bind": lambda *args, **options: lambda function: function},
        }
    )
    from dac.model.dac import DAC  # type: ignore[import-not-found]

    arguments: dict[str, Any] = {"sample_rate": 44100, "encoder_rates": [2, 4, 8, 8], "decoder_rates": [8, 8, 4, 2]}
    arguments |= {"encoder_dim": 64, "decoder_dim": 1536, "n_codebooks": 9, "codebook_size": 1024, "codebook_dim": 8}
    reference = DAC(**arguments).eval()
    redraw(reference, 0.8)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "weights.pth")
        torch.save({"state_dict": reference.state_dict(), "metadata": {"kwargs": arguments}}, path)
        ours: Any = nexus.load(path, device="cpu")
    encode = Task(
        "encode",
        whole_frames(512, 44100),
        lambda codec, x: codec.encode(x),
        lambda codec, x: codec.encode(x)[1],
        lambda codec, x: codec.encoder(x),
    )
    decode = Task(
        "decode",
        codes(ours, 9),
        lambda codec, x: codec.decode(x),
        lambda codec, x: codec.decode(codec.quantizer.from_codes(x)[0]),
        lambda codec, x: codec.decode(x),
    )
    return Pair("DAC 44.1 kHz (Descript's package)", ours, reference, (encode, decode))


def bigvgan() -> Pair:
    """The smallest official one, `nvidia/bigvgan_base_24khz_100band`."""
    stub({"matplotlib": {"use": lambda backend: None}, "matplotlib.pylab": {}})  # its training plots with it
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


def vocos() -> Pair:
    import transformers  # noqa: F401  looks for torchaudio too, and must not find the stub

    stub(
        {
            "torchaudio.transforms": {"MelSpectrogram": nn.Identity},
            "torchaudio.functional.functional": {"_hz_to_mel": None, "_mel_to_hz": None},
            "encodec": {"EncodecModel": object},
        }
    )
    from vocos.heads import ISTFTHead
    from vocos.models import VocosBackbone
    from vocos.pretrained import Vocos

    torch.manual_seed(0)
    backbone, head = VocosBackbone(100, 512, 1536, 8), ISTFTHead(512, 1024, 256, padding="center")
    reference = Vocos(nn.Identity(), backbone, head).eval()  # type: ignore[arg-type]
    ours = vocos_layout.build(VocosConfig.mel_24khz(), reference.state_dict(), "reference").eval().requires_grad_(False)
    return vocoder("Vocos mel 24 kHz", ours, reference, lambda model, x: model.decode(x)[:, None])


def nemo_classes() -> Any:
    """NeMo's file of codec modules alone: its package needs what is on no index."""
    place, elements = (
        checkout("NEXUS_NEMO_SOURCE", "NVIDIA/NeMo"),
        "AudioSignal EncodedRepresentation Index LengthsType",
    )
    elements += " MelSpectrogramType VoidType"
    stub(
        {
            "nemo.collections.asr.modules": {"AudioToMelSpectrogramPreprocessor": Anything},
            "nemo.core.classes.common": {"typecheck": lambda *args, **options: lambda function: function},
            "nemo.core.classes.module": {"NeuralModule": nn.Module},
            "nemo.core.neural_types.elements": {name: Anything for name in elements.split()},
            "nemo.core.neural_types.neural_type": {"NeuralType": Anything},
            "nemo.utils": {"logging": types.SimpleNamespace(debug=lambda *a: None, info=lambda *a: None)},
        }
    )
    for name in ("nemo.collections.common.parts.utils", "nemo.collections.tts.modules.audio_codec_modules"):
        stub({name: {}})
        spec = importlib.util.spec_from_file_location(name, Path(place, *name.split(".")).with_suffix(".py"))
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        spec.loader.exec_module(module)
    return sys.modules["nemo.collections.tts.modules.audio_codec_modules"]


def nemo() -> Pair:
    classes, config = nemo_classes(), FSQCodecConfig.audio_codec_44khz()
    encoder = {
        "down_sample_rates": list(config.encoder.ratios),
        "encoded_dim": 32,
        "base_channels": config.encoder.dim,
        "activation": config.encoder.activation,
        "resblock_dilation_sizes": list(config.encoder.dilations),
    }
    decoder = {
        "up_sample_rates": list(config.decoder.ratios),
        "input_dim": 32,
        "base_channels": config.decoder.dim,
        "activation": config.decoder.activation,
        "output_activation": config.output,
    }
    quantizer = {"num_groups": 8, "num_levels_per_group": list(config.quantizer.levels)}
    reference = nn.ModuleDict(
        {
            "audio_encoder": classes.HiFiGANEncoder(**encoder),
            "audio_decoder": classes.HiFiGANDecoder(**decoder),
            "vector_quantizer": classes.GroupFiniteScalarQuantizer(**quantizer),
        }
    ).eval()
    redraw(reference, 0.7)
    ours: Any = nemo_layout.build(config, reference.state_dict(), "reference").eval().requires_grad_(False)

    def encoded(codec: Any, x: Tensor) -> Tensor:
        latent, n_frames = codec["audio_encoder"](x[:, 0], torch.tensor([x.shape[-1]] * len(x)))
        return codec["vector_quantizer"].encode(latent, n_frames).permute(1, 0, 2)

    def decoded(codec: Any, x: Tensor) -> Tensor:
        n_frames = torch.tensor([x.shape[-1]] * len(x))
        latent = codec["vector_quantizer"].decode(x.permute(1, 0, 2), n_frames)
        latent = latent.to(next(codec.parameters()).dtype)
        return codec["audio_decoder"](latent, n_frames)[0][:, None]

    encode = Task(
        "encode",
        whole_frames(config.hop_length, config.sample_rate),
        lambda codec, x: codec.encode(x),
        encoded,
        lambda codec, x: codec.encoder(x),
    )
    decode = Task("decode", codes(ours, 8), lambda codec, x: codec.decode(x), decoded, lambda codec, x: codec.decode(x))
    return Pair("NeMo audio codec 44.1 kHz", ours, reference, (encode, decode))


def facodec() -> Pair:
    """Codes of all stacks, and sound of them in one voice."""
    place = checkout("NEXUS_AMPHION_SOURCE", "open-mmlab/Amphion")
    stub({"pyworld": {}, "torchaudio.functional": {"pitch_shift": None}})
    sys.path.insert(0, place)
    reference_classes = importlib.import_module("models.codec.ns3_codec")
    torch.manual_seed(0)
    heads = {f"use_gr_{name}": True for name in ("x_timbre", "residual_f0", "residual_phone")}
    encoder = reference_classes.FACodecEncoder(32, [2, 4, 5, 5], 256)
    decoder = reference_classes.FACodecDecoder(256, 1024, 32, [5, 5, 4, 2], vq_dim=256, **heads)
    reference = nn.ModuleDict({"encoder": encoder, "decoder": decoder}).eval()
    redraw(reference, 0.5)
    with tempfile.TemporaryDirectory() as folder:
        for name, part in reference.items():
            torch.save(part.state_dict(), Path(folder, f"ns3_facodec_{name}.bin"))
        ours: Any = nexus.load(folder, device="cpu")
    voice = torch.randn(1, 256)

    def spoken(codec: Any, x: Tensor) -> Tensor:
        timbre = voice.to(next(codec.parameters()).dtype).expand(len(x), -1)
        if not isinstance(codec, nn.ModuleDict):
            return codec.decode(x, timbre)
        decoder: Any = codec["decoder"]
        return decoder.inference(decoder.vq2emb(x.permute(1, 0, 2)), timbre)

    encode = Task(
        "encode",
        whole_frames(200, 16000),
        lambda codec, x: codec.encode(x),
        lambda codec, x: codec["decoder"].quantize(codec["encoder"](x))[1].permute(1, 0, 2),
        lambda codec, x: codec.encoder(x),
    )
    decode = Task("decode", codes(ours, 6), spoken, spoken, spoken)
    return Pair("FACodec", ours, reference, (encode, decode))


PAIRS: dict[str, Callable[[], Pair]] = {
    "dac-package": dac_package,
    "bigvgan": bigvgan,
    "vocos": vocos,
    "nemo": nemo,
    "facodec": facodec,
}
