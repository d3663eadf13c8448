"""Which images look almost the same, by their thumbnails."""

import io

import numpy as np
import pytest
import torch
from PIL import Image

from outskirts import ImageSet
from outskirts.data.likeness import thumbnails
from outskirts.data.transform import Transform
from outskirts.evaluation import lookalikes as module
from outskirts.evaluation.lookalikes import CONTRAST, DIFFERENCE, lookalikes


def scenes(count, seed=0, side=48):
    """Pictures with large and small shapes, as photographs have."""
    random = np.random.default_rng(seed)
    pixels = np.full((count, side, side, 3), 128.0)
    for cells, strength in ((3, 60), (6, 40), (16, 15)):
        for image in pixels:
            noise = (random.standard_normal((cells, cells, 3)) * strength).astype(np.float32)
            bands = [Image.fromarray(noise[:, :, c]).resize((side, side), Image.Resampling.BICUBIC) for c in range(3)]
            image += np.stack(bands, axis=2)
    return [Image.fromarray(image) for image in pixels.clip(0, 255).astype(np.uint8)]


def jpeg(image, quality):
    file = io.BytesIO()
    image.save(file, "JPEG", quality=quality)
    return file.getvalue()


def shown(items):
    return thumbnails(ImageSet(items).resident(Transform(32))[0])


@pytest.mark.parametrize("quality", [60, 75, 95])
def test_images_that_were_compressed_again_are_found(quality):
    images = scenes(40)
    found = lookalikes(shown([jpeg(image, quality) for image in images]), shown(images))
    assert found.tolist() == list(range(40))


@pytest.mark.parametrize("side", [24, 96])
def test_images_of_another_size_are_found(side):
    images = scenes(40)
    resized = [image.resize((side, side), Image.Resampling.BICUBIC) for image in images]
    assert lookalikes(shown(resized), shown(images)).tolist() == list(range(40))


def test_other_images_are_not_found():
    images = shown(scenes(200))
    assert (lookalikes(images, shown(scenes(200, seed=1))) == -1).all()
    assert (lookalikes(images) == -1).all()


def test_within_one_set_images_before_count():
    images = scenes(5)
    images = [images[0], images[1], jpeg(images[0], 75), images[2], jpeg(images[0], 60), images[3]]
    found = lookalikes(shown(images)).tolist()
    assert found[:2] == [-1, -1] and found[2] == 0 and found[3] == found[5] == -1 and found[4] in (0, 2)


def test_flat_images_look_like_none():
    black, grey = np.zeros((3, 32, 32), np.uint8), np.full((3, 32, 32), 130, np.uint8)
    # What is left of their contrast is noise.
    noise = 130 + np.random.default_rng(0).integers(-2, 3, (6, 32, 32)).astype(np.uint8)
    flat = shown(np.concatenate([black, grey, noise]))
    assert (lookalikes(flat) == -1).all() and (lookalikes(flat, flat) == -1).all()
    assert (lookalikes(flat, shown(scenes(20))) == -1).all()


def test_brighter_images_are_others():
    images = shown(scenes(10)) // 2
    assert (lookalikes(images, images + 1) >= 0).all()
    assert (lookalikes(images, images + 60) == -1).all()


def pairs(seed):
    """Thumbnails, and some that are as different as decides."""
    random = torch.Generator().manual_seed(seed)
    one = torch.rand(60, 16, 16, generator=random) * torch.linspace(0, 200, 60)[:, None, None] + 20
    noise = torch.randn(60, 16, 16, generator=random) * one.std((1, 2), keepdim=True)
    other = one + noise * DIFFERENCE**0.5 * torch.linspace(0.7, 1.3, 60)[torch.randperm(60), None, None]
    return one.round().byte(), other.clamp(0, 255).round().byte()


def defined(one, other):
    """Whether each pair looks almost the same, as it is defined, [N, M]."""
    a, b = (images.flatten(1).double() for images in (one, other))
    of_a, of_b = (((x - x.mean(1, keepdim=True)) ** 2).sum(1) for x in (a, b))
    least = 256 * CONTRAST**2
    apart = torch.cdist(a, b, compute_mode="donot_use_mm_for_euclid_dist") ** 2
    near = apart <= DIFFERENCE * (of_a[:, None] + of_b) / 2
    return near & (of_a >= least)[:, None] & (of_b >= least)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("block", [2**22, 100, 7])
def test_no_pair_is_passed_over(seed, block, monkeypatch):
    monkeypatch.setattr(module, "_PAIRS", block)
    one, other = pairs(seed)
    near, found = defined(one, other), lookalikes(one, other)
    assert 10 < near.any(1).sum() < 50
    assert (found >= 0).equal(near.any(1))
    assert near[found >= 0, found[found >= 0]].all()
    both = torch.cat([one, other])
    before = defined(both, both).tril(-1)
    assert (lookalikes(both) >= 0).equal(before.any(1))


def test_no_image_looks_like_any():
    none, some = torch.zeros(0, 16, 16, dtype=torch.uint8), shown(scenes(3))
    assert lookalikes(none).shape == lookalikes(none, some).shape == (0,)
