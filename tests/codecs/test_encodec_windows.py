"""EnCodec by windows: lengths, overlap, scales, streams, gradients; its reference is met in tests/hub."""

import pytest
import torch

from nexus.codecs.encodec import Encodec, EncodecConfig
from nexus.codecs.encodec_windows import OverlapAdd, WindowedCodes, WindowedEncodec, WindowedEncodecConfig, normalised
from nexus.codecs.seanet import SEANetConfig
from nexus.hub import native
from nexus.hub.source import Source
from nexus.nn.quantize import QuantizerConfig

SEANET = SEANetConfig(n_filters=4, ratios=(4, 2), n_lstm_layers=1, causal=False, weight_norm=False, group_norm=True)
CONFIG = WindowedEncodecConfig(
    codec=EncodecConfig(
        sample_rate=8000,
        channels=2,
        seanet=SEANET,
        quantizer=QuantizerConfig(n_codebooks=3, codebook_size=16, dim=8, k_means_steps=2),
    ),
    window_length=160,
    stride=144,
)


def codec() -> WindowedEncodec:
    torch.manual_seed(0)
    return WindowedEncodec(CONFIG).eval()


# shorter than a window, a window, one that leaves eight samples to the next, windows of all kinds, many at once
LENGTHS = [1, 7, 100, 160, 152, 144 * 2 + 3, 144 * 2 + 9, 1111, 3000]


@pytest.mark.parametrize("length", LENGTHS)
def test_lengths(length):
    model, x = codec(), torch.randn(2, 2, length)
    coded = model.encode(x)
    windows = -(-length // 144)
    assert coded.scales.shape == (2, windows)
    assert coded.codes.shape == (2, 3, sum(model.window_frames(length)))
    assert len(model.window_frames(length)) == windows
    assert model.decode(coded).shape == x.shape


def test_each_window_is_coded_alone():
    """What the class does in a few batches is the inner codec's work on every window, faded by hand."""
    model, x = codec(), torch.randn(1, 2, 400)
    coded = model.encode(x)
    windows = [x[..., s : s + 160] for s in (0, 144, 288)]
    parts = coded.codes.split(model.window_frames(400), dim=-1)
    heard = []
    for window, codes, scale in zip(windows, parts, coded.scales[0], strict=True):
        assert torch.equal(codes, model.codec.encode(window / scale))
        torch.testing.assert_close(scale, window.mean(1).square().mean().sqrt(), atol=1e-6, rtol=1e-6)
        heard.append(model.codec.decode(codes) * scale)
    assert len(coded.codes.unique()) > 5
    whole = model.decode(coded)
    torch.testing.assert_close(whole[..., :144], heard[0][..., :144])
    torch.testing.assert_close(whole[..., 160:288], heard[1][..., 16:144])
    # Sample i of the overlap has the weights of two triangles: 16 - i and 1 + i.
    rising = (1 + torch.arange(16)) / 17
    expected = heard[0][..., 144:] * (1 - rising) + heard[1][..., :16] * rising
    torch.testing.assert_close(whole[..., 144:160], expected, atol=1e-6, rtol=1e-5)


def test_windows_of_one_sound_fade_into_it():
    """Whatever the overlap: windows cut from one waveform, faded, are that waveform."""
    x = torch.randn(2, 1, 1000)
    for length, stride in ((100, 100), (100, 99), (100, 40), (1000, 7)):
        faded = OverlapAdd(stride)
        parts = [faded.add(x[..., s : s + length]) for s in range(0, 1000, stride)]
        torch.testing.assert_close(torch.cat([*parts, faded.rest()], dim=-1)[..., :1000], x, atol=1e-5, rtol=1e-5)


def test_half_precision_fades_without_holes():
    """The triangles of a second's window start below what bfloat16 tells from nothing beside a half."""
    window, faded = torch.randn(1, 2, 48000).bfloat16(), OverlapAdd(47520)
    heard = torch.cat([faded.add(window), faded.rest()], dim=-1)
    assert heard.dtype == torch.bfloat16
    torch.testing.assert_close(heard, window)


def test_loudness_is_in_the_scales_alone():
    model, x = codec(), torch.randn(1, 2, 333)
    quiet, loud = model.encode(x * 1e-3), model.encode(x * 0.5)
    assert torch.equal(quiet.codes, loud.codes)
    torch.testing.assert_close(quiet.scales * 500, loud.scales, atol=1e-3, rtol=1e-3)
    torch.testing.assert_close(model.decode(quiet) * 500, model.decode(loud), atol=1e-3, rtol=1e-3)


def test_silence_is_coded():
    model = codec()
    waveform = model.decode(model.encode(torch.zeros(1, 2, 200)))
    assert waveform.abs().max() < 1e-6


@pytest.mark.parametrize(("length", "chunk"), [(1000, 1), (1000, 170), (1000, 1000), (100, 30), (152, 50), (152, 152)])
def test_streams_equal_the_whole(length, chunk):
    model, x = codec(), torch.randn(2, 2, length)
    coded = model.encode(x)
    waveform = model.decode(coded)
    assert waveform.std() > 1e-3
    with model.streaming() as stream:
        chunks = x.split(chunk, dim=-1)
        windows = [w for i, part in enumerate(chunks) for w in stream.encode(part, last=i == len(chunks) - 1)]
        assert torch.equal(torch.cat([w.codes for w in windows], dim=-1), coded.codes)
        torch.testing.assert_close(torch.cat([w.scales for w in windows], dim=-1), coded.scales)
        heard = [stream.decode(w, last=i == len(windows) - 1) for i, w in enumerate(windows)]
    torch.testing.assert_close(torch.cat(heard, dim=-1)[..., :length], waveform, atol=1e-5, rtol=0)


def test_batch_items_stand_alone_and_bandwidths():
    model, x = codec(), torch.randn(3, 2, 500)
    assert torch.equal(model.encode(x).codes[1:2], model.encode(x[1:2]).codes)
    assert torch.equal(model.encode(x, bandwidth=8.0).codes, model.encode(x).codes[:, :2])
    assert torch.equal(model.encode(x, n_codebooks=1).codes, model.encode(x).codes[:, :1])
    assert (model.sample_rate, model.hop_length, model.frame_rate) == (8000, 8, 1000)
    assert (model.n_codebooks, model.codebook_size, model.codebooks_at(12.0)) == (3, 16, 3)


def test_every_parameter_gets_a_gradient():
    model, x = codec().train(), torch.randn(2, 2, 160)
    result = model(x, generator=torch.Generator().manual_seed(0))
    (result.waveform.square().mean() + result.commitment).backward()
    missing = [n for n, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert not missing
    with pytest.raises(ValueError, match="at most 160"):
        model(torch.randn(1, 2, 161))


def test_scale_is_the_root_mean_square_of_the_channels_mean():
    x = torch.tensor([[[3.0, 1.0], [1.0, 7.0]]])  # means 2 and 4
    normal, scale = normalised(x)
    torch.testing.assert_close(scale, torch.tensor([[[10.0**0.5]]]))
    torch.testing.assert_close(normal * scale, x)


def test_saved_and_loaded_is_the_same(tmp_path):
    model, x = codec(), torch.randn(1, 2, 300)
    model.save(tmp_path)
    again = native.load(Source("test", tmp_path)).eval()
    assert torch.equal(again.encode(x).codes, model.encode(x).codes)
    assert torch.equal(again.decode(model.encode(x)), model.decode(model.encode(x)))


def test_bad_input_is_refused():
    model = codec()
    with pytest.raises(ValueError, match="empty"):
        model.encode(torch.zeros(1, 2, 0))
    with pytest.raises(ValueError, match="2 channels, got 1"):
        model.encode(torch.zeros(1, 1, 50))
    coded = model.encode(torch.randn(1, 2, 300))
    with pytest.raises(ValueError, match=r"500 samples are 4 windows of 69 frames together, got 3 scales and 42"):
        model.decode(coded._replace(length=500))
    with pytest.raises(ValueError, match="at least one sample"):
        model.decode(WindowedCodes(coded.codes, coded.scales, 0))
    with pytest.raises(ValueError, match="stride"):
        WindowedEncodecConfig(stride=48001)
    with pytest.raises(ValueError, match="looks at all of time"):
        SEANetConfig(group_norm=True)
    with pytest.raises(ValueError, match="WindowedEncodec"), Encodec(CONFIG.codec).streaming():
        pass
