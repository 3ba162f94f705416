"""Our own weights folders: `kind` names the model, `parts` the codec, vocoder and text encoder that complete it."""

import importlib
from typing import Any

from torch import nn

from nexus.hub.source import Source, find
from nexus.hub.tensors import load_strict, read_tensors
from nexus.nn.checkpoint import config_from_dict

# kind: (module, config class, model class); imported on use, so that one kind does not load them all.
KINDS = {
    "encodec": ("nexus.codecs.encodec", "EncodecConfig", "Encodec"),
    "encodec-windows": ("nexus.codecs.encodec_windows", "WindowedEncodecConfig", "WindowedEncodec"),
    "encodec-lm": ("nexus.codecs.encodec_lm", "EncodecLMConfig", "EncodecLM"),
    "soundstream": ("nexus.codecs.soundstream", "SoundStreamConfig", "SoundStream"),
    "dac": ("nexus.codecs.dac", "DacConfig", "Dac"),
    "mimi": ("nexus.codecs.mimi", "MimiConfig", "Mimi"),
    "facodec": ("nexus.codecs.facodec", "FACodecConfig", "FACodec"),
    "spectral-codec": ("nexus.codecs.spectral_codec", "SpectralCodecConfig", "SpectralCodec"),
    "spectral-vocoder": ("nexus.codecs.spectral_vocoder", "SpectralVocoderConfig", "SpectralVocoder"),
    "fsq-codec": ("nexus.codecs.fsq_codec", "FSQCodecConfig", "FSQCodec"),
    "semantic": ("nexus.codecs.semantic", "SemanticConfig", "SemanticTokens"),
    "vocos": ("nexus.codecs.vocos", "VocosConfig", "Vocos"),
    "hifigan": ("nexus.codecs.hifigan", "HiFiGANConfig", "HiFiGAN"),
    "bigvgan": ("nexus.codecs.bigvgan", "BigVGANConfig", "BigVGAN"),
    "image-vae": ("nexus.codecs.image_vae", "ImageVAEConfig", "ImageVAE"),
    "cogvideox-vae": ("nexus.codecs.cogvideox_vae", "CogVideoXVAEConfig", "CogVideoXVAE"),
    "musicgen": ("nexus.models.audio.musicgen", "MusicGenConfig", "MusicGen"),
    "clap": ("nexus.models.audio.clap", "ClapConfig", "Clap"),
    "f5tts": ("nexus.models.audio.f5tts", "F5TTSConfig", "F5TTS"),
    "base-diffusion": ("nexus.models.diffusion.base_diffusion", "BaseDiffusionConfig", "BaseDiffusion"),
    "conditional-diffusion": (
        "nexus.models.diffusion.conditional_diffusion",
        "ConditionalDiffusionConfig",
        "ConditionalDiffusion",
    ),
    "flow-matching": ("nexus.models.diffusion.flow_matching", "FlowMatchingConfig", "FlowMatching"),
    "rectified-flow": ("nexus.models.diffusion.rectified_flow", "RectifiedFlowConfig", "RectifiedFlow"),
    "consistency-model": ("nexus.models.diffusion.consistency_model", "ConsistencyModelConfig", "ConsistencyModel"),
    "lcm": ("nexus.models.diffusion.lcm", "LCMConfig", "LCM"),
    "dit": ("nexus.models.diffusion.dit", "DiTConfig", "DiT"),
    "stable-diffusion-3": (
        "nexus.models.diffusion.stable_diffusion_3",
        "StableDiffusion3Config",
        "StableDiffusion3",
    ),
    "flux": ("nexus.models.diffusion.flux", "FluxConfig", "Flux"),
    "pixart": ("nexus.models.diffusion.pixart_alpha", "PixArtConfig", "PixArt"),
    "base-gan": ("nexus.models.gan.base_gan", "BaseGANConfig", "BaseGAN"),
    "conditional-gan": ("nexus.models.gan.conditional_gan", "ConditionalGANConfig", "ConditionalGAN"),
    "wgan": ("nexus.models.gan.wgan", "WGANConfig", "WGAN"),
    "point-gan": ("nexus.models.gan.point_gan", "PointGANConfig", "PointGAN"),
    "cycle-gan": ("nexus.models.gan.cycle_gan", "CycleGANConfig", "CycleGAN"),
    "vae": ("nexus.models.vae.vae", "VAEConfig", "VAE"),
    "beta-vae": ("nexus.models.vae.beta_vae", "BetaVAEConfig", "BetaVAE"),
    "cogvideox": ("nexus.models.video.cogvideox", "CogVideoXConfig", "CogVideoX"),
}


def recognise(source: Source) -> bool:
    return "kind" in source.config


def kind(source: Source) -> str:
    return _classes(source)[2]


def load(source: Source) -> nn.Module:
    """Builds the model of a folder, loads its tensors strictly and attaches its parts."""
    description = source.config
    unknown = sorted(set(description) - {"kind", "config", "parts", "licence"})
    if unknown:
        raise ValueError(
            f"{source.name}/config.json: unknown key {unknown[0]!r}; allowed are kind, config, parts, licence"
        )
    module_name, config_name, model_name = _classes(source)
    module = importlib.import_module(module_name)
    config = config_from_dict(getattr(module, config_name), description["config"], f"{source.name}/config.json")
    model = getattr(module, model_name)(config)
    load_strict(model, read_tensors(source), source.name)
    for role, part in description.get("parts", {}).items():
        setattr(model, role, _part(role, part, source))
    return model


def _classes(source: Source) -> tuple[str, str, str]:
    kind = source.config["kind"]
    if kind not in KINDS:
        raise ValueError(f"{source.name}/config.json: unknown kind {kind!r}; there are {', '.join(KINDS)}")
    return KINDS[kind]


def _part(role: str, part: str, source: Source) -> Any:
    if role == "text_encoder" and part == "minilm":
        from nexus.text.encoders import minilm

        return minilm()
    if role == "front_end" and part == "misaki":
        from nexus.text.phonemes import Phonemizer

        return Phonemizer()
    inner = source.part(part) if (source.path / part).is_dir() else find(part)
    if role == "speech_encoder":
        from nexus.hub.speech_encoder import load_speech_encoder

        return load_speech_encoder(inner, source.config["config"]["layer"])
    model: Any = load(inner)
    if role == "image_vae":
        from nexus.codecs.stills import Stills

        return Stills(model) if type(model).__name__ == "CogVideoXVAE" else model
    return model
