"""Official image autoencoders as diffusers stores them (`AutoencoderKL`), the older names of their attentions too."""

from typing import Any

from nexus.codecs.image_vae import ImageVAE, ImageVAEConfig
from nexus.hub import original_vae
from nexus.hub.source import Source
from nexus.hub.tensors import State, join, load_strict, read_tensors, rename, tensor_names

_RULES = (
    # As they were called before diffusers 0.15.
    (r"\.attentions\.0\.query\.", ".attentions.0.to_q."),
    (r"\.attentions\.0\.key\.", ".attentions.0.to_k."),
    (r"\.attentions\.0\.value\.", ".attentions.0.to_v."),
    (r"\.attentions\.0\.proj_attn\.", ".attentions.0.to_out.0."),
    (r"\.mid_block\.resnets\.0\.", ".middle.0."),
    (r"\.mid_block\.attentions\.0\.", ".middle.1."),
    (r"\.mid_block\.resnets\.1\.", ".middle.2."),
    (r"\.(down|up)_blocks\.(\d+)\.resnets\.", r".\1.\2.blocks."),
    (r"\.(down|up)_blocks\.(\d+)\.(down|up)samplers\.0\.", r".\1.\2.resample."),
    (r"\.conv_shortcut\.", ".shortcut."),
    (r"\.group_norm\.", ".norm."),
    (r"\.to_out\.0\.", ".out."),
    (r"\.conv_norm_out\.", ".norm_out."),
)
# Settings that our class has built in; another value is another network.
_FIXED = {"act_fn": "silu", "latents_mean": None, "latents_std": None, "mid_block_add_attention": True}


def recognise(source: Source) -> bool:
    """A `vae/` folder or a file alone; pipelines bring theirs along."""
    if not source.is_folder:
        return original_vae.is_original(tensor_names(source))
    return source.config.get("_class_name") == "AutoencoderKL"


def kind(source: Source) -> str:
    return ImageVAE.__name__


def load(source: Source) -> ImageVAE:
    """The autoencoder of a folder with `config.json` and weights, or of a file in the original names.

    A file does not say its scale: those of 16 latent channels are taken for FLUX', those of 4 for Stable Diffusion's
    (not XL's, whose is 0.13025).

    Raises:
        ValueError: settings of another architecture, or tensors that do not fit.
    """
    if not source.is_folder:
        state = read_tensors(source)
        of = ImageVAEConfig.flux() if state["decoder.conv_in.weight"].shape[1] == 16 else ImageVAEConfig()
        return original_vae.load_original(
            state, source.name, scaling_factor=of.scaling_factor, shift_factor=of.shift_factor
        )
    vae = ImageVAE(read_config(source.config, f"{source.name}/config.json"))
    load_strict(vae, convert(read_tensors(source)), source.name)
    return vae


def convert(state: State) -> State:
    """diffusers' tensors as ours."""
    joined = join(rename(state, _RULES), ("to_q", "to_k", "to_v"), "qkv")
    # Some files keep the attention's projections as convolutions of size 1, as the original did.
    return {name: t.flatten(1) if ".middle.1." in name and t.ndim == 4 else t for name, t in joined.items()}


def read_config(raw: dict[str, Any], where: str) -> ImageVAEConfig:
    for name, value in _FIXED.items():
        if raw.get(name, value) != value:
            raise ValueError(f"{where}: {name} = {raw[name]!r} is another architecture; known is {value!r}")
    kinds = {*raw["down_block_types"], *raw["up_block_types"]} - {"DownEncoderBlock2D", "UpDecoderBlock2D"}
    if kinds:
        raise ValueError(
            f"{where}: blocks of kind {min(kinds)} are not known; they are DownEncoderBlock2D and its pair"
        )
    quant = {raw.get(name, True) for name in ("use_quant_conv", "use_post_quant_conv")}
    if len(quant) == 2 or raw.get("in_channels", 3) != raw.get("out_channels", 3):
        raise ValueError(f"{where}: encoder and decoder must mirror each other in quant convolutions and channels")
    return ImageVAEConfig(
        in_channels=raw.get("in_channels", 3),
        dims=tuple(raw["block_out_channels"]),
        n_blocks=raw.get("layers_per_block", 1),
        latent_channels=raw.get("latent_channels", 4),
        norm_groups=raw.get("norm_num_groups", 32),
        quant_conv=quant.pop(),
        scaling_factor=raw.get("scaling_factor", 0.18215),
        shift_factor=raw.get("shift_factor") or 0.0,
    )
