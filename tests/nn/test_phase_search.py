"""The search for phases: it finds a sound of the magnitudes, the same for the same frames, whole or as a stream."""

import pytest
import torch

from nexus.nn.phase_search import PERIOD, PhaseSearch


def chirp(length: int) -> torch.Tensor:
    t = torch.arange(length, dtype=torch.float64) / 8000
    return (0.5 * torch.sin(2 * torch.pi * (300 * t + 900 * t**2)) + 0.2 * torch.sin(2 * torch.pi * 700 * t))[None]


def magnitudes_of(search: PhaseSearch, sound: torch.Tensor) -> torch.Tensor:
    return search.spectrum(sound).abs()


def inconsistency(search: PhaseSearch, magnitudes: torch.Tensor) -> float:
    found = magnitudes_of(search, search(magnitudes)[:, 0])
    return float((found - magnitudes).norm() / magnitudes.norm())


def test_more_iterations_come_nearer_to_the_magnitudes():
    searches = [PhaseSearch(128, 32, n) for n in (0, 4, 32)]
    magnitudes = magnitudes_of(searches[0], chirp(3200))
    assert magnitudes.shape == (1, 65, 100)
    far, nearer, near = (inconsistency(search, magnitudes) for search in searches)
    assert near < 0.5 * nearer < 0.5 * 0.8 * far
    assert near < 0.1


def test_momentum_is_worth_its_memory():
    magnitudes = magnitudes_of(PhaseSearch(128, 32, 0), chirp(3200))
    plain, fast = (inconsistency(PhaseSearch(128, 32, 32, momentum), magnitudes) for momentum in (0.0, 0.99))
    assert fast < 0.7 * plain


def test_true_phases_are_a_fixed_point():
    search = PhaseSearch(128, 32, 3)
    spectrum = search.spectrum(chirp(3200))
    sound = search.inverse(spectrum)
    torch.testing.assert_close(search.spectrum(sound), spectrum, atol=1e-5, rtol=0)
    torch.testing.assert_close(sound, chirp(3200), atol=1e-6, rtol=0)


@pytest.mark.parametrize("chunk", [1, 7, 60])
def test_streams_equal_the_whole(chunk):
    search = PhaseSearch(64, 16, 3)
    magnitudes = torch.rand(2, 33, 2 * PERIOD + 11, dtype=torch.float64)
    whole = search(magnitudes)
    assert whole.shape == (2, 1, 16 * magnitudes.shape[-1])
    state, heard = None, []
    parts = magnitudes.split(chunk, dim=-1)
    for i, part in enumerate(parts):
        sound, state = search.stream(part, state, i == len(parts) - 1)
        heard.append(sound)
        if i == 0:
            assert sound.shape[-1] == 16 * max(chunk - search.look_ahead, 0)
    assert state is not None
    assert state.magnitudes.shape[-1] <= 2 * search.look_ahead + chunk  # memory does not grow
    torch.testing.assert_close(torch.cat(heard, dim=-1), whole, atol=1e-9, rtol=0)


def test_look_ahead_is_as_far_as_a_frame_reaches():
    search = PhaseSearch(64, 16, 2)
    magnitudes = torch.rand(1, 33, 60, dtype=torch.float64)
    changed = magnitudes.clone()
    changed[..., 40] += 0.1
    first = int((search(changed) - search(magnitudes)).abs()[0, 0].gt(1e-12).nonzero()[0]) // 16
    assert 40 - first == search.look_ahead


def test_items_of_a_batch_are_alone():
    search = PhaseSearch(64, 16, 4)
    magnitudes = torch.rand(3, 33, 20, dtype=torch.float64)
    torch.testing.assert_close(search(magnitudes)[1:2], search(magnitudes[1:2]), atol=1e-9, rtol=0)
    assert search(magnitudes[..., :0]).shape == (3, 1, 0)
