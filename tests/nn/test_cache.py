import pytest
import torch

from nexus.nn.cache import KeyValueCache


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
