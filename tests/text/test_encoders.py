import pytest
import torch

from nexus.text.encoders import minilm


@pytest.fixture(scope="module")
def encoder():
    return minilm()


def test_a_prompt_does_not_depend_on_its_neighbours(encoder):
    states, mask = encoder(["a red boat", "a lighthouse stands on a rock above the sea"])
    alone, _ = encoder(["a red boat"])
    n = int(mask[0].sum())
    assert states.shape[-1] == encoder.dim == 384 and n < mask.shape[1]
    torch.testing.assert_close(states[:1, :n], alone, rtol=1e-4, atol=1e-5)
    assert states[0, n:].abs().max() == 0


def test_near_words_land_near(encoder):
    boat, ship, cake = (encoder([word])[0].mean(1)[0] for word in ("boat", "ship", "cake"))
    near, far = torch.cosine_similarity(boat, ship, dim=0), torch.cosine_similarity(boat, cake, dim=0)
    assert near > far + 0.1


def test_a_prompt_that_is_too_long_says_how_long_it_may_be(encoder):
    with pytest.raises(ValueError, match="reads at most 128"):
        encoder(["word " * 500])
