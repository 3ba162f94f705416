"""EnCodec on its own: lengths, bandwidths, streams, gradients, learning, and the frame coder."""

import dataclasses

import pytest
import torch

from nexus.codecs.encodec import Encodec, EncodecConfig
from nexus.codecs.frames import FrameCoderConfig, fit
from nexus.codecs.seanet import SEANetConfig
from nexus.codecs.vocos import VocosConfig
from nexus.hub import native
from nexus.hub.source import Source
from nexus.nn.quantize import QuantizerConfig

SEANET = SEANetConfig(n_filters=4, ratios=(4, 2), n_lstm_layers=1)
QUANTIZER = QuantizerConfig(n_codebooks=3, codebook_size=16, dim=8, k_means_steps=2)
CAUSAL = EncodecConfig(sample_rate=8000, seanet=SEANET, quantizer=QUANTIZER)
FRAMES = EncodecConfig(
    sample_rate=8000,
    quantizer=QUANTIZER,
    frames=FrameCoderConfig(
        n_tones=24,
        tone_window=64,
        tone_dim=4,
        dim=12,
        hidden_dim=16,
        n_layers=2,
        vocos=VocosConfig(
            sample_rate=8000, n_fft=24, hop_length=8, n_features=8, padding="same", dim=12, hidden_dim=16, n_layers=2
        ),
    ),
)
CONFIGS = {
    "reflect": CAUSAL,
    "constant": dataclasses.replace(CAUSAL, seanet=dataclasses.replace(SEANET, pad_mode="constant")),
    "not causal": dataclasses.replace(CAUSAL, seanet=dataclasses.replace(SEANET, causal=False, conv_shortcut=False)),
    "frames": FRAMES,
}


def sound(batch: int, length: int) -> torch.Tensor:
    """Noise whose loudness and colour change."""
    noise, loudness = torch.randn(batch, 1, length + 40), torch.rand(batch, 1, length // 40 + 2)
    smooth = noise.unfold(-1, 4, 1).mean(-1)[..., :length]
    where = torch.arange(length) // 40
    return loudness[..., where] * torch.where(where % 2 == 0, smooth, noise[..., :length])


def codec(name: str) -> Encodec:
    torch.manual_seed(0)
    model = Encodec(CONFIGS[name]).eval()
    with torch.no_grad():
        if name == "frames":
            parts = model.encoder.layers[0](sound(1, 4000))
            fit(model.encoder.layers, model.decoder.layers, model.quantizer, parts, torch.Generator().manual_seed(0))
            torch.nn.init.normal_(model.decoder.layers[1].out.weight, std=0.3)
            return model
        latent = model.encoder(sound(1, 999))
        for codebook in model.quantizer.codebooks:
            codebook.vectors.mul_(latent.std())
    return model


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("length", [1, 7, 8, 100, 333])
def test_lengths(name, length):
    model, x = codec(name), sound(2, length)
    codes = model.encode(x)
    assert codes.shape == (2, 3, -(-length // model.hop_length))
    assert model.decode(codes).shape[-1] == codes.shape[-1] * model.hop_length
    assert model.decode(codes, length=length).shape == x.shape
    assert model(x).waveform.shape == x.shape


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize(("length", "chunk"), [(333, 1), (333, 8), (320, 16), (333, 50), (333, 333), (9, 4)])
def test_streams_equal_the_whole(name, length, chunk):
    model, x = codec(name), sound(2, length)
    codes = model.encode(x)
    waveform = model.decode(codes)
    assert len(codes.unique()) > min(3, codes.shape[-1])
    assert waveform.std() > 1e-3
    with model.streaming() as stream:
        chunks = x.split(chunk, dim=-1)
        parts = [stream.encode(part, last=i == len(chunks) - 1) for i, part in enumerate(chunks)]
        assert torch.equal(torch.cat(parts, dim=-1), codes)
        frames = codes.split(max(chunk // model.hop_length, 1), dim=-1)
        heard = [stream.decode(part, last=i == len(frames) - 1) for i, part in enumerate(frames)]
        torch.testing.assert_close(torch.cat(heard, dim=-1), waveform, atol=1e-5, rtol=0)


def test_a_causal_stream_answers_every_frame_at_once():
    model = codec("constant")
    with model.streaming() as stream:
        for _ in range(3):
            codes = stream.encode(torch.randn(1, 1, model.hop_length))
            assert codes.shape[-1] == 1
            assert stream.decode(codes).shape[-1] == model.hop_length


@pytest.mark.parametrize("name", ["reflect", "constant"])
def test_causality(name):
    model, x = codec(name), torch.randn(1, 1, 400)
    changed = x.clone()
    changed[..., 240:] += 1
    latent, other = model.encoder(x), model.encoder(changed)
    assert torch.equal(latent[..., :30], other[..., :30])
    assert not torch.equal(latent[..., 30:], other[..., 30:])


@pytest.mark.parametrize("name", CONFIGS)
def test_batch_items_stand_alone(name):
    model, x = codec(name), torch.randn(3, 1, 200)
    assert torch.equal(model.encode(x)[1:2], model.encode(x[1:2]))


@pytest.mark.parametrize("name", CONFIGS)
def test_every_parameter_gets_a_gradient(name):
    model = codec(name).train()
    result = model(sound(2, 400), generator=torch.Generator().manual_seed(0))
    (result.waveform.square().mean() + result.commitment).backward()
    missing = [n for n, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert not missing


def test_bandwidth_and_depth():
    model = Encodec(EncodecConfig(seanet=SEANetConfig(n_filters=2), quantizer=QuantizerConfig(dim=4)))
    assert (model.frame_rate, model.hop_length, model.codebook_size) == (75, 320, 1024)
    assert [model.codebooks_at(b) for b in (1.5, 3.0, 6.0, 12.0, 24.0)] == [2, 4, 8, 16, 32]
    x = torch.randn(1, 1, 640)
    assert torch.equal(model.encode(x, bandwidth=6.0), model.encode(x, n_codebooks=8))
    with pytest.raises(ValueError, match=r"0\.75 to 24 kbps, got 0\.5"):
        model.encode(x, bandwidth=0.5)
    with pytest.raises(ValueError, match="not both"):
        model.encode(x, bandwidth=6.0, n_codebooks=8)
    with pytest.raises(ValueError, match="mono, got 2"):
        model.encode(torch.randn(1, 2, 640))
    with pytest.raises(ValueError, match="empty"):
        model.encode(x[..., :0])


@pytest.mark.parametrize("name", ["reflect", "frames"])
def test_saved_and_loaded_is_the_same(name, tmp_path):
    model, x = codec(name), torch.randn(1, 1, 100)
    model.save(tmp_path)
    again = native.load(Source("test", tmp_path)).eval()
    assert torch.equal(again.encode(x), model.encode(x))
    assert torch.equal(again.decode(model.encode(x)), model.decode(model.encode(x)))


def test_fitted_axes_give_the_frames_back():
    """With as many axes as numbers in a frame nothing is lost; with fewer, what is lost grows."""
    torch.manual_seed(0)
    errors = []
    for dim in (20, 12, 6):  # four of them tones
        model = Encodec(dataclasses.replace(FRAMES, quantizer=dataclasses.replace(QUANTIZER, dim=dim)))
        parts = torch.cat([torch.randn(1, 4, 400).repeat(1, 6, 1), torch.randn(1, 16, 400).cumsum(1)], dim=1) + 3
        fit(model.encoder.layers, model.decoder.layers, model.quantizer, parts, torch.Generator().manual_seed(0))
        with torch.no_grad():
            errors.append((model.decoder.layers[0](model.encoder.layers[1](parts)) - parts).square().mean().item())
    assert errors[0] < 1e-3
    assert errors[0] < errors[1] < errors[2] < 8


def test_the_first_codebook_hears_only_tones():
    model = codec("frames")
    first = model.quantizer.codebooks[0].vectors
    assert first[:, :4].std() > 0
    assert torch.equal(first[:, 4:], torch.zeros_like(first[:, 4:]))


def test_learns_one_batch():
    torch.manual_seed(0)
    rng, t = torch.Generator().manual_seed(0), torch.arange(2048) / 8000
    x = 0.5 * torch.sin(2 * torch.pi * torch.tensor([[220.0], [700.0]]) * t)[:, None]
    x = x + 0.05 * torch.randn(2, 1, 2048, generator=rng)
    quantizer = dataclasses.replace(QUANTIZER, decay=0.8, codebook_size=32)
    model = Encodec(dataclasses.replace(FRAMES, quantizer=quantizer)).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
    losses = []
    for _ in range(40):
        loss = model.loss({"waveform": x}, rng)["loss"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]


def test_bad_configs_are_refused():
    with pytest.raises(ValueError, match="causal"):
        SEANetConfig(causal=False, trim_right_ratio=0.5)
    with pytest.raises(ValueError, match="24000 Hz, the codec for 8000"):
        EncodecConfig(sample_rate=8000, frames=FrameCoderConfig())
    with pytest.raises(ValueError, match="padding 'same'"):
        FrameCoderConfig(vocos=VocosConfig())
    with pytest.raises(ValueError, match="mono"):
        EncodecConfig(channels=2, frames=FrameCoderConfig())
