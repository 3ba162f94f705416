"""ControlNets as diffusers stores them (`ControlNetModel`), and single files under the original names or diffusers'."""

from typing import Any

from nexus.adapters.controlnet import ControlNet, ControlNetConfig
from nexus.hub.conditional_unet import RULES, convert, read_config
from nexus.hub.original_unet import to_diffusers
from nexus.hub.source import Source
from nexus.hub.tensors import State, load_strict, read_tensors, rename
from nexus.models.diffusion.conditional_unet import ConditionalUNetConfig

_RULES = (
    *RULES,
    (r"^controlnet_cond_embedding\.conv_in\.", "hint.first."),
    (r"^controlnet_cond_embedding\.conv_out\.", "hint.out."),
    (r"^controlnet_cond_embedding\.blocks\.", "hint.layers."),
    (r"^controlnet_down_blocks\.", "skips."),
    (r"^controlnet_mid_block\.", "middle_out."),
)
_ORIGINAL = (
    (r"^zero_convs\.(\d+)\.0\.", r"controlnet_down_blocks.\1."),
    (r"^middle_block_out\.0\.", "controlnet_mid_block."),
    (r"^input_hint_block\.0\.", "controlnet_cond_embedding.conv_in."),
    (r"^input_hint_block\.14\.", "controlnet_cond_embedding.conv_out."),
    # Activations are counted there.
    *((rf"^input_hint_block\.{2 * i + 2}\.", f"controlnet_cond_embedding.blocks.{i}.") for i in range(6)),
)


def recognise(source: Source) -> bool:
    return source.config.get("_class_name") == "ControlNetModel"


def kind(source: Source) -> str:
    return ControlNet.__name__


def load(source: Source) -> ControlNet:
    """A `ControlNetModel` folder, or a single file whose sizes are read off its tensors.

    Raises:
        ValueError: settings of another architecture, no ControlNet, or tensors that do not fit.
    """
    state = read_tensors(source)
    if source.is_folder:
        config = _read_config(source.config, f"{source.name}/config.json")
    else:
        state = _bare(state)
        config = _infer(state, source.name)
    network = ControlNet(config)
    load_strict(network, convert(rename(state, _RULES)), source.name)
    return network


def _read_config(raw: dict[str, Any], where: str) -> ControlNetConfig:
    return ControlNetConfig(
        network=read_config(raw, where),
        hint_channels=raw.get("conditioning_channels", 3),
        hint_dims=tuple(raw.get("conditioning_embedding_out_channels") or (16, 32, 96, 256)),
        hint_order=raw.get("controlnet_conditioning_channel_order", "rgb"),
        pools=raw.get("global_pool_conditions", False),
    )


def _bare(state: State) -> State:
    """Under diffusers' names, without the rest of the whole model that some files are."""
    inner = {name.removeprefix("control_model."): state[name] for name in state if name.startswith("control_model.")}
    return rename({to_diffusers(name): tensor for name, tensor in (inner or state).items()}, _ORIGINAL)


def _infer(state: State, where: str) -> ControlNetConfig:
    """Sizes by the tensors; the number of heads by the text: 8 for CLIP-L's width of 768, heads of 64 for others."""

    def count(stem: str) -> int:
        return len({name.removeprefix(stem).split(".")[0] for name in state if name.startswith(stem)})

    def width(layer: str) -> int:
        return len(state[f"{layer}.weight"])

    hint, middle = "controlnet_cond_embedding", "mid_block.attentions.0.transformer_blocks."
    try:
        dims = tuple(width(f"down_blocks.{i}.resnets.0.conv1") for i in range(count("down_blocks.")))
        text_dim = state[f"{middle}0.attn2.to_k.weight"].shape[1]
        added = state.get("add_embedding.linear_1.weight")
        network = ConditionalUNetConfig(
            in_channels=state["conv_in.weight"].shape[1],
            dims=dims,
            n_blocks=count("down_blocks.0.resnets."),
            n_layers=tuple(count(f"down_blocks.{i}.attentions.0.transformer_blocks.") for i in range(len(dims))),
            n_middle=count(middle),
            n_heads=tuple(8 if text_dim == 768 else dim // 64 for dim in dims),
            text_dim=text_dim,
            added_dim=None if added is None else added.shape[1],
        )
        steps = range(1, count(f"{hint}.blocks."), 2)
        hint_dims = (width(f"{hint}.conv_in"), *(width(f"{hint}.blocks.{i}") for i in steps))
    except KeyError as error:
        raise ValueError(f"{where}: no ControlNet, {error.args[0]} is missing; is this another adapter?") from None
    return ControlNetConfig(network=network, hint_dims=hint_dims)
