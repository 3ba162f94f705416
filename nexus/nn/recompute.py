"""Gradient checkpointing (arXiv:1604.06174): less memory in training, for a third more computing."""

from collections.abc import Callable
from typing import Any

from torch import nn
from torch.utils.checkpoint import checkpoint


class Recomputing(nn.Module):
    """A network whose blocks can be computed again in the backward pass, instead of keeping their activations."""

    checkpoint_blocks = False

    def gradient_checkpointing_enable(self) -> None:
        self.checkpoint_blocks = True

    def run(self, block: Callable[..., Any], *inputs: Any) -> Any:
        """What a block gives."""
        if self.checkpoint_blocks and self.training:
            return checkpoint(block, *inputs, use_reentrant=False)
        return block(*inputs)
