"""F5-TTS as a whole: it learns, speaks, streams what it generates, and refuses what it can't say."""

import math
from functools import partial
from itertools import pairwise

import numpy as np
import pytest
import torch

from nexus.media.audio import Audio
from nexus.media.features import MelConfig
from nexus.models.audio.durations import DurationConfig
from nexus.models.audio.early import FIRST_STEPS, FIRST_VOICE, LONGEST_FIRST
from nexus.models.audio.f5tts import F5TTS, F5TTSConfig, InfillingConfig, masked_spans
from nexus.models.audio.f5tts_dit import DiT, DiTConfig
from nexus.models.audio.speaking import ENDING
from nexus.nn.checkpoint import config_from_dict, save_folder

NETWORK = DiTConfig(
    n_mels=8,
    n_symbols=30,
    dim=32,
    n_layers=2,
    n_heads=2,
    text_dim=16,
    text_layers=1,
    dropout=0.0,
    mask_attention=True,
    position_kernel=3,
    patch_size=4,
    predicts="data",
    voice_summary=True,
)
MEL = MelConfig(sample_rate=8000, n_fft=256, hop_length=64, win_length=256, n_mels=8)
CONFIG = F5TTSConfig(
    network=NETWORK,
    mel=MEL,
    mel_mean=-2.0,
    mel_std=2.0,
    durations=DurationConfig(n_symbols=30, dim=16, n_layers=1),
    steps=3,
    longest_voice=3.0,
    longest_piece=40,
    default_voice_frames=40,
)


class Letters:
    breaks: frozenset[int] = frozenset()  # none: no sentence is cut

    @staticmethod
    def check(text, accent=None):
        if "0" in text:
            raise ValueError("no digits")

    def __call__(self, text, accent=None):
        return [0, *(ord(c) % 29 + 1 for c in text), 0]


class Vocoder(torch.nn.Module):
    """Noise whose level follows the mel, so that what is decoded shows what was generated."""

    def __init__(self):
        super().__init__()
        self.scale = torch.nn.Parameter(torch.ones(1))

    def decode(self, mel):
        level = mel.mean(dim=1, keepdim=True).repeat_interleave(64, dim=-1)[..., 64:]
        phase = torch.arange(level.shape[-1]) * 0.3
        return self.scale * 0.1 * level.tanh() * phase.sin()


def speaker(**changes) -> F5TTS:
    torch.manual_seed(0)
    model = F5TTS(F5TTSConfig(**(vars(CONFIG) | changes)))
    with torch.no_grad():
        for parameter in model.network.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
        if hasattr(model, "default_voice"):
            model.default_voice.normal_()
    model.vocoder, model.front_end = Vocoder(), Letters()
    return model.eval()


def voice(seconds=2.0, rate=16000) -> Audio:
    t = np.arange(round(seconds * rate)) / rate
    return Audio((0.2 * np.sin(2 * math.pi * 220 * t) * (1 + np.sin(9 * t))).astype(np.float32), rate)


def batch(n=2, frames=33):
    rng = torch.Generator().manual_seed(0)
    return {
        "mel": torch.randn(n, 8, frames, generator=rng),
        "length": torch.tensor([frames, frames - 9][:n]),
        "text": torch.randint(0, 30, (n, frames), generator=rng),
        "symbols": torch.tensor([[0, 5, 6, 7, 0], [0, 8, 9, -1, -1]])[:n],
        "durations": torch.tensor([[4.0, 2, 3, 5, 1], [4.0, 2, 6, 0, 0]])[:n],
    }


def test_one_batch_overfits():
    torch.manual_seed(0)
    model = F5TTS(CONFIG)
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    losses = []
    for _ in range(60):
        loss = model.loss(batch(), torch.Generator().manual_seed(0))
        optimizer.zero_grad()
        loss["loss"].backward()
        optimizer.step()
        losses.append({name: value.item() for name, value in loss.items()})
    assert losses[-1]["flow"] < 0.3 * losses[0]["flow"]
    assert losses[-1]["duration"] < losses[0]["duration"] - 0.5


def test_every_parameter_learns_and_batch_of_one_works():
    model = speaker()
    model.train()
    model.loss(batch(), torch.Generator().manual_seed(4))["loss"].backward()
    without = [name for name, p in model.named_parameters() if p.grad is None and not name.startswith("vocoder")]
    assert not without
    assert torch.isfinite(model.loss(batch(n=1), torch.Generator().manual_seed(0))["loss"])


def test_loss_is_a_function_of_its_generator():
    model = speaker()
    first, again, other = (model.loss(batch(), torch.Generator().manual_seed(s))["loss"] for s in (1, 1, 2))
    assert first == again != other


def test_padding_does_not_change_an_item():
    """But for the global response norm of the text blocks, which counts the padding, in the reference as here."""
    model = speaker(network=DiTConfig(**(vars(NETWORK) | {"text_layers": 0}))).network
    x, cond = torch.randn(2, 1, 8, 20)
    text, t = torch.randint(0, 30, (1, 20)), torch.tensor([0.4])
    alone = model(x, t, cond, text)
    pad = torch.nn.functional.pad
    mask = torch.arange(33)[None] < 20
    padded = model(pad(x, (0, 13)), t, pad(cond, (0, 13)), pad(text, (0, 13), value=-1), mask)
    torch.testing.assert_close(padded[..., :20], alone, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("length", [1, 7, 32])
def test_odd_lengths_and_both_predictions(length):
    for predicts in ("velocity", "data"):
        model = DiT(DiTConfig(**(vars(NETWORK) | {"predicts": predicts})))
        x = torch.randn(1, 8, length)
        out = model(x, torch.tensor([0.5]), torch.zeros_like(x), torch.full((1, length), -1))
        assert out.shape == x.shape
        # At the start data is predicted as 0, which a velocity of -x / (1 - t) reaches, and velocity as 0.
        torch.testing.assert_close(out, -2 * x if predicts == "data" else 0 * x)


def test_masked_spans_cover_the_fractions_asked_for():
    length = torch.full((500,), 100)
    hide = InfillingConfig(masked=(0.6, 0.9), prefix_only=0.5)
    spans = masked_spans(length, 120, hide, torch.Generator().manual_seed(0))
    counts = spans.sum(dim=1)
    assert counts.min() >= 60 and counts.max() <= 90 and not spans[:, 100:].any()
    assert (spans.int().diff(dim=1).abs().sum(dim=1) <= 2).all()  # contiguous
    assert 0.45 < spans[:, 99].float().mean() < 0.6  # half end with the utterance


def test_seed_decides_and_items_equal_themselves_alone():
    model = speaker()
    both = model.generate(["abc def", "ghi"], seed=5)
    assert [both[0], both[1]] == [model.generate("abc def", seed=5), model.generate("ghi", seed=6)]
    assert model.generate("abc def", seed=7) != both[0]


def test_stream_put_together_is_the_whole():
    model = speaker()
    text = "A first sentence is here. And there comes a second one! Is this the third?"
    parts = list(model.stream(text, seed=3, voice=voice()))
    assert len(parts) == 3
    assert Audio.concatenate(parts) == model.generate(text, seed=3, voice=voice())


class Words(Letters):
    breaks = frozenset({ord(" ") % 29 + 1})


def test_an_opening_is_heard_early_and_nothing_is_lost_or_repeated():
    model = speaker()
    with torch.no_grad():
        model.durations.proj_out.bias.add_(1.0)  # longer, so that there is something to cut
    text = "A first sentence is here. And there comes a second one! Is this the third?"
    whole = list(model.stream(text, seed=3, voice=voice()))
    model.front_end = Words()
    parts = list(model.stream(text, seed=3, voice=voice()))
    assert len(parts) > len(whole) == 3 and parts[0].seconds < 0.5 * whole[0].seconds
    joined, uncut = Audio.concatenate(parts), Audio.concatenate(whole)
    assert joined.length == uncut.length and joined != uncut
    assert parts[-1] == whole[-1]  # a sentence that needed no cut


def test_a_page_is_read_sentence_by_sentence_and_refused_before_its_first_sound():
    model, read = speaker(), []

    class Watched(Letters):
        def __call__(self, text, accent=None):
            read.append(text)
            return super().__call__(text, accent)

    model.front_end = Watched()
    page = "A first sentence is here. And there comes a second one! Is this the third?"
    parts = model.stream(page, seed=3, voice=voice())
    next(parts)
    assert len(read) == 1
    assert len(list(parts)) == 2 and len(read) == 3
    with pytest.raises(ValueError, match="no digits"):
        next(model.stream(page + " That is 0.", seed=3, voice=voice()))
    assert len(read) == 3


def test_the_first_part_is_made_in_few_steps_from_the_end_of_the_voice(monkeypatch):
    model, asked, steps = speaker(), [], []
    model.front_end, plain = Words(), model.sample
    with torch.no_grad():
        model.durations.proj_out.bias.add_(1.0)

    def sample(noise, cond, text, **settings):
        asked.append((cond[0], text[0], noise[0]))
        steps.append(settings["steps"])
        return plain(noise, cond, text, **settings)

    monkeypatch.setattr(model, "sample", sample)
    parts = list(model.stream("A first sentence is here.", seed=3, voice=voice(2.9), steps=20))
    known = model._voice(voice(2.9), None, None).mel
    (first, first_text, first_noise), (second, second_text, second_noise) = asked[:2]
    n = round(FIRST_VOICE * model.config.mel.sample_rate / model.config.mel.hop_length)
    skipped = known.shape[1] - n
    assert len(parts) == 2 and steps == [FIRST_STEPS, 20] and skipped > 0
    assert torch.equal(first[:, :n], known[:, skipped:]) and not first[:, n:].any()
    assert torch.equal(second[:, : n + skipped], known) and second[:, n + skipped :].any()  # and what was made first
    shared = first_noise.shape[1]
    assert torch.equal(first_noise, second_noise[:, skipped:][:, :shared])
    assert torch.equal(first_text, second_text[skipped:][:shared])


def test_a_short_first_sentence_is_made_in_few_steps_too(monkeypatch):
    model, steps, plain = speaker(), [], F5TTS.sample
    model.front_end = Words()

    def sample(*arrays, **settings):
        steps.append(settings["steps"])
        return plain(*arrays, **settings)

    monkeypatch.setattr(model, "sample", partial(sample, model))
    text = "A short one it is. And there comes a second one!"
    parts = list(model.stream(text, seed=3, voice=voice(), steps=20))
    assert steps == [FIRST_STEPS, 20] and parts[0].seconds < LONGEST_FIRST
    model.front_end, steps[:] = Letters(), []  # what knows no words is said whole
    whole = list(model.stream(text, seed=3, voice=voice(), steps=20))
    assert steps == [20, 20] and [part.length for part in parts] == [sentence.length for sentence in whole]
    assert parts[0] != whole[0]


def test_voice_matters_and_so_do_its_words():
    model = speaker()
    plain = model.generate("abc def ghi", seed=0)
    cloned = model.generate("abc def ghi", seed=0, voice=voice())
    told = model.generate("abc def ghi", seed=0, voice=voice(), voice_text="some words")
    assert plain.length == cloned.length == told.length
    assert plain != cloned != told


def test_speed_changes_the_length():
    model = speaker()
    lengths = [model.generate("abc def ghi jkl", seed=0, speed=s).length for s in (0.5, 1.0, 2.0)]
    for slow, fast in pairwise(lengths):
        assert abs(slow / fast - 2) < 0.2


def test_progress_counts_every_step_and_can_stop():
    model, seen = speaker(), []
    model.generate(
        ["One sentence is long enough. Another one is that too.", "abc"], seed=0, progress=lambda *p: seen.append(p)
    )
    assert seen == [(i, 9) for i in range(1, 10)]

    def stop(done, total):
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        model.generate("abc", progress=stop)


def test_official_rule_of_durations():
    model = speaker(durations=None, default_voice_frames=0, longest_voice=12.0)
    sound = model.generate("abcdefghij", voice=voice(2.0), voice_text="abcde", seed=0, speed=1.0)
    assert abs(sound.seconds - (2.0 + ENDING) * 10 / 6) < 0.1  # six bytes with the space take the voice's time


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"prompt": "  "}, "empty"),
        ({"prompt": "?! ..."}, "nothing to speak"),
        ({"prompt": "word " * 5000}, "20000"),
        ({"prompt": "abc", "voice": voice(0.2)}, r"0\.20 s"),
        ({"prompt": "abc", "voice": Audio(np.zeros(32000, np.float32), 16000)}, "silent"),
        ({"prompt": "abc", "voice": voice(9.0), "voice_text": "far too long"}, "transcript may last"),
        ({"prompt": "abc", "voice_text": "but no voice"}, "give both"),
        ({"prompt": "abc", "speed": 0.0}, "speed"),
        ({"prompt": "abc", "steps": 0}, "steps"),
        ({"prompt": "abc", "guidance_scale": -1.0}, "guidance_scale"),
        ({"prompt": "abc", "sway": -2.0}, "sway"),
    ],
)
def test_what_it_cannot_do_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        speaker().generate(**arguments)


def test_what_is_missing_is_named():
    with pytest.raises(ValueError, match="transcript"):
        speaker(durations=None).generate("abc", voice=voice())
    with pytest.raises(ValueError, match="no voice of their own"):
        speaker(default_voice_frames=0).generate("abc")
    with pytest.raises(ValueError, match=r"nexus\.load"):
        F5TTS(CONFIG).generate("abc")


def test_bad_configs_are_refused():
    for change, message in (({"dim": 33}, "n_heads"), ({"patch_size": 3}, "text_dim"), ({"position_kernel": 4}, "odd")):
        with pytest.raises(ValueError, match=message):
            DiTConfig(**(vars(NETWORK) | change))


def test_saved_folder_brings_the_same_model_back(tmp_path):
    import json

    from safetensors.torch import load_file

    model = F5TTS(CONFIG)
    save_folder(model, tmp_path, kind="f5tts", config=CONFIG)
    config = config_from_dict(F5TTSConfig, json.loads((tmp_path / "config.json").read_text())["config"])
    assert config == CONFIG
    other = F5TTS(config)
    other.load_state_dict(load_file(tmp_path / "model.safetensors"))
    x, text, t = torch.randn(1, 8, 9), torch.zeros(1, 9, dtype=torch.long), torch.tensor([0.3])
    torch.testing.assert_close(other(x, t, 0 * x, text), model(x, t, 0 * x, text))
