"""An LSTM whose matrices lie as the CPU's kernels want them (see `nexus.nn.packed`).

PyTorch lays them out anew at every call, which takes as long as thirty steps: nothing in a whole sound, most of the
time in the short chunks of a stream.

Axes: B batch, C channels in, H hidden width, S steps, N layers.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from nexus.nn.packed_beside import PackedBeside

State = tuple[Float[Tensor, "N B H"], Float[Tensor, "N B H"]]
_LSTM = 2  # as the kernel numbers its kinds of recurrence


class PackedLSTM(PackedBeside, nn.LSTM):  # type: ignore[misc]
    @staticmethod
    def suits(layer: nn.LSTM) -> bool:
        plain = layer.bias and layer.batch_first and not (layer.bidirectional or layer.proj_size)
        return plain and hasattr(torch.ops.mkldnn, "_reorder_mkldnn_rnn_layer_weight")

    def prepare(self) -> list[tuple[Tensor, ...]]:
        """Each layer's matrices of the input and of the state, packed, and their biases."""
        pack = torch.ops.mkldnn._reorder_mkldnn_rnn_layer_weight
        layers = [[weight.detach() for weight in weights] for weights in self.all_weights]
        return [(*pack(w, u, self.hidden_size, False, True, True), *biases) for w, u, *biases in layers]

    def forward(  # type: ignore[override]
        self, input: Float[Tensor, "B S C"], hx: State | None = None
    ) -> tuple[Float[Tensor, "B S H"], State]:
        if torch.is_grad_enabled() and input.requires_grad:
            return super().forward(input, hx)
        before = hx or (input.new_zeros(self.num_layers, len(input), self.hidden_size),) * 2
        x, after = input.transpose(0, 1), []
        for weights, hidden, cell in zip(self.prepared(), *before, strict=True):
            # Forwards, unpadded, one layer with biases, steps first, not for training.
            settings = (False, [], _LSTM, self.hidden_size, 1, True, False, False, False)
            x, *state, _ = torch.ops.aten.mkldnn_rnn_layer(x.contiguous(), *weights, hidden, cell, *settings)
            after.append([part.view_as(hidden) for part in state])
        hidden, cell = (torch.stack(part) for part in zip(*after, strict=True))
        return x.transpose(0, 1), (hidden, cell)
