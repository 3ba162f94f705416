"""Consistency models' official folders give the pictures that diffusers gives from the same noise."""

import json

import numpy as np
import pytest
import torch

import nexus
from nexus.models.diffusion.consistency_model import ConsistencyModel
from nexus.process.noise import gaussian, generators

diffusers = pytest.importorskip("diffusers")

ADM = {
    "sample_size": 8,
    "block_out_channels": (8, 16),
    "norm_num_groups": 4,
    "layers_per_block": 1,
    "down_block_types": ("ResnetDownsampleBlock2D", "AttnDownBlock2D"),
    "up_block_types": ("AttnUpBlock2D", "ResnetUpsampleBlock2D"),
    "downsample_type": "resnet",
    "upsample_type": "resnet",
    "resnet_time_scale_shift": "scale_shift",
    "attn_norm_num_groups": 4,
    "attention_head_dim": 4,
}


def saved(folder, **settings):
    """A pipeline with weights that matter everywhere, and its folder."""
    torch.manual_seed(0)
    network = diffusers.UNet2DModel(**ADM, **settings).eval()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    pipeline = diffusers.ConsistencyModelPipeline(network, diffusers.CMStochasticIterativeScheduler())
    pipeline.set_progress_bar_config(disable=True)
    pipeline.save_pretrained(folder)
    return pipeline


def drawn_as_ours(monkeypatch, count):
    from diffusers.pipelines.consistency_models import pipeline_consistency_models as pipelines
    from diffusers.schedulers import scheduling_consistency_models as schedulers

    rngs = generators(5, 2)
    noise = iter([gaussian((3, 8, 8), rngs) for _ in range(count)])
    for module in (pipelines, schedulers):
        monkeypatch.setattr(module, "randn_tensor", lambda *_, **__: next(noise))


@pytest.mark.parametrize("steps", [{"steps": 1}, {"steps": 2}, {"steps": 3}, {"at": (0, 22)}])
def test_classes(steps, tmp_path, monkeypatch):
    """At (0, 22) it is the two-step sampler of the official ImageNet weights, `timesteps=[22, 0]` there."""
    pipeline = saved(tmp_path, num_class_embeds=10)
    theirs_steps = {"timesteps": [22, 0], "num_inference_steps": None}
    if "steps" in steps:
        theirs_steps = {"num_inference_steps": steps["steps"]}
    drawn_as_ours(monkeypatch, 5)
    theirs = pipeline(batch_size=2, class_labels=[3, 7], output_type="np", **theirs_steps).images
    assert theirs.std() > 0.1
    model = nexus.load(tmp_path, device="cpu")
    assert isinstance(model, ConsistencyModel) and model.config.size == (8, 8) and model.config.n_levels == 40
    ours = np.stack([image.pixels for image in model.generate([3, 7], seed=5, **steps)]) / 255
    assert np.abs(ours - theirs).max() < 0.5 / 255 + 1e-3  # ours are rounded to 8 bits
    other = np.stack([image.pixels for image in model.generate([4, 7], seed=5, **steps)]) / 255
    assert np.abs(other[0] - ours[0]).max() > 0.05 and np.array_equal(other[1], ours[1])


def test_without_classes(tmp_path, monkeypatch):
    """`openai/diffusers-cd_bedroom256_l2` knows none."""
    pipeline = saved(tmp_path)
    drawn_as_ours(monkeypatch, 3)
    theirs = pipeline(batch_size=2, num_inference_steps=2, output_type="np").images
    model = nexus.load(tmp_path, device="cpu")
    ours = np.stack([image.pixels for image in model.generate(n=2, steps=2, seed=5)]) / 255
    assert theirs.std() > 0.1 and np.abs(ours - theirs).max() < 0.5 / 255 + 1e-3
    with pytest.raises(ValueError, match="knows no classes"):
        model.generate(3)


def test_the_schedulers_settings_are_read(tmp_path):
    saved(tmp_path, num_class_embeds=10)
    where = tmp_path / "scheduler/scheduler_config.json"
    raw = json.loads(where.read_text())
    where.write_text(json.dumps(raw | {"sigma_max": 40.0, "num_train_timesteps": 18, "clip_denoised": False}))
    config = nexus.load(tmp_path, device="cpu").config
    assert config.most == 40 and config.n_levels == 18 and not config.clip
    where.write_text(json.dumps(raw | {"s_noise": 1.007}))
    with pytest.raises(ValueError, match=r"s_noise = 1\.007"):
        nexus.load(tmp_path, device="cpu")


@pytest.mark.slow
def test_official_widths(tmp_path):
    """The network of `openai/diffusers-cd_imagenet64_l2` with one block at each size where there are three."""
    widths = {
        "sample_size": 64,
        "block_out_channels": (192, 384, 576, 768),
        "norm_num_groups": 32,
        "attn_norm_num_groups": 32,
        "attention_head_dim": 64,
        "down_block_types": ("ResnetDownsampleBlock2D", *["AttnDownBlock2D"] * 3),
        "up_block_types": (*["AttnUpBlock2D"] * 3, "ResnetUpsampleBlock2D"),
        "num_class_embeds": 1000,
    }
    torch.manual_seed(0)
    network = diffusers.UNet2DModel(**(ADM | widths)).eval()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.02 * torch.randn_like(parameter))
        diffusers.ConsistencyModelPipeline(network, diffusers.CMStochasticIterativeScheduler()).save_pretrained(
            tmp_path
        )
        x, time, label = torch.randn(2, 3, 16, 24), torch.tensor([1095.0, -300.0]), torch.tensor([145, 999])
        theirs = network(x, time, class_labels=label).sample
        del network
        ours = nexus.load(tmp_path, device="cpu").network(x, time, label)
    assert theirs.std() > 0.1
    torch.testing.assert_close(ours, theirs, atol=1e-5 * max(1.0, theirs.abs().max().item()), rtol=1e-4)
