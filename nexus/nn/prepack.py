"""`prepack`: a model made ready to be asked often on a CPU, its weights laid out once for the kernels.

What it gains is measured in docs/results.md: matrices in float32 1.4 times on CPUs where PyTorch's own library is slow,
3 x 3 convolutions about twice (`nexus.nn.winograd`), few rows at a time, as in decoding a token, up to three times.
"""

from itertools import chain, pairwise
from typing import TypeVar

from torch import Tensor, nn
from torch.nn.utils import parametrize

from nexus.nn.layout import StepConv1d, StepConvTranspose1d
from nexus.nn.memory import keep_freed_memory
from nexus.nn.packed import Packed, PackedConv2d, PackedConv3d, PackedLinear, available, dtypes
from nexus.nn.packed_codebook import PackedCodebook
from nexus.nn.packed_lstm import PackedLSTM
from nexus.nn.packed_steps import PackedStepConv1d, PackedStepConvTranspose1d
from nexus.nn.quantize import Codebook
from nexus.nn.winograd import WinogradConv2d

Model = TypeVar("Model")

# The first that suits a layer of this very class packs it.
_PACKED: dict[type, tuple[type[Packed], ...]] = {
    nn.Linear: (PackedLinear,),
    nn.Conv2d: (WinogradConv2d, PackedConv2d),
    nn.Conv3d: (PackedConv3d,),
    nn.LSTM: (PackedLSTM,),
    Codebook: (PackedCodebook,),
    StepConv1d: (PackedStepConv1d,),
    StepConvTranspose1d: (PackedStepConvTranspose1d,),
}


def prepack(model: Model) -> Model:
    """Lays the weights of a model's matrices and convolutions out for the CPU's kernels, in place; for inference.

    The values stay: outputs differ by rounding only. Weight norm is folded. Layers on a GPU, in half precision other
    than bfloat16 (or in that, on a CPU that has no kernels for it), or small enough to gain nothing stay as they are,
    and so do text encoders of other packages. LoRAs are folded in before; a prepacked model can be saved, but not moved
    to a GPU. The kernels of 3 x 3 convolutions take five times their memory in float32, from 128 up to 1,024 x 1,024
    channels, and nine times in bfloat16, from 320 channels on; in float32 those over 3 or 7 steps of time two and a
    half to four times; others stay at their size. The process keeps freed memory from then on (`nexus.nn.memory`).

    Returns:
        The model; what is no module of PyTorch is given back as it is.
    """
    if available() and isinstance(model, nn.Module):
        _walk(model)
        if any(isinstance(module, Packed) for module in model.modules()):
            keep_freed_memory()
    return model


def _walk(module: nn.Module, few_rows: bool = False) -> None:
    """Models say `few_rows = True` where they compute a token or a frame at a time."""
    few_rows = few_rows or getattr(module, "few_rows", False)
    if type(module).__module__.startswith("transformers."):  # these read their own weights
        return
    if parametrize.is_parametrized(module, "weight") and type(module).__bases__[0] in _PACKED:
        _fold(module)
    for packed in _PACKED.get(type(module), ()):
        weight = next(chain(module.parameters(), module.buffers()))
        able = weight.device.type == "cpu" and weight.dtype in dtypes()
        if able and packed.suits(module) and (few_rows or packed.gains_with_many_rows()):
            packed.convert(module)
            break
    for child in module.children():
        _walk(child, few_rows)
    if type(module) is nn.Sequential:
        for i, (layer, then) in enumerate(pairwise(module)):
            if isinstance(layer, PackedLinear) and isinstance(then, nn.GELU):
                layer.gelu, module[i + 1] = then.approximate, nn.Identity()


def _fold(layer: nn.Module) -> None:
    """Weight norm into the weight. PyTorch's own way would break copies of the layer, which share its class."""
    weight: Tensor = layer.weight  # type: ignore[assignment]
    layer.__class__ = type(layer).__bases__[0]
    del layer.parametrizations
    layer._load_state_dict_pre_hooks.clear()  # reads the old spelling of weight norm
    layer.weight = nn.Parameter(weight.detach(), requires_grad=False)
