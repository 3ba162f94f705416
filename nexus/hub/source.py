"""Where weights are: an embedded name, a folder or file on disk, or a Hugging Face id (local cache first)."""

import difflib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from nexus.text.files import read_json

EMBEDDED = Path(__file__).parent.parent / "weights"
OFFICIAL = (
    "facebook/encodec_24khz",
    "facebook/encodec_32khz",
    "facebook/encodec_48khz",
    "kyutai/mimi",
    "descript/dac_16khz",
    "descript/dac_24khz",
    "descript/dac_44khz",
    "charactr/vocos-mel-24khz",
    "charactr/vocos-encodec-24khz",
    "amphion/naturalspeech3_facodec",
    "nvidia/audio-codec-44khz",
    "nvidia/low-frame-rate-speech-codec-22khz",
    "microsoft/speecht5_hifigan",
    "nvidia/bigvgan_v2_44khz_128band_512x",
    "nvidia/bigvgan_v2_44khz_128band_256x",
    "nvidia/bigvgan_v2_24khz_100band_256x",
    "nvidia/bigvgan_v2_22khz_80band_256x",
    "nvidia/bigvgan_v2_22khz_80band_fmax8k_256x",
    "nvidia/bigvgan_24khz_100band",
    "nvidia/bigvgan_base_24khz_100band",
    "nvidia/bigvgan_22khz_80band",
    "nvidia/bigvgan_base_22khz_80band",
    "facebook/musicgen-small",
    "facebook/musicgen-medium",
    "facebook/musicgen-large",
    "facebook/musicgen-melody",
    "SWivid/F5-TTS",
    "google/ddpm-cifar10-32",
    "google/ddpm-celebahq-256",
    "google/ddpm-church-256",
    "stable-diffusion-v1-5/stable-diffusion-v1-5",
    "stable-diffusion-v1-5/stable-diffusion-inpainting",
    "stabilityai/stable-diffusion-2-1",
    "stabilityai/stable-diffusion-xl-base-1.0",
    "stabilityai/stable-diffusion-xl-refiner-1.0",
    "stabilityai/sd-vae-ft-mse",
    "SimianLuo/LCM_Dreamshaper_v7",
    "facebook/DiT-XL-2-256",
    "facebook/DiT-XL-2-512",
    "stabilityai/stable-diffusion-3-medium-diffusers",
    "stabilityai/stable-diffusion-3.5-medium",
    "stabilityai/stable-diffusion-3.5-large",
    "stabilityai/stable-diffusion-3.5-large-turbo",
    "black-forest-labs/FLUX.1-schnell",
    "black-forest-labs/FLUX.1-dev",
    "THUDM/CogVideoX-2b",
    "THUDM/CogVideoX-5b",
)
_WANTED = ["*.json", "*.safetensors", "*.bin", "*.th", "*.pt", "*.txt", "*.model", "*.yaml", "*.nemo"]
_UNWANTED = [
    "*discriminator*",  # of BigVGAN, with its optimizer: larger than the vocoder
    # Of Stable Diffusion's: what its folders hold twice or more, and what is not part of the model.
    "*.non_ema.*",
    "*.fp16.*",
    "safety_checker/*",
    "*openvino*",
    "*flax*",
    "v1-5-pruned*",
    "v2-1_*",
    "sd-v1-5-*",
    "sd_xl_*",
]


@dataclass(frozen=True)
class Source:
    """A folder or a single file that holds weights, under the name the user gave."""

    name: str
    path: Path

    @property
    def is_folder(self) -> bool:
        return self.path.is_dir()

    @cached_property
    def config(self) -> dict[str, Any]:
        """`config.json` (or a pipeline's `model_index.json`) of the folder; empty where there is none."""
        for name in ("config.json", "model_index.json"):
            if self.is_folder and (self.path / name).is_file():
                return read_json(self.path / name)
        return {}

    def has(self, *names: str) -> bool:
        """Whether every one of these files or folders is there (glob patterns allowed)."""
        return self.is_folder and all(any(self.path.glob(name)) for name in names)

    def part(self, name: str) -> "Source":
        """A subfolder or file of this source.

        Raises:
            FileNotFoundError: it is not there; the message lists what is.
        """
        path = self.path / name
        if not path.exists():
            there = ", ".join(sorted(p.name for p in self.path.iterdir())) or "nothing"
            raise FileNotFoundError(f"{self.name}: {name} is missing; the folder holds {there}")
        return Source(f"{self.name}/{name}", path)


def embedded_names() -> list[str]:
    """Names of the weights that come along, `nexus/encodec-tiny` …"""
    return sorted(f"nexus/{folder.name}" for folder in EMBEDDED.iterdir() if (folder / "config.json").is_file())


def find(name: str | Path) -> Source:
    """Finds weights by embedded name, path or Hugging Face id.

    Raises:
        ValueError: nothing goes by that name; the nearest names are offered.
        FileNotFoundError: a path that does not exist, or a hub id that is neither cached nor reachable.
    """
    text = str(name)
    if text in embedded_names():
        return Source(text, EMBEDDED / text.removeprefix("nexus/"))
    if Path(text).expanduser().exists():
        return Source(text, Path(text).expanduser())
    if text.startswith(("/", "./", "../", "~")) or Path(text).suffix in {
        ".safetensors",
        ".pt",
        ".pth",
        ".bin",
        ".th",
        ".nemo",
        ".ckpt",
    }:
        raise FileNotFoundError(f"{text}: no such file or folder")
    if text.count("/") != 1 or text.startswith("nexus/"):
        raise ValueError(f"unknown model {text!r}; {_nearest(text)}")
    return Source(text, _from_hub(text))


def _nearest(text: str) -> str:
    names = [*embedded_names(), *OFFICIAL]
    close = difflib.get_close_matches(text, names, n=3, cutoff=0.4)
    close = close or difflib.get_close_matches(f"nexus/{text.split('/')[-1]}", names, n=3, cutoff=0.4)
    return f"nearest: {', '.join(close)}" if close else f"there are {', '.join(names)}, or a folder or file on disk"


def _from_hub(repo_id: str) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError, RepositoryNotFoundError

    try:
        return Path(snapshot_download(repo_id, allow_patterns=_WANTED, local_files_only=True))
    except LocalEntryNotFoundError:
        pass
    try:
        return Path(snapshot_download(repo_id, allow_patterns=_WANTED, ignore_patterns=_UNWANTED))
    except RepositoryNotFoundError:
        raise ValueError(f"unknown model {repo_id!r} on the hub; {_nearest(repo_id)}") from None
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        raise FileNotFoundError(
            f"{repo_id} is not in the local cache and the hub can't be reached ({type(error).__name__}); "
            f"{_nearest(repo_id)}"
        ) from None
