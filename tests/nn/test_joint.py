"""Joint attention: two streams see each other, and start as nothing."""

import pytest
import torch

from nexus.nn.joint import JointBlock, Listened, Stream
from nexus.nn.rope import rope_frequencies
from nexus.nn.self_attention import SelfAttention


def redrawn(module):
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return module


def inputs(rng):
    return torch.randn(2, 3, 8, generator=rng), torch.randn(2, 5, 8, generator=rng), torch.randn(2, 8, generator=rng)


@pytest.mark.parametrize("qk_norm", [False, True])
def test_starts_as_the_identity_and_then_each_stream_hears_the_other(qk_norm, rng):
    block = JointBlock(Stream(8, 2, qk_norm), Stream(8, 2, qk_norm))
    text, picture, vector = inputs(rng)
    for out, given in zip(block(text, picture, vector), (text, picture), strict=True):
        torch.testing.assert_close(out, given)
    redrawn(block)
    text_out, picture_out = block(text, picture, vector)
    other_text, other_picture = text.clone(), picture.clone()
    other_text[:, 0, :4] += 1
    other_picture[:, 0, :4] += 1
    assert (block(other_text, picture, vector)[1] - picture_out).abs().max() > 1e-2
    assert (block(text, other_picture, vector)[0] - text_out).abs().max() > 1e-2


def test_text_that_is_only_listened_to_comes_out_as_it_went_in(rng):
    block = redrawn(JointBlock(Listened(8, 2, False), Stream(8, 2, False)))
    text, picture, vector = inputs(rng)
    text_out, picture_out = block(text, picture, vector)
    assert text_out is text and (block(-text, picture, vector)[1] - picture_out).abs().max() > 1e-2


def test_only_the_picture_is_turned(rng):
    """Turned by one angle all over, the picture's tokens are to one another as before, but not to the text's."""
    block, (text, picture, vector) = redrawn(JointBlock(Stream(8, 2, False), Stream(8, 2, False))), inputs(rng)
    still = rope_frequencies(4, torch.zeros(5))
    turned = rope_frequencies(4, torch.full((5,), 2.0))
    torch.testing.assert_close(block(text, picture, vector, still)[1], block(text, picture, vector)[1])
    assert (block(text, picture, vector, turned)[1] - block(text, picture, vector)[1]).abs().max() > 1e-3
    alone = (text[:, :0], picture, vector)
    torch.testing.assert_close(block(*alone, turned)[1], block(*alone)[1], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("qk_norm", [False, True])
def test_self_attention_is_the_formula(qk_norm, rng):
    layer, x = redrawn(SelfAttention(8, 2, qk_norm)), torch.randn(2, 5, 8, generator=rng)
    heads = []
    for i in range(2):
        q, k, v = (part[..., 4 * i : 4 * i + 4] for part in layer.heads.qkv(x).split(8, dim=-1))
        if qk_norm:
            q, k = (
                norm.weight * y / (y.square().mean(-1, keepdim=True) + 1e-6).sqrt()
                for norm, y in ((layer.heads.q_norm, q), (layer.heads.k_norm, k))
            )
        heads.append((q @ k.mT / 2).softmax(-1) @ v)
    torch.testing.assert_close(layer(x), layer.out(torch.cat(heads, dim=-1)), atol=1e-5, rtol=1e-4)
