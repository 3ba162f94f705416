"""Modules that keep their plain weights beside packed ones, which are made when they are first needed."""

from typing import Any

from torch import Tensor, nn

from nexus.nn.packed import Packed


class PackedBeside(Packed):
    """A `Packed` module of several tensors, or of tensors that are read in other ways too."""

    @classmethod
    def convert(cls, layer: nn.Module) -> None:
        layer.__class__ = cls
        layer.packed = None  # type: ignore[assignment]

    def prepare(self) -> Any:
        """What is packed."""
        raise NotImplementedError

    def prepared(self) -> Any:
        """`prepare`, once."""
        if self.packed is None:
            self.packed = self.prepare()
        return self.packed

    @property
    def weight(self) -> Tensor:
        """Stands for all: where and in which precision they are."""
        return next(iter(self.state_dict().values()))

    def _save_to_state_dict(self, destination: dict[str, Any], prefix: str, keep_vars: bool) -> None:
        nn.Module._save_to_state_dict(self, destination, prefix, keep_vars)

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "packed": None}  # packed tensors can be neither copied nor saved
