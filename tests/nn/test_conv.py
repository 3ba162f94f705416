"""Padded convolutions: against a direct sum, causality by perturbation, and streams against the whole."""

import pytest
import torch
import torch.nn.functional as F

from nexus.nn.conv import LSTM, Conv1d, ConvTranspose1d, pad
from nexus.nn.spectrum import InverseSTFT


def random_split(length: int, seed: int) -> list[int]:
    """Chunk sizes from 1 up that add to `length`."""
    generator, sizes = torch.Generator().manual_seed(seed), []
    while sum(sizes) < length:
        size = int(torch.randint(1, 6, (), generator=generator))
        sizes.append(min(size, length - sum(sizes)))
    return sizes


def streamed(layer, x: torch.Tensor, sizes: list[int]) -> torch.Tensor:
    outputs, state, chunks = [], None, x.split(sizes, dim=-1)
    for i, chunk in enumerate(chunks):
        y, state = layer.stream(chunk, state, last=i == len(chunks) - 1)
        outputs.append(y)
    return torch.cat(outputs, dim=-1)


@pytest.mark.parametrize("pad_mode", ["constant", "reflect", "replicate"])
@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize(
    ("kernel", "stride", "dilation"), [(7, 1, 1), (3, 1, 4), (1, 1, 1), (4, 2, 1), (10, 5, 1), (5, 3, 1)]
)
@pytest.mark.parametrize("length", [1, 2, 13, 30, 41])
def test_stream_equals_whole(pad_mode, causal, kernel, stride, dilation, length):
    torch.manual_seed(0)
    layer = Conv1d(2, 3, kernel, stride=stride, dilation=dilation, causal=causal, pad_mode=pad_mode)
    x = torch.randn(2, 2, length)
    with torch.no_grad():
        whole = layer(x)
        assert whole.shape[-1] == -(-length // stride)
        for seed in range(3):
            torch.testing.assert_close(streamed(layer, x, random_split(length, seed)), whole, atol=1e-6, rtol=0)


@pytest.mark.parametrize(("causal", "trim"), [(True, 1.0), (True, 0.5), (False, 1.0)])
@pytest.mark.parametrize(("kernel", "stride"), [(4, 2), (10, 5), (6, 3), (7, 3), (3, 3), (1, 1)])
@pytest.mark.parametrize("length", [1, 2, 9])
def test_transposed_stream_equals_whole(causal, trim, kernel, stride, length):
    torch.manual_seed(0)
    layer = ConvTranspose1d(2, 3, kernel, stride=stride, causal=causal, trim_right_ratio=trim)
    x = torch.randn(2, 2, length)
    with torch.no_grad():
        whole = layer(x)
        assert whole.shape[-1] == length * stride
        for seed in range(3):
            torch.testing.assert_close(streamed(layer, x, random_split(length, seed)), whole, atol=1e-6, rtol=0)


def test_causal_layers_do_not_look_ahead():
    torch.manual_seed(0)
    x = torch.randn(1, 2, 40)
    changed = x.clone()
    changed[..., 20:] += 1
    down, up = Conv1d(2, 2, 8, stride=4, causal=True), ConvTranspose1d(2, 2, 8, stride=4, causal=True)
    assert torch.equal(down(x)[..., :5], down(changed)[..., :5])
    assert torch.equal(up(x)[..., :80], up(changed)[..., :80])
    assert not torch.equal(down(x)[..., 5:], down(changed)[..., 5:])


def test_causal_stream_without_reflection_answers_every_frame():
    layer = Conv1d(1, 1, 8, stride=4, causal=True)
    y, _ = layer.stream(torch.randn(1, 1, 4), None)
    assert y.shape[-1] == 1


def test_padding_follows_its_definition():
    x = torch.arange(1.0, 6.0)[None, None]
    assert pad(x, 2, 1, "reflect").flatten().tolist() == [3, 2, 1, 2, 3, 4, 5, 4]
    # Too short to reflect three samples: zeros are put behind it first, and cut again.
    assert pad(x[..., :2], 3, 0, "reflect").flatten().tolist() == [0, 0, 2, 1, 2]
    assert pad(x, 1, 1, "constant").flatten().tolist() == [0, 1, 2, 3, 4, 5, 0]
    assert pad(x, 1, 2, "replicate").flatten().tolist() == [1, 1, 2, 3, 4, 5, 5, 5]


def test_convolution_is_the_padded_sum():
    torch.manual_seed(0)
    layer, x = Conv1d(1, 1, 3, causal=True), torch.randn(1, 1, 9)
    padded, weight = F.pad(x, (2, 0))[0, 0], layer.conv.weight[0, 0]
    expected = torch.stack([(padded[i : i + 3] * weight).sum() for i in range(9)]) + layer.conv.bias
    torch.testing.assert_close(layer(x)[0, 0], expected)


def test_kernels_that_lose_samples_are_refused():
    with pytest.raises(ValueError, match="at least as long as the stride"):
        Conv1d(1, 1, 2, stride=4)
    with pytest.raises(ValueError, match="at least the stride"):
        ConvTranspose1d(1, 1, 2, stride=4)


def test_lstm_stream_and_empty_chunks():
    torch.manual_seed(0)
    layer, x = LSTM(3, 2), torch.randn(2, 3, 11)
    with torch.no_grad():
        torch.testing.assert_close(streamed(layer, x, [1, 4, 0, 6]), layer(x))


@pytest.mark.parametrize("padding", ["center", "same"])
def test_inverse_stft_returns_the_waveform(padding):
    torch.manual_seed(0)
    n_fft, hop, x = 64, 16, torch.randn(2, 320)
    cut = n_fft // 2 if padding == "center" else (n_fft - hop) // 2
    padded = F.pad(x[:, None], (cut, cut), mode="reflect")[:, 0]
    spectrum = torch.stft(padded, n_fft, hop, window=torch.hann_window(n_fft), center=False, return_complex=True)
    inverse = InverseSTFT(n_fft, hop, padding)
    y = inverse(spectrum)
    assert y.shape[-1] == 320
    inner = slice(n_fft, -n_fft)  # a Hann window is zero at its end: the outermost samples of "same" are not covered
    torch.testing.assert_close(y[:, inner], x[:, inner], atol=1e-5, rtol=0)
    torch.testing.assert_close(streamed(inverse, spectrum, random_split(spectrum.shape[-1], 0)), y, atol=1e-6, rtol=0)
    if padding == "center":
        expected = torch.istft(spectrum, n_fft, hop, window=torch.hann_window(n_fft))
        torch.testing.assert_close(y, expected, atol=1e-6, rtol=0)
