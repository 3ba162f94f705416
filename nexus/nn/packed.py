"""Layers whose weights lie as the CPU's matrix kernels want them; `nexus.nn.prepack` makes them.

PyTorch lays weights out anew at every call or, for matrices in float32, calls a library that is slower on many CPUs.
Its compiler avoids this by "freezing"; the same kernels are called here, all of them in this file, since they are
private to PyTorch. A packed layer is the layer it was, for inference: where a gradient is asked for, it computes as
before on weights that are unpacked for that call.

Axes: B batch, C channels in, D channels out, F frames, H height, W width; G, I, J the last three of what comes out.
"""

from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

_NO_MORE = ("none", [], "")  # no function applied to what a kernel gives


def available() -> bool:
    """Whether this PyTorch has the kernels."""
    ops = ("linear_pointwise", "convolution_pointwise", "convolution_transpose_pointwise", "reorder_linear_weight")
    return torch.backends.mkldnn.is_available() and all(hasattr(torch.ops.mkldnn, f"_{op}") for op in ops)


def dtypes() -> tuple[torch.dtype, ...]:
    """The precisions that the kernels compute in here; those in bfloat16 want AVX-512 or AVX-NE-CONVERT."""
    return (torch.float32, torch.bfloat16) if torch.ops.mkldnn._is_mkldnn_bf16_supported() else (torch.float32,)


class PackedMatrix:
    """x to x W^T."""

    def __init__(self, weight: Float[Tensor, "D C"]):
        self.packed = torch.ops.mkldnn._reorder_linear_weight(weight.detach().contiguous(), None)

    def __call__(
        self, x: Float[Tensor, "*rows C"], bias: Tensor | None = None, then: tuple[str, list, str] = _NO_MORE
    ) -> Float[Tensor, "*rows D"]:
        return torch.ops.mkldnn._linear_pointwise(x, self.packed, bias, *then)

    def dense(self) -> Float[Tensor, "D C"]:
        return self.packed.to_dense()

    def __getstate__(self) -> Tensor:
        return self.dense()

    def __setstate__(self, weight: Tensor) -> None:
        self.__init__(weight)


class PackedKernels:
    """The kernels of a convolution over pictures or clips, or of a transposed one, packed for its last input's size.

    Kernels that were packed for one size can be a hundred times slower at another, so another size packs them anew,
    which takes about as long as the laying out that plain layers do at every call.
    """

    def __init__(
        self,
        weight: Float[Tensor, "_ _ *window"],
        *,
        padding: tuple[int, ...] = (0, 0),
        stride: tuple[int, ...] = (1, 1),
        dilation: tuple[int, ...] = (1, 1),
        transposed: bool = False,
    ):
        self.settings = {"padding": padding, "stride": stride, "dilation": dilation, "transposed": transposed}
        more = ((0, 0),) if transposed else ()
        self.windows = (padding, *more, stride, dilation, 1)
        self.packed, self.size = weight.detach(), ()

    def __call__(self, x: Float[Tensor, "B C *places"], bias: Tensor | None) -> Float[Tensor, "B D *others"]:
        ops, transposed = torch.ops.mkldnn, self.settings["transposed"]
        if self.size != tuple(x.shape):
            pack = ops._reorder_convolution_transpose_weight if transposed else ops._reorder_convolution_weight
            self.packed, self.size = pack(self.dense(), *self.windows, list(x.shape)), tuple(x.shape)
        convolve = ops._convolution_transpose_pointwise if transposed else ops._convolution_pointwise
        return convolve(x, self.packed, bias, *self.windows, *_NO_MORE)

    def dense(self) -> Float[Tensor, "_ _ *window"]:
        if not self.size:
            return self.packed.contiguous()
        dense = self.packed.to_dense()
        return dense.transpose(0, 1).contiguous() if self.settings["transposed"] else dense

    def __getstate__(self) -> tuple:
        return self.dense(), self.settings

    def __setstate__(self, state: tuple) -> None:
        self.__init__(state[0], **state[1])


class Packed(nn.Module):
    """What packed layers share: a `weight` that is unpacked for who asks, and stays where it is, in its precision."""

    packed: Any  # made by `pack`; its `dense()` is the weight again

    @staticmethod
    def suits(layer: Any) -> bool:
        """Whether there are kernels for this layer of the plain class, and they gain something."""
        raise NotImplementedError

    @staticmethod
    def gains_with_many_rows() -> bool:
        """Whether this CPU gains from more than the few rows of a token, too."""
        return True

    def pack(self, weight: Tensor) -> Any:
        raise NotImplementedError

    @classmethod
    def convert(cls, layer: nn.Module) -> None:
        """Makes a plain layer a packed one, in place: its name, its hooks and its other attributes stay."""
        weight = layer._parameters.pop("weight")
        layer.__class__ = cls
        layer.packed = layer.pack(weight)  # type: ignore[operator]

    @property
    def weight(self) -> Tensor:
        return self.packed.dense()

    def _apply(self, fn: Any, recurse: bool = True) -> "Packed":
        probe = torch.empty(0, dtype=self.weight.dtype)
        changed = fn(probe)
        if (changed.device, changed.dtype) != (probe.device, probe.dtype):
            raise RuntimeError(
                "prepacked weights stay on the CPU and in their precision; load the model anew to move it"
            )
        return super()._apply(fn, recurse)

    def _save_to_state_dict(self, destination: dict[str, Any], prefix: str, keep_vars: bool) -> None:
        destination[prefix + "weight"] = self.weight
        super()._save_to_state_dict(destination, prefix, keep_vars)

    def _load_from_state_dict(self, *args: Any, **kwargs: Any) -> None:
        raise RuntimeError("prepacked weights can't be replaced; load them before prepacking")


class PackedLinear(Packed, nn.Linear):  # type: ignore[misc]
    """x to x W^T + b, and then perhaps GELU, which its kernel applies while the values are at hand."""

    gelu: str | None = None  # how it is approximated; None is no GELU

    @staticmethod
    def suits(layer: nn.Linear) -> bool:
        return layer.weight.numel() >= 1 << 16  # below, calling the kernel costs what it gains

    @staticmethod
    def gains_with_many_rows() -> bool:
        # Without AVX-512 PyTorch's own library is the faster one, by a tenth; of 2 to 30 rows oneDNN, by a third.
        return torch.backends.cpu.get_cpu_capability() != "AVX2"

    def pack(self, weight: Tensor) -> PackedMatrix:
        return PackedMatrix(weight)

    def forward(self, input: Float[Tensor, "*rows C"]) -> Float[Tensor, "*rows D"]:
        if _learns(input):
            y = super().forward(input)
            return y if self.gelu is None else F.gelu(y, approximate=self.gelu)
        return self.packed(input, self.bias, _NO_MORE if self.gelu is None else ("gelu", [], self.gelu))


class PackedConv2d(Packed, nn.Conv2d):  # type: ignore[misc]
    """A convolution over pictures, whose result lies with its channels last."""

    @staticmethod
    def suits(layer: nn.Conv2d) -> bool:
        plain = layer.groups == 1 and layer.padding_mode == "zeros" and not isinstance(layer.padding, str)
        return plain and layer.weight.numel() >= 1 << 10  # first ones too: those after keep the layout that they get

    def pack(self, weight: Tensor) -> PackedMatrix | PackedKernels:
        if self.kernel_size == self.stride == (1, 1) and self.padding == (0, 0):
            return PackedMatrix(weight[:, :, 0, 0])
        padding: tuple[int, int] = self.padding  # type: ignore[assignment]
        return PackedKernels(weight, padding=padding, stride=self.stride, dilation=self.dilation)

    @property
    def weight(self) -> Tensor:  # type: ignore[override]
        dense = self.packed.dense()
        return dense[..., None, None] if dense.ndim == 2 else dense

    def forward(self, input: Float[Tensor, "B C H W"]) -> Float[Tensor, "B D I J"]:
        if _learns(input):
            return super().forward(input)
        if isinstance(self.packed, PackedMatrix):
            return self.packed(input.permute(0, 2, 3, 1), self.bias).permute(0, 3, 1, 2)
        return self.packed(input.contiguous(memory_format=torch.channels_last), self.bias)


class PackedConv3d(Packed, nn.Conv3d):  # type: ignore[misc]
    """A convolution over clips, whose result lies with its channels last.

    A single clip of few channels in float32 PyTorch gives to a loop of its own that is up to fifteen times slower; in
    bfloat16 it asks the same kernels, so that layers in it stay plain.
    """

    @staticmethod
    def suits(layer: nn.Conv3d) -> bool:
        plain = layer.groups == 1 and layer.padding_mode == "zeros" and not isinstance(layer.padding, str)
        return plain and layer.weight.dtype == torch.float32

    def pack(self, weight: Tensor) -> PackedKernels:
        padding: tuple[int, int, int] = self.padding  # type: ignore[assignment]
        return PackedKernels(weight, padding=padding, stride=self.stride, dilation=self.dilation)

    def forward(self, input: Float[Tensor, "B C F H W"]) -> Float[Tensor, "B D G I J"]:
        if _learns(input):
            return super().forward(input)
        return self.packed(input.contiguous(memory_format=torch.channels_last_3d), self.bias)


def _learns(x: Tensor) -> bool:
    return torch.is_grad_enabled() and x.requires_grad
