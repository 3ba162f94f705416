"""Walks end with their last state, and tell every step."""

import pytest
import torch

from nexus.process.walk import walked


def test_the_walk_ends_with_its_last_state():
    seen = []
    assert walked(iter([torch.zeros(1), torch.ones(1)]), 2, lambda *done: seen.append(done)) == 1
    assert seen == [(1, 2), (2, 2)]
    with pytest.raises(ValueError, match="made no step"):
        walked([], 2, None)
