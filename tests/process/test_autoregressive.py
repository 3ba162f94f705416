import math

import pytest
import torch

from nexus.process import patterns
from nexus.process.autoregressive import cross_entropy, decode

LAYOUTS = {
    "delay": patterns.delay(6, (0, 1, 2)),
    "stereo": patterns.delay(6, (0, 0, 1)),
    "parallel": patterns.parallel(6, 3),
    "flattened": patterns.flattened(6, 3),
}


class Oracle:
    """Logits that are sure of `codes`; remembers what it was fed."""

    def __init__(self, codes, layout):
        self.sequence = patterns.apply(codes, layout, 9)
        self.fed = self.sequence[:, :, :0]

    def __call__(self, columns):
        self.fed = torch.cat([self.fed, columns], dim=2)
        return torch.nn.functional.one_hot(self.sequence[:, :, self.fed.shape[2]], 10).float()


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
@pytest.mark.parametrize("n_prompt", [0, 1, 4])
def test_frames_come_in_order_and_every_column_is_fed_once(layout, n_prompt):
    codes = torch.randint(0, 9, (2, 3, 6))
    oracle = Oracle(codes, layout)
    frames = list(decode(oracle, lambda logits: logits.argmax(-1), codes[:, :, :n_prompt], layout, 9))
    assert torch.equal(torch.stack(frames, dim=2), codes[:, :, n_prompt:])
    assert torch.equal(oracle.fed, oracle.sequence[:, :, :-1])


def test_a_frame_is_yielded_as_soon_as_it_is_complete():
    codes = torch.randint(0, 9, (1, 3, 6))
    oracle = Oracle(codes, LAYOUTS["delay"])
    frames = decode(oracle, lambda logits: logits.argmax(-1), codes[:, :, :0], LAYOUTS["delay"], 9)
    next(frames)
    assert oracle.fed.shape[2] == 3
    next(frames)
    assert oracle.fed.shape[2] == 4


def test_a_whole_prompt_leaves_nothing_to_do():
    codes = torch.randint(0, 9, (1, 3, 6))
    assert list(decode(Oracle(codes, LAYOUTS["delay"]), torch.clone, codes, LAYOUTS["delay"], 9)) == []


def test_cross_entropy_counts_valid_positions_only():
    logits = torch.zeros(2, 3, 5, 8)
    logits[:, 0, :, 3] = 100
    targets, mask = torch.full((2, 3, 5), 3), torch.ones(2, 3, 5, dtype=torch.bool)
    mask[:, 2] = False
    targets[0, 1, 0], mask[0, 1, 0] = 8, False  # the special id is no class: it must not be looked up
    losses = cross_entropy(logits, targets, mask)
    torch.testing.assert_close(losses, torch.tensor([0.0, math.log(8), 0.0]))
