"""Files that hold a whole system, each part under a prefix: Stability's of Stable Diffusion 3, and ComfyUI's of any.

What a file lacks may lie beside it: it is taken from the folders of a pipeline of its kind, where the file lies in one.
"""

from dataclasses import dataclass

from torch import Tensor

from nexus.codecs.image_vae import ImageVAE, ImageVAEConfig
from nexus.hub import image_vae, original_vae
from nexus.hub.source import Source
from nexus.hub.tensors import State, drop, read_tensors

NETWORK = "model.diffusion_model."
CLIP_L, CLIP_G, T5 = (f"text_encoders.{name}.transformer." for name in ("clip_l", "clip_g", "t5xxl"))
_VAES = ("first_stage_model.", "vae.")
_PARTS = (NETWORK, CLIP_L, CLIP_G, T5, *_VAES)
_LEFT_OUT = (r"^text_encoders\.[^.]+\.logit_scale$",)  # of CLIP's training
_SCALES = (".scale_weight", ".weight_scale")  # ComfyUI's older and newer word
_UNUSED = (r"\.(scale_input|input_scale)$", r"(^|\.)scaled_fp8$")  # for products in 8 bits, which are not made here


@dataclass(frozen=True)
class Bundle:
    """Tensors by part, under their own names; parts that are not there are empty."""

    name: str
    parts: dict[str, State]
    beside: Source  # the folder of the file
    in_pipeline: bool  # that folder is a pipeline of the file's kind

    def where(self, prefix: str) -> str:
        return f"{self.name}, {prefix}"

    def image_vae(self, like: ImageVAEConfig) -> ImageVAE | None:
        """The autoencoder of the file or of the pipeline that it lies in; of `like` are the factors, which no file has.

        Raises:
            ValueError: tensors that do not fit.
        """
        for prefix in _VAES:
            if state := self.parts[prefix]:
                factors = {"scaling_factor": like.scaling_factor, "shift_factor": like.shift_factor}
                return original_vae.load_original(state, self.where(prefix), **factors)
        return image_vae.load(self.beside.part("vae")) if self.in_pipeline and self.beside.has("vae") else None


def network_names(names: set[str]) -> set[str]:
    """Of the network's tensors, in a file of it alone too."""
    return {name.removeprefix(NETWORK) for name in names}


def read_bundle(source: Source, pipeline: str) -> Bundle:
    """A file's parts.

    Args:
        pipeline: the class of diffusers' pipelines of its kind.

    Raises:
        ValueError: tensors of no part that is known.
    """
    state, beside = rescaled(drop(read_tensors(source), *_LEFT_OUT)), source.path.absolute().parent
    folder = Source(str(beside), beside)
    if not any(name.startswith(NETWORK) for name in state):
        parts = {prefix: {} for prefix in _PARTS} | {NETWORK: state}
    else:
        parts = {prefix: _part(state, prefix) for prefix in _PARTS}
        unknown = [name for name in state if not name.startswith(_PARTS)]
        if unknown:
            raise ValueError(
                f"{source.name}: {len(unknown)} tensors of no part that is known: {', '.join(unknown[:3])} …"
            )
    return Bundle(source.name, parts, folder, folder.config.get("_class_name") == pipeline)


def rescaled(state: State) -> State:
    """Weights in 8 bits times the scale that stands beside them; those without one mean what they say."""
    scales = {name: scale for name in state for end in _SCALES if name.endswith(end) and (scale := end)}
    found: dict[str, Tensor] = drop(state, *_UNUSED)
    for name, end in scales.items():
        weight = f"{name.removesuffix(end)}.weight"
        if weight not in found:
            raise ValueError(f"{name} scales {weight}, which is not there: the file is damaged; take another")
        found[weight] = found[weight].float() * found.pop(name).float()
    return found


def _part(state: State, prefix: str) -> State:
    return {name.removeprefix(prefix): tensor for name, tensor in state.items() if name.startswith(prefix)}
