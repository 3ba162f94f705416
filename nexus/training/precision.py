"""Whether a run computes in bfloat16 (under autocast) or in float32 throughout."""

from typing import Literal

import torch

Precision = Literal["auto", "fp32", "bf16"]
Device = Literal["auto", "cpu", "cuda"]  # "auto" takes GPUs where there are any; the launcher shares them out


def on_gpu(device: Device) -> bool:
    return device != "cpu" and torch.cuda.is_available()


def computes_in_bf16(precision: Precision, device: Device) -> bool:
    """Automatic is bfloat16 where the hardware multiplies it: elsewhere it is 8 to 90 times slower than float32."""
    if precision == "auto":
        return torch.cuda.is_bf16_supported() if on_gpu(device) else cpu_multiplies_bf16()
    return precision == "bf16"


def cpu_multiplies_bf16() -> bool:
    """AVX-512's bf16 instructions or AMX; processors that PyTorch can't ask this (Arm's) count as not."""
    asked = (getattr(torch.cpu, f"_is_{name}_supported", None) for name in ("avx512_bf16", "amx_tile"))
    return any(supported() for supported in asked if supported is not None)
