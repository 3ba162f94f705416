"""The codec of spectra: lengths, streams, look-ahead, gradients, its start in closed form, learning."""

import dataclasses

import pytest
import torch
from torch import Tensor

from nexus.codecs.spectral_codec import FLOOR, BlocksConfig, SpectralCodec, SpectralCodecConfig
from nexus.hub import native
from nexus.hub.source import Source
from nexus.nn.quantize import QuantizerConfig
from nexus.process.spectral import magnitude_distances

BLOCKS = BlocksConfig(in_dim=12, dim=16, hidden_dim=24, n_layers=2)
SMALL = SpectralCodecConfig(
    sample_rate=8000,
    n_fft=64,
    hop_length=16,
    n_mels=12,
    encoder=BLOCKS,
    quantizer=QuantizerConfig(n_codebooks=3, codebook_size=16, dim=8, k_means_steps=3),
    decoder=dataclasses.replace(BLOCKS, n_layers=1),
    n_iterations=3,
)


def tones(length: int) -> Tensor:
    """Two gliding tones and a noise that comes and goes, at 8 kHz."""
    generator, t = torch.Generator().manual_seed(0), torch.arange(length) / 8000
    rows = [torch.sin(2 * torch.pi * (f * t + 300 * t**2)) * torch.sin(9 * t).abs() for f in (330, 900)]
    noise = torch.randn(length, generator=generator) * torch.sin(20 * t).relu()
    return 0.3 * torch.stack([*rows, noise])[:, None]


def codec(config: SpectralCodecConfig = SMALL) -> SpectralCodec:
    """Parameters redrawn and codebooks as wide as the latent, so that codes differ and the output is loud."""
    torch.manual_seed(0)
    model = SpectralCodec(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.3)
        model.quantizer.start(model.encoder(tones(4096)))
    return model


@pytest.mark.parametrize("length", [1, 16, 17, 333])
def test_lengths(length):
    model, x = codec(), tones(length)[:2]
    codes = model.encode(x)
    n_frames = -(-length // 16)
    assert codes.shape == (2, 3, n_frames)
    assert codes.dtype == torch.int64
    assert model.decode(codes).shape == (2, 1, 16 * n_frames)
    assert model.decode(codes, length=length).shape == x.shape
    assert model.decode(codes[:, :1], length=length).shape == x.shape
    result = model(x)
    assert torch.equal(result.codes, codes)
    assert result.log_magnitudes.shape == result.target.shape == (2, 33, n_frames)


@pytest.mark.parametrize(("length", "chunk"), [(61, 1), (800, 16), (1600, 333), (1600, 1600)])
def test_streams_equal_the_whole(length, chunk):
    model, x = codec().double(), tones(length).double()
    codes = model.encode(x)
    waveform = model.decode(codes)
    assert len(codes.unique()) > 8
    assert waveform.std() > 1e-2
    with model.streaming() as stream:
        chunks = x.split(chunk, dim=-1)
        coded = [stream.encode(part, last=i == len(chunks) - 1) for i, part in enumerate(chunks)]
        assert torch.equal(torch.cat(coded, dim=-1), codes)
        frames = codes.split(max(chunk // 16, 1), dim=-1)
        heard = [stream.decode(part, last=i == len(frames) - 1) for i, part in enumerate(frames)]
    # Searching turns what the last bits of a layer differ by into a hundred times as much.
    torch.testing.assert_close(torch.cat(heard, dim=-1), waveform, atol=1e-4, rtol=0)


def test_look_ahead_is_what_streams_wait_for():
    model = codec()
    with model.streaming() as stream:
        coded = [stream.encode(torch.randn(1, 1, 1)).shape[-1] for _ in range(400)]
        heard = [stream.decode(torch.zeros(1, 3, 1, dtype=torch.int64)).shape[-1] for _ in range(40)]
    for frame in range(5, 9):
        seen = 16 * (frame + 1) + model.encoder_look_ahead
        assert sum(coded[:seen]) > frame >= sum(coded[: seen - 1])
        seen = frame + 1 + model.decoder_look_ahead
        assert sum(heard[:seen]) >= 16 * (frame + 1) > sum(heard[: seen - 1])
    assert model.look_ahead == model.encoder_look_ahead + 16 * model.decoder_look_ahead


def test_batch_items_stand_alone():
    model, x = codec(), tones(500)
    codes = model.encode(x)
    assert torch.equal(codes[1:2], model.encode(x[1:2]))
    torch.testing.assert_close(model.decode(codes)[1:2], model.decode(codes[1:2]), atol=1e-4, rtol=0)


def test_sizes_and_rates():
    model = SpectralCodec(SpectralCodecConfig())
    assert (model.hop_length, model.n_codebooks, model.codebook_size, model.channels) == (256, 6, 1024, 1)
    assert (model.frame_rate, model.bitrate, model.bitrate_of(2)) == (93.75, 5625, 1875)


def test_every_parameter_gets_a_gradient():
    model, x = codec().train(), tones(480)
    losses = model.losses(model(x))
    assert set(losses) == {"log", "root", "mel", "loudness", "commitment"}
    torch.stack(list(losses.values())).sum().backward()
    assert not [n for n, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]


def test_fewer_codebooks_are_fewer_bits_of_the_same():
    model, x = codec(), tones(480)
    assert torch.equal(model.encode(x, n_codebooks=2), model.encode(x)[:, :2])


def test_fitted_without_learning_the_mel_frames_come_back():
    """Principal axes and codebooks in closed form: with room for all axes, codes say what k-means says."""
    quantizer = QuantizerConfig(n_codebooks=6, codebook_size=64, dim=12, k_means_steps=8)
    torch.manual_seed(0)
    model = SpectralCodec(dataclasses.replace(SMALL, quantizer=quantizer)).eval()
    x = tones(16384)
    model.fit(x, torch.Generator().manual_seed(0))
    decoder = model.decoder.layers[0]
    with torch.no_grad():
        mel = model.encoder.layers[0](x)[:, :12]
        exact, coded = (
            decoder.project(latent.mT).mT
            for latent in (model.encoder(x), model.quantizer.decode(model.quantizer.encode(model.encoder(x))))
        )
    torch.testing.assert_close(exact, mel, atol=1e-2, rtol=0)
    assert (coded - mel).square().mean() < 0.05 * mel.var()
    with pytest.raises(ValueError, match=r"decoder\.in_dim must be n_mels = 12 to be fitted, got 9"):
        SpectralCodec(dataclasses.replace(SMALL, decoder=dataclasses.replace(BLOCKS, in_dim=9))).fit(x)


def test_distances_of_magnitudes():
    torch.manual_seed(0)
    a = torch.randn(2, 33, 10) - 1
    same = magnitude_distances(a, a, 8000, FLOOR, n_mels=12)
    assert all(value == 0 for value in same.values())
    louder = magnitude_distances(a + 0.1, a, 8000, FLOOR, n_mels=12)
    assert louder["log"] == pytest.approx(0.1, rel=1e-4)
    assert louder["mel"] == pytest.approx(0.1, rel=1e-3)
    root = magnitude_distances(torch.full_like(a, 2.0), torch.zeros_like(a), 8000, FLOOR, n_mels=12)["root"]
    assert root == pytest.approx(torch.e - 1, rel=1e-4)
    low, high = a.clone(), a.clone()
    low[:, 2] += 0.1
    high[:, 30] += 0.1
    assert (
        magnitude_distances(low, a, 8000, FLOOR, n_mels=12)["log"]
        > 10 * magnitude_distances(high, a, 8000, FLOOR, n_mels=12)["log"]
    )
    silent = torch.full_like(a, -20.0)
    assert all(v == 0 for v in magnitude_distances(silent, silent - 5, 8000, FLOOR, n_mels=12).values())


def test_saved_and_loaded_is_the_same(tmp_path):
    model, x = codec(), tones(300)
    model.save(tmp_path)
    again = native.load(Source("test", tmp_path)).eval()
    assert again.config == model.config
    assert torch.equal(again.encode(x), model.encode(x))
    assert torch.equal(again.decode(again.encode(x)), model.decode(model.encode(x)))


def test_wrong_input_is_refused():
    model = codec()
    with pytest.raises(ValueError, match="mono, got 2 channels"):
        model.encode(torch.randn(1, 2, 60))
    with pytest.raises(ValueError, match="empty"):
        model.encode(torch.randn(1, 1, 0))
    with pytest.raises(ValueError, match="0 to 15, got 0 to 16"):
        model.decode(torch.tensor([[[0], [16]]]))
    with pytest.raises(ValueError, match="up to 32 samples, got length 33"):
        model.decode(torch.zeros(1, 3, 2, dtype=torch.int64), length=33)
    assert model.decode(torch.zeros(1, 3, 0, dtype=torch.int64)).shape == (1, 1, 0)
    with pytest.raises(ValueError, match="wider than 12 mel bins"):
        dataclasses.replace(SMALL, quantizer=QuantizerConfig(dim=13))
    with pytest.raises(ValueError, match="n_fft at least twice hop_length, got 64 and 40"):
        dataclasses.replace(SMALL, hop_length=40)


def test_learns_one_batch():
    torch.manual_seed(0)
    model, x = SpectralCodec(SMALL), tones(1600)
    model.fit(x, torch.Generator().manual_seed(0))
    model.train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    losses = []
    for _ in range(40):
        loss = torch.stack(list(model.losses(model(x)).values())).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.7 * losses[0]
