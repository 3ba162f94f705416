from dataclasses import replace

import pytest
import torch
from torch import nn

from nexus.codecs.encodec import Encodec, EncodecConfig
from nexus.codecs.seanet import SEANetConfig
from nexus.media.audio import Audio
from nexus.models.audio.musicgen import MelodyConfig, MusicGen, MusicGenConfig
from nexus.nn.quantize import QuantizerConfig
from nexus.text.music_prompts import Score

TEXT = MusicGenConfig(
    dim=24, n_layers=2, n_heads=3, ffn_dim=48, codebook_size=16, delays=(0, 1, 2), text_dim=10, max_duration=2.0
)
MELODY = replace(TEXT, melody=MelodyConfig(sample_rate=1000, n_fft=256, hop_length=128, length=7))
CONTROLS = replace(MELODY, controls=True)
STEREO = replace(TEXT, delays=(0, 0, 1, 1, 2, 2))
CONFIGS = {"text": TEXT, "melody": MELODY, "controls": CONTROLS}


class Words:
    """A text encoder: one state a word, a pure function of the word."""

    def __init__(self, dim):
        self.dim = dim

    def check(self, prompt):
        if len(prompt.split()) > 8:
            raise ValueError(f"{len(prompt.split())} words, at most 8")

    def __call__(self, prompts):
        words = [prompt.split() for prompt in prompts]
        mask = torch.arange(max(map(len, words))) < torch.tensor([[len(row)] for row in words])
        states = torch.zeros(*mask.shape, self.dim)
        for i, row in enumerate(words):
            for j, word in enumerate(row):
                seed = sum(ord(letter) * 31**k for k, letter in enumerate(word)) % 2**31
                states[i, j] = torch.randn(self.dim, generator=torch.Generator().manual_seed(seed))
        return states, mask


def build(config, seed=0):
    torch.manual_seed(seed)
    model = MusicGen(config)
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.3)
    seanet = SEANetConfig(n_filters=2, ratios=(5, 4), n_lstm_layers=1)
    codec = Encodec(
        EncodecConfig(
            sample_rate=1000, seanet=seanet, quantizer=QuantizerConfig(n_codebooks=3, codebook_size=16, dim=8)
        )
    )
    for name, tensor in codec.state_dict().items():
        if name.endswith("original0"):
            nn.init.constant_(tensor, 2.0)
        elif tensor.is_floating_point() and "weight" in name:
            nn.init.normal_(tensor, std=0.3)
        elif name.endswith("vectors"):
            nn.init.normal_(tensor)
    model.codec, model.text_encoder = codec.eval(), Words(config.text_dim)
    return model.eval()


@pytest.fixture(params=CONFIGS)
def model(request):
    return build(CONFIGS[request.param])


def conditions(config, batch=2, seed=0):
    rng = torch.Generator().manual_seed(seed)
    text = torch.randn(batch, 5, config.text_dim, generator=rng)
    mask = torch.arange(5) < torch.tensor([[5], [3]])[:batch]
    melody = None
    if config.melody is not None:
        melody = nn.functional.one_hot(torch.randint(12, (batch, 7), generator=rng), 12).mT.float()
    return text, mask, melody


def test_causal_by_perturbation(model):
    config = model.config
    tokens = torch.randint(0, 16, (2, config.n_codebooks, 9))
    changed = tokens.clone()
    changed[:, 1, 5] = (changed[:, 1, 5] + 1) % 16
    before, after = (model(t, *conditions(config)) for t in (tokens, changed))
    assert torch.equal(before[:, :, :5], after[:, :, :5])
    assert (before[:, :, 5:] - after[:, :, 5:]).abs().amin((0, 1, 3)).min() > 0


def test_conditions_matter_and_padding_does_not(model):
    text, mask, melody = conditions(model.config)
    tokens = torch.randint(0, 16, (2, model.config.n_codebooks, 4))
    logits = model(tokens, text, mask, melody)
    garbage = text.masked_fill(~mask[..., None], 100.0)
    torch.testing.assert_close(model(tokens, garbage, mask, melody), logits)
    assert (model(tokens, text + mask[..., None], mask, melody) - logits).abs().max() > 1e-2
    if melody is not None:
        assert (model(tokens, text, mask, melody.roll(1, 1)) - logits).abs().max() > 1e-2


def test_a_batch_item_equals_the_item_alone(model):
    text, mask, melody = conditions(model.config)
    tokens = torch.randint(0, 16, (2, model.config.n_codebooks, 6))
    alone = model(tokens[1:], text[1:, :3], mask[1:, :3], None if melody is None else melody[1:])
    torch.testing.assert_close(model(tokens, text, mask, melody)[1:], alone, atol=1e-5, rtol=1e-4)


def test_cached_equals_uncached(model):
    prepared = model.condition(*conditions(model.config))
    tokens = torch.randint(0, 16, (2, model.config.n_codebooks, 9))
    whole = model.decoder(tokens, *prepared)
    state = model.decoder.state(2, 40)
    pieces = [model.decoder(tokens[:, :, a:b], *prepared, state) for a, b in ((0, 1), (1, 4), (4, 5), (5, 9))]
    torch.testing.assert_close(torch.cat(pieces, dim=2), whole, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("config", [TEXT, MELODY, CONTROLS, STEREO], ids=["text", "melody", "controls", "stereo"])
def test_streamed_equals_whole(config):
    model, settings = build(config), {"duration": 0.5, "seed": 3, "top_k": 0}
    prompts = ["slow piano", "a fast drum, 200 bpm, A minor"]
    whole = model.generate(prompts, **settings)
    pieces = list(model.stream(prompts, chunk=0.1, **settings))
    assert len(pieces) > 3
    for i, audio in enumerate(whole):
        streamed = Audio.concatenate([piece[i] for piece in pieces])
        assert (audio.length, audio.rate, audio.channels) == (500, 1000, 2 if config is STEREO else 1)
        assert streamed.length == audio.length and audio.samples.std() > 1e-3
        torch.testing.assert_close(torch.tensor(streamed.samples), torch.tensor(audio.samples), atol=1e-5, rtol=1e-4)


def test_the_length_is_exact_between_frames():
    model = build(TEXT)
    audio = model.generate("piano", duration=0.333, seed=0)
    pieces = list(model.stream("piano", duration=0.333, seed=0, chunk=0.1))
    assert audio.length == 333 and sum(piece.length for piece in pieces) == 333


def test_generated_item_equals_the_item_alone_and_seeds_reproduce(model):
    prompts, settings = ["slow piano", "a fast happy drum"], {"duration": 0.3, "top_k": 0}
    first, second = model.generate(prompts, seed=5, **settings)
    alone = model.generate(prompts[1], seed=6, **settings)
    torch.testing.assert_close(torch.tensor(second.samples), torch.tensor(alone.samples), atol=1e-5, rtol=1e-4)
    assert model.generate(prompts, seed=5, **settings) == [first, second]
    assert model.generate(prompts[1], seed=7, **settings) != alone


def test_guidance_scale_one_is_the_condition_alone(model):
    calls = []
    model.decoder.register_forward_pre_hook(lambda _, args: calls.append(len(args[0])))
    model.generate("slow piano", duration=0.1, guidance_scale=1.0, seed=0)
    assert set(calls) == {1}
    model.generate("slow piano", duration=0.1, guidance_scale=3.0, seed=0)
    assert set(calls) == {1, 2}


def test_continuation_keeps_what_was_given(model):
    given = Audio(torch.randn(200, generator=torch.Generator().manual_seed(0)) / 3, 1000)
    heard = model.codec.decode(model.codec.encode(torch.tensor(given.samples)[None]))[0]
    result = model.generate("slow piano", duration=0.5, continue_from=given, seed=0)
    assert result.length == 500
    torch.testing.assert_close(torch.tensor(result.samples[:, :150]), heard[:, :150], atol=1e-5, rtol=1e-4)
    with pytest.raises(ValueError, match="longer"):
        model.generate("slow piano", duration=0.2, continue_from=given)


def test_a_melody_changes_the_music_at_any_rate():
    model = build(MELODY)
    t = torch.arange(3000) / 3000
    low, high = (Audio(torch.sin(6.283 * f * t), 3000) for f in (220.0, 330.0))
    a, b = (model.generate("piano", duration=0.2, melody=m, seed=0) for m in (low, high))
    assert a != b and a == model.generate("piano", duration=0.2, melody=low, seed=0)


def test_controls_are_those_of_each_step_in_training_and_in_use():
    """What a step is told when it is trained, it is told when it generates, also in a later window."""
    model = build(replace(CONTROLS, max_duration=0.4, condition_dropout=0.0, melody_dropout=1.0, control_dropout=0.0))
    told, learn = [], model.controls.forward
    model.controls.forward = lambda features: (told.append(features), learn(features))[1]
    settings = {"bpm": 150, "key": "Bb minor", "beats_per_bar": 3, "guidance_scale": 1.0}
    model.generate("piano", duration=0.9, **settings)
    frame_rate = model.codec.frame_rate
    for i, start in enumerate((0, 10, 20, 30)):
        n = min(20, 45 - start)
        batch = batch_of(model.config) | {"codes": torch.zeros(1, 3, n, dtype=torch.int64)}
        batch |= {name: batch[name][:1] for name in ("text", "text_mask", "chroma")}
        batch |= {"beats_per_frame": torch.tensor([2.5 / frame_rate]), "pitches": torch.zeros(1, 12, n)}
        batch |= {"first_beat": start * batch["beats_per_frame"], "beats_per_bar": torch.tensor([3])}
        model.loss(batch | {"key": torch.tensor([22])})
        learnt = told[-1][..., :-13]  # but for the pitches
        torch.testing.assert_close(told[i][:, : learnt.shape[1], :-13], learnt, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    ("dropped", "score", "pitches"),
    [
        ({}, True, True),
        ({"control_dropout": 1.0}, False, True),
        ({"melody_dropout": 1.0}, True, False),
        ({"condition_dropout": 1.0}, False, False),
    ],
)
def test_what_is_dropped_in_training_is_not_told(dropped, score, pitches):
    kept = {"condition_dropout": 0.0, "melody_dropout": 0.0, "control_dropout": 0.0}
    model = build(replace(CONTROLS, **kept | dropped))
    told, learn = [], model.controls.forward
    model.controls.forward = lambda features: (told.append(features), learn(features))[1]
    model.loss(batch_of(model.config), torch.Generator().manual_seed(0))
    parts = (told[0][..., :10], told[0][..., 10:19], told[0][..., 19:43])  # beat, bar and key
    assert [bool(part.any()) for part in parts] == [score] * 3 and bool(told[0][..., 43:].any()) == pitches


def test_each_step_of_decoding_is_told_its_own_controls():
    model = build(CONTROLS)
    added, hidden = [], model.decoder.hidden
    model.decoder.hidden = lambda *args: (added.append((args[0].shape[2], args[4])), hidden(*args))[1]
    tone = Audio(torch.sin(torch.arange(300) * 0.5), 1000)
    model.generate("piano, 90 bpm", duration=0.5, melody=tone, continue_from=tone.cut(0, 100), guidance_scale=2.0)
    followed = model._melody(tone, 1)
    n_steps, whole = 0, model._conditions(["piano, 90 bpm"], followed, [Score(bpm=90)], 2.0)(0, 40)[2]
    for n, now in added:
        torch.testing.assert_close(now, whole[:, n_steps : n_steps + n])
        n_steps += n
    assert added[0][0] > 1 and n_steps >= 25 and len(whole) == 2


def test_controls_come_from_the_prompt_unless_they_are_given():
    model, settings = build(CONTROLS), {"duration": 0.2, "temperature": 0, "guidance_scale": 1.0}
    model.text_encoder = lambda prompts: Words(10)(["same"] * len(prompts))
    plain, named = (model.generate(prompt, **settings) for prompt in ("piano", "piano, 90 bpm, A minor"))
    assert plain != named == model.generate("piano", bpm=90, key="A minor", **settings)
    assert model.generate("piano, 70 bpm, A minor", bpm=90, **settings) == named
    assert model.generate("piano, 90 bpm", **settings) != named
    with pytest.raises(ValueError, match="bpm must be from 30 to 300, got 900"):
        model.generate("piano", bpm=900)
    with pytest.raises(ValueError, match="unknown key 'H major'"):
        model.generate("piano", key="H major")
    with pytest.raises(ValueError, match=r"unknown chord 'Xm'; a chord is a note and a kind: C, Cmaj, Cm,"):
        model.generate("piano", chords="Am Xm")
    with pytest.raises(ValueError, match=r"a melody and chords .* give one of them"):
        model.generate("piano", chords="Am", melody=Audio.silence(10, 1000))
    with pytest.raises(ValueError, match="controls follow pitches as a melody variant does"):
        replace(TEXT, controls=True)
    with pytest.raises(ValueError, match=r"no control of bpm, beats_per_bar; .*nexus/musicgen-tiny"):
        build(MELODY).generate("piano", bpm=90, beats_per_bar=3)


def test_chords_are_followed_as_a_melody_is():
    model, settings = build(CONTROLS), {"duration": 1.5, "guidance_scale": 1.0, "bpm": 120, "beats_per_bar": 2}
    told, learn = [], model.controls.forward
    model.controls.forward = lambda features: (told.append(features[0, :, -13:]), learn(features))[1]
    model.generate("piano", chords="F#m C", **settings)
    frame_rate = model.codec.frame_rate  # the melody of 1,000 Hz has pitches for 2,048 samples each
    pitches = told[0][:, 1:]
    assert told[0][:, 0].eq(1).all() and pitches.shape[0] >= 1.5 * frame_rate
    assert pitches[0].topk(3).indices.tolist() == [6, 1, 9] and pitches[0, 0] < 0.1
    plain = model.generate("piano", key="C major", seed=0, **settings)
    home = told[1][0, 1:]
    assert home.argmax() == 0 and sorted(home.topk(3).indices.tolist()) == [0, 4, 7]
    assert (home[[2, 5, 9, 11]] > home[[1, 3, 6, 8, 10]].max()).all()  # the key's other tones
    model.generate("piano", key="C major", melody=Audio(torch.sin(torch.arange(900) * 0.5), 1000), **settings)
    assert not torch.allclose(told[2][0], told[1][0])  # a melody goes before what the key suggests
    assert plain == model.generate("piano", key="C major", seed=0, **settings)
    model.generate("piano", bpm=120, duration=0.3, guidance_scale=1.0)
    assert not told[-1].any()  # neither key nor chords: nothing is followed


def test_a_batch_of_which_one_has_a_key_is_each_as_alone():
    model, settings = build(CONTROLS), {"duration": 0.3, "top_k": 0}
    prompts = ["slow piano", "a fast drum, 200 bpm, A minor"]
    both = model.generate(prompts, seed=5, **settings)
    for i, prompt in enumerate(prompts):
        alone = model.generate(prompt, seed=5 + i, **settings)
        torch.testing.assert_close(torch.tensor(both[i].samples), torch.tensor(alone.samples), atol=1e-5, rtol=1e-4)


def test_longer_than_trained_goes_window_by_window():
    model = build(replace(MELODY, max_duration=0.4))
    seen = []
    model.decoder.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    tone = Audio(torch.sin(torch.arange(2000) * 0.5), 1000)
    settings = {"melody": tone, "temperature": 0, "guidance_scale": 1.0}
    short, long = (model.generate("piano", duration=seconds, **settings) for seconds in (0.4, 0.9))
    torch.testing.assert_close(torch.tensor(long.samples[:, :350]), torch.tensor(short.samples[:, :350]))
    assert long.length == 900 and short.length == 400
    # Windows of 20 frames start at 0, 10, 20 and 30 of 45; the first call of each carries 10 known frames.
    assert [tokens.shape[2] for tokens in seen if tokens.shape[2] > 1] == [11, 11, 11]


@pytest.mark.parametrize(
    ("prompt", "settings", "message"),
    [
        ("", {}, "empty"),
        (["piano", "  "], {}, "empty"),
        ([], {}, "empty"),
        ("a b c d e f g h i", {}, "at most 8"),
        ("piano", {"duration": 0}, "at most 600 s"),
        ("piano", {"duration": 601}, "at most 600 s"),
        ("piano", {"guidance_scale": -1}, "guidance_scale"),
        ("piano", {"temperature": -1}, "temperature"),
        ("piano", {"melody": Audio.silence(10, 1000)}, "takes no melody"),
    ],
)
def test_bad_requests_are_refused_before_any_work(prompt, settings, message):
    model = build(TEXT)
    with pytest.raises(ValueError, match=message):
        model.stream(prompt, **settings)


def test_progress_counts_up_and_stops_within_a_step(model):
    seen = []
    model.generate("piano", duration=0.2, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(i, 10) for i in range(1, 11)]
    steps = []
    model.decoder.register_forward_pre_hook(lambda *_: steps.append(1))

    def stop(done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        model.generate("piano", duration=0.2, progress=stop)
    assert len(steps) == 3  # the first frame is complete after three delayed steps


def batch_of(config):
    text, mask, melody = conditions(config)
    codes = torch.randint(0, 16, (2, config.n_codebooks, 11), generator=torch.Generator().manual_seed(1))
    batch = {"codes": codes, "text": text, "text_mask": mask}
    if config.controls:
        batch |= {
            "first_beat": torch.tensor([0.0, 2.5]),
            "beats_per_frame": torch.tensor([0.1, 0.3]),
            "beats_per_bar": torch.tensor([3, 4]),
            "key": torch.tensor([0, 20]),
            "pitches": torch.rand(2, 12, 11, generator=torch.Generator().manual_seed(2)),
        }
    return batch if melody is None else {**batch, "chroma": melody}


def test_every_parameter_learns(model):
    config = replace(model.config, condition_dropout=0.0, melody_dropout=0.0, control_dropout=0.0)
    model = MusicGen(config)
    if config.controls:
        nn.init.normal_(model.controls.down.weight)  # at zero nothing before it learns
    model.loss(batch_of(config), torch.Generator().manual_seed(0))["loss"].backward()
    assert [name for name, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum()] == []


def test_with_its_own_codes_a_model_reads_what_it_predicts_and_is_held_to_the_truth(model):
    batch, read, favourite = batch_of(model.config), [], 5
    with torch.no_grad():  # whatever it reads, it predicts the favourite
        model.decoder.norm.weight.zero_()
        model.decoder.norm.bias.fill_(1.0)
        model.decoder.head.weight.zero_()
        model.decoder.head.weight.unflatten(0, (model.config.n_codebooks, -1))[:, favourite] = 1.0
    hidden = model.decoder.hidden
    model.decoder.hidden = lambda tokens, *rest: (read.append(tokens), hidden(tokens, *rest))[1]
    true = model.loss(batch, torch.Generator().manual_seed(0))
    own = model.loss(batch, torch.Generator().manual_seed(0), own_share=1.0)
    assert own["loss"] == true["loss"] > 10  # the targets stay the true codes, which are seldom the favourite
    history, with_own = read[0], read[-1]
    changed = history != with_own
    assert (with_own[changed] == favourite).all()
    special = model.config.special
    assert torch.equal(history == special, with_own == special)  # nothing is written outside the pattern
    assert 0.1 < changed[history != special].float().mean() < 0.9


def test_one_batch_overfits():
    torch.manual_seed(0)
    config = replace(TEXT, condition_dropout=0.0)
    model, batch = MusicGen(config), batch_of(config)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    for _ in range(120):
        loss = model.loss(batch)["loss"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss < 0.05


def test_bad_configs_are_refused():
    with pytest.raises(ValueError, match="multiple"):
        MusicGenConfig(dim=10, n_heads=4)
    with pytest.raises(ValueError, match="start from 0"):
        MusicGenConfig(delays=(1, 2))


class Likes:
    """A ranker that finds nearest what is loudest at a place that the prompt names."""

    def __init__(self):
        self.asked = []

    def similarity(self, sounds, prompts):
        self.asked.append((list(sounds), list(prompts)))
        places = [(sound.samples[0], 7 * len(prompt)) for sound, prompt in zip(sounds, prompts, strict=True)]
        return torch.tensor([abs(samples[place]) for samples, place in places])


def test_of_several_candidates_the_nearest_is_kept(model):
    model.ranker = Likes()
    settings = {"duration": 0.6, "temperature": 3.0}
    prompts = ["calm piano", "loud drums here"]
    kept = model.generate(prompts, candidates=3, seed=3, **settings)
    sounds, asked = model.ranker.asked[0]
    assert asked == [p for p in prompts for _ in range(3)] and len({s.samples.tobytes() for s in sounds}) == 6
    scores = model.ranker.similarity(sounds, asked).view(2, 3)
    for i, row in enumerate(scores.argmax(1).tolist()):
        assert kept[i].samples.tobytes() == sounds[3 * i + row].samples.tobytes()
    # The first is what one alone would be, and an item's candidates don't depend on the items beside it.
    one = next(model.stream(prompts[1], chunk=None, seed=4, **settings))
    torch.testing.assert_close(torch.tensor(sounds[3].samples), torch.tensor(one.samples), atol=1e-5, rtol=1e-4)
    alone = model.generate(prompts[1], candidates=3, seed=4, **settings)
    torch.testing.assert_close(torch.tensor(alone.samples), torch.tensor(kept[1].samples), atol=1e-5, rtol=1e-4)


def test_how_many_candidates_is_the_configs_unless_told(model):
    model.config = replace(model.config, candidates=2)
    with pytest.raises(ValueError, match=r"to choose from 2 candidates takes a ranker.*candidates=1"):
        model.generate("calm", duration=0.2)
    assert model.generate("calm", duration=0.2, candidates=1, seed=1).seconds == pytest.approx(0.2)
    model.ranker = Likes()
    assert model.generate("calm", duration=0.2).seconds == pytest.approx(0.2)
    assert len(model.ranker.asked[0][0]) == 2
    model.ranker = nn.Identity()  # a network, as nexus/clap-tiny is
    assert isinstance(model.ranker, nn.Identity)
    for wrong in (0, -1, 65):
        with pytest.raises(ValueError, match="candidates must be 1 to 64"):
            model.generate("calm", duration=0.2, candidates=wrong)


def test_each_item_may_have_a_seed_of_its_own(model):
    both = model.generate(["calm", "loud"], duration=0.3, seed=[8, 2], candidates=1)
    alone = model.generate("loud", duration=0.3, seed=2)
    torch.testing.assert_close(torch.tensor(both[1].samples), torch.tensor(alone.samples), atol=1e-5, rtol=1e-4)
