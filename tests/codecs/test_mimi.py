"""Mimi on its own: lengths, batches, streams, causality, gradients, meaning, learning."""

import dataclasses

import pytest
import torch

from nexus.codecs import mimi
from nexus.codecs.mimi import Mimi, MimiConfig
from nexus.codecs.seanet import SEANetConfig
from nexus.hub import native
from nexus.hub.source import Source
from nexus.nn.quantize import QuantizerConfig
from nexus.nn.sliding import SlidingTransformerConfig

SMALL = MimiConfig(
    sample_rate=8000,
    latent_dim=16,
    seanet=dataclasses.replace(mimi.mimi_seanet(), n_filters=4, ratios=(4, 2)),
    transformer=SlidingTransformerConfig(dim=16, n_layers=2, n_heads=2, hidden_dim=32, window=5, layer_scale=0.5),
    upsample_groups=16,
    quantizer=QuantizerConfig(n_codebooks=4, codebook_size=16, dim=8, k_means_steps=2),
)
CONFIGS = {
    "layers pad": SMALL,
    "silence pads": dataclasses.replace(SMALL, silence_to_whole_frames=True),
    "reflecting": dataclasses.replace(SMALL, seanet=dataclasses.replace(SMALL.seanet, pad_mode="reflect")),
}


def codec(config: MimiConfig = SMALL) -> Mimi:
    """Codebooks as large as what they quantise."""
    torch.manual_seed(0)
    model = Mimi(config).eval()
    with torch.no_grad():
        latent = model(torch.randn(1, 1, 999)).semantic.std()
        for module in model.modules():
            if hasattr(module, "vectors"):
                module.vectors.mul_(latent)
    return model


@torch.no_grad()
def whole(model: Mimi, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Codes and waveform of all at once, past the streaming path."""
    result = model(x)
    return result.codes, result.waveform


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("length", [1, 15, 16, 17, 333])
def test_lengths(name, length):
    model, x = codec(CONFIGS[name]), torch.randn(2, 1, length)
    codes = model.encode(x)
    assert codes.shape == (2, 4, -(-length // 16))
    assert model.decode(codes).shape[-1] == codes.shape[-1] * 16
    assert model.decode(codes, length=length).shape == x.shape
    assert model(x).waveform.shape == x.shape


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize(("length", "chunk"), [(41, 1), (333, 23), (336, 16), (333, 48), (333, 333), (17, 16), (9, 4)])
def test_streams_equal_the_whole(name, length, chunk):
    model, x = codec(CONFIGS[name]), torch.randn(3, 1, length)
    codes, waveform = whole(model, x)
    assert len(codes.unique()) > 3
    assert waveform.std() > 1e-2
    with model.streaming() as stream:
        chunks = x.split(chunk, dim=-1)
        parts = [stream.encode(part, last=i == len(chunks) - 1) for i, part in enumerate(chunks)]
        assert torch.equal(torch.cat(parts, dim=-1), codes)
        frames = codes.split(max(chunk // 16, 1), dim=-1)
        heard = [stream.decode(part, last=i == len(frames) - 1) for i, part in enumerate(frames)]
        torch.testing.assert_close(torch.cat(heard, dim=-1)[..., :length], waveform, atol=1e-5, rtol=0)


def test_the_end_may_come_after_the_last_sample():
    model, x = codec(CONFIGS["silence pads"]), torch.randn(1, 1, 40)
    with model.streaming() as stream:
        codes = [stream.encode(x), stream.encode(x[..., :0], last=True)]
    assert [part.shape[-1] for part in codes] == [2, 1]
    assert torch.equal(torch.cat(codes, dim=-1), whole(model, x)[0])


def test_every_frame_is_answered_at_once():
    model = codec()
    assert model.latency == 16 / 8000
    with model.streaming() as stream:
        for _ in range(20):
            codes = stream.encode(torch.randn(2, 1, 16))
            assert codes.shape == (2, 4, 1)
            assert stream.decode(codes).shape == (2, 1, 16)


def test_streams_side_by_side_are_streams_alone():
    model, x = codec(), torch.randn(3, 1, 160)
    with model.streaming() as together, model.streaming() as alone:
        for part in x.split(32, dim=-1):
            codes = together.encode(part)
            assert torch.equal(codes[1:2], alone.encode(part[1:2]))
            torch.testing.assert_close(together.decode(codes)[1:2], alone.decode(codes[1:2]), atol=1e-5, rtol=0)


def test_long_sounds_pass_in_pieces(monkeypatch):
    model, x = codec(), torch.randn(2, 1, 333)
    codes, waveform = whole(model, x)
    monkeypatch.setattr(mimi, "CHUNK_FRAMES", 4)
    assert torch.equal(model.encode(x), codes)
    torch.testing.assert_close(model.decode(codes, length=333), waveform, atol=1e-5, rtol=0)


def test_causality():
    model, x = codec(), torch.randn(1, 1, 400)
    changed = x.clone()
    changed[..., 240:] += 1
    codes, other = model.encode(x), model.encode(changed)
    assert torch.equal(codes[..., :15], other[..., :15])
    assert not torch.equal(codes[..., 15:], other[..., 15:])


@pytest.mark.parametrize("name", ["layers pad", "silence pads"])
def test_batches_with_lengths(name):
    model, x, lengths = codec(CONFIGS[name]), torch.randn(3, 1, 200), torch.tensor([200, 1, 117])
    codes = model.encode(x, lengths=lengths)
    assert model.frame_lengths(lengths).tolist() == [13, 1, 8]
    waveform = model.decode(codes, length=200, lengths=lengths)
    for i, (n, frames) in enumerate(zip(lengths.tolist(), (13, 1, 8), strict=True)):
        own = x[i : i + 1, :, :n]
        alone = model.encode(own, lengths=torch.tensor([n]))
        assert torch.equal(codes[i : i + 1, :, :frames], alone)
        assert waveform[i, 0, n:].abs().sum() == 0
        torch.testing.assert_close(waveform[i : i + 1, :, :n], model.decode(alone)[..., :n], atol=1e-5, rtol=0)
        if name == "silence pads":
            assert torch.equal(alone, model.encode(own))
    for wrong in ([200, 0, 3], [201, 1, 1]):
        with pytest.raises(ValueError, match="3 numbers of samples, 1 to 200"):
            model.encode(x, lengths=torch.tensor(wrong))


def test_figures_of_the_official_model():
    with torch.device("meta"):
        model = Mimi(MimiConfig())
    assert (model.sample_rate, model.hop_length, model.frame_rate) == (24000, 1920, 12.5)
    assert (model.n_codebooks, model.codebook_size, model.bitrate, model.latency) == (32, 2048, 4400, 0.08)


def test_bad_input_is_refused():
    model, x = codec(), torch.randn(1, 1, 64)
    with pytest.raises(ValueError, match="mono, got 2"):
        model.encode(torch.randn(1, 2, 64))
    with pytest.raises(ValueError, match="empty"):
        model.encode(x[..., :0])
    with pytest.raises(ValueError, match="n_codebooks must be 1 to 4, got 5"):
        model.encode(x, 5)
    with pytest.raises(ValueError, match="0 to 15"):
        model.decode(torch.full((1, 4, 2), 16))
    assert model.decode(torch.zeros(2, 4, 0, dtype=torch.int64)).shape == (2, 1, 0)


def test_every_parameter_gets_a_gradient():
    model = codec(dataclasses.replace(SMALL, feature_dim=6)).train()
    batch = {"waveform": torch.randn(4, 1, 1040), "features": torch.randn(4, 6, 65)}
    model.loss(batch, torch.Generator().manual_seed(1))["loss"].backward()
    missing = [n for n, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert not missing


def test_semantic_distance_is_one_minus_the_cosine():
    model = codec(dataclasses.replace(SMALL, feature_dim=8))
    with torch.no_grad():
        model.to_features.weight.copy_(torch.eye(8))
        model.to_features.bias.zero_()
    x = torch.randn(2, 8, 5)
    torch.testing.assert_close(model.semantic_distance(x, 3 * x), torch.tensor(0.0), atol=1e-6, rtol=0)
    torch.testing.assert_close(model.semantic_distance(x, -x), torch.tensor(2.0))
    with pytest.raises(ValueError, match="features must have 5 frames, as the codes, got 4"):
        model.loss({"waveform": torch.randn(2, 1, 65), "features": x[..., :4]})


def test_items_may_skip_the_quantiser():
    model, x = codec(), torch.randn(2, 1, 160)
    with torch.no_grad():
        heard = model.sound(model.latent(x))
        torch.testing.assert_close(model(x, quantized_share=0.0).waveform, heard)
        assert not torch.allclose(model(x).waveform, heard, atol=1e-3)


def test_saved_and_loaded_is_the_same(tmp_path):
    model, x = codec(), torch.randn(1, 1, 100)
    model.save(tmp_path)
    again = native.load(Source("test", tmp_path)).eval()
    assert torch.equal(again.encode(x), model.encode(x))
    assert torch.equal(again.decode(model.encode(x)), model.decode(model.encode(x)))


def test_learns_one_batch():
    """The sound comes nearer, and the first code comes to mean what the features say."""
    torch.manual_seed(0)
    t, rng = torch.arange(1040) / 8000, torch.Generator().manual_seed(0)
    pitch = torch.tensor([[220.0], [500.0]])
    x = 0.5 * torch.sin(2 * torch.pi * pitch * t)[:, None] + 0.02 * torch.randn(2, 1, 1040)
    features = torch.eye(4)[:2, :, None].expand(2, 4, 65) - 0.25
    quantizer = dataclasses.replace(SMALL.quantizer, decay=0.8)
    model = Mimi(dataclasses.replace(SMALL, feature_dim=4, quantizer=quantizer)).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=4e-3)
    logs = []
    for _ in range(30):
        logs.append(model.loss({"waveform": x, "features": features}, rng))
        optimizer.zero_grad()
        logs[-1]["loss"].backward()
        optimizer.step()
    assert logs[-1]["mel"] < 0.7 * logs[0]["mel"]
    assert logs[-1]["semantic"] < 0.6 * logs[0]["semantic"]


def test_bad_configs_are_refused():
    with pytest.raises(ValueError, match="causal"):
        dataclasses.replace(SMALL, seanet=SEANetConfig(causal=False))
    with pytest.raises(ValueError, match=r"transformer.dim \(16\) must be latent_dim \(32\)"):
        dataclasses.replace(SMALL, latent_dim=32)
    with pytest.raises(ValueError, match="upsample_groups"):
        dataclasses.replace(SMALL, upsample_groups=5)
    with pytest.raises(ValueError, match="quantized_share"):
        dataclasses.replace(SMALL, quantized_share=1.5)
