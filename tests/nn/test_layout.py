"""Convolutions in the layout of steps: the values, the layout that they give, and that it is kept by what follows."""

import pytest
import torch
import torch.nn.functional as F

from nexus.nn.conv import Conv1d, ConvTranspose1d, pad
from nexus.nn.layout import StepConv1d, StepConvTranspose1d, by_steps, joined, joined_frames, zeros
from nexus.nn.snake import HalfSnake, Snake, SnakeBeta


def is_by_steps(x: torch.Tensor) -> bool:
    return x.mT.is_contiguous()


@pytest.mark.parametrize(
    ("layer", "options"),
    [
        (StepConv1d, {"kernel_size": 1}),
        (StepConv1d, {"kernel_size": 5, "dilation": 3}),
        (StepConv1d, {"kernel_size": 4, "stride": 2, "bias": False}),
        (StepConv1d, {"kernel_size": 1, "stride": 2}),
        (StepConv1d, {"kernel_size": 3, "groups": 2}),
        (StepConvTranspose1d, {"kernel_size": 5, "stride": 2}),
        (StepConvTranspose1d, {"kernel_size": 4, "stride": 2, "groups": 2, "bias": False}),
    ],
)
def test_values_are_those_of_torch(layer, options):
    torch.manual_seed(0)
    conv, x = layer(6, 4, **options), torch.randn(2, 6, 23)
    expected = conv(x)
    assert expected.requires_grad and expected.std() > 0.1
    with torch.no_grad():
        for given in (x, by_steps(x), x.repeat(1, 1, 2)[..., :23]):
            y = conv(given)
            assert is_by_steps(y)
            torch.testing.assert_close(y, expected.detach(), atol=1e-6, rtol=0)


@pytest.mark.parametrize("mode", ["constant", "reflect", "replicate"])
@pytest.mark.parametrize(("left", "right"), [(0, 0), (3, 0), (0, 2), (4, 1)])
def test_padding_is_that_of_torch(mode, left, right):
    x = torch.randn(2, 3, 9)
    with torch.no_grad():
        y = pad(by_steps(x), left, right, mode)
    assert is_by_steps(y)
    assert torch.equal(y, F.pad(x, (left, right), mode=mode))


def test_joining_skips_what_is_empty():
    x = by_steps(torch.randn(2, 3, 5))
    with torch.no_grad():
        assert joined(x[..., :0], x) is x
        assert torch.equal(joined(x, zeros(x, 2), x), torch.cat([x, torch.zeros(2, 3, 2), x], dim=-1))
        assert is_by_steps(joined(x, x))
        assert joined(x[..., :0], x[..., :0]).shape == (2, 3, 0)


@pytest.mark.parametrize("kind", [Snake, SnakeBeta, HalfSnake])
def test_layout_passes_through_a_network(kind):
    torch.manual_seed(0)
    up, snake, conv = ConvTranspose1d(3, 4, 4, stride=2), kind(4), Conv1d(4, 5, 7, dilation=2)
    x = torch.randn(2, 3, 11)
    expected = conv(snake(up(x)))
    with torch.no_grad():
        between = snake(up(x))
        y = conv(between)
    assert is_by_steps(between) and is_by_steps(y)
    torch.testing.assert_close(y, expected.detach(), atol=1e-6, rtol=0)


def test_weights_keep_the_layout_when_cast_and_loaded():
    conv, other = StepConv1d(3, 4, 5), StepConv1d(3, 4, 5)
    other.load_state_dict(conv.state_dict())
    for module in (other, other.to(torch.bfloat16)):
        assert is_by_steps(module.weight)


def test_frames_are_joined_in_the_layout_of_the_last():
    first, rest = torch.randn(2, 3, 1, 4, 5), torch.randn(2, 3, 2, 4, 5)
    last = rest.contiguous(memory_format=torch.channels_last_3d)
    with torch.inference_mode():
        joined = joined_frames(first, last)
        assert joined.is_contiguous(memory_format=torch.channels_last_3d)
        assert torch.equal(joined, torch.cat([first, rest], dim=2))
        assert joined_frames(first, rest).is_contiguous() and joined_frames(rest) is rest
