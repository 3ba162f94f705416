"""Recipes of diffusion on the digits take steps, build on one another and export what loads and generates."""

import dataclasses

import pytest
import torch

pytest.importorskip("sklearn")

import nexus
from nexus.media import Image
from nexus.models.diffusion.base_diffusion import BaseDiffusion
from nexus.models.diffusion.conditional_diffusion import ConditionalDiffusion
from nexus.models.diffusion.consistency_model import ConsistencyModel
from nexus.models.diffusion.flow_matching import FlowMatching
from nexus.models.diffusion.lcm import LCM
from nexus.models.diffusion.rectified_flow import RectifiedFlow
from nexus.recipes import digits_classes, digits_consistency, digits_ddpm, digits_flow, digits_lcm, digits_rectified
from nexus.training.loop import train
from nexus.training.recipe import LoopConfig, OptimizerConfig

QUICK = LoopConfig(
    steps=2, ema_decay=0.0, log_every=1, save_every=2, sample_every=0, validate_every=2, validation_batches=1
)


def trained(recipe, folder, **changes):
    optimizer = OptimizerConfig(warmup_steps=0, schedule="constant")
    train(dataclasses.replace(recipe, loop=QUICK, optimizer=optimizer, batch_size=4, **changes), folder)
    return nexus.load(folder / "weights", device="cpu")


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Of a class-conditional teacher and of a first flow."""
    place = tmp_path_factory.mktemp("runs")
    models = [trained(r.recipe, place / r.recipe.name) for r in (digits_classes, digits_flow)]
    assert [type(model) for model in models] == [ConditionalDiffusion, FlowMatching]
    return {name: str(place / name / "weights") for name in ("digits-classes", "digits-flow")}


def test_ddpm_knows_no_classes(tmp_path):
    model = trained(digits_ddpm.recipe, tmp_path, schedule="linear", min_snr=5.0)
    assert isinstance(model, BaseDiffusion) and model.config.min_snr == 5 and model.config.schedule == "linear"
    assert model.generate(1, steps=2, seed=0)[0].height == 8


def test_reflow_goes_on_from_the_first_flow(folders, tmp_path):
    first = nexus.load(folders["digits-flow"])
    model = trained(digits_rectified.recipe, tmp_path, flow=folders["digits-flow"], pairs=8, pair_steps=1)
    assert isinstance(model, RectifiedFlow) and isinstance(model.generate(3, seed=0), Image)
    far = [(a - b).abs().max() for a, b in zip(model.parameters(), first.parameters(), strict=True)]
    assert 0 < max(far) < 0.02  # two steps away from it
    with pytest.raises(ValueError, match="reflow starts from a FlowMatching"):
        dataclasses.replace(digits_rectified.recipe, flow=folders["digits-classes"]).build()


def test_the_pairs_of_reflow_belong_together(folders):
    recipe = dataclasses.replace(digits_rectified.recipe, flow=folders["digits-flow"], pairs=8, pair_steps=1)
    data, first = recipe.dataset("train"), nexus.load(folders["digits-flow"])
    batch = dataclasses.replace(recipe, batch_size=4).dataset("train")[5]
    assert torch.equal(data.pairs["label"], torch.arange(8)) and batch["image"].shape == (4, 1, 8, 8)
    from nexus.models.diffusion.rectified_flow import coupled

    again = coupled(first, batch["noise"], batch["label"], steps=1, guidance_scale=2.0)
    torch.testing.assert_close(batch["image"], again, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("teacher", ["digits-classes", "none"])
def test_consistency(teacher, folders, tmp_path):
    model = trained(digits_consistency.recipe, tmp_path, teacher=folders.get(teacher, teacher))
    assert isinstance(model, ConsistencyModel) and model.config.network.n_classes == 10
    assert len(model.generate([3, 9], steps=2, seed=0)) == 2
    with pytest.raises(ValueError, match="must be a ConditionalDiffusion"):
        dataclasses.replace(digits_consistency.recipe, teacher=folders["digits-flow"]).networks()


def test_training_alone_cuts_the_path_finer_and_finer():
    recipe = dataclasses.replace(digits_consistency.recipe, teacher="none", loop=LoopConfig(steps=400))
    assert [recipe.n_levels(step) for step in (0, 99, 100, 200, 399)] == [11, 11, 21, 41, 81]


def test_lcm_starts_as_its_teacher(folders, tmp_path):
    teacher = nexus.load(folders["digits-classes"])
    model = trained(digits_lcm.recipe, tmp_path, teacher=folders["digits-classes"])
    assert isinstance(model, LCM) and isinstance(model.generate(3, steps=1, seed=0), Image)
    pairs = zip(model.network.parameters(), teacher.network.parameters(), strict=True)
    assert 0 < max((a - b).abs().max() for a, b in pairs) < 0.02
