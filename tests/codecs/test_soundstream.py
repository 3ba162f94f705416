"""SoundStream has no weights to compare with: its claims are tested one by one."""

import dataclasses

import pytest
import torch

from nexus.codecs.latency import first_frame_latency
from nexus.codecs.soundstream import FiLM, SoundStream, SoundStreamConfig
from nexus.hub import native
from nexus.hub.source import Source
from nexus.nn.quantize import QuantizerConfig

CONFIG = SoundStreamConfig(
    sample_rate=8000,
    n_filters=4,
    strides=(2, 4),
    quantizer=QuantizerConfig(n_codebooks=4, codebook_size=16, dim=8, k_means_steps=2),
)


def codec() -> SoundStream:
    """With codebooks as wide as what they quantise, and a switch that does something."""
    torch.manual_seed(0)
    model = SoundStream(CONFIG).eval()
    with torch.no_grad():
        model.film.scale.normal_()
        model.film.shift.normal_()
        latent = model.latent(torch.randn(1, 1, 999))
        for k, codebook in enumerate(model.quantizer.codebooks):
            codebook.vectors.mul_(latent.std() / 2**k)
    return model


def test_the_papers_shape():
    """Figure 3 at C = 32: 24 kHz, 75 Hz, residual units of kernel 7 with dilations 1, 3, 9, last kernels 3 and 7."""
    with torch.device("meta"):
        model = SoundStream(SoundStreamConfig())
    assert (model.frame_rate, model.hop_length, model.bitrate) == (75, 320, 18000)
    convs = [m for m in model.encoder.modules() if isinstance(m, torch.nn.Conv1d)]
    shapes = [(c.in_channels, c.out_channels, c.kernel_size[0], c.stride[0], c.dilation[0]) for c in convs]
    expected, dim = [(1, 32, 7, 1, 1)], 32
    for stride in (2, 4, 5, 8):
        for dilation in (1, 3, 9):
            expected += [(dim, dim, 7, 1, dilation), (dim, dim, 1, 1, 1)]
        expected.append((dim, 2 * dim, 2 * stride, stride, 1))
        dim *= 2
    assert shapes == [*expected, (512, 512, 3, 1, 1)]
    ups = [m for m in model.decoder.modules() if isinstance(m, torch.nn.ConvTranspose1d)]
    assert [(c.in_channels, c.stride[0]) for c in ups] == [(512, 8), (256, 5), (128, 4), (64, 2)]
    last = [m for m in model.decoder.modules() if isinstance(m, torch.nn.Conv1d)][-1]
    assert (last.out_channels, last.kernel_size[0]) == (1, 7)


@pytest.mark.parametrize("length", [1, 7, 8, 333])
def test_lengths(length):
    model, x = codec(), torch.randn(2, 1, length)
    codes = model.encode(x)
    assert codes.shape == (2, 4, -(-length // 8))
    assert model.decode(codes).shape[-1] == codes.shape[-1] * 8
    assert model.decode(codes, length=length).shape == x.shape
    assert model(x).waveform.shape == x.shape
    assert model.decode(codes[..., :0]).shape == (2, 1, 0)


def test_causality_of_both_directions():
    model, x = codec(), torch.randn(1, 1, 400)
    changed = x.clone()
    changed[..., 240:] += 1
    latent, other = model.latent(x), model.latent(changed)
    assert torch.equal(latent[..., :30], other[..., :30])
    assert not torch.equal(latent[..., 30], other[..., 30])
    codes = model.encode(x)
    altered = codes.clone()
    altered[..., 20] = (altered[..., 20] + 1) % 16
    heard, again = model.decode(codes), model.decode(altered)
    assert torch.equal(heard[..., :160], again[..., :160])
    assert not torch.equal(heard[..., 160:168], again[..., 160:168])


@pytest.mark.parametrize("denoise", [False, True])
@pytest.mark.parametrize(("length", "chunk"), [(333, 1), (333, 8), (333, 50), (9, 4)])
def test_streams_equal_the_whole(length, chunk, denoise):
    model, x = codec(), torch.randn(2, 1, length)
    codes = model.encode(x, denoise=denoise)
    waveform = model.decode(codes)
    assert waveform.std() > 1e-3
    with model.streaming() as stream:
        chunks = x.split(chunk, dim=-1)
        parts = [stream.encode(part, denoise=denoise, last=i == len(chunks) - 1) for i, part in enumerate(chunks)]
        assert torch.equal(torch.cat(parts, dim=-1), codes)
        frames = codes.split(max(chunk // 8, 1), dim=-1)
        heard = [stream.decode(part, last=i == len(frames) - 1) for i, part in enumerate(frames)]
        torch.testing.assert_close(torch.cat(heard, dim=-1), waveform, atol=1e-5, rtol=0)


def test_every_frame_is_answered_at_once():
    assert first_frame_latency(codec()) == (8, 8)


def test_the_switch_off_is_the_identity_and_on_is_not():
    film, x = FiLM(3), torch.randn(2, 3, 5)
    with torch.no_grad():
        film.scale.copy_(torch.tensor([1.0, 0.0, -0.5]))
        film.shift.copy_(torch.tensor([0.0, 2.0, 0.0]))
    on = torch.tensor([[0.0], [1.0]])
    y = film(x, on)
    assert torch.equal(y[0], x[0])
    torch.testing.assert_close(y[1], x[1] * torch.tensor([2.0, 1.0, 0.5])[:, None] + torch.tensor([0, 2.0, 0])[:, None])
    half_way = film(x, torch.tensor([[0.0, 0, 1, 1, 1]]).expand(2, 5))
    assert torch.equal(half_way[..., :2], x[..., :2])
    assert not torch.equal(half_way[..., 2:], x[..., 2:])
    assert torch.equal(FiLM(3)(x, on), x)


def test_the_switch_reaches_the_codes_item_by_item():
    model, x = codec(), torch.randn(2, 1, 200)
    plain, cleaned = model.encode(x), model.encode(x, denoise=True)
    assert not torch.equal(plain, cleaned)
    mixed = model(x, denoise=torch.tensor([True, False]))
    assert torch.equal(mixed.codes[0], cleaned[0])
    assert torch.equal(mixed.codes[1], plain[1])


def test_dropout_leaves_out_the_last_codebooks():
    model, x = codec(), torch.randn(3, 1, 200)
    depths = torch.tensor([1, 4, 2])
    result = model(x, depths)
    for item, depth in enumerate(depths.tolist()):
        codes = model.encode(x[item : item + 1], depth)
        assert torch.equal(result.codes[item : item + 1, :depth], codes)
        assert (result.codes[item, depth:] == -1).all()
        torch.testing.assert_close(result.waveform[item], model.decode(codes, length=200)[0], atol=1e-5, rtol=1e-4)


def test_depths_are_uniform(rng):
    counts = codec().random_depths(4000, rng).bincount(minlength=5)
    assert counts[0] == 0
    assert (counts[1:] - 1000).abs().max() < 120


def test_more_codebooks_are_nearer():
    model, x = codec(), torch.randn(1, 1, 800)
    latent = model.latent(x)
    errors = [(model.quantizer.decode(model.encode(x, k)) - latent).square().mean().item() for k in range(1, 5)]
    assert errors == sorted(errors, reverse=True)


def test_every_parameter_gets_a_gradient():
    model, x = codec().train(), torch.randn(2, 1, 400)
    result = model(x, generator=torch.Generator().manual_seed(0), denoise=torch.tensor([True, False]))
    (result.waveform.square().mean() + result.commitment).backward()
    missing = [n for n, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert not missing


def test_learns_one_batch():
    torch.manual_seed(0)
    rng, t = torch.Generator().manual_seed(0), torch.arange(2048) / 8000
    clean = 0.5 * torch.sin(2 * torch.pi * torch.tensor([[220.0], [700.0]]) * t)[:, None]
    batch = {"waveform": clean + 0.05 * torch.randn(2, 1, 2048, generator=rng), "target": clean}
    batch["denoise"] = torch.ones(2, dtype=torch.bool)
    model = SoundStream(dataclasses.replace(CONFIG, quantizer=dataclasses.replace(CONFIG.quantizer, decay=0.8))).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    losses = []
    for _ in range(40):
        loss = model.loss(batch, rng)["loss"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert sum(losses[-5:]) / 5 < 0.6 * losses[0]


def test_saved_and_loaded_is_the_same(tmp_path):
    model, x = codec(), torch.randn(1, 1, 100)
    model.save(tmp_path)
    again = native.load(Source("test", tmp_path)).eval()
    assert torch.equal(again.encode(x, denoise=True), model.encode(x, denoise=True))
    assert torch.equal(again.decode(model.encode(x)), model.decode(model.encode(x)))


def test_bad_input_is_refused():
    model = codec()
    with pytest.raises(ValueError, match="mono, got 2"):
        model.encode(torch.randn(1, 2, 100))
    with pytest.raises(ValueError, match="empty"):
        model.encode(torch.randn(1, 1, 0))
    with pytest.raises(ValueError, match="n_codebooks must be 1 to 4"):
        model.encode(torch.randn(1, 1, 100), 5)
    with pytest.raises(ValueError, match="strides"):
        SoundStreamConfig(strides=(2, 1))
