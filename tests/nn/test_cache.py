import pytest
import torch

from nexus.nn.cache import KeyValueCache, SlidingCache


def test_appended_pieces_are_the_whole_in_place():
    k, v = torch.randn(2, 2, 3, 7, 4)
    cache = KeyValueCache(2, 3, 7, 4)
    address = cache.keys.data_ptr()
    for start, end in ((0, 3), (3, 4), (4, 7)):
        keys, values = cache.append(k[:, :, start:end], v[:, :, start:end])
        assert torch.equal(keys, k[:, :, :end]) and torch.equal(values, v[:, :, :end])
        assert keys.data_ptr() == address and cache.length == end


def test_more_than_it_holds_is_refused():
    cache = KeyValueCache(1, 1, 2, 4)
    with pytest.raises(ValueError, match="holds 2 positions, 3"):
        cache.append(torch.zeros(1, 1, 3, 4), torch.zeros(1, 1, 3, 4))


@pytest.mark.parametrize("sizes", [[1] * 20, [3, 1, 9, 1, 1, 5], [20], [4, 4, 4, 4, 4]])
def test_a_sliding_cache_gives_the_window_before_the_new(sizes):
    (k, v), cache, start = torch.randn(2, 2, 3, 20, 4), SlidingCache(window=4), 0
    for size in sizes:
        end = start + size
        keys, values = cache.append(k[:, :, start:end], v[:, :, start:end])
        first = max(start - 3, 0)
        assert torch.equal(keys, k[:, :, first:end]) and torch.equal(values, v[:, :, first:end])
        start = end


def test_a_sliding_cache_stays_small():
    cache = SlidingCache(window=4)
    for _ in range(100):
        cache.append(torch.zeros(1, 1, 1, 2), torch.zeros(1, 1, 1, 2))
        assert cache.keys is not None and cache.keys.shape[2] < 8
