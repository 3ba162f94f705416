"""The recipes of the small image model and its distillation, on a handful of stills."""

from dataclasses import replace

import pytest
import torch

import nexus
from nexus.hub import native
from nexus.hub.source import Source
from nexus.recipes import image_tiny
from nexus.recipes.image_tiny import ImageTiny
from nexus.recipes.image_tiny_lcm import ImageTinyLCM, padded

pytestmark = pytest.mark.emoji


@pytest.fixture(scope="module")
def recipe(tmp_path_factory):
    cache = str(tmp_path_factory.mktemp("stills"))
    return ImageTiny(cache=cache, nouns=("boat", "cat"), stills=7, batch_size=6, drop_text=0.5, dim=32, n_layers=1)


@pytest.fixture(scope="module", autouse=True)
def few():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(image_tiny, "SHARD", 4)
        patch.setattr(image_tiny, "VALID", 4)
        yield


def test_stills_are_encoded_once_and_batches_repeat(recipe, monkeypatch):
    batch = recipe.dataset("train")[3]
    assert batch["latents"].shape == (6, 16, 16, 16) and batch["emphasis"].shape == (6, 16, 16)
    assert batch["text"].shape[:2] == batch["text_mask"].shape and batch["text"].shape[2] == 384
    assert batch["emphasis"].unique().tolist() == [0, 3] and 0.5 < batch["latents"].std() < 2
    monkeypatch.setattr(image_tiny, "encode", None)  # all shards are there
    again = recipe.dataset("train")[3]
    assert all(torch.equal(batch[key], again[key]) for key in batch)


def test_validation_drops_and_emphasises_nothing(recipe):
    batch = recipe.dataset("valid")[0]
    assert "emphasis" not in batch and int(batch["text_mask"].sum(1).min()) > 4


def test_captions_are_dropped_for_guidance(recipe):
    lengths = recipe.dataset("train")[0]["text_mask"].sum(1)
    assert int(lengths.min()) == 2 and 0 < int((lengths == 2).sum()) < 6  # an empty prompt has its two marks only
    assert int(replace(recipe, drop_text=0.0).dataset("train")[0]["text_mask"].sum(1).min()) > 4


def test_training_starts_near_zero_and_exports_what_generates_and_is_distilled(recipe, tmp_path):
    torch.manual_seed(0)
    model, batch = recipe.networks()["model"], recipe.dataset("train")[0]
    assert not model(batch["latents"], torch.arange(6), batch["text"]).any()
    (objective,) = recipe.objectives({"model": model})
    loss = objective.loss({"model": model}, batch, torch.Generator().manual_seed(0))["loss"]
    loss.backward()
    assert loss.isfinite() and model.network.proj_out.weight.grad.abs().max() > 0
    with torch.no_grad():
        model.network.proj_out.weight.add_(0.1 * torch.randn_like(model.network.proj_out.weight))
    recipe.export(model, tmp_path / "teacher")
    teacher = native.load(Source("here", tmp_path / "teacher")).eval()
    assert teacher.generate("a boat on the sea", steps=2, seed=0).width == 64

    distilled = ImageTinyLCM(
        **{name: getattr(recipe, name) for name in ("cache", "nouns", "stills", "batch_size", "dim", "n_layers")},
        teacher=str(tmp_path / "teacher"),
        levels=4,
    )
    student = distilled.networks()["model"]
    assert torch.equal(student.model.network.proj_out.weight, teacher.network.proj_out.weight)
    (objective,) = distilled.objectives({"model": student})
    loss = objective.loss({"model": student}, distilled.dataset("train")[0], torch.Generator().manual_seed(0))["loss"]
    loss.backward()
    last = next(change for change in student.lora if change.layer == "proj_out")
    assert loss > 0 and last.up.grad.abs().max() > 0 and not last.down.grad.any()  # up is zero still
    assert all(parameter.grad is None for parameter in student.model.parameters())
    with torch.no_grad():
        for change in student.lora:
            change.up.add_(0.05 * torch.randn_like(change.up))
    distilled.export(student, tmp_path / "student")
    few = nexus.load(tmp_path / "student", device="cpu")
    folded, delta = few.network.proj_out.weight, last.delta()
    assert delta.abs().max() > 0.01 and torch.allclose(folded, teacher.network.proj_out.weight + delta, atol=1e-3)
    assert few.info.kind == "PixArt" and few.config.steps == 2
    steps: list[tuple[int, int]] = []
    few.generate("a boat on the sea", seed=0, progress=lambda *step: steps.append(step))
    assert steps == [(1, 2), (2, 2)]


def test_no_text_is_as_long_as_the_others():
    none = padded(torch.ones(1, 2, 3), torch.full((4, 5, 3), 7.0))
    assert none.shape == (4, 5, 3) and none[:, :2].eq(1).all() and not none[:, 2:].any()
    assert padded(torch.ones(1, 9).bool(), torch.zeros(2, 4).bool()).all()


def test_what_cannot_teach_is_refused(tmp_path):
    with pytest.raises(ValueError, match="the teacher must be a PixArt of a flow, and nexus/video-vae-tiny is not"):
        ImageTinyLCM(teacher="nexus/video-vae-tiny").networks()
