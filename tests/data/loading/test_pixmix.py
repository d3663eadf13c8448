import numpy as np
import pytest
import torch
from PIL import Image, ImageOps

from outskirts.data.loading.augment import parse_augmentations
from outskirts.data.loading.fractals import fractals
from outskirts.data.loading.pixmix import PixMix, _added, _equalized, _multiplied, _posterised, _solarised, augmented
from outskirts.errors import OutskirtsError


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def images(count=40, channels=3, size=16):
    return torch.randint(0, 256, (count, channels, size, size), generator=seeded(), dtype=torch.uint8)


@pytest.mark.parametrize("channels", [1, 3])
def test_images_stay_images(channels):
    for text in ("pixmix", "pixmix:2:5:8"):
        mixed = parse_augmentations(text, 16)(images(channels=channels), seeded(1))
        assert mixed.shape == (40, channels, 16, 16) and mixed.dtype == torch.float32
        assert mixed.min() >= 0 and mixed.max() <= 255 and mixed.isfinite().all()
    assert torch.equal(PixMix()(images(), seeded(1)), PixMix()(images(), seeded(1)))
    assert not torch.equal(PixMix()(images(), seeded(1)), PixMix()(images(), seeded(2)))


def test_without_rounds_half_of_the_images_are_as_they_were():
    given = images(400)
    same = (PixMix(rounds=0, severity=10)(given, seeded()).round() == given).flatten(1).all(1).float().mean()
    assert 0.45 < same < 0.6


def test_the_more_rounds_and_the_smaller_beta_the_less_is_left():
    given = images(300)

    def change(**options):
        return (PixMix(**options)(given, seeded()) - given).abs().mean()

    assert change(rounds=0) < change(rounds=1) < change(rounds=4)
    assert change(beta=50.0) < change(beta=3.0) < change(beta=0.5)


def test_mixing_by_its_formula():
    one, two = (torch.rand(5, 1, 4, 4, generator=seeded(s)) for s in (0, 1))
    a, b = torch.tensor(0.7), torch.tensor(-0.2)
    torch.testing.assert_close(_added(one, two, a, b), ((one * 2 - 1) * a + (two * 2 - 1) * b + 1) / 2)
    torch.testing.assert_close(_multiplied(one, two, a, b), (one * 2) ** 0.7 * (two * 2).clamp_min(1e-3) ** -0.2 / 2)
    # All of the first and nothing of the second changes nothing.
    for mix in (_added, _multiplied):
        torch.testing.assert_close(mix(one, two, torch.tensor(1.0), torch.tensor(0.0)), one)


def floats(given):
    return given.float() / 255


def by_pil(operation, given):
    found = [np.asarray(operation(Image.fromarray(image[0].numpy()))) for image in given]
    return torch.from_numpy(np.stack(found))[:, None]


def test_operations_are_those_of_pillow():
    given = images(20, channels=1)
    level = torch.full((20, 1, 1, 1), 0.3)
    assert torch.equal(
        (_solarised(floats(given), level) * 255).round().byte(), by_pil(lambda i: ImageOps.solarize(i, 179), given)
    )
    for share, bits in ((0.1, 4), (0.3, 3), (0.6, 2)):
        found = (_posterised(floats(given), torch.full_like(level, share)) * 255).round().byte()
        assert torch.equal(found, by_pil(lambda i, bits=bits: ImageOps.posterize(i, bits), given))
    # Pillow rounds its table to whole steps; here ranks are shares.
    smooth = (torch.rand(10, 1, 32, 32, generator=seeded()) ** 3 * 255).round().byte()
    found = (_equalized(floats(smooth), level) * 255).round()
    assert (found - by_pil(ImageOps.equalize, smooth).float()).abs().mean() < 6
    flat = torch.full((1, 3, 4, 4), 0.5)
    assert torch.equal(_equalized(flat, level), flat)


def test_no_severity_moves_nothing_and_more_moves_more():
    given = floats(images(300))
    moved = [(augmented(given, severity, seeded()) - given).abs().mean() for severity in (0.0, 3.0, 10.0)]
    assert moved[0] < moved[1] < moved[2]


def test_fractals_differ_and_are_structured():
    pictures = fractals(40, 32)
    assert pictures.shape == (40, 3, 32, 32) and pictures.dtype == torch.uint8
    assert torch.equal(pictures, fractals(40, 32, 0)) and not torch.equal(pictures, fractals(40, 32, 1))
    assert len(pictures.flatten(1).unique(dim=0)) == 40
    shown = pictures.float()
    # Neighbouring pixels are more alike than distant ones, and hardly a picture is blank.
    near = (shown[..., 1:] - shown[..., :-1]).abs().mean((1, 2, 3))
    far = (shown - shown.flip(3)).abs().mean((1, 2, 3))
    assert (near < far).float().mean() > 0.9
    assert (shown.flatten(1).std(1) > 5).float().mean() > 0.9


@pytest.mark.parametrize("text", ["pixmix:-1", "pixmix:4:0", "pixmix:4:3:11", "pixmix:1.5"])
def test_options_out_of_range(text):
    with pytest.raises(OutskirtsError, match=text):
        parse_augmentations(text, 16)
