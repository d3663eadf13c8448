import colorsys
import math

import pytest
import torch

from outskirts.data.loading.augment import (
    ColorJitter,
    Compose,
    Crop,
    Flip,
    Grayscale,
    ResizedCrop,
    _rotated,
    parse_augmentations,
)
from outskirts.errors import OutskirtsError

ALL = [Flip(), Crop(3), ResizedCrop(8), Grayscale(), ColorJitter()]


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def images():
    return torch.randint(0, 256, (64, 3, 10, 12), dtype=torch.uint8, generator=seeded(7))


@pytest.mark.parametrize("augment", ALL, ids=lambda a: type(a).__name__)
@pytest.mark.parametrize("channels", [1, 3])
def test_common_to_all(images, augment, channels):
    images = images[:, :channels]
    before, rng = images.clone(), torch.get_rng_state()
    one, two, other = (augment(images, seeded(seed)) for seed in (1, 1, 2))
    assert torch.equal(one, two)
    assert not torch.equal(one, other) or (channels == 1 and isinstance(augment, Grayscale))
    assert torch.equal(images, before) and torch.equal(torch.get_rng_state(), rng)
    assert one.shape[:2] == (64, channels) and one.amin() >= 0 and one.amax() <= 255.01
    assert one.dtype == (torch.uint8 if isinstance(augment, Flip | Crop) else torch.float32)
    as_float = augment(images.float(), seeded(1))
    assert as_float.dtype == torch.float32
    torch.testing.assert_close(as_float, one.float())


@pytest.mark.parametrize("augment", ALL, ids=lambda a: type(a).__name__)
def test_images_draw_their_own_parameters(augment):
    same = torch.randint(0, 256, (1, 3, 10, 10), dtype=torch.uint8, generator=seeded()).expand(40, 3, 10, 10)
    results = augment(same, seeded()).flatten(1).unique(dim=0)
    # A flip or a choice of grey has two outcomes, the rest nearly as many as images.
    assert len(results) == 2 if isinstance(augment, Flip | Grayscale) else len(results) > 20


@pytest.mark.parametrize("augment", ALL, ids=lambda a: type(a).__name__)
def test_an_image_does_not_depend_on_those_beside_it(images, augment):
    changed = images.clone()
    changed[1:] = 255 - changed[1:]
    torch.testing.assert_close(augment(images, seeded())[0], augment(changed, seeded())[0])


@pytest.mark.parametrize("p", [0.0, 0.3, 1.0])
def test_flip_mirrors_a_share(p):
    images = torch.arange(6, dtype=torch.uint8).view(1, 1, 2, 3).expand(4000, 1, 2, 3)
    out = Flip(p)(images, seeded())
    mirrored = (out == images.flip(3)).flatten(1).all(1)
    assert ((out == images).flatten(1).all(1) ^ mirrored).all()
    assert abs(mirrored.double().mean() - p) < (0.03 if 0 < p < 1 else 1e-9)


def test_crop_equals_slices_of_the_padded_image(images):
    padding = 3
    out = Crop(padding)(images, seeded())
    down, right = torch.randint(-padding, padding + 1, (2, 64, 1), generator=seeded())[:, :, 0].tolist()
    padded = torch.nn.functional.pad(images.float(), (padding,) * 4, mode="reflect").to(torch.uint8)
    for i in range(64):
        top, left = padding + down[i], padding + right[i]
        assert torch.equal(out[i], padded[i, :, top : top + 10, left : left + 12])
    assert set(down) == set(right) == set(range(-3, 4)), "every shift occurs"
    assert torch.equal(Crop(0)(images, seeded()), images)


def test_resized_crop_of_everything_is_the_image(images):
    square = images[:, :, :, :10]
    out = ResizedCrop(10, low=1, high=1, ratio=1)(square, seeded())
    torch.testing.assert_close(out, square.float(), rtol=0, atol=1e-2)


def test_resized_crop_covers_its_range_of_areas():
    # Each pixel holds its place, so that the corners of a crop tell its extent.
    side = 32
    ramp = torch.arange(side).float().expand(side, side)
    images = torch.stack([ramp, ramp.T]).expand(3000, 2, side, side)
    out = ResizedCrop(side, low=0.2, high=0.6)(images, seeded())
    # The first and last sample lie half a step inside the crop.
    width = (out[:, 0, 16, -1] - out[:, 0, 16, 0]) / (side - 1)
    height = (out[:, 1, -1, 16] - out[:, 1, 0, 16]) / (side - 1)
    left, right = out[:, 0, 16, 0] - width * side / 2, out[:, 0, 16, -1]
    inside = (out[:, 0].amin((1, 2)) > 0) & (out[:, 0].amax((1, 2)) < side - 1)
    inside &= (out[:, 1].amin((1, 2)) > 0) & (out[:, 1].amax((1, 2)) < side - 1)
    area, ratio = (width * height)[inside], (width / height)[inside]
    assert inside.sum() > 1000 and left.isfinite().all() and right.isfinite().all()
    assert 0.2 - 1e-3 < area.min() < 0.23 and 0.55 < area.max() < 0.6 + 1e-3
    assert 3 / 4 - 1e-2 < ratio.min() < 0.8 and 1.25 < ratio.max() < 4 / 3 + 1e-2


def test_resized_crop_stays_on_constant_images():
    images = torch.full((50, 3, 9, 9), 77, dtype=torch.uint8)
    out = ResizedCrop(16)(images, seeded())
    assert out.shape == (50, 3, 16, 16)
    torch.testing.assert_close(out, torch.full_like(out, 77))


@pytest.mark.parametrize("p", [0.0, 0.4, 1.0])
def test_greyscale_is_the_luminance(p):
    images = torch.randint(0, 256, (3000, 3, 2, 2), dtype=torch.uint8, generator=seeded(7))
    out = Grayscale(p)(images, seeded())
    red, green, blue = images.float().unbind(1)
    grey = (0.299 * red + 0.587 * green + 0.114 * blue)[:, None].expand_as(images)
    is_grey = (out - grey).abs().flatten(1).amax(1) < 1e-3
    assert torch.equal(out[~is_grey], images[~is_grey].float())
    assert abs(is_grey.double().mean() - p) < (0.03 if 0 < p < 1 else 1e-9)


def test_rotating_the_hue():
    colours = torch.rand(5, 3, 4, 4, generator=seeded(), dtype=torch.float64)
    angle = torch.rand(5, 1, 1, 1, generator=seeded(), dtype=torch.float64) * 6 - 3
    torch.testing.assert_close(_rotated(colours, torch.zeros_like(angle)), colours)
    grey = colours[:, :1].expand_as(colours)
    torch.testing.assert_close(_rotated(grey, angle), grey)
    turned = _rotated(colours, angle)
    torch.testing.assert_close(turned.mean(1), colours.mean(1))
    torch.testing.assert_close(turned.norm(dim=1), colours.norm(dim=1))
    torch.testing.assert_close(_rotated(turned, -angle), colours)
    third = torch.full((5, 1, 1, 1), 2 * math.pi / 3, dtype=torch.float64)
    torch.testing.assert_close(_rotated(colours, third), colours.roll(1, 1))
    # In the direction in which hues are counted: red, yellow, green.
    red = torch.tensor([0.6, 0.4, 0.4], dtype=torch.float64)[None, :, None, None]
    assert 0 < colorsys.rgb_to_hsv(*_rotated(red, third[:1] / 4).flatten().tolist())[0] < 0.2


def test_each_jitter_alone():
    images = torch.randint(80, 120, (40, 3, 4, 4), generator=seeded()).float()

    def jitter(**strengths):
        zero = {"brightness": 0.0, "contrast": 0.0, "saturation": 0.0, "hue": 0.0}
        return ColorJitter(**(zero | strengths), p=1.0)(images, seeded(3))

    def luminance(x):
        return (x * torch.tensor([0.299, 0.587, 0.114])[:, None, None]).sum(1, keepdim=True)

    torch.testing.assert_close(jitter(), images)
    factor = jitter(brightness=0.4) / images
    torch.testing.assert_close(factor, factor[:, :1, :1, :1].expand_as(factor))
    assert 0.6 <= factor.min() < 0.7 and 1.3 < factor.max() <= 1.4 + 1e-6
    mean = luminance(images).mean((2, 3), keepdim=True)
    factor = (jitter(contrast=0.4) - mean) / (images - mean)
    torch.testing.assert_close(factor, factor[:, :1, :1, :1].expand_as(factor), rtol=1e-2, atol=1e-2)
    torch.testing.assert_close(luminance(jitter(saturation=0.9)), luminance(images))
    torch.testing.assert_close(jitter(hue=0.5).mean(1), images.mean(1))
    assert torch.equal(ColorJitter(p=0.0)(images, seeded()), images)


def test_grey_images_keep_their_one_channel():
    images = torch.randint(0, 256, (5, 1, 8, 8), dtype=torch.uint8, generator=seeded())
    torch.testing.assert_close(Grayscale(1.0)(images, seeded()), images.float())
    out = ColorJitter(brightness=0.0, contrast=0.0, p=1.0)(images, seeded())
    torch.testing.assert_close(out, images.float())


def test_compose_is_one_after_the_other(images):
    composed = Compose((Flip(), Crop(2)))(images, seeded())
    g = seeded()
    assert torch.equal(composed, Crop(2)(Flip()(images, g), g))
    assert Compose()(images, seeded()) is images


def test_parse():
    text = " resized-crop:0.2:0.9 ,flip, flip:0.25,crop:3,jitter:0.1:0.2:0.3:0.4:0.5,grey:0.1,jitter"
    assert parse_augmentations(text, 16).steps == (
        ResizedCrop(16, 0.2, 0.9),
        Flip(),
        Flip(0.25),
        Crop(3),
        ColorJitter(0.1, 0.2, 0.3, 0.4, 0.5),
        Grayscale(0.1),
        ColorJitter(),
    )
    assert parse_augmentations("none", 32) == parse_augmentations("", 32) == Compose()


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("flp", "There is no augmentation 'flp'; did you mean 'flip'"),
        ("flip,crop:x", "'crop:x' cannot be read"),
        ("crop:1:2", "'crop:1:2' cannot be read"),
        ("crop:2.5", "'crop:2.5' cannot be read"),
        ("crop:inf", "'crop:inf' cannot be read"),
        ("crop:nan", "'crop:nan' cannot be read"),
        ("crop:", "'crop:' cannot be read"),
        ("crop:-1", "'crop:-1' is not possible. A crop must shift by 0 pixels or more"),
        ("crop:16", "padding 16 needs images larger than that, not of 16×16"),
        ("flip:2", "A probability must be from 0 to 1, not 2"),
        ("grey:-0.1", "A probability must be from 0 to 1"),
        ("resized-crop:0.5:0.2", "the smaller first; not between 0.5 and 0.2"),
        ("resized-crop:0", "not between 0.0 and 1.0"),
        ("resized-crop:0.1:1:0.5", "aspect ratio must be 1 or more"),
        ("jitter:-1", "strengths of a jitter must be 0 or more"),
        ("jitter:0:0:0:3", "half a circle"),
    ],
)
def test_what_cannot_be_done_is_told(text, sentence):
    with pytest.raises(OutskirtsError) as error:
        parse_augmentations(text, 16)
    assert sentence in str(error.value)
