import pytest
import torch
import torch.nn.functional as F

from nexus.nn import toom_cook
from nexus.nn.layout import StepConv1d, StepConvTranspose1d
from nexus.nn.packed_steps import PackedStepConv1d, PackedStepConvTranspose1d, TwoStrideKernels
from nexus.nn.places import PlaceKernels, interpolation
from nexus.nn.prepack import prepack
from nexus.nn.toom_cook import ToomCookKernels


def drawn(*shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape)))


def apart(a, b):
    return ((a - b).norm() / b.norm()).item()


@pytest.mark.parametrize(("n_outputs", "n_taps"), [(4, 3), (5, 2), (6, 3), (6, 7)])
def test_products_at_the_places_are_the_convolution(n_outputs, n_taps):
    inputs, kernels, outputs = interpolation(n_outputs, n_taps)
    x, w = drawn(n_outputs + n_taps - 1).double(), drawn(n_taps).double()
    answer = outputs @ ((inputs @ x) * (kernels @ w))
    torch.testing.assert_close(answer, F.conv1d(x[None, None], w[None, None])[0, 0], rtol=0, atol=1e-9)
    assert len(inputs) < n_outputs * n_taps  # fewer multiplications than without


@pytest.mark.parametrize("width", [16, 400])
def test_packed_and_joint_products_of_the_places_are_alike(width):
    kernels, x = drawn(5, width, width), drawn(5, 9, width)
    places = PlaceKernels(kernels)
    assert isinstance(places.kernels, list) == (width == 400)
    assert apart(places(x), torch.einsum("prc,pdc->prd", x, kernels)) < 1e-6


@pytest.mark.parametrize(("extent", "n_channels"), [(2, 192), (3, 128), (7, 64)])
@pytest.mark.parametrize("dilation", [1, 3, 9])
@pytest.mark.parametrize("n_items", [1, 3])
def test_a_convolution_of_any_length_and_dilation(extent, n_channels, dilation, n_items, monkeypatch):
    monkeypatch.setattr(toom_cook, "ROWS_AT_ONCE", 20)  # several bands
    weight, bias = drawn(n_channels + 8, n_channels, extent) / 20, drawn(n_channels + 8)
    kernels = ToomCookKernels(weight, dilation)
    reach = dilation * (extent - 1)
    for n in (1, 2, 37, 130):
        x = drawn(n_items, n_channels, n + reach)
        for shift in (None, bias):
            expected = F.conv1d(x.double(), weight.double(), None if shift is None else shift.double(), 1, 0, dilation)
            with torch.inference_mode():
                answer = kernels(x, shift)
            assert answer.shape == expected.shape
            assert apart(answer.double(), expected) < 1e-5


def test_convolutions_that_gain_nothing_stay_as_they_were():
    suits = ToomCookKernels.suits
    assert suits(torch.zeros(64, 96, 7), 1)
    for weight, stride in [
        (torch.zeros(64, 96, 7), 2),
        (torch.zeros(64, 96, 5), 1),
        (torch.zeros(32, 96, 7), 1),
        (torch.zeros(64, 96, 7, dtype=torch.bfloat16), 1),
    ]:
        assert not suits(weight, stride)


def test_prepacked_convolutions_take_it_for_long_inputs_and_keep_their_weights():
    conv = StepConv1d(64, 64, 7).requires_grad_(False)
    weight = conv.weight.clone()
    prepack(torch.nn.Sequential(conv))
    assert isinstance(conv, PackedStepConv1d) and isinstance(conv.packed.long, ToomCookKernels)
    assert torch.equal(conv.weight, weight)


@pytest.mark.parametrize(("extent", "stride"), [(10, 5), (2, 1)])
def test_transposed_convolutions_two_strides_long_take_it_too(extent, stride):
    conv = StepConvTranspose1d(192, 56, extent, stride).requires_grad_(False)
    weight = conv.weight.clone()
    prepack(torch.nn.Sequential(conv))
    assert isinstance(conv, PackedStepConvTranspose1d) and isinstance(conv.packed.long, TwoStrideKernels) == (
        stride > 4
    )
    assert torch.equal(conv.weight, weight)
    for n in (65, 70, 131):
        x = drawn(2, 192, n)
        expected = F.conv_transpose1d(x.double(), weight.double(), conv.bias.double(), stride)
        with torch.inference_mode():
            answer = conv(x)
        assert answer.shape == expected.shape and apart(answer.double(), expected) < 1e-6
