"""The sliding-window transformer: against attention written out, streams against the whole, and how far it sees."""

import pytest
import torch

from nexus.nn.rope import apply_rope, rope_frequencies
from nexus.nn.sliding import SlidingTransformer, SlidingTransformerConfig, attend_window

CONFIG = SlidingTransformerConfig(dim=16, n_layers=2, n_heads=2, hidden_dim=24, window=5)


def network() -> SlidingTransformer:
    """Layer scales of one, so that every branch tells."""
    torch.manual_seed(0)
    model = SlidingTransformer(CONFIG).eval().requires_grad_(False)
    for layer in model.layers:
        for parameter in layer.parameters():
            if parameter.ndim == 1:
                parameter.copy_(1 + 0.3 * torch.randn_like(parameter))
    return model


@pytest.mark.parametrize(("n", "before"), [(1, 0), (1, 4), (5, 0), (6, 0), (23, 0), (23, 4), (3, 2), (7, 1)])
def test_windows_are_a_masked_softmax(n, before):
    torch.manual_seed(0)
    q, k, v = (torch.randn(2, 2, size, 8) for size in (n, before + n, before + n))
    scores = q @ k.mT / 8**0.5
    back = torch.arange(before, before + n)[:, None] - torch.arange(before + n)
    scores = scores.masked_fill((back < 0) | (back >= 5), -torch.inf)
    torch.testing.assert_close(attend_window(q, k, v, 5), scores.softmax(-1) @ v, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("chunk", [1, 2, 5, 7, 30])
def test_streams_equal_the_whole(chunk):
    model, x = network(), torch.randn(3, 16, 30)
    whole, state, parts = model(x), None, []
    for part in x.split(chunk, dim=-1):
        y, state = model.stream(part, state)
        parts.append(y)
    assert whole.std() > 0.5
    torch.testing.assert_close(torch.cat(parts, dim=-1), whole, atol=1e-5, rtol=0)


def test_an_empty_chunk_changes_nothing():
    model, x = network(), torch.randn(1, 16, 6)
    a, state = model.stream(x[..., :3], None)
    nothing, state = model.stream(x[..., :0], state)
    b, _ = model.stream(x[..., 3:], state, last=True)
    assert nothing.shape == (1, 16, 0)
    torch.testing.assert_close(torch.cat([a, b], dim=-1), model(x), atol=1e-5, rtol=0)


def test_each_layer_sees_a_window_back_and_nothing_ahead():
    model, x = network(), torch.randn(1, 16, 40)
    changed = x.clone()
    changed[..., 20] += 1
    differs = ((model(x) - model(changed)).abs().amax((0, 1)) > 1e-7).nonzero().flatten().tolist()
    assert (differs[0], differs[-1]) == (20, 20 + 2 * (CONFIG.window - 1))


def test_only_distances_count():
    """Rotated positions: a sound is the same wherever the stream stands."""
    torch.manual_seed(0)
    q, k = torch.randn(1, 1, 1, 8), torch.randn(1, 1, 1, 8)

    def score(at: int) -> torch.Tensor:
        places = [rope_frequencies(8, torch.tensor([p])) for p in (at + 3, at)]
        return (apply_rope(q, *places[0]) * apply_rope(k, *places[1])).sum()

    torch.testing.assert_close(score(0), score(1000), atol=1e-3, rtol=0)


def test_bad_configs_are_refused():
    with pytest.raises(ValueError, match="multiple of 2"):
        SlidingTransformerConfig(dim=15, n_heads=3)
    with pytest.raises(ValueError, match="positive"):
        SlidingTransformerConfig(window=0)
