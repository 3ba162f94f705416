import numpy as np
import PIL.Image
import pytest
import torch

from nexus.media.image import Image


def gradient(height=37, width=53, channels=3):
    y, x = np.mgrid[:height, :width]
    planes = [255 * x / width, 255 * y / height, 128 + 0 * x, 255 - 255 * x / width][:channels]
    return Image(np.stack(planes, axis=2).astype(np.uint8))


def test_a_value():
    source = np.zeros((2, 3, 3), np.uint8)
    image = Image(source)
    source[0, 0, 0] = 9
    assert image.pixels.max() == 0 and (image.height, image.width, image.channels) == (2, 3, 3)
    with pytest.raises(ValueError, match="read-only"):
        image.pixels[0, 0, 0] = 1
    assert image == Image(np.zeros((2, 3), np.uint8)) and hash(image) == hash(Image(np.zeros((2, 3), np.uint8)))
    assert image._repr_png_().startswith(b"\x89PNG") and repr(image) == "Image(3x2, RGB)"
    for wrong in (np.zeros((2, 3, 3)), np.zeros((2, 3, 2), np.uint8), np.zeros(3, np.uint8)):
        with pytest.raises(ValueError, match="pixels must be"):
            Image(wrong)


@pytest.mark.parametrize("channels", [3, 4])
def test_files_round_trip(tmp_path, channels):
    image = gradient(channels=channels)
    for suffix in (".png", ".jpg", ".gif"):
        image.save(tmp_path / f"x{suffix}")
    assert Image.load(tmp_path / "x.png") == image
    jpeg = Image.load(tmp_path / "x.jpg").pixels.astype(int)
    assert np.abs(jpeg - image.over_white().pixels).max() < 24
    gif = Image.load(tmp_path / "x.gif")
    assert (gif.height, gif.width) == (37, 53)
    assert np.abs(gif.pixels[..., :3].astype(int) - image.pixels[..., :3])[:, :20].mean() < 12
    assert len(list(tmp_path.iterdir())) == 3


def test_tensor_round_trip():
    image = gradient(channels=4)
    tensor = image.tensor()
    assert tensor.shape == (4, 37, 53) and tensor.min() >= -1 and tensor.max() <= 1
    assert Image.from_tensor(tensor) == image
    assert Image.from_tensor(torch.full((1, 2, 2), 9.0)).pixels.tolist() == [[[255] * 3] * 2] * 2
    with pytest.raises(ValueError, match="NaN"):
        Image.from_tensor(torch.full((3, 2, 2), float("nan")))


def test_resize_and_white():
    small = gradient(64, 64).resize(8, 16)
    assert (small.height, small.width) == (8, 16) and abs(int(small.pixels[4, 8, 0]) - 128) < 12
    clear = Image(np.zeros((2, 2, 4), np.uint8))
    assert (clear.over_white().pixels == 255).all()
    with pytest.raises(ValueError, match="resize"):
        gradient().resize(0, 5)


def test_bad_files_are_refused_by_name(tmp_path):
    gradient().save(tmp_path / "good.png")
    data = (tmp_path / "good.png").read_bytes()
    for name, content in {
        "cut.png": data[: len(data) // 2],
        "wrong.jpg": data,
        "text.gif": b"no",
        "none.png": b"",
    }.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ValueError, match=name):
            Image.load(tmp_path / name)
    with pytest.raises(FileNotFoundError):
        Image.load(tmp_path / "missing.png")
    with pytest.raises(ValueError, match="must end in one of"):
        gradient().save(tmp_path / "x.bmp")
    with pytest.raises(FileNotFoundError, match="does not exist"):
        gradient().save(tmp_path / "no" / "x.png")


def test_photographs_are_turned_upright(tmp_path):
    exif = PIL.Image.Exif()
    exif[0x0112] = 6  # rotate by 90 degrees
    PIL.Image.fromarray(gradient(16, 32).pixels).save(tmp_path / "x.jpg", exif=exif)
    assert Image.load(tmp_path / "x.jpg").pixels.shape == (32, 16, 3)
