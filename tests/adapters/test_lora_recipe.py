"""The recipe of LoRAs for Stable Diffusion, on a tiny one: it learns, and what it leaves is read by diffusers."""

import copy
import dataclasses

import numpy as np
import pytest
import torch
from tiny_pipelines import ours_of, parts, pipeline, theirs_of

import nexus
from nexus.data.captioned import CaptionedPictures, middle
from nexus.hub.adapters import add_lora
from nexus.media.image import Image
from nexus.recipes.stable_diffusion_lora import recipe
from nexus.training.loop import train
from nexus.training.recipe import LoopConfig, OptimizerConfig

pytest.importorskip("diffusers")
pytest.importorskip("peft")
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # the reference's own
FEW = {"height": 32, "width": 32}


def pictures(folder, n=3):
    folder.mkdir()
    for i, words in enumerate(("a red boat", "a big grey whale", "the sea")[:n]):
        values = np.random.default_rng(i).integers(0, 256, (5, 4, 3), dtype=np.uint8)
        Image(values).resize(50, 40).save(folder / f"{i}.png")
        (folder / f"{i}.txt").write_text(f"{words}\n")
    return folder


@pytest.mark.parametrize("xl", [False, True])
def test_a_lora_is_learned_and_read_by_diffusers(xl, tmp_path):
    made = parts(xl)
    kind = "StableDiffusionXLPipeline" if xl else "StableDiffusionPipeline"
    more = {"add_watermarker": False} if xl else {}
    pipeline(kind, made, **more).save_pretrained(tmp_path / "base")
    settings = dataclasses.replace(
        recipe,
        loop=LoopConfig(steps=16, log_every=8, save_every=16, sample_every=16, validate_every=0, ema_decay=0.0),
        optimizer=OptimizerConfig(lr=3e-2, schedule="constant", warmup_steps=0),
        base=str(tmp_path / "base"),
        pictures=str(pictures(tmp_path / "pictures")),
        size=32,
        batch_size=4,
        rank=4,
        alpha=4.0,
        targets=("attention", r"conv\d"),
    )
    train(settings, tmp_path / "run")
    assert (tmp_path / "run/samples/step-000016/sample.png").is_file()
    networks, data = settings.networks(), settings.data()

    def error():
        with torch.no_grad():
            return sum(settings.loss(networks, data[i], torch.Generator().manual_seed(i))["loss"] for i in range(4))

    before = error()
    add_lora(networks["model"].base, tmp_path / "run/weights")
    assert error() < 0.9 * before

    model = nexus.load(tmp_path / "base", device="cpu")
    plain = ours_of(model, n_steps=2, **FEW)
    add_lora(model, tmp_path / "run/weights")
    ours = ours_of(model, n_steps=2, **FEW)
    pipe = pipeline(kind, made | {"unet": copy.deepcopy(made["unet"])}, **more)
    pipe.load_lora_weights(tmp_path / "run/weights")
    theirs = theirs_of(pipe, num_inference_steps=2, **FEW)
    assert np.abs(theirs - plain).max() > 5e-3 and np.abs(ours - theirs).max() < 1e-3


def test_pictures_come_with_their_words(tmp_path):
    data = CaptionedPictures(pictures(tmp_path / "p"), 16, 64, drop_text=0.5)
    assert data.captions == ["a red boat", "a big grey whale", "the sea", ""]
    batch = data[7]
    assert batch["image"].shape == (64, 3, 16, 16) and torch.equal(batch["image"], data[7]["image"])
    assert set(batch["caption"].tolist()) == {0, 1, 2, 3} and 0.2 < (batch["caption"] == 3).float().mean() < 0.8
    wide = Image(np.arange(4 * 8 * 3, dtype=np.uint8).reshape(4, 8, 3))
    assert middle(wide, 4) == Image(wide.pixels[:, 2:6])
    (tmp_path / "p/1.txt").unlink()
    with pytest.raises(ValueError, match=r"1\.png has no words"):
        CaptionedPictures(tmp_path / "p", 16, 2)[0]
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="no pictures; put PNG or JPEG"):
        CaptionedPictures(tmp_path / "empty", 16, 2)[0]
