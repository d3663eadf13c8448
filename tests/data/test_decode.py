import io
import os

import numpy as np
import pytest
import torch
from PIL import Image

from outskirts import OutskirtsError
from outskirts.data.decode import decode
from outskirts.data.reading import FIRST, USUAL, Reading


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
    assert torch.equal(decode(encoded(Image.fromarray(deep)), "x", FIRST)[0], expected)
    # Of the range of 16 bits, 257 numbers are a level.
    expected = torch.from_numpy(np.round(deep / 257).astype(np.uint8))
    assert torch.equal(decode(encoded(Image.fromarray(deep)), "x", Reading(levels=(0, 65535)))[0], expected)


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
    with pytest.raises(OutskirtsError, match=r"gone\.png does not exist"):
        decode(tmp_path / "gone.png", "gone.png")
    with pytest.raises(OutskirtsError, match=r"x holds float32 from 2 to 2, and no range is known"):
        decode(Image.new("F", (8, 8), 2), "x", USUAL)
    with pytest.raises(OutskirtsError, match="x is 9x3 pixels; each side needs at least 4"):
        decode(Image.new("L", (9, 3)), "x")


@pytest.mark.parametrize("shape", ["file", "bytes"])
def test_a_picture_that_a_program_would_have_to_run_for_is_refused(shape, tmp_path):
    postscript = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\n{} loop\n"
    item = postscript
    if shape == "file":
        item = tmp_path / "x.png"
        item.write_bytes(postscript)
    with pytest.raises(OutskirtsError, match=r"x\.png cannot be decoded.*cannot identify"):
        decode(item, "x.png")


def test_a_pipe_with_the_name_of_an_image_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "x.png")
    with pytest.raises(OutskirtsError, match=r"x\.png cannot be decoded \(it is not a regular file\)"):
        decode(tmp_path / "x.png", "x.png")


def test_an_image_of_too_many_pixels_is_refused_before_it_is_decoded(monkeypatch, colour):
    monkeypatch.setattr("outskirts.data.decode.MAX_PIXELS", 79)
    with pytest.raises(OutskirtsError, match=r"x cannot be decoded .*10x8 pixels, and at most 79"):
        decode(encoded(colour), "x")


@pytest.mark.parametrize("format", ["bmp", "gif", "jpeg", "png", "ppm", "tiff", "webp"])
def test_the_formats_of_image_folders_are_read(format, colour):
    assert decode(encoded(colour, format=format), "x").shape == (3, 8, 10)
