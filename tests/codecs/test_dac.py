"""DAC on its own: lengths, streams and their look-ahead, dropout, gradients, learning."""

import dataclasses

import pytest
import torch

from nexus.codecs.dac import Dac, DacConfig
from nexus.hub import native
from nexus.hub.source import Source

SMALL = DacConfig(
    sample_rate=8000,
    encoder_dim=4,
    decoder_dim=16,
    latent_dim=12,
    ratios=(2, 4),
    n_codebooks=3,
    codebook_size=16,
    codebook_dim=4,
)
ODD = dataclasses.replace(SMALL, ratios=(2, 5), weight_norm=True)


@torch.no_grad()
def codec(config: DacConfig) -> Dac:
    """Untrained, but with Snakes of many frequencies and biases."""
    torch.manual_seed(0)
    model = Dac(config).eval()
    for name, parameter in model.named_parameters():
        if name.endswith("alpha"):
            parameter.copy_(0.3 + torch.randn_like(parameter).abs())
        elif name.endswith("bias"):
            parameter.copy_(0.1 * torch.randn_like(parameter))
        elif name.endswith(("weight", "original0")):
            parameter.mul_(1.2)
    return model


@pytest.mark.parametrize("config", [SMALL, ODD])
@pytest.mark.parametrize(("length", "chunk"), [(1, 1), (8, 3), (43, 1), (600, 40), (601, 601)])
def test_streams_equal_the_whole(config, length, chunk):
    model, x = codec(config), torch.randn(2, 1, length)
    codes = model.encode(x)
    whole = model.decode(codes)
    assert length < 600 or (len(codes.unique()) > 8 and whole.std() > 1e-3)
    chunks, groups = x.split(chunk, dim=-1), codes.split(max(chunk // 10, 1), dim=-1)
    with model.streaming() as stream:
        streamed = [stream.encode(part, last=i == len(chunks) - 1) for i, part in enumerate(chunks)]
        heard = [stream.decode(part, last=i == len(groups) - 1) for i, part in enumerate(groups)]
    assert torch.equal(torch.cat(streamed, dim=-1), codes)
    torch.testing.assert_close(torch.cat(heard, dim=-1), whole, atol=1e-5, rtol=0)


@pytest.mark.parametrize("config", [SMALL, ODD])
def test_look_ahead_is_what_it_says(config):
    model = codec(config)
    hop, n = model.hop_length, model.encoder_look_ahead
    with model.streaming() as stream:
        given = [stream.encode(torch.randn(1, 1, 1)).shape[-1] for _ in range(n + 3 * hop)]
    assert [i + 1 for i, frames in enumerate(given) if frames] == [n + hop, n + 2 * hop, n + 3 * hop]
    with model.streaming() as stream:
        heard = [stream.decode(torch.randint(16, (1, 3, 1))).shape[-1] for _ in range(40)]
    behind = [(i + 1) * hop - total for i, total in enumerate(torch.tensor(heard).cumsum(0).tolist())]
    assert behind[-1] == behind[-2] == model.decoder_look_ahead
    assert model.look_ahead == n + model.decoder_look_ahead
    assert model.look_ahead_seconds == model.look_ahead / 8000


def test_what_comes_later_than_the_look_ahead_changes_nothing():
    model, x = codec(SMALL), torch.randn(1, 1, 800)
    changed = x.clone()
    changed[..., 400 + model.encoder_look_ahead :] += 1
    a, b = (model.quantizer.codebooks[0].proj_in(model.encoder(waveform)) for waveform in (x, changed))
    assert torch.allclose(a[..., :50], b[..., :50], atol=1e-6)
    assert not torch.allclose(a[..., :51], b[..., :51], atol=1e-4)


def test_memory_of_a_stream_does_not_grow():
    def size(state) -> int:
        if isinstance(state, torch.Tensor):
            return state.numel()
        return sum(map(size, state if isinstance(state, list | tuple) else getattr(state, "__dict__", {}).values()))

    model, sizes = codec(SMALL), []
    with model.streaming() as stream:
        for _ in range(30):
            stream.decode(stream.encode(torch.randn(1, 1, 64)))
            sizes.append(size(stream.encoder_states) + size(stream.decoder_states))
    assert len(set(sizes[15:])) == 1


@pytest.mark.parametrize("config", [SMALL, ODD])
@pytest.mark.parametrize("length", [1, 9, 10, 79, 80])
def test_length_is_kept(config, length):
    model, x = codec(config), torch.randn(2, 1, length)
    result = model(x)
    assert result.waveform.shape == x.shape
    codes = model.encode(x)
    assert codes.shape == (2, 3, -(-length // model.hop_length))
    torch.testing.assert_close(model.decode(codes, length), result.waveform)
    with pytest.raises(ValueError, match="hold up to"):
        model.decode(codes, codes.shape[-1] * model.hop_length + 1)
    assert model.decode(codes[..., :0]).shape == (2, 1, 0)


@torch.no_grad()
def test_items_of_a_batch_are_alone():
    model, x = codec(SMALL), torch.randn(3, 1, 500)
    whole = model.encode(x)
    assert torch.equal(torch.cat([model.encode(row) for row in x.split(1)]), whole)


def test_facts():
    model = Dac(ODD)
    assert (model.sample_rate, model.hop_length, model.frame_rate) == (8000, 10, 800)
    assert (model.codebook_size, model.n_codebooks, model.bitrate) == (16, 3, 3 * 4 * 800)
    presets = (DacConfig.dac_16khz(), DacConfig.dac_24khz(), DacConfig.dac_44khz(), DacConfig.dac_44khz_16kbps())
    assert [config.hop_length for config in presets] == [320, 320, 512, 512]
    assert [config.n_codebooks for config in presets] == [12, 32, 9, 18]


def test_wrong_input_is_refused():
    model = codec(SMALL)
    with pytest.raises(ValueError, match="mono, got 2 channels"):
        model.encode(torch.randn(1, 2, 100))
    with pytest.raises(ValueError, match="empty"):
        model.encode(torch.randn(1, 1, 0))
    with pytest.raises(ValueError, match="n_codebooks must be 1 to 3, got 4"):
        model.encode(torch.randn(1, 1, 100), n_codebooks=4)
    with pytest.raises(ValueError, match="codes must be 0 to 15, got 0 to 16"):
        model.decode(torch.tensor([[[16, 0]]]))
    with pytest.raises(ValueError, match="divisible by 4"):
        dataclasses.replace(SMALL, decoder_dim=18)
    with pytest.raises(ValueError, match="ratios"):
        dataclasses.replace(SMALL, ratios=())


def test_every_parameter_gets_a_gradient():
    model = codec(ODD).train()
    model.loss({"waveform": 0.3 * torch.randn(4, 1, 2400)}, torch.Generator().manual_seed(1))["loss"].backward()
    assert not [n for n, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]


@pytest.mark.parametrize("config", [SMALL, ODD])
def test_saved_and_loaded_is_the_same(config, tmp_path):
    model, x = codec(config), torch.randn(1, 1, 300)
    model.save(tmp_path)
    loaded = native.load(Source("test", tmp_path)).eval()
    assert torch.equal(loaded.encode(x), model.encode(x))
    assert torch.equal(loaded.decode(model.encode(x)), model.decode(model.encode(x)))


def test_learns_one_batch():
    torch.manual_seed(0)
    t = torch.arange(2400) / 8000
    x = 0.5 * torch.sin(2 * torch.pi * torch.tensor([[220.0], [700.0]]) * t)[:, None] + 0.05 * torch.randn(2, 1, 2400)
    model = Dac(dataclasses.replace(SMALL, weight_norm=True, encoder_dim=8, decoder_dim=32))
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    losses, generator = [], torch.Generator().manual_seed(0)
    for _ in range(15):
        values = model.loss({"waveform": x}, generator)
        optimizer.zero_grad()
        values["loss"].backward()
        optimizer.step()
        losses.append(values["mel"].item())
    assert losses[-1] < 0.8 * losses[0]


def test_a_fresh_encoder_tells_frames_apart():
    for seed in range(3):
        torch.manual_seed(seed)
        model = Dac(SMALL)
        codes = model.encode(0.1 * torch.randn(1, 1, 1200))[0]
        assert min(len(row.unique()) for row in codes) >= 6
        assert not model.quantizer.codebooks[0].proj_in.bias.any()
