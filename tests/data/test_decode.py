import io

import numpy as np
import pytest
import torch
from PIL import Image

from outskirts import OutskirtsError
from outskirts.data.decode import decode, key


def encoded(picture, **options):
    stream = io.BytesIO()
    picture.save(stream, options.pop("format", "png"), **options)
    return stream.getvalue()


@pytest.fixture
def colour(pictures):
    return Image.fromarray(pictures[0])


@pytest.mark.parametrize("mode", ["L", "1", "LA"])
def test_grey_stays_grey(colour, mode):
    grey = colour.convert("L").convert(mode)
    image = decode(encoded(grey), "x")
    assert image.shape == (1, 8, 10)
    assert torch.equal(image[0], torch.from_numpy(np.array(grey.convert("L"))))


def test_sixteen_bits_become_eight():
    deep = np.linspace(0, 65535, 64).astype(np.uint16).reshape(8, 8)
    expected = torch.from_numpy((deep >> 8).astype(np.uint8))
    assert torch.equal(decode(encoded(Image.fromarray(deep)), "x")[0], expected)


@pytest.mark.parametrize(("mode", "format"), [("RGB", "png"), ("P", "png"), ("RGBA", "png"), ("CMYK", "tiff")])
def test_everything_else_becomes_rgb(colour, mode, format):
    stored = colour.convert(mode)
    image = decode(encoded(stored, format=format), "x")
    assert torch.equal(image, torch.from_numpy(np.array(stored.convert("RGB"))).permute(2, 0, 1))


def test_a_transparent_palette_becomes_rgb_without_a_warning(colour):
    assert decode(encoded(colour.convert("P"), transparency=bytes(range(256))), "x").shape == (3, 8, 10)


def test_arrays_and_pil_images_are_taken_as_they_are(pictures, colour):
    expected = torch.from_numpy(pictures[0]).permute(2, 0, 1)
    assert torch.equal(decode(pictures[0], "x"), expected)
    assert torch.equal(decode(colour, "x"), expected)
    assert decode(pictures[0, :, :, 0], "x").shape == (1, 8, 10)


def test_damaged_and_tiny_images_are_named(colour, tmp_path):
    for damaged in (b"", b"no image", encoded(colour)[:60]):
        with pytest.raises(OutskirtsError, match=r"row 3 of x\.npz cannot be decoded"):
            decode(damaged, "row 3 of x.npz")
    with pytest.raises(OutskirtsError, match=r"gone\.png cannot be decoded.*No such file"):
        decode(tmp_path / "gone.png", "gone.png")
    with pytest.raises(OutskirtsError, match=r"x cannot be decoded.*floating-point"):
        decode(Image.new("F", (8, 8)), "x")
    with pytest.raises(OutskirtsError, match="x is 9x3 pixels; each side needs at least 4"):
        decode(Image.new("L", (9, 3)), "x")


def test_a_file_and_its_bytes_share_a_key(files):
    assert key(files[0]) == key(files[0].read_bytes()) != key(files[1])
    with pytest.raises(OutskirtsError, match=r"gone\.png cannot be read"):
        key(files[0].with_name("gone.png"))


def test_arrays_of_other_shape_have_other_keys(pictures):
    assert key(pictures[0]) == key(pictures[0].copy()) != key(pictures[0].reshape(10, 8, 3))
