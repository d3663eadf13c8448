import pytest
import torch

import outskirts as osk
from outskirts import OutskirtsError
from outskirts.data.transform import Transform

pytest.importorskip("skimage", reason="the pictures are scikit-image's")


@pytest.mark.parametrize(("name", "count"), [("textures", 600), ("photos", 600), ("faces", 100)])
def test_sets_have_their_default_size(name, count):
    image_set = osk.open(name)
    assert len(image_set) == count and set(image_set.labels.tolist()) == {-1} and image_set.classes == []
    assert all(image_set.image(i).shape[1:] == (28, 28) for i in range(0, count, 17))


@pytest.mark.parametrize("name", ["textures", "photos"])
def test_patches_follow_size_limit_and_seed(name):
    a, b, c = (osk.open(f"{name}?size=40&limit=30&seed={seed}") for seed in (1, 1, 2))
    assert len(a) == 30 and a.image(0).shape[1:] == (40, 40)
    assert a.fingerprint == b.fingerprint != c.fingerprint
    assert "30 patches of" in a.note and "not independent" in a.note
    assert a.spec == f"{name}?size=40&limit=30&seed=1"


def test_most_patches_differ_and_have_contrast():
    images, _ = osk.open("photos").resident(Transform(28, 1))
    assert len(images.flatten(1).unique(dim=0)) == len(images)
    assert (images.flatten(1).float().std(1) > 3).float().mean() > 0.8


def test_faces_can_be_limited():
    faces = osk.open("faces?size=32&limit=10")
    assert len(faces) == 10 and faces.image(0).shape == (1, 32, 32)
    assert faces.image(0).float().std() > 10 and faces.image(0).dtype == torch.uint8


@pytest.mark.parametrize(
    ("spec", "sentence"),
    [
        ("faces?size=3", "size=3 is not possible; it must be from 4 to 256 pixels"),
        ("textures?size=300", "size=300"),
        ("textures?limit=0", "leaves no image"),
        ("textures?limit=many", "limit=many in 'textures.limit=many' is not a whole number"),
    ],
)
def test_errors(spec, sentence):
    with pytest.raises(OutskirtsError, match=sentence):
        osk.open(spec)
