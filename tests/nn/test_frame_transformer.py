import pytest
import torch

from nexus.nn.frame_transformer import FrameTransformer
from nexus.nn.gradient_reversal import reverse_gradient


def test_frames_see_one_another_and_keep_their_number():
    torch.manual_seed(0)
    model, x = FrameTransformer(8, 2, 4, 12, 5).eval(), torch.randn(2, 7, 8)
    changed = x.clone()
    changed[:, 6] += torch.randn(8)
    assert model(x).shape == x.shape
    assert not torch.allclose(model(x)[:, 0], model(changed)[:, 0], atol=1e-5)
    torch.testing.assert_close(model(x)[1:], model(x[1:]))
    model(x).square().sum().backward()
    assert not [n for n, p in model.named_parameters() if p.grad is None]
    with pytest.raises(ValueError, match="divide into heads"):
        FrameTransformer(8, 1, 3, 12, 5)


def test_reversed_gradients_are_the_opposite():
    x = torch.randn(2, 3, requires_grad=True)
    assert torch.equal(reverse_gradient(x), x)
    (gradient,) = torch.autograd.grad((3 * reverse_gradient(x)).sum(), x)
    assert torch.equal(gradient, torch.full_like(x, -3))
