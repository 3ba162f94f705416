import pytest
import torch

from nexus.process.candidates import check_candidates, nearest, repeated


class Ranker:
    def __init__(self, *scores):
        self.scores, self.asked = torch.tensor(scores), []

    def similarity(self, made, prompts):
        self.asked.append((made, prompts))
        return self.scores


def test_of_each_prompts_results_the_nearest_is_kept_the_first_of_equals():
    ranker = Ranker(0.1, 0.3, 0.2, 0.5, 0.4, 0.5)
    assert repeated(["a", "b"], 3) == ["a", "a", "a", "b", "b", "b"]
    assert nearest(tuple("uvwxyz"), ["a", "b"], 3, ranker) == ["v", "x"]
    assert ranker.asked == [(list("uvwxyz"), ["a", "a", "a", "b", "b", "b"])]


def test_one_needs_no_ranker():
    check_candidates(1, None, "nexus/some")
    assert nearest(["u", "v"], ["a", "b"], 1, None) == ["u", "v"]


def test_what_cannot_be_is_refused():
    for wrong in (0, -1, 65):
        with pytest.raises(ValueError, match=f"candidates must be 1 to 64, got {wrong}"):
            check_candidates(wrong, Ranker(), "nexus/some")
    with pytest.raises(
        ValueError, match=r"from 2 candidates takes a ranker: .*load\('nexus/some'\), or .*candidates=1"
    ):
        check_candidates(2, None, "nexus/some")
