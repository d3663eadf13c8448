import numpy as np
import pytest
import torch

import outskirts as osk
from outskirts import OutskirtsError
from outskirts.data.reading import USUAL, Reading

LABELS = np.array([0, 0, 0, 1, 1, 1])


@pytest.mark.parametrize(("images", "labels"), [("images", "labels"), ("x", "y"), ("data", "labels")])
def test_npz(tmp_path, pictures, images, labels, check):
    np.savez(tmp_path / "x.npz", **{images: pictures, labels: LABELS})
    check(osk.open(tmp_path / "x.npz"), pictures, classes=("0", "1"))


def test_npz_keys(tmp_path, pictures, check, fails):
    # The layout of MedMNIST.
    np.savez(tmp_path / "x.npz", a=pictures.transpose(0, 3, 1, 2), b=LABELS[:, None].astype(np.uint8))
    check(osk.open(tmp_path / "x.npz"), pictures, classes=())
    check(osk.open(f"{tmp_path / 'x.npz'}?images=a&labels=b"), pictures, classes=("0", "1"))
    fails(f"{tmp_path / 'x.npz'}?labels=c", "no array 'c' in ")
    np.savez(tmp_path / "x.npz", a=pictures, b=pictures)
    fails(tmp_path / "x.npz", r"has the arrays a, b, none of them called images.*\?images=KEY")


def test_npy(tmp_path, pictures, check):
    np.save(tmp_path / "x.npy", pictures)
    np.save(tmp_path / "y.npy", LABELS)
    check(osk.open(tmp_path / "x.npy"), pictures, classes=())
    image_set = osk.open(f"{tmp_path / 'x.npy'}?labels={tmp_path / 'y.npy'}")
    check(image_set, pictures, classes=("0", "1"))
    assert isinstance(image_set.items, np.memmap)


def test_grey_arrays(tmp_path, pictures):
    for grey in (pictures[..., 0], pictures[..., :1]):
        np.save(tmp_path / "x.npy", grey)
        assert osk.open(tmp_path / "x.npy").image(0).shape == (1, 8, 10)


@pytest.mark.parametrize(
    ("array", "sentence"),
    [
        (np.zeros((2, 8, 8), bool), r"bool; .*: pass images\.astype\('uint8'\) \* 255"),
        (np.zeros((2, 8, 8), complex), "complex128; pixels are integers or floating-point numbers"),
        (np.zeros((2, 8, 8, 4), np.uint8), r"1 or 3 channels\. Choose some, or drop the alpha .*\?channels=0,1,2"),
        (
            np.zeros((2, 8, 8, 5), np.uint8),
            r"1 or 3 channels\. Choose some: \?channels=0,1,2 .*\[\.\.\., \[0, 1, 2\]\]",
        ),
        (np.zeros((2, 8, 8, 2), np.uint8), "1 or 3 channels"),
        (np.zeros((8, 8), np.uint8), r"has the shape \(8, 8\); images are \[N, H, W\]"),
        (np.zeros((0, 8, 8), np.uint8), "holds no images"),
        (np.zeros((9, 8, 3), np.uint8), "images of 3x8 pixels; each side needs at least 4"),
    ],
)
def test_array_errors(tmp_path, array, sentence, fails):
    np.save(tmp_path / "x.npy", array)
    fails(tmp_path / "x.npy", f"x.npy.*{sentence}")
    np.savez(tmp_path / "x.npz", images=array)
    fails(tmp_path / "x.npz", f"x.npz.*{sentence}")
    with pytest.raises(OutskirtsError, match=f"The array of images.*{sentence}"):
        osk.ImageSet(array)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_floats_from_0_to_1_are_pixels(tmp_path, dtype):
    levels = np.arange(256, dtype=np.uint8).reshape(4, 8, 8)
    array = (levels / 255).astype(dtype)
    np.save(tmp_path / "x.npy", array)
    np.savez(tmp_path / "x.npz", images=array)
    for images in (
        osk.open(tmp_path / "x.npy"),
        osk.open(tmp_path / "x.npz"),
        osk.ImageSet(array),
        osk.ImageSet([*array]),
    ):
        assert torch.equal(torch.cat([image for image, _ in images]), torch.from_numpy(levels))


def test_arrays_of_channels_first_and_tensors_are_taken():
    pixels = np.random.default_rng(0).integers(0, 256, (5, 3, 8, 9), np.uint8)
    for images in (osk.ImageSet(pixels), osk.ImageSet(torch.from_numpy(pixels))):
        assert torch.equal(torch.stack([image for image, _ in images]), torch.from_numpy(pixels))


@pytest.mark.parametrize(
    ("image", "sentence"),
    [
        (np.full((8, 8), 300), "int64 from 300 to 300, and no range is known that becomes 0 to 255"),
        (np.full((8, 8), 2.0), "float64 from 2 to 2, and no range is known that becomes 0 to 255"),
        (np.full((8, 8), np.nan), "float64 from nan to nan; pixels are finite numbers"),
        (np.full((8, 8), True), r"bool; .*: pass images\.astype\('uint8'\) \* 255"),
    ],
)
def test_an_array_of_other_numbers_is_refused_when_it_is_read(image, sentence):
    for images in (
        (osk.ImageSet([image]), osk.ImageSet(image[None])) if image.dtype != bool else [osk.ImageSet([image])]
    ):
        with pytest.raises(OutskirtsError, match=f"row 0 of The image set holds {sentence}"):
            images.image(0, USUAL)


@pytest.mark.parametrize("dtype", [np.uint16, np.int16, np.int32, np.float32])
def test_wide_arrays_keep_their_numbers(tmp_path, dtype):
    least = 0 if dtype == np.uint16 else -500
    array = np.random.default_rng(0).integers(least, 30000, (5, 8, 9)).astype(dtype)
    np.save(tmp_path / "x.npy", array)
    np.savez(tmp_path / "x.npz", images=array)
    expected = np.round((array.astype(float) - 1000).clip(0, 20000) * 255 / 20000)
    assert isinstance(osk.open(tmp_path / "x.npy").items, np.memmap)
    sets = osk.open(tmp_path / "x.npy"), osk.open(tmp_path / "x.npz"), osk.ImageSet(array), osk.ImageSet([*array])
    for images in sets:
        shown = torch.cat([images.image(i, Reading(levels=(1000, 21000))) for i in range(5)])
        assert torch.equal(shown.double(), torch.from_numpy(expected))
    assert len({images.fingerprint for images in sets}) == 1
    # Of each its own range, to look at it.
    assert all(shown.min() == 0 and shown.max() == 255 for shown, _ in sets[0])


def test_channels_are_chosen_of_many(tmp_path, fails):
    many = np.random.default_rng(0).integers(0, 256, (4, 8, 9, 6), np.uint8)
    np.save(tmp_path / "x.npy", many)
    np.savez(tmp_path / "x.npz", images=many.transpose(0, 3, 1, 2), labels=LABELS[:4])
    for spec in (f"{tmp_path}/x.npy?channels=0,3,2", f"{tmp_path}/x.npz?channels=0,3,2"):
        images = osk.open(spec)
        assert torch.equal(images.image(1), torch.from_numpy(many[1][..., [0, 3, 2]]).permute(2, 0, 1))
        assert osk.open(images.spec).fingerprint == images.fingerprint
    one = osk.open(f"{tmp_path}/x.npy?channels=5")
    assert torch.equal(one.image(2)[0], torch.from_numpy(many[2, ..., 5]))
    fails(f"{tmp_path}/x.npy?channels=0,6,2", "has 6 channels, counted from 0; channels=0,6,2 is not among them")
    for wrong in ("0,1", "a", "-1", "0,1,2,3"):
        fails(f"{tmp_path}/x.npy?channels={wrong}", f"channels={wrong} is not 1 or 3 positions with commas")
    np.save(tmp_path / "x.npy", many[..., 0])
    fails(f"{tmp_path}/x.npy?channels=0", "without channels; leave out channels=")


@pytest.mark.parametrize(
    ("labels", "sentence"),
    [
        (LABELS[:4], "are 4 for 6 images"),
        (LABELS / 2, "are float64 of shape .*one whole number per image"),
        (np.eye(6, dtype=int), r"shape \(6, 6\)"),
        (LABELS + 10**9, "must count the classes from 0"),
    ],
)
def test_label_errors(tmp_path, pictures, labels, sentence, fails):
    np.savez(tmp_path / "x.npz", x=pictures, y=labels)
    fails(tmp_path / "x.npz", f"The labels \\['y'\\] of .*x.npz.*{sentence}")


def test_damaged_arrays(tmp_path, pictures, fails):
    np.savez(tmp_path / "x.npz", x=pictures)
    np.save(tmp_path / "x.npy", pictures)
    fails(f"npy:{tmp_path}/x.npz", "is an .npz file; write npz:")
    fails(f"npz:{tmp_path}/x.npy", "is an .npy file; write npy:")
    fails(f"npz:{tmp_path}/gone.npz", "There is no file")
    for name in ("x.npz", "x.npy"):
        for content in ((tmp_path / name).read_bytes()[:300], b"", b"no arrays"):
            (tmp_path / f"bad-{name}").write_bytes(content)
            fails(tmp_path / f"bad-{name}", "is damaged")
    np.save(tmp_path / "o.npy", np.array([None]), allow_pickle=True)
    fails(tmp_path / "o.npy", "is damaged, or not a file of NumPy arrays")
