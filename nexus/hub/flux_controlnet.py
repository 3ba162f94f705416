"""ControlNets of FLUX.1: diffusers' folders (`FluxControlNetModel`), and XLabs' single files."""

from nexus.adapters.flux_controlnet import FluxControlNet, FluxControlNetConfig
from nexus.hub import flux_transformer
from nexus.hub.diffusers_config import refuse_others
from nexus.hub.source import Source
from nexus.hub.tensors import load_strict, read_tensors, rename, tensor_names
from nexus.models.diffusion.flux_transformer import FluxTransformerConfig

_HINT_DIMS = (16, 16, 16, 16)
_OWN = (
    (r"^controlnet_x_embedder\.", "picture_in.proj."),
    (r"^controlnet_mode_embedder\.", "mode_embed."),
    (r"^input_hint_block\.conv_in\.", "hint.first."),
    (r"^input_hint_block\.conv_out\.", "hint.out."),
    (r"^input_hint_block\.blocks\.", "hint.layers."),
    (r"^controlnet_blocks\.", "outs."),
)
_XLABS = (
    (r"^pos_embed_input\.", "picture_in.proj."),
    (r"^controlnet_blocks\.", "outs."),
    (r"^input_hint_block\.0\.", "hint.first."),
    (r"^input_hint_block\.14\.", "hint.out."),
    *((rf"^input_hint_block\.{2 * i + 2}\.", f"hint.layers.{i}.") for i in range(6)),  # activations are counted there
)
_MARKS = {"controlnet_blocks.0.weight", "input_hint_block.0.weight", "double_blocks.0.img_attn.qkv.weight"}


def recognise(source: Source) -> bool:
    if source.is_folder:
        return source.config.get("_class_name") == "FluxControlNetModel"
    return tensor_names(source) >= _MARKS


def kind(source: Source) -> str:
    return FluxControlNet.__name__


def load(source: Source) -> FluxControlNet:
    """One for single pictures, a union, or XLabs'.

    Raises:
        ValueError: settings of another architecture, or tensors that do not fit.
    """
    if not source.is_folder:
        return load_file(source)
    raw, hint = source.config, source.config.get("conditioning_embedding_channels")
    # A FLUX folder's latents are packed into patches before, but not what comes out of convolutions.
    network = flux_transformer.read_config(raw if hint is None else {**raw, "patch_size": 1}, source.name)
    if hint is not None:
        built_in = {"conditioning_embedding_channels": network.in_channels, "patch_size": network.patch_size}
        refuse_others(raw, built_in, source.name)
    config = FluxControlNetConfig(network=network, n_modes=raw.get("num_mode"), hint_dims=_HINT_DIMS if hint else None)
    control = FluxControlNet(config)
    singles = (r"^controlnet_single_blocks\.(\d+)\.", r"outs.single.\1.")
    state = flux_transformer.fuse(rename(read_tensors(source), (singles, *flux_transformer.DIFFUSERS, *_OWN)))
    numbered = {_numbered(name, network): tensor for name, tensor in state.items()}
    load_strict(control, numbered, source.name)
    return control


def load_file(source: Source) -> FluxControlNet:
    """XLabs' file (`flux-canny-controlnet-v3.safetensors`), whose sizes are read off its tensors."""
    state = read_tensors(source)
    network = flux_transformer.read_sizes(state, source.name)
    control = FluxControlNet(FluxControlNetConfig(network=network, hint_dims=_HINT_DIMS))
    load_strict(control, rename(state, (*flux_transformer.ORIGINAL, *_XLABS)), source.name)
    return control


def _numbered(name: str, network: FluxTransformerConfig) -> str:
    """Findings of single blocks are counted on from those of blocks of two streams."""
    if not name.startswith("outs.single."):
        return name
    _, _, number, kind = name.split(".")
    return f"outs.{network.n_double_layers + int(number)}.{kind}"
