"""FACodec on its own: lengths, voices, streams, gradients and where they are reversed, learning."""

import dataclasses

import pytest
import torch

from nexus.codecs.facodec import FACodec, FACodecConfig
from nexus.codecs.facodec_predictors import Labels, Predictors, PredictorsConfig
from nexus.hub import native
from nexus.hub.source import Source

SMALL = FACodecConfig(
    sample_rate=8000, encoder_dim=4, decoder_dim=8, dim=8, ratios=(2, 3), codebook_size=16, n_layers=1, hidden_dim=12
)
SECOND = dataclasses.replace(SMALL, ratios=(5, 5, 8), decoder_dim=16, prosody_bins=6)


def codec(config: FACodecConfig = SMALL) -> FACodec:
    torch.manual_seed(0)
    model = FACodec(config).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith(("alpha", "beta", "bias")):
                parameter.add_(0.1 * torch.randn_like(parameter))
    return model


@pytest.mark.parametrize("length", [1, 6, 7, 100])
def test_lengths(length):
    model, x = codec(), torch.randn(2, 1, length)
    codes, timbre = model.encode(x), model.timbre(x)
    n_frames = -(-length // 6)
    assert codes.shape == (2, 6, n_frames)
    assert timbre.shape == (2, 8)
    assert model.decode(codes, timbre).shape == (2, 1, 6 * n_frames)
    assert model.decode(codes, timbre, length=length).shape == x.shape
    assert model.convert(x, torch.randn(2, 1, 50)).shape == x.shape
    result = model(x)
    assert torch.equal(torch.cat([factor.codes for factor in result.factors], dim=1), codes)
    torch.testing.assert_close(result.waveform, model.decode(codes, timbre, length=length))


def test_rows_are_prosody_content_and_what_they_leave_over():
    model, x = codec(), torch.randn(1, 1, 240)
    with torch.no_grad():
        latent = model.encoder(x)
        prosody, content = model.prosody.encode(latent), model.content.encode(latent)
        left = latent - model.prosody.decode(prosody) - model.content.decode(content)
        expected = torch.cat([prosody, content, model.detail.encode(left)], dim=1)
    codes = model.encode(x)
    assert torch.equal(codes, expected)
    assert len(codes.unique()) > 5


def test_the_voice_is_another_s_and_what_is_said_is_not():
    model, x, other = codec(), torch.randn(1, 1, 120), torch.randn(1, 1, 180).cumsum(-1) / 5
    codes, timbre = model.encode(x), model.timbre(other)
    converted = model.convert(x, other)
    assert torch.equal(converted, model.decode(codes[:, :3], timbre))
    assert torch.equal(model.convert(x, other, keep_detail=True), model.decode(codes, timbre))
    assert not torch.allclose(converted, model.convert(x, x), atol=1e-4)
    assert not torch.allclose(converted, model.convert(x, other, keep_detail=True), atol=1e-4)


@pytest.mark.parametrize(("length", "chunk"), [(55, 1), (125, 6), (125, 125), (9, 4)])
def test_streams_equal_the_whole(length, chunk):
    model, x = codec(), torch.randn(2, 1, length)
    codes, timbre = model.encode(x), model.timbre(x)
    waveform = model.decode(codes, timbre)
    assert waveform.std() > 1e-3
    with model.streaming(timbre) as stream:
        chunks = x.split(chunk, dim=-1)
        parts = [stream.encode(part, last=i == len(chunks) - 1) for i, part in enumerate(chunks)]
        assert torch.equal(torch.cat(parts, dim=-1), codes)
        frames = codes.split(max(chunk // 6, 1), dim=-1)
        heard = [stream.decode(part, last=i == len(frames) - 1) for i, part in enumerate(frames)]
        torch.testing.assert_close(torch.cat(heard, dim=-1), waveform, atol=1e-5, rtol=0)


def test_look_ahead_is_what_streams_wait_for():
    model = codec()
    with model.streaming(torch.randn(1, 8)) as stream:
        chunks = -(-model.encoder_look_ahead // 6)
        coded = [stream.encode(torch.randn(1, 1, 6)).shape[-1] for _ in range(chunks + 4)]
        n = model.decoder_look_ahead + 4
        heard = [stream.decode(torch.zeros(1, 6, 1, dtype=torch.int64)).shape[-1] for _ in range(n)]
    for frame in (1, 2):
        assert sum(coded[: frame + 1 + chunks]) == frame + 1
        assert sum(heard[: frame + 1 + model.decoder_look_ahead]) >= 6 * (frame + 1)
        assert sum(heard[: frame + model.decoder_look_ahead]) < 6 * (frame + 1)


def test_batch_items_stand_alone():
    model, x = codec(), torch.randn(3, 1, 90)
    assert torch.equal(model.encode(x)[1:2], model.encode(x[1:2]))
    torch.testing.assert_close(model.timbre(x)[1:2], model.timbre(x[1:2]))


@pytest.mark.parametrize("config", [SMALL, SECOND])
def test_saved_and_loaded_is_the_same(config, tmp_path):
    model, x = codec(config), torch.randn(1, 1, 600)
    model.save(tmp_path)
    again = native.load(Source("test", tmp_path)).eval()
    assert again.config == config
    assert torch.equal(again.convert(x, x), model.convert(x, x))


@pytest.mark.parametrize("config", [SMALL, dataclasses.replace(SECOND, weight_norm=True)])
def test_every_parameter_gets_a_gradient(config):
    model = codec(config)
    result = model(torch.randn(2, 1, 1200), guided=False)
    (result.waveform.square().mean() + sum(factor.codebook for factor in result.factors)).backward()
    missing = [n for n, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert not missing


def labels(n_frames: int) -> Labels:
    rng = torch.Generator().manual_seed(0)
    voiced = (torch.rand(2, n_frames, generator=rng) > 0.4).float()
    phones = torch.randint(-1, 5, (2, n_frames), generator=rng)
    return Labels(phones, torch.randn(2, n_frames, generator=rng), voiced, torch.tensor([1, 2]))


def predictors() -> Predictors:
    torch.manual_seed(1)
    return Predictors(PredictorsConfig(dim=8, n_phones=5, n_speakers=4))


def test_predictors_teach_what_belongs_where():
    model, judges = codec(), predictors()
    result = model(torch.randn(2, 1, 120), guided=True)
    losses = judges.loss(result, labels(20))
    assert losses["loss"].item() == pytest.approx(sum(v.item() for k, v in losses.items() if k != "loss"), abs=1e-5)
    vectors = [factor.vectors for factor in result.factors]
    by_prosody, by_content, by_detail = torch.autograd.grad(losses["loss"], vectors, retain_graph=True)
    assert min(x.abs().sum() for x in (by_prosody, by_content, by_detail)) > 0
    losses["loss"].backward()
    assert not [n for n, p in judges.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    # A step along the gradient makes pitch easier to tell from prosody, and harder to tell from detail.
    detail = vectors[2].detach().requires_grad_()
    again = dataclasses.replace(
        result, factors=result.factors._replace(detail=result.factors.detail._replace(vectors=detail))
    )
    loss = judges.loss(again, labels(20))["detail_pitch"]
    total = judges.loss(again, labels(20))["loss"]
    (gradient,) = torch.autograd.grad(total, detail)
    with torch.no_grad():
        stepped = detail - 1e-3 * gradient / gradient.norm()
    worse = dataclasses.replace(
        result, factors=result.factors._replace(detail=result.factors.detail._replace(vectors=stepped))
    )
    now = judges.loss(worse, labels(20))
    assert now["detail_pitch"] + now["detail_phones"] > loss + judges.loss(again, labels(20))["detail_phones"]


def test_guided_prosody_and_content_do_not_learn_from_the_waveform():
    model, x = codec(), torch.randn(2, 1, 120)
    for guided in (True, False):
        model.zero_grad()
        model(x, guided=guided).waveform.square().mean().backward()
        learnt = [model.prosody.codebooks[0].proj_out.weight.grad, model.content.codebooks[0].proj_out.weight.grad]
        assert all((grad is None or not grad.any()) == guided for grad in learnt)
        assert model.detail.codebooks[0].proj_out.weight.grad.any()


def test_detail_is_dropped_in_training_for_its_share_of_items():
    model = codec(dataclasses.replace(SMALL, detail_dropout=0.5)).train()
    x = torch.randn(40, 1, 12)
    result = model(x, torch.Generator().manual_seed(0))
    told = result.factors.prosody.vectors + result.factors.content.vectors
    dropped = [torch.equal(result.mixed[i], told[i]) for i in range(40)]
    assert 10 < sum(dropped) < 30
    assert model.eval()(x).mixed.ne(told).any(-1).any(-1).all()


def test_phones_that_are_unknown_count_nowhere():
    model, judges = codec(), predictors()
    result, some = model(torch.randn(2, 1, 120)), labels(20)
    unknown = dataclasses.replace(some, phones=torch.full_like(some.phones, -1))
    assert judges.loss(result, unknown)["phones"] == 0
    silent = dataclasses.replace(some, voiced=torch.zeros_like(some.voiced))
    assert judges.loss(result, silent)["pitch"].isfinite()


def test_wrong_input_is_refused():
    model, second = codec(), codec(SECOND)
    timbre = torch.zeros(1, 8)
    with pytest.raises(ValueError, match="mono, got 2 channels"):
        model.encode(torch.randn(1, 2, 60))
    with pytest.raises(ValueError, match="empty"):
        model.timbre(torch.randn(1, 1, 0))
    with pytest.raises(ValueError, match="3 to 6 codebooks, got 2"):
        model.decode(torch.zeros(1, 2, 4, dtype=torch.int64), timbre)
    with pytest.raises(ValueError, match="0 to 15, got 0 to 16"):
        model.decode(torch.tensor([[0, 16, 0]]).mT[None], timbre)
    with pytest.raises(ValueError, match="needs a voice"), model.streaming() as stream:
        stream.decode(torch.zeros(1, 6, 4, dtype=torch.int64))
    with pytest.raises(ValueError, match="can't encode a stream"), second.streaming() as stream:
        stream.encode(torch.zeros(1, 1, 400))
    with pytest.raises(ValueError, match="halves 2 times"):
        dataclasses.replace(SMALL, decoder_dim=6)
    with pytest.raises(ValueError, match="a codebook each"):
        dataclasses.replace(SMALL, n_codebooks=(1, 0, 3))


def test_sizes_and_rates():
    with torch.device("meta"):
        model = FACodec(FACodecConfig())
    assert (model.hop_length, model.n_codebooks, model.codebook_size, model.frame_rate) == (200, 6, 1024, 80)
    assert model.bitrate == 4800


def test_a_fresh_encoder_tells_frames_apart():
    for seed in range(3):
        torch.manual_seed(seed)
        codes = FACodec(SMALL).eval().encode(0.1 * torch.randn(1, 1, 1200))[0]
        assert min(len(row.unique()) for row in codes[[0, 1, 3]]) >= 4


def test_learns_one_batch():
    torch.manual_seed(0)
    t = torch.arange(1536) / 8000
    x = 0.5 * torch.sin(2 * torch.pi * torch.tensor([[220.0], [700.0]]) * t)[:, None] + 0.02 * torch.randn(2, 1, 1536)
    model = FACodec(dataclasses.replace(SMALL, detail_dropout=0.0)).train()
    optimizer, losses = torch.optim.AdamW(model.parameters(), lr=5e-3), []
    for _ in range(30):
        loss = model.loss({"waveform": x})
        optimizer.zero_grad()
        loss["loss"].backward()
        optimizer.step()
        losses.append(loss["mel"].item())
    assert losses[-1] < 0.6 * losses[0]
