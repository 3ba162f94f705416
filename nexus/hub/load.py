"""`nexus.load`: weights in any layout we know, to a model ready to generate."""

import hashlib
import importlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from nexus.hub.source import Source, find

# Asked in this order, each imported when it is asked; the first that recognises a source loads it.
FAMILIES = (
    "adapted",
    "native",
    "musicgen",
    "cogvideox",
    "cogvideox_sat",
    "f5tts",
    "vocos",
    "nemo",
    "facodec",
    "hifigan",
    "bigvgan",
    "dac",
    "encodec_lm",
    "encodec",
    "mimi",
    "base_diffusion",
    "consistency_model",
    "cycle_gan",
    "pixart",
    "stable_diffusion",
    "controlnet",
    "sd3_controlnet",
    "flux_controlnet",
    "pixart_controlnet",
    "image_vae",
    "dit",
    "stable_diffusion_3",
    "flux",
)

_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}

# Licences of official weights, which their folders do not state; anything else is "unknown".
_LICENCES = {
    "facebook/encodec_24khz": "MIT",
    "facebook/encodec_32khz": "CC-BY-NC-4.0",
    "facebook/encodec_48khz": "MIT",
    "kyutai/mimi": "CC-BY-4.0",
    "descript/dac_16khz": "MIT",
    "descript/dac_24khz": "MIT",
    "descript/dac_44khz": "MIT",
    "charactr/vocos-mel-24khz": "MIT",
    "charactr/vocos-encodec-24khz": "MIT",
    "amphion/naturalspeech3_facodec": "Apache-2.0",
    "nvidia/audio-codec-44khz": "NVIDIA (nsclv1), non-commercial",
    "nvidia/low-frame-rate-speech-codec-22khz": "NVIDIA (nsclv1), non-commercial",
    "microsoft/speecht5_hifigan": "MIT",
    "nvidia/bigvgan_v2_44khz_128band_512x": "MIT",
    "nvidia/bigvgan_v2_44khz_128band_256x": "MIT",
    "nvidia/bigvgan_v2_24khz_100band_256x": "MIT",
    "nvidia/bigvgan_v2_22khz_80band_256x": "MIT",
    "nvidia/bigvgan_v2_22khz_80band_fmax8k_256x": "MIT",
    "nvidia/bigvgan_24khz_100band": "MIT",
    "nvidia/bigvgan_base_24khz_100band": "MIT",
    "nvidia/bigvgan_22khz_80band": "MIT",
    "nvidia/bigvgan_base_22khz_80band": "MIT",
    "facebook/musicgen-small": "CC-BY-NC-4.0",
    "facebook/musicgen-medium": "CC-BY-NC-4.0",
    "facebook/musicgen-large": "CC-BY-NC-4.0",
    "facebook/musicgen-melody": "CC-BY-NC-4.0",
    "SWivid/F5-TTS": "CC-BY-NC-4.0",
    "openai/diffusers-cd_imagenet64_l2": "MIT",
    "openai/diffusers-cd_imagenet64_lpips": "MIT",
    "openai/diffusers-ct_imagenet64": "MIT",
    "google/ddpm-cifar10-32": "Apache-2.0",
    "google/ddpm-celebahq-256": "Apache-2.0",
    "google/ddpm-church-256": "Apache-2.0",
    "stable-diffusion-v1-5/stable-diffusion-v1-5": "CreativeML OpenRAIL-M",
    "stable-diffusion-v1-5/stable-diffusion-inpainting": "CreativeML OpenRAIL-M",
    "stabilityai/stable-diffusion-2-1": "CreativeML OpenRAIL++-M",
    "stabilityai/stable-diffusion-xl-base-1.0": "CreativeML OpenRAIL++-M",
    "stabilityai/stable-diffusion-xl-refiner-1.0": "CreativeML OpenRAIL++-M",
    "stabilityai/sd-vae-ft-mse": "MIT",
    "SimianLuo/LCM_Dreamshaper_v7": "MIT",
    "facebook/DiT-XL-2-256": "CC-BY-NC-4.0",
    "facebook/DiT-XL-2-512": "CC-BY-NC-4.0",
    "stabilityai/stable-diffusion-3-medium-diffusers": "Stability AI Community Licence",
    "stabilityai/stable-diffusion-3.5-medium": "Stability AI Community Licence",
    "stabilityai/stable-diffusion-3.5-large": "Stability AI Community Licence",
    "stabilityai/stable-diffusion-3.5-large-turbo": "Stability AI Community Licence",
    "black-forest-labs/FLUX.1-schnell": "Apache-2.0",
    "black-forest-labs/FLUX.1-dev": "FLUX.1 [dev] non-commercial licence",
    "THUDM/CogVideoX-2b": "Apache-2.0",
    "THUDM/CogVideoX-5b": "CogVideoX licence",
}


@dataclass(frozen=True)
class ModelInfo:
    """Where a model's weights came from; every output carries it."""

    name: str
    kind: str
    weights_hash: str  # SHA-256 over the weight files, first 16 hex digits
    config_hash: str  # the same over its settings: steps, guidance scale, temperature …
    licence: str


def load(name_or_path: str | Path, *, device: str = "auto", dtype: str = "auto") -> Any:
    """Loads a model from an embedded name, a folder, a file or a Hugging Face id.

    Args:
        device: "auto" (CUDA where there is one), "cpu", "cuda", "cuda:1" …
        dtype: "auto" (fp32 on a CPU, bf16 on a GPU), "fp32", "bf16" or "fp16".

    Returns:
        The model in eval mode with `.info`, a `ModelInfo`.

    Raises:
        ValueError: an unknown name (the nearest are offered), an unknown layout, tensors that do not fit, a pickle
            that wants to execute code.
        FileNotFoundError: a path that does not exist, or a hub id that can't be had.
    """
    place = _device(device)
    if dtype != "auto" and dtype not in _DTYPES:
        raise ValueError(f"dtype must be auto, {', '.join(_DTYPES)}, got {dtype!r}")
    source = find(name_or_path)
    model: Any = _loaded(source).eval().requires_grad_(False)
    precision = _DTYPES.get(dtype, torch.float32 if place.type == "cpu" else torch.bfloat16)
    model.to(device=place, dtype=precision)
    if hasattr(getattr(model, "text_encoder", None), "to"):
        model.text_encoder.to(device=place)
    model.info = describe(source, kind=type(model).__name__)
    return model


def kind_of(name_or_path: str | Path) -> str:
    """The class of the model that `load` would give ("MusicGen"), known before its weights are read.

    Raises:
        ValueError, FileNotFoundError: as `load`.
    """
    source = find(name_or_path)
    return _family(source).kind(source)


def _family(source: Source) -> Any:
    """The module that recognises a source."""
    for name in FAMILIES:
        family = importlib.import_module(f"nexus.hub.{name}")
        if family.recognise(source):
            return family
    held = ", ".join(sorted(p.name for p in source.path.iterdir())[:8]) if source.is_folder else "one file"
    raise ValueError(
        f"{source.name}: no known layout (it holds {held or 'nothing'}); known are those of {', '.join(FAMILIES)}"
    )


def _loaded(source: Source) -> Any:
    try:
        return _family(source).load(source)
    except KeyError as error:  # families look up what every official folder and file has
        raise ValueError(
            f"{source.name}: {error} is missing from its settings or its tensors: it is not whole, or of another kind"
        ) from error


def _device(device: str) -> torch.device:
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        place = torch.device(device)
    except RuntimeError:
        raise ValueError(f"unknown device {device!r}; use auto, cpu, cuda or cuda:N") from None
    if place.type == "cuda" and (place.index or 0) >= torch.cuda.device_count():
        raise ValueError(f"device {device!r} is not here: {torch.cuda.device_count()} CUDA devices found; use cpu")
    return place


def describe(source: Source, kind: str) -> ModelInfo:
    """Name, kind, hashes and licence of a source, without loading it."""
    licence = source.config.get("licence") or _LICENCES.get(source.name, "unknown")
    return ModelInfo(source.name, kind, weights_hash(source), config_hash(source), licence)


def weights_hash(source: Source) -> str:
    """SHA-256 over the hashes of a source's parts and its weight files, in order of their names; 16 hex digits."""
    files = [source.path]
    if source.is_folder:
        files = sorted(path for path in source.path.rglob("*") if _holds_weights(path))
    return _digest([weights_hash(find(part)) for part in _parts(source)], files)


def config_hash(source: Source) -> str:
    """SHA-256 over the hashes of a source's parts and its JSON files, as `weights_hash` is over its weights."""
    files = sorted(source.path.rglob("*.json")) if source.is_folder else []
    return _digest([config_hash(find(part)) for part in _parts(source)], files)


def _parts(source: Source) -> list[str]:
    return [part for part in source.config.get("parts", {}).values() if "/" in part]


def _digest(parts: list[str], files: list[Path]) -> str:
    digest = hashlib.sha256("".join(parts).encode())
    for path in files:
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()[:16]


def _holds_weights(path: Path) -> bool:
    suffixes = {".safetensors", ".bin", ".pt", ".pth", ".th", ".ckpt", ".nemo"}
    return path.suffix in suffixes or path.name.startswith(("g_", "generator"))  # HiFi-GAN's have no suffix
