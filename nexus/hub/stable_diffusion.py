"""Stable Diffusion's official weights: diffusers' pipeline folders of 1.x, 2.x, XL and LCM, a U-Net alone, or the
original single files.

Safety checkers, image encoders and watermarks that a folder may hold are not part of the model and are left alone.
"""

from dataclasses import replace

from nexus.hub import image_vae, stable_diffusion_file
from nexus.hub.conditional_unet import load_conditional_unet
from nexus.hub.source import Source
from nexus.hub.step_scheduler import load_step_levels
from nexus.hub.tensors import tensor_names
from nexus.models.diffusion.stable_diffusion import StableDiffusion, StableDiffusionConfig
from nexus.text.clip import ClipText, clip_from_folder
from nexus.text.clip_prompts import ClipPrompts

_PIPELINES = {
    "StableDiffusionPipeline",
    "StableDiffusionImg2ImgPipeline",
    "StableDiffusionInpaintPipeline",
    "StableDiffusionControlNetPipeline",
    "StableDiffusionControlNetImg2ImgPipeline",
    "StableDiffusionControlNetInpaintPipeline",
    "LatentConsistencyModelPipeline",
    "LatentConsistencyModelImg2ImgPipeline",
}
_XL_PIPELINES = {
    "StableDiffusionXLPipeline",
    "StableDiffusionXLImg2ImgPipeline",
    "StableDiffusionXLInpaintPipeline",
    "StableDiffusionXLControlNetPipeline",
    "StableDiffusionXLControlNetImg2ImgPipeline",
    "StableDiffusionXLControlNetInpaintPipeline",
}


def recognise(source: Source) -> bool:
    if not source.is_folder:
        return stable_diffusion_file.MARK in tensor_names(source)
    return source.config.get("_class_name") in _PIPELINES | _XL_PIPELINES | {"UNet2DConditionModel"}


def kind(source: Source) -> str:
    return StableDiffusion.__name__


def load(source: Source) -> StableDiffusion:
    """A pipeline ready to generate; of a U-Net alone, one without autoencoder and text encoder."""
    if not source.is_folder:
        return stable_diffusion_file.load(source)
    name = source.config["_class_name"]
    if name == "UNet2DConditionModel":
        network = load_conditional_unet(source)
        return StableDiffusion.around(network, StableDiffusionConfig(network=network.config))
    network, xl = load_conditional_unet(source.part("unet")), name in _XL_PIPELINES
    # Pipelines of 1.x and 2.x put an offset of 0, which old files have, right.
    levels, prediction, solver = load_step_levels(source, offset=None if xl else 1)
    vae = image_vae.load(source.part("vae"))
    side = source.part("unet").config.get("sample_size") or 64
    height, width = side if isinstance(side, list) else (side, side)
    ratio = vae.config.spatial_compression_ratio
    config = StableDiffusionConfig(
        network=network.config,
        levels=levels,
        prediction=prediction,
        zero_negative=xl and bool(source.config.get("force_zeros_for_empty_prompt", True)),
        size=(height * ratio, width * ratio),
        solver=solver,
        guidance_scale=5.0 if xl else 7.5,
    )
    if network.config.guidance_dim is not None:
        config = replace(config, steps=4, guidance_scale=8.5)
    model = StableDiffusion.around(network, config)
    model.image_vae = vae
    model.text_encoder = ClipPrompts(_clips(source), penultimate=xl)
    return model


def _clips(source: Source) -> tuple[ClipText, ...]:
    """One, or XL's two; its refiner has the second alone."""
    pairs = (("text_encoder", "tokenizer"), ("text_encoder_2", "tokenizer_2"))
    return tuple(
        clip_from_folder(source.part(encoder).path, source.part(tokenizer).path)
        for encoder, tokenizer in pairs
        if any(source.config.get(encoder) or ())  # null and null where a pipeline has none
    )
