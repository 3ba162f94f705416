"""What `nexus image` adds to a model: LoRAs, ControlNets with their pictures, pictures as prompts (IP-Adapter)."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nexus.cli.clip import Settings, accepts


@dataclass(frozen=True, kw_only=True)
class Added:
    """As the options say it: files, each with a weight where `:0.8` follows."""

    loras: Sequence[str] = ()
    controls: Sequence[str] = ()  # pictures
    controlnets: Sequence[str] = ()  # one for each, or none where the model's folder holds it
    control_modes: Sequence[str] = ()  # one for each, of ControlNets that learnt several kinds of pictures
    likes: Sequence[str] = ()  # pictures
    ip_adapters: Sequence[str] = ()  # one for each

    def __post_init__(self):
        """Refuses, before a model is loaded, counts that do not match and files that are missing."""
        if self.controlnets and len(self.controlnets) != len(self.controls):
            raise ValueError(
                f"give one --controlnet for each --control, got {len(self.controlnets)} for {len(self.controls)}"
            )
        if self.control_modes and len(self.control_modes) != len(self.controls):
            raise ValueError(
                f"give one --control-mode for each --control, got {len(self.control_modes)} for {len(self.controls)}"
            )
        if len(self.likes) != len(self.ip_adapters):
            raise ValueError(
                f"give one --ip-adapter for each --like, got {len(self.ip_adapters)} for {len(self.likes)}"
            )
        for text in (*self.controls, *self.likes):
            path, _ = weighted(text)
            if path.is_dir():
                raise IsADirectoryError(21, "a folder, where a picture is wanted", str(path))
            check_there(path, "picture")
        for text in self.loras:
            check_weights_there(weighted(text)[0], "LoRA")
        for text in self.controlnets:
            check_weights_there(Path(text), "ControlNet")
        for text in self.ip_adapters:
            check_weights_there(Path(text), "IP-Adapter")

    def facts(self) -> dict[str, list[str]]:
        """For the record of what was made; what was not given is left out."""
        return {name: list(files) for name, files in vars(self).items() if files}

    def onto(self, model_name: str) -> Callable[[Any, Settings], Settings]:
        """For `Clip.make`: changes the model as it was loaded, and adds adapters to the settings."""

        def prepare(model: Any, settings: Settings) -> Settings:
            from nexus.hub import adapters
            from nexus.media.image import Image

            if (self.controls or self.likes) and not accepts(model.generate, "adapters"):
                raise ValueError(
                    f"{model_name} is a {model.info.kind}, and --control and --like need a StableDiffusion, "
                    "StableDiffusion3, Flux or PixArt; leave them out"
                )
            for text in self.loras:
                path, weight = weighted(text)
                adapters.add_lora(model, path, weight)
            found: list[Any] = []
            for i, text in enumerate(self.controls):
                path, weight = weighted(text)
                network = self.controlnets[i] if self.controlnets else held(model_name)
                mode = {"mode": numbered(self.control_modes[i])} if self.control_modes else {}
                found.append(adapters.load_control(network, model, Image.load(path), weight=weight, **mode))
            for text, adapter in zip(self.likes, self.ip_adapters, strict=True):
                path, weight = weighted(text)
                found.append(adapters.load_picture_prompt(adapter, model, Image.load(path), weight))
            return settings | ({"adapters": found} if found else {})

        return prepare


def weighted(text: str) -> tuple[Path, float]:
    """`style.safetensors:0.8` as a path and a weight; without one it is 1.

    Raises:
        ValueError: what follows the last colon is no number, and nothing of the whole name exists.
    """
    path, colon, weight = text.rpartition(":")
    if not colon or Path(text).exists():
        return Path(text), 1.0
    try:
        return Path(path), float(weight)
    except ValueError:
        raise ValueError(f"{text!r}: {weight!r} is no weight; write it as {path}:0.8") from None


def check_there(path: Path, what: str) -> None:
    if not path.expanduser().exists():
        raise FileNotFoundError(2, f"no such {what}", str(path))


def check_weights_there(path: Path, what: str) -> None:
    """Raises FileNotFoundError where nothing is, unless it may be a repository of the hub."""
    if len(path.parts) != 2 or path.suffix in (".safetensors", ".bin", ".pt", ".ckpt") or path.parts[0] in ("~", ".."):
        check_there(path, what)


def numbered(mode: str) -> str | int:
    """A mode by its number, where it is one."""
    return int(mode) if mode.isdecimal() else mode


def held(model_name: str) -> str:
    """The ControlNet inside a model's folder.

    Raises:
        ValueError: there is none.
    """
    folder = Path(model_name).expanduser() / "controlnet"
    if not folder.is_dir():
        raise ValueError(f"{model_name} holds no ControlNet; say which reads the picture with --controlnet FOLDER")
    return str(folder)
