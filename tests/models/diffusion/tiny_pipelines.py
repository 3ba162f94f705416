"""Tiny Stable Diffusions of diffusers, and what they and ours make of two prompts from the same noise."""

import torch
from references import painted, randomised, tiny_clip, tiny_tokenizer, tiny_vae

PROMPTS = ["a red boat on the sea", "a big grey whale"]
SHARED = {"block_out_channels": (8, 16), "norm_num_groups": 4, "layers_per_block": 1}
UNET = SHARED | {
    "cross_attention_dim": 16,
    "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
    "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"),
    "attention_head_dim": 2,
    "sample_size": 4,
}
XL_UNET = UNET | {
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "UpBlock2D"),
    "transformer_layers_per_block": (1, 2),
    "use_linear_projection": True,
    "cross_attention_dim": 28,
    "addition_embed_type": "text_time",
    "addition_time_embed_dim": 8,
    "projection_class_embeddings_input_dim": 10 + 6 * 8,
}
BETAS = {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012, "steps_offset": 1}


def parts(xl=False):
    import diffusers

    vae = tiny_vae(scaling_factor=0.5)
    network = randomised(diffusers.UNet2DConditionModel(**(XL_UNET if xl else UNET)))
    texts = {"text_encoder": tiny_clip(16), "tokenizer": tiny_tokenizer(True, 12, pad="</s>")}
    if xl:
        texts |= {"text_encoder_2": tiny_clip(12, 10), "tokenizer_2": tiny_tokenizer(True, 12)}
        scheduler = diffusers.EulerDiscreteScheduler(**BETAS, timestep_spacing="leading")
        return {"vae": vae, "unet": network, "scheduler": scheduler, **texts}
    scheduler = diffusers.DDIMScheduler(**BETAS, clip_sample=False, set_alpha_to_one=False)
    none = {"safety_checker": None, "feature_extractor": None, "requires_safety_checker": False}
    return {"vae": vae, "unet": network, "scheduler": scheduler, **texts, **none}


def pipeline(kind, made, **more):
    import diffusers

    pipe = getattr(diffusers, kind)(**made, **more)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def rngs():
    """Of two prompts."""
    return [torch.Generator().manual_seed(5 + i) for i in range(2)]


def theirs_of(pipe, prompts=PROMPTS, **settings):
    settings = {"guidance_scale": 4.0, "num_inference_steps": 5, "generator": rngs(), "output_type": "np"} | settings
    return pipe(prompts, **settings).images


def ours_of(model, prompts=PROMPTS, **settings):
    return painted(model, prompts, **({"guidance_scale": 4.0, "steps": 5, "seed": 5} | settings))[0]
