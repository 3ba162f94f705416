"""The FSQ codec on its own: lengths, streams, look-ahead, gradients, learning."""

import dataclasses

import pytest
import torch

from nexus.codecs.fsq_codec import FSQCodec, FSQCodecConfig, HalfConfig
from nexus.hub import native
from nexus.hub.source import Source
from nexus.nn.fsq import FSQConfig

ENCODER = HalfConfig(dim=4, ratios=(2, 3), kernel_sizes=(3, 5), dilations=(2,), first_kernel_size=3, last_kernel_size=3)
SMALL = FSQCodecConfig(
    sample_rate=8000,
    encoder=ENCODER,
    decoder=HalfConfig(
        dim=16,
        ratios=(3, 2),
        kernel_sizes=(3, 5),
        dilations=(2,),
        activation="half_snake",
        first_kernel_size=3,
        last_kernel_size=3,
    ),
    quantizer=FSQConfig(n_groups=2, levels=(5, 4)),
)


def codec(config: FSQCodecConfig = SMALL) -> FSQCodec:
    """Parameters redrawn, so that codes differ and the output is loud."""
    torch.manual_seed(0)
    model = FSQCodec(config).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith(("weight", "original1")):
                parameter.copy_(torch.randn_like(parameter) * (1.5 / parameter[0].numel()) ** 0.5)
            else:
                parameter.add_(torch.randn_like(parameter) * 0.1)
        model.encoder.layers[-1].conv.bias.add_(torch.randn(model.config.quantizer.dim))
    return model


@pytest.mark.parametrize("length", [1, 6, 7, 100, 333])
def test_lengths(length):
    model, x = codec(), torch.randn(2, 1, length)
    codes = model.encode(x)
    n_frames = -(-length // 6)
    assert codes.shape == (2, 2, n_frames)
    assert codes.dtype == torch.int64
    assert model.decode(codes).shape == (2, 1, 6 * n_frames)
    assert model.decode(codes, length=length).shape == x.shape
    assert model(x).waveform.shape == x.shape
    assert torch.equal(model(x).codes, codes)


@pytest.mark.parametrize("pad_mode", ["reflect", "constant"])
@pytest.mark.parametrize(("length", "chunk"), [(61, 1), (125, 6), (125, 125), (9, 4)])
def test_streams_equal_the_whole(pad_mode, length, chunk):
    halves = {name: dataclasses.replace(getattr(SMALL, name), pad_mode=pad_mode) for name in ("encoder", "decoder")}
    model, x = codec(dataclasses.replace(SMALL, **halves)), torch.randn(2, 1, length)
    codes = model.encode(x)
    waveform = model.decode(codes)
    assert len(codes.unique()) > min(5, codes.shape[-1])
    assert waveform.std() > 1e-2
    with model.streaming() as stream:
        chunks = x.split(chunk, dim=-1)
        parts = [stream.encode(part, last=i == len(chunks) - 1) for i, part in enumerate(chunks)]
        assert torch.equal(torch.cat(parts, dim=-1), codes)
        frames = codes.split(max(chunk // 6, 1), dim=-1)
        heard = [stream.decode(part, last=i == len(frames) - 1) for i, part in enumerate(frames)]
        torch.testing.assert_close(torch.cat(heard, dim=-1), waveform, atol=1e-5, rtol=0)


def test_look_ahead_is_what_streams_wait_for():
    model = codec()
    with model.streaming() as stream:
        coded = [stream.encode(torch.randn(1, 1, 1)).shape[-1] for _ in range(120)]
        heard = [stream.decode(torch.zeros(1, 2, 1, dtype=torch.int64)).shape[-1] for _ in range(24)]
    for frame in range(10, 14):
        seen = 6 * (frame + 1) + model.encoder_look_ahead
        assert sum(coded[:seen]) > frame >= sum(coded[: seen - 1])
        seen = frame + 1 + model.decoder_look_ahead
        assert sum(heard[:seen]) >= 6 * (frame + 1) > sum(heard[: seen - 1])
    assert model.look_ahead == model.encoder_look_ahead + 6 * model.decoder_look_ahead


def test_batch_items_stand_alone():
    model, x = codec(), torch.randn(3, 1, 200)
    assert torch.equal(model.encode(x)[1:2], model.encode(x[1:2]))


def test_sizes_and_rates():
    model = codec()
    assert (model.hop_length, model.n_codebooks, model.codebook_size) == (6, 2, 20)
    assert model.frame_rate == pytest.approx(8000 / 6)
    assert model.bitrate == pytest.approx(2 * 4.321928 * 8000 / 6)


@pytest.mark.parametrize("activation", ["lrelu", "elu", "snake", "half_snake"])
@pytest.mark.parametrize("weight_norm", [False, True])
def test_every_parameter_gets_a_gradient(activation, weight_norm):
    halves = {
        name: dataclasses.replace(getattr(SMALL, name), activation=activation, weight_norm=weight_norm)
        for name in ("encoder", "decoder")
    }
    model = codec(dataclasses.replace(SMALL, **halves, output="tanh")).train()
    model(torch.randn(2, 1, 120)).waveform.square().mean().backward()
    assert not [n for n, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]


def test_saved_and_loaded_is_the_same(tmp_path):
    model, x = codec(), torch.randn(1, 1, 100)
    model.save(tmp_path)
    again = native.load(Source("test", tmp_path)).eval()
    assert again.config == model.config
    assert torch.equal(again.decode(again.encode(x)), model.decode(model.encode(x)))


def test_half_precision_decodes_and_encodes():
    model = codec().bfloat16()
    codes = model.encode(torch.randn(1, 1, 60, dtype=torch.bfloat16))
    assert model.decode(codes).dtype == torch.bfloat16


def test_wrong_input_is_refused():
    model = codec()
    with pytest.raises(ValueError, match="mono, got 2 channels"):
        model.encode(torch.randn(1, 2, 60))
    with pytest.raises(ValueError, match="empty"):
        model.encode(torch.randn(1, 1, 0))
    with pytest.raises(ValueError, match="0 to 19, got 0 to 20"):
        model.decode(torch.tensor([[[0], [20]]]))
    with pytest.raises(ValueError, match="up to 12 samples, got length 13"):
        model.decode(torch.zeros(1, 2, 2, dtype=torch.int64), length=13)
    assert model.decode(torch.zeros(1, 2, 0, dtype=torch.int64)).shape == (1, 1, 0)
    with pytest.raises(ValueError, match="one hop"):
        dataclasses.replace(SMALL, encoder=dataclasses.replace(ENCODER, ratios=(2, 2)))
    with pytest.raises(ValueError, match="odd"):
        dataclasses.replace(ENCODER, kernel_sizes=(3, 4))
    with pytest.raises(ValueError, match="halves at each stage"):
        dataclasses.replace(SMALL, decoder=dataclasses.replace(SMALL.decoder, dim=18))


def test_learns_one_batch():
    torch.manual_seed(0)
    t = torch.arange(1536) / 8000
    x = 0.5 * torch.sin(2 * torch.pi * torch.tensor([[220.0], [700.0]]) * t)[:, None] + 0.02 * torch.randn(2, 1, 1536)
    quantizer = FSQConfig(n_groups=4, levels=(5, 5, 5))
    model = FSQCodec(dataclasses.replace(SMALL, quantizer=quantizer)).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
    losses = []
    for _ in range(60):
        loss = model.loss({"waveform": x})["loss"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]
