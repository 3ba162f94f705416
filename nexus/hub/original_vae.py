"""Image autoencoders under the names they were first published with (`encoder.down.0.block.1.conv1`): the part
`first_stage_model.` of Stable Diffusion's single files, or a file of their own (vae-ft-mse-840000, FLUX' ae)."""

import re

from nexus.codecs.image_vae import ImageVAE, ImageVAEConfig
from nexus.hub.tensors import State, drop, join, load_strict, rename

_RULES = (
    (r"\.down\.(\d+)\.block\.", r".down.\1.blocks."),
    (r"\.up\.(\d+)\.block\.", r".up.\1.blocks."),
    (r"\.(down|up)\.(\d+)\.(down|up)sample\.", r".\1.\2.resample."),
    (r"\.nin_shortcut\.", ".shortcut."),
    (r"\.mid\.block_1\.", ".middle.0."),
    (r"\.mid\.attn_1\.", ".middle.1."),
    (r"\.mid\.block_2\.", ".middle.2."),
    (r"\.middle\.1\.proj_out\.", ".middle.1.out."),
)


def is_original(names: set[str]) -> bool:
    return {"encoder.down.0.block.0.conv1.weight", "decoder.mid.attn_1.q.weight"} <= names


def load_original(state: State, where: str, *, scaling_factor: float, shift_factor: float = 0.0) -> ImageVAE:
    """The autoencoder of these tensors; judges that it was trained with are left out.

    Raises:
        ValueError: tensors that do not fit.
    """
    state = rename(drop(state, r"^loss\.", r"^model_ema\."), _RULES)
    n = 1 + max(int(match[1]) for name in state if (match := re.match(r"decoder\.up\.(\d+)\.", name)))
    # The lowest size comes first in ours, as data meets it.
    state = rename(state, [(rf"^decoder\.up\.{i}\.", f"decoder.up.~{n - 1 - i}.") for i in range(n)])
    state = join(rename(state, [(r"^decoder\.up\.~", "decoder.up.")]), ("q", "k", "v"), "qkv")
    flat = {name: t.flatten(1) if ".middle.1." in name and t.ndim == 4 else t for name, t in state.items()}
    config = ImageVAEConfig(
        in_channels=flat["encoder.conv_in.weight"].shape[1],
        dims=tuple(flat[f"encoder.down.{i}.blocks.0.conv1.weight"].shape[0] for i in range(n)),
        n_blocks=sum(name.startswith("encoder.down.0.blocks.") and name.endswith("conv1.weight") for name in flat),
        latent_channels=flat["decoder.conv_in.weight"].shape[1],
        quant_conv="quant_conv.weight" in flat,
        scaling_factor=scaling_factor,
        shift_factor=shift_factor,
    )
    vae = ImageVAE(config)
    load_strict(vae, flat, where)
    return vae
