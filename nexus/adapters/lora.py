"""LoRA (arXiv:2106.09685): beside a frozen layer W learns a change of low rank, W + (alpha / r) up down.

`attach` computes the change beside the layers while it learns; `LoRAStack` folds any number of them into the weights,
each with a weight of its own, and gives the weights back to the bit. A change may concern some of a layer's rows alone:
where a file has separate projections of queries, keys and values, our networks may hold one for all.
"""

import math
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from nexus.nn.packed import Packed

Layer = nn.Linear | nn.Conv2d


@dataclass(frozen=True, kw_only=True)
class LoRAConfig:
    """Which layers learn a change, and of what rank."""

    rank: int = 8
    alpha: float | int = 8  # the change counts alpha / rank times
    targets: tuple[str, ...] = ("attn", "attention")  # regular expressions found in the names of layers

    def __post_init__(self):
        if self.rank < 1 or not 0 < self.alpha < math.inf:
            raise ValueError(f"rank must be at least 1 and alpha above 0, got {self.rank} and {self.alpha}")


class LowRank(nn.Module):
    """The change of one layer: `scale * up down`, added to the rows of its weight from `first_row` on."""

    def __init__(
        self,
        layer: str,
        down: Float[Tensor, " r *inputs"],
        up: Float[Tensor, "rows r"],
        *,
        scale: float | int = 1.0,
        first_row: int = 0,
    ):
        super().__init__()
        self.layer, self.scale, self.first_row = layer, float(scale), first_row
        self.down, self.up = nn.Parameter(down), nn.Parameter(up)

    @property
    def rows(self) -> slice:
        return slice(self.first_row, self.first_row + len(self.up))

    def delta(self) -> Float[Tensor, " rows *inputs"]:
        """The change itself, in float32."""
        product = self.up.detach().float() @ self.down.detach().float().flatten(1)
        return self.scale * product.unflatten(1, self.down.shape[1:])

    def beside(self, layer: Layer, x: Tensor) -> Tensor:
        """What the change adds to the layer's output for input x, zero in the rows that it does not concern."""
        down, up = self.down.to(x.dtype), self.up.to(x.dtype)
        before, after = self.first_row, len(layer.weight) - self.rows.stop
        if isinstance(layer, nn.Linear):
            return F.pad(self.scale * F.linear(F.linear(x, down), up), (before, after))
        inner = F.conv2d(x, down, None, layer.stride, layer.padding, layer.dilation)  # type: ignore[arg-type]
        return F.pad(self.scale * F.conv2d(inner, up[:, :, None, None]), (0, 0, 0, 0, before, after))


class LoRA(nn.Module):
    """Changes of a network's layers."""

    def __init__(self, changes: Iterable[LowRank]):
        super().__init__()
        self.changes = nn.ModuleList(changes)

    def __iter__(self) -> Iterator[LowRank]:
        return iter(self.changes)  # type: ignore[arg-type]

    def __len__(self) -> int:
        return len(self.changes)

    @classmethod
    def fresh(cls, network: nn.Module, config: LoRAConfig, generator: torch.Generator | None = None) -> "LoRA":
        """One to be trained: `down` drawn as a fresh layer's weight is, `up` zero, so that nothing changes yet.

        Raises:
            ValueError: no linear layer or convolution has a name in which a target is found.
        """
        layers = {name: layer for name, layer in network.named_modules() if _adaptable(layer)}
        chosen = {name: layer for name, layer in layers.items() if any(re.search(t, name) for t in config.targets)}
        if not chosen:
            raise ValueError(
                f"no layer's name has {' or '.join(config.targets)} in it; there are {', '.join(list(layers)[:8])} …"
            )
        return cls(_fresh(name, layer, config, generator) for name, layer in chosen.items())

    def check(self, network: nn.Module, name: str = "LoRA") -> None:
        """Raises ValueError where a change has no layer to go to, is of another shape or holds NaN: names the first."""
        modules = dict(network.named_modules())
        for change in self:
            layer = modules.get(change.layer)
            if layer is None or not _adaptable(layer):
                raise ValueError(
                    f"{name} is for another base: layer {change.layer!r} is not in this {type(network).__name__}"
                )
            if isinstance(layer, Packed):
                raise ValueError(f"{name}: the weights of {change.layer!r} are prepacked; add LoRAs before `prepack`")
            wanted, last = list(layer.weight.shape[1:]), len(layer.weight)  # type: ignore[union-attr, arg-type]
            if list(change.down.shape[1:]) != wanted or change.rows.stop > last:
                raise ValueError(
                    f"{name} is for another base: at layer {change.layer!r} it changes "
                    f"{[len(change.up), *change.down.shape[1:]]}, where the base has {[last, *wanted]}"
                )
            if not (change.down.isfinite().all() and change.up.isfinite().all()):
                raise ValueError(f"{name}: the tensors of layer {change.layer!r} hold NaN or infinity")


class Attached:
    """A LoRA beside a network's layers, until `detach`; the network's own parameters are frozen meanwhile."""

    def __init__(self, network: nn.Module, lora: LoRA):
        lora.check(network)
        self._thawed = [p for p in network.parameters() if p.requires_grad]
        network.requires_grad_(False)
        self._hooks = [
            network.get_submodule(change.layer).register_forward_hook(
                lambda layer, inputs, output, change=change: output + change.beside(layer, inputs[0])
            )
            for change in lora
        ]

    def detach(self) -> None:
        for hook in self._hooks:
            hook.remove()
        for parameter in self._thawed:
            parameter.requires_grad_(True)
        self._hooks, self._thawed = [], []

    def __enter__(self) -> "Attached":
        return self

    def __exit__(self, *error: object) -> None:
        self.detach()


def attach(network: nn.Module, lora: LoRA) -> Attached:
    """Lets a LoRA speak beside its layers, whose own parameters are frozen; the LoRA's alone learn.

    Raises:
        ValueError: the LoRA is for another network.
    """
    return Attached(network, lora)


class LoRAStack:
    """LoRAs folded into a network's weights, which cost nothing more at run time.

    The weights as they were are kept in main memory; every change of the stack starts from them in float32.
    """

    def __init__(self, network: nn.Module):
        self.network = network
        self.entries: tuple[tuple[LoRA, float], ...] = ()
        self._originals: dict[str, Tensor] = {}

    def set(self, entries: Sequence[tuple[LoRA, float]]) -> None:
        """Folds these in, and these alone; none gives the network's own weights back to the bit.

        Raises:
            ValueError: a LoRA for another network, or a weight that is no number; nothing is changed then.
        """
        for lora, weight in entries:
            if not math.isfinite(weight):
                raise ValueError(f"a LoRA's weight must be a finite number, such as 0.8, got {weight}")
            lora.check(self.network)
        self._restore()
        changes: dict[str, list[tuple[LowRank, float]]] = {}
        for lora, weight in entries:
            for change in lora:
                changes.setdefault(change.layer, []).append((change, weight))
        for name, parts in changes.items():
            self._fold(name, parts)
        self.entries = tuple(entries)

    def add(self, lora: LoRA, weight: float | int = 1.0) -> None:
        self.set([*self.entries, (lora, float(weight))])

    def _fold(self, name: str, parts: list[tuple[LowRank, float]]) -> None:
        weight = self._weight(name)
        self._originals[name] = weight.cpu().clone()
        total = weight.to(torch.promote_types(weight.dtype, torch.float32), copy=True)
        for change, factor in parts:
            total[change.rows] += factor * change.delta().to(total)
        weight.copy_(total)

    def _restore(self) -> None:
        for name, original in self._originals.items():
            self._weight(name).copy_(original)
        self._originals = {}

    def _weight(self, name: str) -> Tensor:
        return self.network.get_submodule(name).weight.detach()  # type: ignore[return-value, union-attr]


def _adaptable(layer: nn.Module) -> bool:
    return isinstance(layer, nn.Linear) or (isinstance(layer, nn.Conv2d) and layer.groups == 1)


def _fresh(name: str, layer: nn.Module, config: LoRAConfig, generator: torch.Generator | None) -> LowRank:
    weight: Tensor = layer.weight  # type: ignore[assignment]
    bound = 1 / math.sqrt(weight[0].numel())
    down = torch.empty(config.rank, *weight.shape[1:]).uniform_(-bound, bound, generator=generator)
    up = torch.zeros(len(weight), config.rank)
    return LowRank(name, down.to(weight), up.to(weight), scale=config.alpha / config.rank)
