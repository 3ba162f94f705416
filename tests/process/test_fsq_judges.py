"""The judges of NeMo's codecs: each hears its own band, and a full set is the published one."""

import pytest
import torch

from nexus.process.adversarial import discriminator_least_squares
from nexus.process.fsq_judges import BandJudge, fsq_judges


def tone(hertz: float, length: int = 4000) -> torch.Tensor:
    return 0.5 * torch.sin(2 * torch.pi * hertz * torch.arange(length) / 8000)[None, None]


def test_a_band_is_all_that_is_heard():
    torch.manual_seed(0)
    low, high = BandJudge(512, 0.0, 0.25, 4), BandJudge(512, 0.5, 1.0, 4)
    silence = torch.zeros(1, 1, 4000)

    def heard(judge: BandJudge, hertz: float) -> torch.Tensor:
        middle = slice(5, -5)  # a tone that is cut off is heard in all bands
        return (judge(tone(hertz))[0] - judge(silence)[0])[..., middle, :].abs().max()

    assert heard(low, 500) > 10 * heard(low, 3000)
    assert heard(high, 3000) > 10 * heard(high, 500)


def test_the_published_judges():
    with torch.device("meta"):
        judges = fsq_judges()
    assert len(judges.members) == 5 + 3 * 5
    bands = [(judge.low, judge.high) for judge in judges.members if isinstance(judge, BandJudge)][:5]
    assert bands == [(0, 25), (25, 64), (64, 128), (128, 192), (192, 257)]


@pytest.mark.parametrize("length", [1024, 1301])
def test_every_parameter_gets_a_gradient(length):
    torch.manual_seed(0)
    judges = fsq_judges((512, 1024), (2, 3), n_filters=2, widths=(2, 3, 4))
    real, fake = (judges(torch.randn(2, 1, length)) for _ in range(2))
    assert [len(features) for features in real.features] == [3] * 2 + [5] * 10
    assert all(logits.shape[:2] == (2, 1) for logits in real.logits)
    discriminator_least_squares(real, fake).backward()
    assert not [n for n, p in judges.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]


def test_narrow_bands_are_refused():
    with pytest.raises(ValueError, match=r"0 to 0\.1 of n_fft 256 has 12; 512 is the least"):
        fsq_judges((256,))
