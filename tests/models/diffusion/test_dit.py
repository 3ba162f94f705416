"""DiT: whole pipelines against diffusers' on random weights, classes by name, guidance, its loss, what it refuses."""

import json

import numpy as np
import pytest
import torch
from references import painted, randomised, tiny_vae
from test_dit_transformer import original_state, reference

import nexus
from nexus.models.diffusion.dit import DiT, DiTConfig
from nexus.models.diffusion.dit_transformer import DiTTransformerConfig
from nexus.nn.checkpoint import save_folder

diffusers = pytest.importorskip("diffusers")
NAMES = [f"class {i}, thing {i}" for i in range(8)] + ["white shark, great white", "umbrella"]


@pytest.fixture(scope="module")
def pipeline():
    """diffusers' takes class 1000 for none, so there are 1000 classes."""
    scheduler = diffusers.DDIMScheduler(clip_sample=False)
    network = reference(sample_size=2, num_embeds_ada_norm=1000)
    pipe = diffusers.DiTPipeline(network, tiny_vae(scaling_factor=0.5), scheduler)
    pipe.set_progress_bar_config(disable=True)
    return pipe


@pytest.fixture(scope="module")
def folder(pipeline, tmp_path_factory):
    folder = tmp_path_factory.mktemp("dit")
    pipeline.save_pretrained(folder)
    index = json.loads((folder / "model_index.json").read_text())
    names = NAMES + [f"unnamed {i}" for i in range(10, 1000)]
    index["id2label"] = {str(i): name for i, name in enumerate(names)}
    (folder / "model_index.json").write_text(json.dumps(index))
    return folder


@pytest.mark.parametrize(("scale", "steps"), [(4.0, 5), (1.0, 3)])
def test_a_pipeline_makes_the_pictures_of_the_reference(pipeline, folder, scale, steps):
    rngs = [torch.Generator().manual_seed(5 + i) for i in range(2)]
    settings = dict(num_inference_steps=steps, guidance_scale=scale, generator=rngs, output_type="np")
    theirs = pipeline([8, 3], **settings).images
    model = nexus.load(folder, device="cpu")
    assert isinstance(model, DiT) and model.config.size == (16, 16) and model.config.guided_channels == 4
    ours, images = painted(model, ["Great White", 3], steps=steps, guidance_scale=scale, seed=5)
    assert theirs.std() > 0.02 and np.abs(ours - theirs).max() < 1e-3
    assert [image.pixels.shape for image in images] == [(16, 16, 3)] * 2
    assert np.abs(images[0].pixels / 255 - theirs[0]).max() < 0.5 / 255 + 1e-3


def test_the_authors_file_is_known_and_guides_three_channels(tmp_path):
    network = reference(attention_head_dim=64)
    torch.save(original_state(network), tmp_path / "DiT-XL-2-256x256.pt")
    model = nexus.load(tmp_path / "DiT-XL-2-256x256.pt", device="cpu")
    assert model.config.guided_channels == 3 and model.config.size == (80, 80)
    x, step, label = torch.randn(2, 4, 10, 10), torch.tensor([7, 500]), torch.tensor([1, 2])
    with torch.no_grad():
        answer = model.guided(label, 4.0)(x, step)
        cond, null = model(x, step, label), model(x, step, torch.tensor([10, 10]))
    torch.testing.assert_close(answer[:, :3], (null + 4 * (cond - null))[:, :3], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(answer[:, 3], cond[:, 3], atol=1e-5, rtol=1e-4)
    with pytest.raises(ValueError, match="DiT is a network without image_vae: load a pipeline's whole folder"):
        model.generate(1)


@pytest.mark.parametrize("solver", ["ddpm", "dpmpp-2m", "euler-ancestral", "unipc"])
def test_a_picture_does_not_depend_on_its_batch(folder, solver):
    model = nexus.load(folder, device="cpu")
    together = model.generate([1, 2], steps=4, solver=solver, seed=10, height=32)
    alone = model.generate(2, steps=4, solver=solver, seed=11, height=32)
    assert np.abs(together[1].pixels.astype(int) - alone.pixels).max() <= 1
    assert alone.pixels.std() > 1 and alone.pixels.shape == (32, 16, 3)


def test_cached_steps_ask_the_network_less(folder):
    model, asked = nexus.load(folder, device="cpu"), []
    model.network.register_forward_pre_hook(lambda *_: asked.append(1))
    model.generate([1, 2], steps=20, seed=10, cache=0.5)
    assert 4 < len(asked) < 15


def test_an_own_folder_keeps_labels_and_settings(tmp_path):
    network = DiTTransformerConfig(n_layers=1, n_heads=2, head_dim=8, sample_size=4, n_classes=2)
    model = randomised(DiT(DiTConfig(network=network, labels=("cat", "dog, hound"), size=(32, 32), steps=9)))
    save_folder(model, tmp_path, kind="dit", config=model.config)
    again = nexus.load(tmp_path, device="cpu")
    assert again.config == model.config and again.class_of("hound") == 1
    torch.testing.assert_close(again.state_dict(), model.state_dict())


def test_learns_which_latents_a_class_has():
    network = DiTTransformerConfig(
        n_layers=2, n_heads=2, head_dim=16, sample_size=4, n_classes=2, out_channels=4, in_channels=4
    )
    torch.manual_seed(0)
    model = DiT(DiTConfig(network=network, drop=0.1))
    data = torch.randn(1, 4, 4, 4, generator=torch.Generator().manual_seed(3))
    batch = {"latents": torch.cat([data, -data] * 8), "label": torch.tensor([0, 1] * 8)}
    optimizer, rng, losses = torch.optim.AdamW(model.parameters(), lr=3e-3), torch.Generator().manual_seed(0), []
    for _ in range(150):
        loss = model.loss(batch, rng)["loss"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert np.mean(losses[-10:]) < 0.4 * np.mean(losses[:5])
    x, step = torch.randn(32, 4, 4, 4, generator=rng), torch.full((32,), 300)
    with torch.no_grad():
        apart = model(x, step, torch.zeros(32).long()) - model(x, step, torch.ones(32).long())
    assert np.corrcoef(apart.mean(0).ravel(), data.ravel())[0, 1] < -0.35  # where data is, there is less noise


@pytest.mark.parametrize(
    ("prompt", "settings", "message"),
    [
        (1000, {}, "from 0 to 999, got 1000"),
        ("umbrela", {}, "no class is called 'umbrela'; nearest: umbrella"),
        (1, {"height": 17}, "multiples of 16, got 16x17; nearest is 16x16"),
        (1, {"steps": 0}, "from 1 to 999"),
        (1, {"solver": "lcm"}, "solver must be one of ddim"),
    ],
)
def test_bad_input_is_refused_before_work(folder, prompt, settings, message):
    with pytest.raises(ValueError, match=message):
        nexus.load(folder, device="cpu").generate(prompt, **settings)


def test_another_scheduler_is_refused(pipeline, folder, tmp_path):
    pipeline.save_pretrained(tmp_path)
    settings = json.loads((tmp_path / "scheduler/scheduler_config.json").read_text()) | {"beta_end": 0.012}
    (tmp_path / "scheduler/scheduler_config.json").write_text(json.dumps(settings))
    with pytest.raises(ValueError, match=r"beta_end = 0\.012"):
        nexus.load(tmp_path, device="cpu")
