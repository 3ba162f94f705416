"""Numbers told to a network, against the reference's two classes."""

import pytest
import torch

from nexus.nn.time_embed import TimeEmbedding


@pytest.mark.parametrize("shift", [0, 1])
def test_equals_the_reference(shift):
    embeddings = pytest.importorskip("diffusers.models.embeddings")
    torch.manual_seed(0)
    reference, ours = embeddings.TimestepEmbedding(256, 16), TimeEmbedding(16, shift=shift)
    names = {"linear_1": "mlp.0", "linear_2": "mlp.2"}
    ours.load_state_dict({f"{names[k.split('.')[0]]}.{k.split('.')[1]}": v for k, v in reference.state_dict().items()})
    t = torch.tensor([0, 17, 999])
    sinusoids = embeddings.Timesteps(256, flip_sin_to_cos=True, downscale_freq_shift=shift)(t)
    with torch.no_grad():
        torch.testing.assert_close(ours(t), reference(sinusoids), atol=1e-5, rtol=1e-5)
        assert (ours(t) - ours(t + 1)).abs().max() > 1e-3
        assert ours.double()(t).dtype == torch.float64
