"""The layout that HiFi-GAN's authors gave their checkpoints and BigVGAN's kept: `config.json` beside a generator."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nexus.codecs.upsampler import UpsamplerConfig
from nexus.hub.source import Source, read_json
from nexus.media.features import MelConfig

_CONFIG = "config.json"
# What training writes every some thousand steps, and what was published; no suffixes, for the most part.
_GENERATORS = r"(g_\d+|generator\w*|bigvgan_generator)(\.pth?)?"


def description(source: Source) -> Mapping[str, Any]:
    """The `config.json` of a folder, or beside a file; empty where there is none."""
    path = source.path.parent / _CONFIG
    if source.is_folder:
        return source.config
    return read_json(path) if re.fullmatch(_GENERATORS, source.path.name) and path.is_file() else {}


def generator_file(source: Source) -> Path | None:
    """The generator's checkpoint: of a folder with several, the one of the highest step."""
    if not source.is_folder:
        return source.path
    found = sorted(path for path in source.path.iterdir() if re.fullmatch(_GENERATORS, path.name))
    return found[-1] if found else None


def upsampler_config(values: Mapping[str, Any], where: str) -> UpsamplerConfig:
    try:
        if str(values.get("resblock", "1")) not in ("1", "2"):
            raise ValueError(f"{where}: resblock must be 1 or 2, got {values['resblock']!r}")
        return UpsamplerConfig(
            dim=values["upsample_initial_channel"],
            ratios=tuple(values["upsample_rates"]),
            kernel_sizes=tuple(values["upsample_kernel_sizes"]),
            block_kernel_sizes=tuple(values["resblock_kernel_sizes"]),
            dilations=tuple(tuple(row) for row in values["resblock_dilation_sizes"]),
            paired=str(values.get("resblock", "1")) == "1",
        )
    except KeyError as error:
        raise ValueError(f"{where}: {error.args[0]} is missing") from None


def mel_config(values: Mapping[str, Any], where: str) -> MelConfig:
    try:
        return MelConfig.hifigan(
            sample_rate=values["sampling_rate"],
            n_fft=values["n_fft"],
            hop_length=values["hop_size"],
            win_length=values["win_size"],
            n_mels=values["num_mels"],
            f_min=float(values["fmin"]),
            f_max=None if values["fmax"] is None else float(values["fmax"]),
        )
    except KeyError as error:
        raise ValueError(f"{where}: {error.args[0]} is missing") from None


def rules(config: UpsamplerConfig) -> list[tuple[str, str]]:
    """From the original names, once weight norm is folded, to ours."""
    n_blocks, end = len(config.dilations), len(config.ratios) + 1
    stage = r"generator.layers.{}.layers."
    table = [(r"^conv_pre\.", "generator.layers.0."), (r"^conv_post\.", stage.format(end) + "1.")]
    table += [(rf"^ups\.{i}\.(0\.)?", stage.format(i + 1) + "1.") for i in range(len(config.ratios))]
    table += [
        (rf"^resblocks\.{j}\.", stage.format(j // n_blocks + 1) + f"2.branches.{j % n_blocks}.")
        for j in range(n_blocks * len(config.ratios))
    ]
    return [
        *table,
        (r"\.convs1?\.(\d+)\.", r".layers.\1.layers.1."),
        (r"\.convs2\.(\d+)\.", r".layers.\1.layers.3."),
        (r"^(generator\..*)\.(weight|bias)$", r"\1.conv.\2"),
    ]
