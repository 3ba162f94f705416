import pytest

from nexus.process.levels import Level, exploding, karras
from nexus.process.named import SOLVERS, named
from nexus.process.noise import gaussian, generators


@pytest.mark.parametrize("name", SOLVERS)
def test_every_name_samples_gaussian_data(name):
    """Data is N(2, 0.5^2) in every element, whose best estimate is known; what is sampled has its mean and spread."""

    def field(x, level: Level):
        gain = level.alpha * 0.25 / (level.alpha**2 * 0.25 + level.sigma**2)
        return 2 + gain * (x - level.alpha * 2)

    path, rngs = exploding(karras(20, 0.02, 40)), generators(0, 4)
    noise = 20 * gaussian((4000,), rngs)
    last = noise
    for state in named(name)(field, noise, path, rngs):
        last = state
    assert last.mean().item() == pytest.approx(2, abs=0.05)
    if name == "lcm":  # it takes estimates for samples: means of what could be, which spread less
        assert 0.2 < last.std().item() < 0.5
    else:
        assert last.std().item() == pytest.approx(0.5, abs=0.06)


def test_an_unknown_name_gets_the_nearest():
    with pytest.raises(ValueError, match="nearest is dpmpp-2m"):
        named("dpm++2m")
    with pytest.raises(ValueError, match=r"one of euler, heun, got 'lcm'"):
        named("lcm", ("euler", "heun"))


@pytest.mark.parametrize("name", SOLVERS)
def test_a_solver_draws_if_its_name_says_so(name):
    """From the same noise, other generators give other samples only where noise is drawn on the way."""

    def field(x, level: Level):
        return x / (1 + level.ratio**2)

    noise, path = 5 * gaussian((6,), generators(0, 2)), exploding(karras(5, 0.1, 6))

    def sample(seed):
        *_, last = named(name)(field, noise, path, generators(seed, 2))
        return last

    draws = {"ddpm", "euler-ancestral", "dpmpp-2m-sde", "lcm"}
    assert sample(1).equal(sample(1))
    assert sample(1).equal(sample(2)) == (name not in draws)
