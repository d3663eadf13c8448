"""Images that are the same, or look the same, in other files."""

import io

import numpy as np
import pytest
import torch
from PIL import Image

import outskirts as osk
from outskirts import ImageSet, OutskirtsError
from outskirts.data.cache import cached_images
from outskirts.data.likeness import Likeness, load_likenesses, pixel_key, save_likenesses, thumbnails
from outskirts.data.loading.ahead import batches
from outskirts.data.transform import Transform
from outskirts.files import save_tensors


@pytest.fixture
def pixels():
    return np.random.default_rng(0).integers(0, 256, (6, 12, 20, 3), np.uint8)


def encoded(pixels, kind, **options):
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind, **options)
    return file.getvalue()


def key(item):
    images = ImageSet([item])
    images.image(0)
    return images.pixel_keys[0].tobytes()


def test_equal_pixels_have_one_key_in_whatever_file(pixels):
    files = [encoded(pixels[0], "PNG", compress_level=level) for level in (1, 9)]
    assert len(set(ImageSet(files).keys)) == 2
    lossless = encoded(pixels[0], "WEBP", lossless=True)
    items = [*files, lossless, *(encoded(pixels[0], kind) for kind in ("BMP", "TIFF")), pixels[0], pixels[0] / 255]
    assert {key(item) for item in items} == {key(files[0])}
    others = [pixels[1], pixels[0].transpose(1, 0, 2), pixels[0].reshape(20, 12, 3), pixels[0][:, :, ::-1]]
    assert len({key(item) for item in [pixels[0], *others]}) == 5


def test_a_grey_picture_has_the_key_of_itself_in_colour(pixels):
    grey = pixels[0, :, :, 0]
    assert key(grey) == key(np.repeat(grey[:, :, None], 3, axis=2))


def test_keys_are_those_of_every_version():
    image = torch.arange(48, dtype=torch.uint8).view(3, 4, 4)
    assert pixel_key(image).hex() == "9b62567cefd497857332800c8ff123f0"


@pytest.mark.parametrize("side", [4, 16, 28, 32, 100])
@pytest.mark.parametrize("channels", [1, 3])
def test_thumbnails_are_means_of_areas(side, channels):
    images = torch.randint(0, 256, (3, channels, side, side), generator=torch.Generator().manual_seed(0)).byte()
    # Each pixel is drawn so large that areas are of whole pixels.
    large = images.double().mean(1).repeat_interleave(16, 1).repeat_interleave(16, 2)
    means = large.view(3, 16, side, 16, side).mean((2, 4))
    assert (thumbnails(images) - means).abs().max() <= 0.5 + 1e-3


def test_a_set_knows_the_pixels_of_what_was_decoded(pixels):
    images, transform = ImageSet(pixels), Transform(8)
    assert not images.pixel_keys.view(np.uint8).any()
    images.resident(transform)
    assert images.pixel_keys.tolist() == [pixel_key(images.image(i)) for i in range(6)]
    ahead = ImageSet(pixels)
    list(batches(ahead, transform, 4))
    assert (ahead.pixel_keys == images.pixel_keys).all()


@pytest.mark.parametrize("read", [lambda s, t: s.resident(t), lambda s, t: list(batches(s, t, 4))])
@pytest.mark.parametrize("again", [lambda s, t: s.resident(t), lambda s, t: list(batches(s, t, 4))])
def test_pictures_that_are_kept_decoded_keep_their_keys(pixels, read, again, monkeypatch):
    with cached_images():
        first, second, transform = ImageSet(pixels), ImageSet(pixels), Transform(8)
        read(first, transform)
        monkeypatch.setattr(ImageSet, "image", None)
        again(second, transform)
    assert (second.pixel_keys == first.pixel_keys).all() and len(set(first.pixel_keys.tolist())) == 6


def test_corrupt_images_are_like_none(pixels):
    images = ImageSet([encoded(pixels[0], "PNG"), b"no image", encoded(pixels[1], "PNG")])
    shown, _ = images.resident(Transform(16), skip_corrupt=True)
    likeness = Likeness.of(images.pixel_keys, thumbnails(shown))
    assert likeness.keys() == [key(pixels[0]), b"", key(pixels[1])]
    assert likeness.thumbnails[[0, 2]].equal(thumbnails(shown)) and not likeness.thumbnails[1].any()


def test_what_is_written_is_read_again(pixels, tmp_path):
    images = ImageSet(pixels)
    shown, _ = images.resident(Transform(16))
    one = Likeness.of(images.pixel_keys, thumbnails(shown))
    save_likenesses(tmp_path / "x.safetensors", {"a": one, "b/c": one})
    read = load_likenesses(tmp_path / "x.safetensors")
    assert read.keys() == {"a", "b/c"} and read["a"].keys() == one.keys() == read["b/c"].keys()
    assert read["a"].thumbnails.equal(one.thumbnails)
    assert load_likenesses(tmp_path / "none.safetensors") == {}


@pytest.mark.parametrize(
    "tensors", [{"a/pixels": (3, 16)}, {"a/pixels": (3, 16), "a/thumbnails": (2, 16, 16)}, {"x": (2,)}]
)
def test_a_damaged_file_is_named(tensors, tmp_path):
    save_tensors(tmp_path / "x.safetensors", {name: torch.zeros(shape).byte() for name, shape in tensors.items()})
    with pytest.raises(OutskirtsError, match=r"x\.safetensors is damaged: .* Delete the file"):
        load_likenesses(tmp_path / "x.safetensors")


def test_extraction_tells_a_set_its_likeness_with_and_without_the_store(finished, bugs, tmp_path):
    classifier, found = osk.load(finished), []
    for store in (None, tmp_path, tmp_path):
        images = osk.open(bugs / "test")
        osk.extract(classifier, images, store=store)
        found.append(images.likeness)
    expected = thumbnails(images.resident(classifier.transform)[0])
    assert all(one.thumbnails.equal(expected) for one in found)
    assert all(one.keys() == images.pixel_keys.tolist() for one in found)
