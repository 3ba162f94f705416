import pytest
import torch
from toy import Points

from nexus.training.batches import read_ahead


@pytest.mark.parametrize("workers", [0, 2])
def test_in_order_and_without_the_global_generator(workers):
    stream, before = Points(3), torch.get_rng_state()
    read = list(read_ahead(stream, range(5, 17, 2), workers))
    assert len(read) == 6
    for batch, index in zip(read, range(5, 17, 2), strict=True):
        assert torch.equal(batch["x"], stream[index]["x"])
    assert torch.equal(before, torch.get_rng_state())


def test_an_error_arrives_where_it_happened():
    class Broken:
        def __getitem__(self, index):
            if index == 2:
                raise ValueError("batch 2 is broken")
            return {"x": torch.zeros(1)}

    batches = read_ahead(Broken(), range(5), 0)
    next(batches), next(batches)
    with pytest.raises(ValueError, match="batch 2 is broken"):
        next(batches)
