import io

import numpy as np
import pytest
import torch
from PIL import Image

import outskirts as osk
from outskirts.data.leakage import overlap
from outskirts.errors import OutskirtsError


@pytest.mark.parametrize("colours", [1, 3])
def test_the_same_images_as_jpeg(tmp_path, colours):
    pixels = np.random.default_rng(0).integers(0, 256, (4, 16, 12, 3), np.uint8)
    pixels = pixels[..., 0] if colours == 1 else pixels
    np.save(tmp_path / "x.npy", pixels)
    plain, jpeg = osk.open(tmp_path / "x.npy"), osk.open(f"npy:{tmp_path / 'x.npy'}?jpeg=60")
    for i in range(4):
        file = io.BytesIO()
        Image.fromarray(pixels[i]).save(file, "jpeg", quality=60)
        expected = torch.from_numpy(np.array(Image.open(file)))
        assert torch.equal(jpeg.image(i), expected[None] if colours == 1 else expected.permute(2, 0, 1))
    assert overlap(plain, jpeg) == 0 and osk.open(jpeg.spec).fingerprint == jpeg.fingerprint
    assert jpeg.subset([2]).image(0).equal(jpeg.image(2))


def test_the_same_images_once_made_smaller(bugs):
    plain, small = osk.open(bugs / "test"), osk.open(f"{bugs / 'test'}?through=8")
    assert small.image(0).shape == plain.image(0).shape and torch.equal(small.labels, plain.labels)
    # Noise is smoothed, and the mean stays.
    before, after = (images.image(0).float() for images in (plain, small))
    assert after.std(dim=(1, 2)).max() < before.std(dim=(1, 2)).min() and (after.mean() - before.mean()).abs() < 3
    some = osk.open(f"{bugs / 'test'}?limit=5&jpeg=50&through=8")
    assert len(some) == 5 and some.spec.endswith("?limit=5&through=8&jpeg=50")


def test_what_cannot_be(bugs):
    for option, match in (
        ("jpeg=0", "from 1 to 95, not 0"),
        ("through=2", "at least 4 pixels"),
        ("noise=0", "from 1 to 255 levels, not 0"),
        ("contrast=101", "from 1 to 100 %, not 101"),
        ("jpeg=x", "whole number"),
    ):
        with pytest.raises(OutskirtsError, match=match):
            osk.open(f"{bugs / 'test'}?{option}")


@pytest.mark.parametrize("colours", [1, 3])
def test_noise_and_contrast(tmp_path, colours):
    pixels = np.random.default_rng(0).integers(100, 156, (3, 40, 30, 3), np.uint8)
    pixels = pixels[..., 0] if colours == 1 else pixels
    np.save(tmp_path / "x.npy", pixels)
    noisy, faded, all_of_it = (
        osk.open(f"npy:{tmp_path / 'x.npy'}?{o}") for o in ("noise=20", "contrast=40", "contrast=100")
    )
    for i in range(3):
        before = osk.open(tmp_path / "x.npy").image(i).double()
        difference = noisy.image(i).double() - before
        assert difference.std() == pytest.approx(20, rel=0.05) and abs(difference.mean()) < 3
        mean = before.mean()
        assert (faded.image(i) - (mean + 0.4 * (before - mean))).abs().max() <= 0.51
        assert torch.equal(all_of_it.image(i), before.byte())
    assert torch.equal(noisy.image(1), noisy.image(1)) and torch.equal(noisy.subset([1]).image(0), noisy.image(1))
    assert not torch.equal(
        noisy.image(0) - osk.open(tmp_path / "x.npy").image(0), noisy.image(1) - osk.open(tmp_path / "x.npy").image(1)
    )
