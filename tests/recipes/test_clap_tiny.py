"""The recipe of the small judge of sounds and words, on a handful of sounds and pieces."""

from dataclasses import replace

import numpy as np
import pytest
import torch

import nexus
from nexus.data.captioned_sounds import mean_states, through_codec
from nexus.models.audio.clap import ClapConfig
from nexus.recipes.clap_tiny import recipe
from nexus.training.loop import train
from nexus.training.recipe import LoopConfig


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return replace(
        recipe,
        loop=LoopConfig(steps=3, sample_every=0, validate_every=2, validation_batches=1, save_every=0),
        model=ClapConfig(width=16, n_blocks=2),
        cache=str(tmp_path_factory.mktemp("clap")),
        n_sounds=6,
        sound_seconds=2.0,
        n_pieces=3,
        piece_seconds=2.0,
        n_valid=3,
        n_captions=2,
        batch_size=4,
    )


class Halving:
    """A codec that halves what it hears and forgets the last sample."""

    def encode(self, waveform):
        return waveform[..., :-1] / 2

    def decode(self, codes):
        return torch.nn.functional.pad(codes, (0, 3))


@pytest.fixture(scope="module")
def sounds(tiny):
    return tiny.world("sound", "train")


def test_batches_hold_clips_their_captions_and_which_are_the_same(sounds):
    batch = sounds[5]
    n, length = batch["waveform"].shape
    assert n == 4 and 0.75 * 48_000 <= length <= 48_000
    assert batch["text"].shape == (4, 1, 384) and batch["same"].diagonal().all()
    again = sounds[5]
    assert all(torch.equal(batch[key], again[key]) for key in batch)
    alike = (batch["text"] @ batch["text"].mT)[..., 0, 0]
    assert alike.isfinite().all()
    # Equal captions have equal states, and only they count as the same.
    states = batch["text"][:, 0]
    assert torch.equal(batch["same"], (states[:, None] == states).all(-1))


def test_clips_pass_the_codec_once(sounds, tmp_path):
    clips = sounds.clips
    coded = through_codec(Halving(), clips, tmp_path / "coded.npy")
    assert coded.shape == (6, 48_000) and not list(tmp_path.glob("*.part"))
    np.testing.assert_allclose(coded[4][:-1] / 32767, clips[4].samples[:-1] / 2, atol=2e-5)
    assert coded[4][-1] == 0
    again = through_codec(None, clips, tmp_path / "coded.npy")
    np.testing.assert_array_equal(coded, again)


def test_some_clips_are_heard_through_the_codec(tiny, sounds):
    def rows(share):
        world = replace(tiny, coded_share=share, shortest=1.0).world("sound", "train")
        return {row.numpy().tobytes() for i in range(6) for row in world[i]["waveform"]}

    plain, coded = rows(0.0), rows(1.0)
    assert not plain & coded
    assert plain <= {clip.samples.tobytes() for clip in sounds.clips}
    both = rows(0.5)
    assert both & plain and both & coded


def test_mean_states_leave_padding_out():
    def encoder(prompts):
        mask = torch.arange(3) < torch.tensor([len(p) for p in prompts])[:, None]
        return torch.where(mask[..., None], torch.arange(1.0, 4.0)[:, None].expand(3, 2), 99.0), mask

    np.testing.assert_allclose(mean_states(encoder, ["a", "abc"]), [[1, 1], [2, 2]])


def test_a_run_leaves_a_judge(tiny, tmp_path):
    train(tiny, tmp_path)
    judge = nexus.load(tmp_path / "weights", device="cpu")
    clip = tiny.world("sound", "valid").clips[0]
    sound = nexus.Audio(clip.samples[None], 24_000)
    fits = judge.similarity([sound, sound], [clip.caption, "waltz, 90 bpm, C major"])
    assert fits.shape == (2,) and (fits.abs() <= 1.001).all() and fits[0] != fits[1]


def test_pieces_and_sounds_take_turns(tiny):
    mixed, music, sound = tiny.dataset("train"), tiny.world("music", "train"), tiny.world("sound", "train")
    of_music = [torch.equal(mixed[i]["waveform"], music[i]["waveform"]) for i in range(12)]
    of_sound = [torch.equal(mixed[i]["waveform"], sound[i]["waveform"]) for i in range(12)]
    assert any(of_music) and any(of_sound) and all(a != b for a, b in zip(of_music, of_sound, strict=True))
