"""A tiny random pipeline of diffusers of each kind that is loaded, and its folder."""

import functools

import test_dit_transformer
import test_flux
import test_pixart
import test_stable_diffusion_3
from references import randomised, tiny_vae
from tiny_pipelines import BETAS, UNET, parts, pipeline


def stable_diffusion(**changes):
    made = parts()
    changed = type(made["scheduler"]).from_config(made["scheduler"].config, **changes)
    return pipeline("StableDiffusionPipeline", made | {"scheduler": changed})


def lcm():
    import diffusers

    network = randomised(diffusers.UNet2DConditionModel(**(UNET | {"time_cond_proj_dim": 16})))
    scheduler = diffusers.LCMScheduler(**BETAS, clip_sample=False, set_alpha_to_one=True)
    return pipeline("LatentConsistencyModelPipeline", parts() | {"unet": network, "scheduler": scheduler})


def dit():
    import diffusers

    network = test_dit_transformer.reference(sample_size=2, num_embeds_ada_norm=1000)
    return diffusers.DiTPipeline(network, tiny_vae(scaling_factor=0.5), diffusers.DDIMScheduler(clip_sample=False))


def consistency():
    import diffusers

    sizes = {"sample_size": 8, "block_out_channels": (8, 16), "norm_num_groups": 4, "layers_per_block": 1}
    sizes |= {"down_block_types": ("ResnetDownsampleBlock2D", "AttnDownBlock2D"), "num_class_embeds": 10}
    sizes |= {"up_block_types": ("AttnUpBlock2D", "ResnetUpsampleBlock2D"), "resnet_time_scale_shift": "scale_shift"}
    sizes |= {"attn_norm_num_groups": 4, "attention_head_dim": 4, "downsample_type": "resnet"}
    network = randomised(diffusers.UNet2DModel(**sizes, upsample_type="resnet"))
    return diffusers.ConsistencyModelPipeline(network, diffusers.CMStochasticIterativeScheduler())


KINDS = {
    "noise": stable_diffusion,
    "velocity": lambda: stable_diffusion(prediction_type="v_prediction"),
    "xl": lambda: pipeline("StableDiffusionXLPipeline", parts(True), add_watermarker=False),
    "sd3": test_stable_diffusion_3.build,
    "flux-dev": lambda: test_flux.build(guided=True),
    "flux-schnell": lambda: test_flux.build(guided=False),
    "pixart-alpha": lambda: test_pixart.pipeline("PixArtAlphaPipeline"),
    "pixart-sigma": lambda: test_pixart.pipeline("PixArtSigmaPipeline", sample_size=8),
    "dit": dit,
    "lcm": lcm,
    "consistency": consistency,
}


class Folders:
    """Called by a kind it gives a pipeline and its folder, made when first asked for."""

    def __init__(self, tmp_path_factory):
        self.root = tmp_path_factory.mktemp("folders")

    @functools.cache  # noqa: B019 (as long-lived as the tests of a module)
    def __call__(self, kind):
        pipe = KINDS[kind]()
        pipe.save_pretrained(self.root / kind)
        return pipe, self.root / kind
