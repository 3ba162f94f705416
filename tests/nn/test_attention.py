import math

import pytest
import torch

from nexus.nn.attention import attend, merge_heads, split_heads


@pytest.fixture
def qkv():
    rng = torch.Generator().manual_seed(0)
    return [torch.randn(2, 3, length, 5, generator=rng) for length in (7, 9, 9)]


def textbook(q, k, v, mask):
    scores = (q @ k.mT / math.sqrt(q.shape[-1])).masked_fill(~mask, -math.inf)
    return scores.softmax(-1) @ v


def test_heads_round_trip():
    x = torch.randn(2, 7, 12)
    heads = split_heads(x, 3)
    assert heads.shape == (2, 3, 7, 4)
    torch.testing.assert_close(heads[:, 1], x[..., 4:8])
    torch.testing.assert_close(merge_heads(heads), x)


def test_attend_is_the_textbook_formula(qkv):
    torch.testing.assert_close(attend(*qkv), textbook(*qkv, torch.ones(7, 9, dtype=torch.bool)))


def test_masked_keys_do_not_matter(qkv):
    q, k, v = qkv
    mask = torch.ones(2, 9, dtype=torch.bool)
    mask[1, 6:] = False
    torch.testing.assert_close(attend(q, k, v, mask), textbook(q, k, v, mask[:, None, None]))
    torch.testing.assert_close(attend(q, k, v, mask)[1:], attend(q[1:], k[1:, :, :6], v[1:, :, :6]))


def test_causal_with_a_prefix(qkv):
    q, k, v = qkv
    past = torch.arange(9) <= torch.arange(7)[:, None] + 2
    torch.testing.assert_close(attend(q, k, v, causal=True), textbook(q, k, v, past))
    square = attend(q, k[:, :, :7], v[:, :, :7], causal=True)
    torch.testing.assert_close(square, textbook(q, k[:, :, :7], v[:, :, :7], torch.ones(7, 7).bool().tril()))


def test_a_query_that_sees_nothing_gives_zeros(qkv):
    q, k, v = qkv
    mask = torch.ones(2, 9, dtype=torch.bool)
    mask[0] = False
    q.requires_grad_()
    out = attend(q, k, v, mask)
    out.sum().backward()
    assert (out[0] == 0).all() and out[1].abs().sum() > 0 and q.grad.isfinite().all()
