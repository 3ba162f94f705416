"""Weights of 8 bits come back within half a step, and whatever is small or whole as it was."""

import pytest
import torch
from torch import nn

from nexus.hub.tensors import read_tensors
from nexus.nn.checkpoint import save_folder
from nexus.nn.rows8 import SUFFIX, packed, unpacked
from tests.nn.test_checkpoint import Inner


def test_rows_come_back_within_half_a_step():
    torch.manual_seed(0)
    loud_and_quiet = torch.randn(64, 3, 40) * torch.logspace(-3, 1, 64)[:, None, None]
    state = {"w": loud_and_quiet, "zero": torch.zeros(64, 64), "b": torch.randn(9000), "n": torch.arange(5000)[None]}
    stored = packed(state)
    assert stored["w"].dtype == stored["zero"].dtype == torch.int8
    assert set(stored) == {*state, "w" + SUFFIX, "zero" + SUFFIX}
    again = unpacked(stored)
    step = loud_and_quiet.abs().flatten(1).amax(1)[:, None, None] / 127
    assert ((again["w"] - loud_and_quiet).abs() <= 0.51 * step + 1e-3 * loud_and_quiet.abs()).all()
    assert not torch.equal(again["w"].float(), loud_and_quiet.half().float())
    assert torch.equal(again["zero"], torch.zeros(64, 64).half())
    assert again["b"] is state["b"] and again["n"] is state["n"]
    assert unpacked(state) is state


def test_saved_and_read(tmp_path):
    model = nn.Linear(200, 100)
    save_folder(model, tmp_path, kind="toy", config=Inner(), dtype=torch.int8)
    state = read_tensors(tmp_path)
    assert set(state) == {"weight", "bias"} and state["bias"].dtype == torch.float16
    torch.testing.assert_close(state["weight"].float(), model.weight.detach(), atol=3e-4, rtol=1e-3)
    assert (tmp_path / "model.safetensors").stat().st_size < 21000


def test_scales_without_their_matrix_are_refused():
    for state in ({"w" + SUFFIX: torch.ones(3)}, {"w" + SUFFIX: torch.ones(3), "w": torch.ones(4, 2).to(torch.int8)}):
        with pytest.raises(ValueError, match="needs a matrix of int8 'w' with as many rows"):
            unpacked(state)
