"""That a fresh ControlNet adds nothing, and then learns while its base stays as it is."""

import pytest
import torch


def assert_learns_alone(control, base, error, first, unheard=(), n_steps=15):
    """`error()` begins at `first` and falls; every parameter but those `unheard` is taught, and none of the base's."""
    before = error()
    assert before.item() == pytest.approx(first.item())
    optimizer = torch.optim.Adam(control.parameters(), lr=1e-2)
    for _ in range(n_steps):
        optimizer.zero_grad()
        error().backward()
        optimizer.step()
    assert error() < 0.8 * before
    assert all(p.grad is None for p in base.parameters())
    silent = {id(p) for p in unheard}
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in control.parameters() if id(p) not in silent)
