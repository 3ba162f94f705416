from dataclasses import replace

import torch

from nexus.data.clips import Clip, cache
from nexus.hub import native
from nexus.hub.source import Source
from nexus.models.audio.musicgen import MusicGen
from nexus.recipes import musicgen_tiny, sound_tiny
from nexus.training.recipe import LoopConfig


class Tones:
    """Clips without the composer: a tone that the caption names."""

    rate = 24000

    def describe(self):
        return {"world": "tones"}

    def __getitem__(self, i):
        tone = torch.sin(torch.arange(48000) * 0.05 * (1 + i % 3)).numpy()
        facts = {"captions": [f"tone {i % 3}", f"{i % 3}"], "melody": [[0.0, 1.0, 60 + i % 3]]}
        return Clip(tone, "", facts | {"tempo": 60, "meter": 4, "key": "Eb minor"})


def tiny(recipe, tmp_path, monkeypatch):
    """The recipe at toy size over tones, with random codes in place of a codec."""

    def tones(folder, n, seconds, split, seed=0):
        cache(Tones(), folder, n)

    monkeypatch.setitem(musicgen_tiny.WORLDS, recipe.world, tones)
    monkeypatch.setattr(musicgen_tiny, "codec_hash", lambda name: "random")
    monkeypatch.setattr(musicgen_tiny, "load", lambda name: None)
    monkeypatch.setattr(musicgen_tiny, "codebooks", lambda name: torch.randn(4, 1024, 8))

    def random_codes(codec, clips):
        return {"codes": torch.randint(0, 1024, (len(clips), 4, 100)).short()}

    def states(prompts):
        mask = torch.arange(4) < torch.tensor([len(prompt.split()) for prompt in prompts])[:, None]
        return torch.randn(len(prompts), 4, 384), mask

    monkeypatch.setattr(musicgen_tiny, "encode_clips", random_codes)
    monkeypatch.setattr(musicgen_tiny, "minilm", lambda: states)
    sizes = {"dim": 32, "n_layers": 1, "n_heads": 2, "n_clips": 6, "n_valid": 3, "crop_lengths": (40,)}
    sizes |= {"n_starts": min(recipe.n_starts, 4), "start_frames": 20}
    return replace(recipe, cache=str(tmp_path), frames_per_batch=80, loop=LoopConfig(steps=2), **sizes)


def check(recipe, tmp_path):
    torch.manual_seed(0)
    model = recipe.networks()["model"]
    batches = recipe.dataset("train")
    shapes = {batches[i]["codes"].shape[::2] for i in range(12)}
    assert shapes == ({(2, 40), (4, 20)} if recipe.n_starts else {(2, 40)})
    batch = next(batches[i] for i in range(12) if len(batches[i]["codes"]) == 2)
    assert batch["codes"].shape == (2, 4, 40) and ("chroma" in batch) == recipe.with_melody
    if recipe.with_controls:
        assert torch.allclose(batch["beats_per_frame"], torch.tensor(512 / 24000))
        assert batch["beats_per_bar"].tolist() == [4, 4] and batch["key"].tolist() == [15, 15]
        assert batch["pitches"].shape == (2, 12, 40)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    (objective,) = recipe.objectives({"model": model})
    losses = []
    for _ in range(12):
        loss = objective.loss({"model": model}, batch, torch.Generator().manual_seed(0))["loss"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[0] < 8 and losses[-1] < 0.8 * losses[0]
    recipe.export(model, tmp_path / "weights")
    return model, Source("weights", tmp_path / "weights")


def test_the_music_recipe_learns_and_exports(tmp_path, monkeypatch):
    recipe = tiny(musicgen_tiny.recipe, tmp_path, monkeypatch)
    model, source = check(recipe, tmp_path)
    monkeypatch.setattr(native, "_part", lambda role, part, source: None)
    loaded = native.load(source)
    assert isinstance(loaded, MusicGen) and loaded.config == model.config
    assert source.config["parts"] == {"codec": "nexus/encodec-tiny", "text_encoder": "minilm"}
    torch.testing.assert_close(loaded.decoder.head.weight, model.decoder.head.weight, atol=1e-3, rtol=1e-2)


def test_the_sound_recipe_learns(tmp_path, monkeypatch):
    _, source = check(tiny(sound_tiny.recipe, tmp_path, monkeypatch), tmp_path)
    parts = {"codec": "nexus/encodec-tiny", "text_encoder": "minilm", "ranker": "nexus/clap-tiny"}
    assert source.config["parts"] == parts and source.config["config"]["candidates"] == 4
