"""DDPM: whole pipelines against diffusers' on random weights, its loss, learning, and what it refuses."""

import json

import numpy as np
import pytest
import torch

import nexus
from nexus.models.diffusion.base_diffusion import BaseDiffusion, BaseDiffusionConfig
from nexus.models.diffusion.unet import UNetConfig
from nexus.process.noise import gaussian, generators

TINY = {
    "sample_size": 8,
    "block_out_channels": (8, 16),
    "norm_num_groups": 4,
    "layers_per_block": 1,
    "down_block_types": ("DownBlock2D", "AttnDownBlock2D"),
    "up_block_types": ("AttnUpBlock2D", "UpBlock2D"),
    "downsample_padding": 0,
    "flip_sin_to_cos": False,
    "freq_shift": 1,
    "norm_eps": 1e-6,
    "attention_head_dim": None,
}


@pytest.fixture(scope="module")
def network():
    diffusers = pytest.importorskip("diffusers")
    torch.manual_seed(0)
    reference = diffusers.UNet2DModel(**TINY).eval()
    with torch.no_grad():
        for parameter in reference.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return reference


def drawn(seed, count):
    rngs = generators(seed, 2)
    return iter([gaussian((3, 8, 8), rngs) for _ in range(count)])


def assert_same_pictures(ours, theirs):
    pixels = np.stack([image.pixels for image in ours]) / 255
    assert theirs.std() > 0.1
    assert np.abs(pixels - theirs).max() < 1 / 255 + 1e-3  # ours are rounded to 8 bits


@pytest.mark.parametrize("betas", ["linear", "squaredcos_cap_v2"])
@pytest.mark.parametrize("steps", [1, 5])
def test_ddpm_pipelines_equal_the_reference(network, betas, steps, tmp_path, monkeypatch):
    import diffusers
    from diffusers.pipelines.ddpm import pipeline_ddpm
    from diffusers.schedulers import scheduling_ddpm

    pipeline = diffusers.DDPMPipeline(network, diffusers.DDPMScheduler(beta_schedule=betas))
    pipeline.set_progress_bar_config(disable=True)
    pipeline.save_pretrained(tmp_path)
    noise = drawn(5, steps + 1)
    for module in (pipeline_ddpm, scheduling_ddpm):
        monkeypatch.setattr(module, "randn_tensor", lambda *_, **__: next(noise))
    theirs = pipeline(batch_size=2, num_inference_steps=steps, output_type="np").images
    model = nexus.load(tmp_path, device="cpu")
    assert isinstance(model, BaseDiffusion) and model.config.steps == 1000 and model.config.size == (8, 8)
    assert_same_pictures(model.generate(2, steps=steps, seed=5), theirs)


def test_ddim_pipelines_equal_the_reference(network, tmp_path, monkeypatch):
    import diffusers
    from diffusers.pipelines.ddim import pipeline_ddim

    pipeline = diffusers.DDIMPipeline(network, diffusers.DDIMScheduler())
    pipeline.set_progress_bar_config(disable=True)
    pipeline.save_pretrained(tmp_path)
    noise = drawn(5, 1)
    monkeypatch.setattr(pipeline_ddim, "randn_tensor", lambda *_, **__: next(noise))
    # Without the flag theirs clips the data but not the noise that it then goes on with.
    theirs = pipeline(batch_size=2, num_inference_steps=7, use_clipped_model_output=True, output_type="np").images
    model = nexus.load(tmp_path, device="cpu")
    assert model.config.solver == "ddim" and model.config.steps == 50
    assert_same_pictures(model.generate(2, steps=7, seed=5), theirs)


def test_folders_of_the_older_layout_load(network, tmp_path):
    """`google/ddpm-cifar10-32`: network, scheduler and index side by side, in a pickle."""
    network.save_pretrained(tmp_path, safe_serialization=False)
    (tmp_path / "model_index.json").write_text(json.dumps({"_class_name": "DDPMPipeline"}))
    (tmp_path / "scheduler_config.json").write_text(json.dumps({"beta_end": 0.01, "variance_type": "fixed_large"}))
    model = nexus.load(tmp_path, device="cpu")
    assert model.config.betas == (1e-4, 0.01) and model.config.variance == "large"
    x, step = torch.randn(1, 3, 8, 8), torch.tensor([77])
    with torch.no_grad():
        torch.testing.assert_close(model(x, step), network(x, step).sample, atol=1e-5, rtol=1e-4)


def small(**settings):
    torch.manual_seed(0)
    network = UNetConfig(
        in_channels=1,
        out_channels=1,
        dims=(16, 16),
        n_blocks=1,
        attention=(False, True),
        norm_groups=4,
        n_classes=settings.pop("n_classes", None),
    )
    return BaseDiffusion(BaseDiffusionConfig(network=network, size=(8, 8), **settings))


def test_learns_two_pictures_and_makes_them():
    """Class 0 is dark above and bright below, class 1 the reverse; samples of each class are told apart."""
    model = small(schedule="cosine", prediction="velocity", min_snr=5.0, n_classes=2)
    ramp = torch.linspace(-0.8, 0.8, 8)[:, None].expand(1, 8, 8)
    batch = {"image": torch.stack([ramp, -ramp] * 8), "label": torch.tensor([0, 1] * 8)}
    optimizer, rng, losses = torch.optim.AdamW(model.parameters(), lr=6e-3), torch.Generator().manual_seed(0), []
    for _ in range(80):
        loss = model.loss(batch, rng)["loss"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert np.mean(losses[-10:]) < 0.25 * np.mean(losses[:5])
    made = model.eval().generate(4, labels=[0, 1, 0, 1], steps=20, solver="dpmpp_2m", seed=0)
    for image, sign in zip(made, (1, -1, 1, -1), strict=True):
        assert np.corrcoef(image.pixels[..., 0].ravel(), sign * ramp.numpy().ravel())[0, 1] > 0.8


@pytest.mark.parametrize("solver", ["ddpm", "ddim", "heun", "dpmpp_2m", "unipc"])
def test_a_picture_does_not_depend_on_its_batch(solver):
    model = small().eval()
    together = model.generate(2, steps=4, solver=solver, seed=10)
    alone = model.generate(1, steps=4, solver=solver, seed=11)[0]
    assert np.abs(together[1].pixels.astype(int) - alone.pixels).max() <= 1
    assert alone.pixels.std() > 1 and alone.pixels.shape == (8, 8, 3)


def test_progress_tells_every_step_and_may_stop():
    seen = []

    def progress(done, total):
        seen.append((done, total))
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        small().generate(steps=5, seed=0, progress=progress)
    assert seen == [(1, 5), (2, 5)]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"n": 0}, "at least 1"),
        ({"size": (9, 8)}, r"multiples of 2, got \(9, 8\); nearest is \(8, 8\)"),
        ({"steps": 0}, "from 1 to 1000"),
        ({"steps": 1001}, "from 1 to 1000"),
        ({"solver": "eular"}, "solver must be"),
        ({"labels": [1]}, "no classes"),
    ],
)
def test_bad_input_is_refused_before_work(settings, message):
    with pytest.raises(ValueError, match=message):
        small().generate(**settings)


def test_labels_must_be_there_and_known():
    model = small(n_classes=3)
    with pytest.raises(ValueError, match="give labels, 2 of 0 to 2"):
        model.generate(2)
    with pytest.raises(ValueError, match="from 0 to 2"):
        model.generate(2, labels=[0, 3])


def test_an_unknown_scheduler_is_refused(network, tmp_path):
    network.save_pretrained(tmp_path)
    (tmp_path / "model_index.json").write_text(json.dumps({"_class_name": "DDPMPipeline"}))
    (tmp_path / "scheduler_config.json").write_text(json.dumps({"beta_schedule": "exotic"}))
    with pytest.raises(ValueError, match="beta_schedule = 'exotic'"):
        nexus.load(tmp_path, device="cpu")
