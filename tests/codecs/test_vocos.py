"""Vocos on its own: lengths, streams, both inputs, gradients, learning."""

import dataclasses

import pytest
import torch

from nexus.codecs.vocos import CodesConfig, Vocos, VocosConfig
from nexus.hub import native
from nexus.hub.source import Source

MEL = VocosConfig(sample_rate=8000, n_fft=64, hop_length=16, n_features=10, dim=16, hidden_dim=32, n_layers=2)
CODES = dataclasses.replace(
    MEL, padding="same", codes=CodesConfig(n_codebooks=4, codebook_size=8, bandwidths=(1.5, 3.0))
)


def vocoder(config: VocosConfig) -> Vocos:
    """Parameters redrawn, so that no norm and no condition is trivial."""
    torch.manual_seed(0)
    model = Vocos(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.2)
    return model


@pytest.mark.parametrize("padding", ["center", "same"])
@pytest.mark.parametrize("n_frames", [2, 5, 41])
@pytest.mark.parametrize("chunk", [1, 3, 41])
def test_streams_equal_the_whole(padding, n_frames, chunk):
    model, features = vocoder(dataclasses.replace(MEL, padding=padding)), torch.randn(2, 10, n_frames)
    whole = model.decode(features)
    assert whole.shape == (2, 1, 16 * (n_frames - (padding == "center")))
    assert whole.std() > 1e-3
    with model.streaming() as stream:
        chunks = features.split(chunk, dim=-1)
        parts = [stream.decode(part, last=i == len(chunks) - 1) for i, part in enumerate(chunks)]
    torch.testing.assert_close(torch.cat(parts, dim=-1), whole, atol=1e-5, rtol=0)


@pytest.mark.parametrize("padding", ["center", "same"])
def test_look_ahead_is_what_it_says(padding):
    model = vocoder(dataclasses.replace(MEL, padding=padding))
    with model.streaming() as stream:
        heard = [stream.decode(torch.randn(1, 10, 1)).shape[-1] for _ in range(30)]
    # Frame f of the input has given its hop of samples once look_ahead more frames have come.
    assert sum(heard[: model.look_ahead + 1]) >= 16
    assert sum(heard[: model.look_ahead]) < 16
    assert heard[-5:] == [16] * 5


def test_codes_with_bandwidths():
    model, codes = vocoder(CODES), torch.randint(8, (2, 4, 9))
    features = sum(model.codebooks[k][codes[:, k]] for k in range(4)).mT
    expected = model.decode(features, torch.tensor([1, 1]))
    torch.testing.assert_close(model.decode_codes(codes), expected)
    torch.testing.assert_close(model.decode_codes(codes, 3.0), expected)
    assert not torch.allclose(model.decode_codes(codes[:, :2]), expected, atol=1e-3)
    assert model.decode_codes(codes).shape == (2, 1, 9 * 16)
    with pytest.raises(ValueError, match=r"1\.5 \(2 codebooks\), 3 \(4 codebooks\)"):
        model.decode_codes(codes[:, :3])
    with pytest.raises(ValueError, match="at most 4"):
        model.decode_codes(torch.zeros(1, 5, 2, dtype=torch.int64))


def test_wrong_input_is_refused():
    mel, codes = vocoder(MEL), vocoder(CODES)
    with pytest.raises(ValueError, match="10 feature channels, got 11"):
        mel.decode(torch.randn(1, 11, 4))
    with pytest.raises(ValueError, match="no bandwidth_id"):
        mel.decode(torch.randn(1, 10, 4), torch.tensor([0]))
    with pytest.raises(ValueError, match="needs a bandwidth_id"):
        codes.decode(torch.randn(1, 10, 4))
    with pytest.raises(ValueError, match="use decode"):
        mel.decode_codes(torch.zeros(1, 1, 4, dtype=torch.int64))
    with pytest.raises(ValueError, match="use decode_codes"):
        codes.features(torch.randn(1, 1, 100))
    with pytest.raises(ValueError, match="twice hop_length"):
        dataclasses.replace(MEL, hop_length=48)


@pytest.mark.parametrize("config", [MEL, CODES])
def test_every_parameter_gets_a_gradient(config):
    model = vocoder(config)
    if config.codes:
        codes = torch.arange(32).remainder(8).view(1, 4, 8).expand(2, 4, 8)
        output = model(model._embed_codes(codes), torch.tensor([0, 1]))
    else:
        output = model(torch.randn(2, 10, 30))
    output.square().mean().backward()
    assert not [n for n, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]


def test_saved_and_loaded_is_the_same(tmp_path):
    model, features = vocoder(MEL), torch.randn(1, 10, 7)
    model.save(tmp_path)
    assert torch.equal(native.load(Source("test", tmp_path)).eval().decode(features), model.decode(features))


def test_features_come_back_to_their_length():
    model, x = vocoder(MEL), torch.randn(2, 1, 500)
    assert model.features(x).shape == (2, 10, 500 // 16 + 1)
    assert model.decode(model.features(x)).shape[-1] == 496


def test_learns_one_batch():
    torch.manual_seed(0)
    t = torch.arange(2048) / 8000
    x = 0.5 * torch.sin(2 * torch.pi * torch.tensor([[220.0], [700.0]]) * t)[:, None] + 0.05 * torch.randn(2, 1, 2048)
    model = Vocos(MEL)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    losses = []
    for _ in range(40):
        loss = model.loss({"waveform": x})["loss"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.4 * losses[0]
