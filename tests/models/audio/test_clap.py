"""Which words fit a sound: what the towers hear, the loss in cases done by hand, and sounds told apart."""

import math

import pytest
import torch
from torch import nn

import nexus
from nexus.hub import native
from nexus.media.audio import Audio
from nexus.media.features import MelConfig, log_mel
from nexus.models.audio.clap import Clap, ClapConfig
from nexus.recipes.clap_tiny import recipe

SMALL = ClapConfig(width=16, n_blocks=2, text_dim=8, dim=12, dropout=0.0)
RATE = SMALL.mel.sample_rate


def tone(hertz, seconds=1.0, rate=RATE):
    return 0.3 * torch.sin(2 * math.pi * hertz * torch.arange(int(seconds * rate)) / rate)


@pytest.fixture
def model():
    torch.manual_seed(0)
    return Clap(SMALL).eval()


def test_a_semitone_stands_out_where_it_is_played(model):
    for midi in (45, 57, 69, 81):  # As
        loudness = model.audio.semitones(tone(440 * 2 ** ((midi - 69) / 12), 2.0)[None])[0]
        assert loudness.argmax() == midi - 21, midi  # the lowest is MIDI's 21, 27.5 Hz
        assert abs(float(loudness.mean())) < 1e-5


def test_a_pulse_repeats_after_its_period(model):
    period = 40  # frames
    clicks = torch.zeros(6 * RATE)
    for start in range(0, len(clicks) - 200, period * SMALL.mel.hop_length):
        clicks[start : start + 200] = torch.randn(200, generator=torch.Generator().manual_seed(start))
    lags = model.audio.lags(log_mel(clicks[None], SMALL.mel)).view(SMALL.rhythm_bands, -1)
    assert (lags.argmax(1) == period - 1).all()
    assert (lags[:, period - 1] > 0.7).all() and (lags[:, period // 2 - 1] < 0.3).all()


def test_vectors_are_units_of_any_sound(model):
    for length in (1, 700, 8191, 24_001, 100_003):
        for waveform in (torch.zeros(2, length), torch.randn(2, length, generator=torch.Generator().manual_seed(1))):
            heard = model.hear(waveform)
            torch.testing.assert_close(heard.norm(dim=1), torch.ones(2))


def test_loudness_is_not_what_is_heard(model):
    waveform = tone(440) + 0.1 * torch.randn(RATE, generator=torch.Generator().manual_seed(2))
    torch.testing.assert_close(model.hear(waveform[None]), model.hear(0.5 * waveform[None]), atol=0.02, rtol=0)


def test_a_sound_is_heard_alike_in_every_batch(model):
    waveforms = torch.randn(3, RATE, generator=torch.Generator().manual_seed(3))
    torch.testing.assert_close(model.hear(waveforms)[1:2], model.hear(waveforms[1:2]), atol=1e-5, rtol=0)
    states, mask = torch.randn(2, 5, 8), torch.arange(5) < torch.tensor([[5], [2]])
    torch.testing.assert_close(model.read(states, mask)[1:], model.read(states[1:, :2], mask[1:, :2]))


def test_loss_by_hand():
    certain = 50 * torch.eye(3)
    same = torch.eye(3).bool()
    assert Clap.contrast(certain, same) < 1e-6
    assert Clap.contrast(torch.zeros(3, 3), same) == pytest.approx(math.log(3))
    # Two of the three texts say the same: neither is wrong for the other's sound.
    same[0, 1] = same[1, 0] = True
    scores = torch.tensor([[50.0, 50, 0], [50, 50, 0], [0, 0, 50]])
    assert Clap.contrast(scores, same) == pytest.approx(2 / 3 * math.log(2), abs=1e-5)
    assert Clap.contrast(scores, torch.eye(3).bool()) == pytest.approx(2 / 3 * math.log(2), abs=1e-5)
    assert Clap.contrast(50 * torch.eye(3), same) > 10
    # Every sound is nearest to the first text: wrong for two of the sounds, and texts see no sound apart.
    scores = torch.zeros(3, 3)
    scores[:, 0] = 50
    of_sounds, of_texts = (0 + 50 + 50) / 3, math.log(3)
    assert Clap.contrast(scores, torch.eye(3).bool()) == pytest.approx((of_sounds + of_texts) / 2, abs=1e-4)


def test_learns_which_tone_is_meant(model):
    pitches = [110.0, 165.0, 247.0, 370.0, 555.0, 833.0]
    tones = torch.stack([tone(hertz, 0.7) for hertz in pitches])
    torch.manual_seed(4)
    states, mask = torch.randn(6, 3, 8), torch.ones(6, 3).bool()
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    losses = []
    for _ in range(60):
        waveform = tones[:, : int(0.6 * RATE)] + 0.01 * torch.randn(6, int(0.6 * RATE))
        loss = model.contrast(model.scores(waveform, states, mask), torch.eye(6).bool())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.2 * losses[0]
    again = tones + 0.01 * torch.randn(tones.shape)
    assert model.scores(again, states, mask).argmax(1).tolist() == list(range(6))


class Letters:
    def __call__(self, prompts):
        states = torch.stack([torch.full((1, 8), float(len(p))) for p in prompts])
        return states, torch.ones(len(prompts), 1).bool()


def test_similarity_takes_sounds_as_they_come(model):
    model.text_encoder = Letters()
    stereo = Audio(torch.stack([tone(300, 1.0, 48_000), tone(300, 1.0, 48_000)]).numpy(), 48_000)
    mono = Audio(tone(300).numpy()[None], RATE)
    here = model.similarity([stereo, mono], ["a tone", "a tone"])
    assert here.shape == (2,) and (here.abs() <= 1.0001).all()
    assert float(here[0]) == pytest.approx(float(here[1]), abs=0.03)
    for sounds, prompts in (([], []), ([mono], ["a", "b"])):
        with pytest.raises(ValueError, match="each sound needs its prompt"):
            model.similarity(sounds, prompts)


def test_half_precision_hears_the_same(model):
    waveform = tone(440)[None] + 0.1 * torch.randn(1, RATE, generator=torch.Generator().manual_seed(2))
    whole = model.hear(waveform)
    half = model.bfloat16().hear(waveform)
    assert half.dtype == torch.bfloat16
    assert (whole * half.float()).sum().item() > 0.99


def test_a_folder_brings_it_back(tmp_path):
    torch.manual_seed(0)
    config = ClapConfig(width=16, mel=MelConfig(n_mels=32, hop_length=512, clamp=1e-4))
    model = Clap(config).eval()
    nn.init.normal_(model.log_scale)
    recipe.export(model, tmp_path)
    assert native.kind(nexus.hub.source.find(tmp_path)) == "Clap"
    loaded = nexus.load(tmp_path, device="cpu")
    assert loaded.config == config
    waveform = tone(220)[None]
    torch.testing.assert_close(loaded.hear(waveform), model.hear(waveform), atol=2e-3, rtol=0)
    assert loaded.similarity([Audio(waveform.numpy(), RATE)], ["a low tone"]).shape == (1,)
