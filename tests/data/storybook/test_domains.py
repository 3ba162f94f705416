"""Stills by day and by night: of their time, never pairs, the same again."""

import pytest
import torch

from nexus.data.storybook.domains import DayAndNight, domain, stills

pytestmark = pytest.mark.emoji


def test_domains_keep_to_their_time_and_share_no_seed():
    day, night = (list(stills(time, 12)) for time in ("day", "night"))
    assert {s.facts.time for s in day} == {"day"} and {s.facts.time for s in night} == {"night"}
    assert {s.facts.weather for s in day + night} == {"clear"}
    assert domain("day", 12).mean() > domain("night", 12).mean() + 0.2
    assert not torch.equal(domain("day", 12), domain("day", 12, "valid"))
    with pytest.raises(ValueError, match="n must be at least 1"):
        next(stills("day", 0))


def test_batches():
    batches = DayAndNight("train", 3, 5, n=12, size=32)
    assert batches[4]["a"].shape == (3, 3, 32, 32) and torch.equal(batches[4]["b"], batches[4]["b"])
    assert not torch.equal(batches[4]["a"], batches[5]["a"])
