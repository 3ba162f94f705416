import numpy as np
import pytest

from nexus.data.sound import KINDS, SoundClips, synthesize
from nexus.data.sound.creatures import COUNTS


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_clean_and_audible(kind):
    for seed, seconds in ((0, 4.0), (1, 2.0)):
        clip = synthesize(seed, kind=kind, seconds=seconds)
        wave = clip.audio.samples[0]
        assert wave.shape == (round(seconds * 24000),) and clip.audio.rate == 24000
        assert np.abs(wave).max() < 0.95 and 0.03 < np.sqrt(np.mean(wave**2)) < 0.11
        assert abs(wave.mean()) < 2e-3
        assert clip.caption in clip.facts["captions"] and clip.facts["kind"] == kind


def test_a_seed_is_a_clip_and_splits_share_none():
    assert synthesize(3, kind="sea").audio == synthesize(3, kind="sea").audio
    assert synthesize(3, kind="sea").audio != synthesize(3, "valid", kind="sea").audio
    assert synthesize(3, kind="sea").audio != synthesize(4, kind="sea").audio
    stream = SoundClips(seconds=2.0)
    assert np.array_equal(stream[6].samples, stream[6].samples)
    assert len({synthesize(seed, seconds=2.0).facts["kind"] for seed in range(30)}) > 15


def onsets(wave: np.ndarray) -> int:
    """Attacks: short-time energy that jumps eightfold over what it was, and stands out."""
    energy = np.add.reduceat(wave**2, np.arange(0, len(wave), 480))
    rises = (energy[2:] > 8 * energy[:-2]) & (energy[2:] > 0.1 * energy.max())
    return int(np.sum(np.diff(np.concatenate([[0], rises.astype(int)])) == 1))


@pytest.mark.parametrize("kind", ["knock", "dog"])
def test_counts_in_captions_are_heard(kind):
    right = []
    for seed in range(10):
        clip = synthesize(seed, kind=kind)
        text = " ".join(clip.facts["captions"])
        said = 1 if "once" in text else next(n for n, word in enumerate(COUNTS) if f"{word} times" in text)
        right.append(onsets(clip.audio.samples[0]) == said)
    assert np.mean(right) >= 0.7


def test_words_for_strength_are_heard():
    """Brightness and pace differ as the captions say."""

    def beats(word):
        clips = [synthesize(seed, kind="heartbeat") for seed in range(12)]
        return [np.sum(c.audio.samples[0] ** 2 > 0.01) for c in clips if word in c.caption]

    assert np.mean(beats("fast")) > np.mean(beats("slow"))

    def top(kind):
        spectrum = np.abs(np.fft.rfft(synthesize(1, kind=kind).audio.samples[0]))
        return np.fft.rfftfreq(96000, 1 / 24000)[spectrum.argmax()]

    assert top("foghorn") < 800 < top("crickets")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [({"kind": "unicorn"}, "seagulls"), ({"seed": -1}, "negative"), ({"seconds": 0.5}, "at least 2")],
)
def test_wrong_wishes_are_refused(arguments, said):
    with pytest.raises(ValueError, match=said):
        synthesize(**{"seed": 0, **arguments})
