"""EnCodec's language model: against the original class, through the layout of its weights, and by mathematics."""

import pytest
import torch

import nexus
from nexus.codecs.encodec_lm import EncodecLM, EncodecLMConfig, probabilities, shifted
from nexus.hub import native
from nexus.hub.load import kind_of
from nexus.hub.source import Source

CONFIG = EncodecLMConfig(n_codebooks=3, codebook_size=16, dim=16, n_layers=2, n_heads=2, context=6)


def small() -> EncodecLM:
    torch.manual_seed(0)
    model = EncodecLM(CONFIG).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.4)
    return model


def test_the_past_alone_decides():
    model, codes = small(), torch.randint(16, (2, 3, 20))
    changed = codes.clone()
    changed[..., 12] = (changed[..., 12] + 1) % 16
    a, b = (model(shifted(x))[0] for x in (codes, changed))
    assert torch.equal(a[:, :, :13], b[:, :, :13])
    assert not torch.equal(a[:, :, 13], b[:, :, 13])


def test_the_context_is_limited():
    """With one layer, what lies further back than the context changes nothing."""
    torch.manual_seed(0)
    model, codes = (
        EncodecLM(EncodecLMConfig(n_codebooks=1, codebook_size=8, dim=8, n_layers=1, n_heads=1, context=4)),
        (torch.randint(8, (1, 1, 12))),
    )
    changed = codes.clone()
    changed[..., 0] = (changed[..., 0] + 1) % 8  # seen by frame 1, attended to by frames up to 5
    a, b = (model.eval()(shifted(x))[0] for x in (codes, changed))
    assert not torch.allclose(a[:, :, 5], b[:, :, 5], atol=1e-6)
    torch.testing.assert_close(a[:, :, 6:], b[:, :, 6:])


@pytest.mark.parametrize("chunk", [1, 3, 7])
def test_streamed_equals_whole(chunk):
    model, codes = small(), torch.randint(16, (2, 3, 20))
    whole, _ = model(shifted(codes))
    assert whole.std() > 0.1
    state, parts = None, []
    for part in shifted(codes).split(chunk, dim=-1):
        logits, state = model(part, state)
        parts.append(logits)
    torch.testing.assert_close(torch.cat(parts, dim=2), whole, atol=1e-5, rtol=1e-5)
    assert state.n_frames == 20
    assert all(past.shape[1] <= CONFIG.context for past in state.inputs)


def test_fewer_codebooks_and_too_many():
    model, codes = small(), torch.randint(16, (1, 3, 5))
    assert model(shifted(codes[:, :2]))[0].shape == (1, 2, 5, 16)
    with pytest.raises(ValueError, match="3 codebooks, got 4"):
        model(torch.zeros(1, 4, 5, dtype=torch.int64))
    with pytest.raises(ValueError, match="multiple of n_heads"):
        EncodecLMConfig(dim=20, n_heads=8)
    with pytest.raises(ValueError, match="context"):
        EncodecLMConfig(context=0)


def test_every_parameter_gets_a_gradient():
    model = small().train()
    model.loss({"codes": torch.randint(16, (8, 3, 40))})["loss"].backward()
    missing = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert not missing


def test_learns_a_pattern():
    torch.manual_seed(0)
    model = EncodecLM(CONFIG)
    codes = (torch.arange(24) % 5)[None, None] + torch.tensor([0, 4, 8])[:, None]
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    for _ in range(60):
        losses = model.loss({"codes": codes})
        optimizer.zero_grad()
        losses["loss"].backward()
        optimizer.step()
    assert losses["bits"] < 0.3


def test_saved_and_loaded_is_the_same(tmp_path):
    model, codes = small(), torch.randint(16, (1, 3, 9))
    model.save(tmp_path)
    again = native.load(Source("test", tmp_path)).eval()
    assert torch.equal(again(codes)[0], model(codes)[0])


@pytest.fixture
def original(encodec_package):
    """The original class, small, with weights that are not tiny."""
    torch.manual_seed(0)
    model = encodec_package.model.LMModel(4, 32, dim=24, num_layers=2, past_context=9).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.3)
    return model


@pytest.mark.parametrize("in_folder", [True, False])
def test_official_layout(original, tmp_path, in_folder):
    path = tmp_path / "encodec_lm_24khz-1608e3c0.th"
    torch.save(original.state_dict(), path)
    source = tmp_path if in_folder else path
    model = nexus.load(source)
    assert kind_of(source) == "EncodecLM"
    assert model.config == EncodecLMConfig(
        n_codebooks=4, codebook_size=32, dim=24, n_layers=2, context=int(3.5 * 24000 / 20)
    )


def test_equals_the_original_to_the_last_bit(original):
    model = EncodecLM(EncodecLMConfig(n_codebooks=4, codebook_size=32, dim=24, n_layers=2, context=9)).eval()
    state = original.state_dict()
    names = (("transformer.", ""), ("emb.", "embeddings."), ("linears.", "heads."))
    for old, new in names:
        state = {new + name.removeprefix(old) if name.startswith(old) else name: t for name, t in state.items()}
    model.load_state_dict(state)
    frames = shifted(torch.randint(32, (2, 4, 25)))
    with torch.no_grad():
        torch.testing.assert_close(probabilities(model(frames)[0]), original(frames)[0], atol=0, rtol=0)
        theirs, ours, offset = None, None, 0
        for frame in frames.split(1, dim=-1):
            expected, theirs, offset = original(frame, theirs, offset)
            logits, ours = model(frame, ours)
            assert torch.equal(probabilities(logits), expected)
    assert expected.std() > 1e-3


def test_official_sizes_are_told_from_shapes():
    from nexus.hub.encodec_lm import config_from_shapes

    for config in (EncodecLMConfig.encodec_24khz(), EncodecLMConfig.encodec_48khz()):
        with torch.device("meta"):
            state = EncodecLM(config).state_dict()
        assert config_from_shapes(state, "x") == config
    with pytest.raises(ValueError, match="language model"):
        config_from_shapes({}, "x")
