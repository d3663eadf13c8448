import shutil

import numpy as np
import pytest
import torch
from PIL import Image

import outskirts as osk
from outskirts import ImageSet, OutskirtsError
from outskirts.data.imageset import Attribute
from outskirts.data.leakage import overlap
from outskirts.data.transform import Transform


@pytest.fixture
def digits():
    """Ten images of each of 10 classes; every image is its own number in all pixels."""
    images = np.broadcast_to(np.arange(100, dtype=np.uint8)[:, None, None], (100, 6, 6))
    labels = torch.arange(10).repeat_interleave(10)
    return ImageSet(images, labels, [f"d{i}" for i in range(10)], spec="npz:digits.npz")


def values(image_set):
    return {int(image_set.image(i)[0, 0, 0]) for i in range(len(image_set))}


def test_it_is_a_dataset(digits):
    image, label = digits[37]
    assert image.dtype == torch.uint8 and image.shape == (1, 6, 6) and image[0, 0, 0] == 37 and label == 3
    batch, labels = next(iter(torch.utils.data.DataLoader(digits, batch_size=4)))
    assert batch.shape == (4, 1, 6, 6) and labels.dtype == torch.int64
    assert len(list(digits)) == 100


def test_no_labels_are_minus_one():
    assert ImageSet(np.zeros((3, 8, 8), np.uint8)).labels.tolist() == [-1, -1, -1]


def test_classes_without_names_are_numbered():
    assert ImageSet(np.zeros((2, 8, 8), np.uint8), torch.tensor([0, 2])).classes == ["0", "1", "2"]


def test_labels_must_fit_images_and_classes(digits):
    with pytest.raises(OutskirtsError, match="100 images but 3 labels"):
        ImageSet(digits.items, torch.zeros(3))
    with pytest.raises(OutskirtsError, match="has the label 9 but 2 classes"):
        ImageSet(digits.items, digits.labels, ["a", "b"])


def test_classes_have_names_of_their_own():
    with pytest.raises(OutskirtsError, match="two classes called 'ant'"):
        ImageSet([np.zeros((4, 4), np.uint8)], torch.tensor([0]), ["ant", "bee", "ant"])


def test_labels_that_count_no_classes_are_refused_before_names_are_made():
    with pytest.raises(OutskirtsError, match="has the label 300000000; labels count the classes from 0"):
        ImageSet([np.zeros((4, 4), np.uint8)], torch.tensor([300_000_000]))


def test_an_attribute_follows_the_images(digits):
    place = Attribute("place", ("land", "water"), torch.arange(100) % 2)
    images = ImageSet(digits.items, digits.labels, digits.classes, attribute=place)
    for view in (
        images.subset([3, 4, 90]),
        images.subset(torch.arange(100) > 80),
        images.select_classes("7,2"),
        images.part("0-30%"),
        images.limit(9),
        images.align([*images.classes[::-1]]),
        images.changed(images.items),
    ):
        numbers = torch.tensor([int(view.image(i)[0, 0, 0]) for i in range(len(view))])
        assert view.attribute.name == "place" and torch.equal(view.attribute.index, numbers % 2)
    with pytest.raises(OutskirtsError, match="100 images but 2 values of 'place'"):
        ImageSet(digits.items, attribute=Attribute("place", ("land",), torch.zeros(2)))


def test_class_and_attribute_agree_in_a_share(digits):
    """The published numbers of CelebA: 8,059 training images at 80 %, 5,385 at 70 %."""
    sizes = {(0, 0): 3893, (0, 1): 841, (1, 0): 802, (1, 1): 3932}
    labels = torch.cat([torch.full((n,), label) for (label, _), n in sizes.items()])
    male = torch.cat([torch.full((n,), value) for (_, value), n in sizes.items()])
    images = ImageSet(
        np.zeros((len(labels), 4, 4), np.uint8), labels, ["no", "yes"], attribute=Attribute("Male", ("0", "1"), male)
    )
    for percent, most, whole in ((80, 3208, 8059), (70, 1871, 5385)):
        some = images.correlated(percent)
        kept = {key: int(((some.labels == key[0]) & (some.attribute.index == key[1])).sum()) for key in sizes}
        assert kept == {(0, 0): most, (0, 1): 841, (1, 0): 802, (1, 1): most} and len(some) == whole
        assert torch.equal(some.index, some.index.sort().values)
        assert torch.equal(some.index, images.correlated(percent).index)
        assert not torch.equal(some.index, images.correlated(percent, seed=1).index)
    with pytest.raises(OutskirtsError, match="no attribute to correlate its classes"):
        digits.correlated(80)
    with pytest.raises(OutskirtsError, match="from 50 to 99 %, not 100"):
        images.correlated(100)


# Views


@pytest.mark.parametrize("seed", range(3))
def test_parts_are_disjoint_exhaustive_and_stratified(digits, seed):
    parts = [digits.part(bounds, seed) for bounds in ("0-60%", "60-70%", "70-100%")]
    assert [len(p) for p in parts] == [60, 10, 30]
    assert set.union(*map(values, parts)) == values(digits)
    for part, count in zip(parts, (6, 1, 3)):
        assert torch.bincount(part.labels).tolist() == [count] * 10
    assert values(digits.part("0-60%", seed)) == values(parts[0])
    assert values(digits.part("0-60%", seed + 1)) != values(parts[0])


def test_limit_keeps_proportions_and_order(digits):
    limited = digits.limit(20, seed=1)
    assert torch.bincount(limited.labels).tolist() == [2] * 10
    assert limited.index.tolist() == sorted(limited.index.tolist())
    assert len(digits.limit(1000)) == 100
    with pytest.raises(OutskirtsError, match="leaves no image"):
        digits.limit(0)


def test_select_classes_relabels(digits):
    chosen = digits.select_classes("8,0-1")
    assert chosen.classes == ["d8", "d0", "d1"]
    assert values(chosen) == {*range(80, 90), *range(20)}
    assert all(int(chosen.image(i)[0, 0, 0]) // 10 == (8, 0, 1)[chosen.labels[i]] for i in range(30))


def test_views_of_views(digits):
    view = digits.select_classes("5-9").part("0-50%").subset([3, 1])
    assert len(view) == 2 and values(view) <= set(range(50, 100))
    assert len(digits.subset([])) == 0


def test_align_takes_over_the_other_sets_numbering(digits):
    aligned = digits.select_classes("3,1").align(["d1", "d2", "d3"])
    assert aligned.labels.tolist() == [0] * 10 + [2] * 10
    with pytest.raises(OutskirtsError, match="training set lacks: d1; the training set has d3, d4"):
        digits.select_classes("3,1").align(["d3", "d4"])


def test_align_leaves_unlabelled_images_alone():
    assert ImageSet(np.zeros((2, 8, 8), np.uint8)).align(["a", "b"]).labels.tolist() == [-1, -1]


def test_a_set_cut_in_python_says_so(digits):
    with pytest.raises(OutskirtsError, match="was cut in Python"):
        osk.open(digits.limit(5).spec)


# In memory


def test_resident_is_in_order_whatever_the_threads(digits):
    transform = Transform(8, 3)
    seen = []
    images, labels = digits.resident(transform, threads=4, progress=seen.append)
    assert images.dtype == torch.uint8 and images.shape == (100, 3, 8, 8)
    assert images[:, 0, 0, 0].tolist() == list(range(100)) and torch.equal(labels, digits.labels)
    assert digits.nbytes(transform) == images.numel()
    assert seen == sorted(seen) and seen[-1] == 100


def test_resident_can_leave_room_for_crops(digits):
    transform = Transform(8, 1, resize=12)
    images, _ = digits.resident(transform, room=True)
    assert images.shape == (100, 1, 12, 12) and digits.nbytes(transform, room=True) == images.numel()


def test_a_corrupt_image_is_named_or_counted(files):
    files[4].write_bytes(files[4].read_bytes()[:70])
    image_set = osk.open(files[0].parents[1])
    with pytest.raises(OutskirtsError, match=r"dog/4 a.png cannot be decoded"):
        image_set.resident(Transform(8))
    images, labels = image_set.resident(Transform(8), skip_corrupt=True)
    assert image_set.skipped == [str(files[4])]
    assert len(images) == 5 and labels.tolist() == [0, 0, 0, 1, 1]
    rest = image_set.decodable()
    assert len(rest) == 5 and rest.skipped == [str(files[4])]
    images, _ = rest.resident(Transform(8))
    assert len(images) == 5 and rest.skipped == []


def test_a_corrupt_row_keeps_its_number_in_views():
    image_set = ImageSet([b"no image"] * 4, torch.tensor([0, 0, 1, 1]), spec="parquet:x.parquet?seed=1")
    with pytest.raises(OutskirtsError, match=r"row 3 of parquet:x.parquet cannot"):
        image_set.subset([3])[0]
    images, labels = image_set.resident(Transform(8), skip_corrupt=True)
    assert images.shape == (0, 3, 8, 8) and len(labels) == 0 and len(image_set.skipped) == 4


# Identity


def test_a_copy_elsewhere_has_the_same_fingerprint(files, tmp_path):
    copy = shutil.copytree(files[0].parents[1], tmp_path / "elsewhere")
    a, b = osk.open(files[0].parents[1]), osk.open(copy)
    assert a.fingerprint == b.fingerprint and len(a.fingerprint) == 34
    assert overlap(a, b) == 6 and overlap(a.subset([0, 1]), b.subset([1, 2])) == 1


def test_a_missing_file_has_no_key_and_is_not_shared(files):
    image_set = osk.open(files[0].parents[1])
    files[2].unlink()
    assert image_set.keys[2] == "" and image_set.fingerprint
    assert overlap(image_set, image_set) == 5


def test_the_fingerprint_knows_images_order_and_labels(digits):
    others = [
        digits.limit(99),
        digits.subset(torch.arange(99, -1, -1)),
        ImageSet(digits.items, digits.labels.flip(0)),
    ]
    assert len({digits.fingerprint, *(other.fingerprint for other in others)}) == 4


# Training


def test_require_trainable(digits):
    digits.require_trainable()
    for image_set, sentence in (
        (digits.subset([]), "npz:digits.npz holds no images"),
        (ImageSet(digits.items), "100 of the 100 images of The image set have no label"),
        (digits.select_classes("3"), "has one class"),
        (digits.subset(digits.labels != 4), r"no images of these classes: 4 \(d4\)\. Remove them, such as their empty"),
    ):
        with pytest.raises(OutskirtsError, match=sentence):
            image_set.require_trainable()


def test_a_notebook_shows_the_set_whatever_is_wrong_with_it(tmp_path):
    (tmp_path / "broken.png").write_bytes(b"\x89PNG broken")
    Image.new("L", (8, 8), 7).save(tmp_path / "sound.png")
    items = [tmp_path / "broken.png", tmp_path / "sound.png", tmp_path / "gone.png"]
    images = ImageSet(items, torch.tensor([0, -1, 1]), ["<cat>", "dog"], "x", note="<b>")
    html = images._repr_html_()
    assert "&lt;cat&gt;, dog" in html and "&lt;b&gt;" in html and "without a label" in html
    assert html.count("data:image/png;base64,") == 1
    assert "data:" not in images.subset([0])._repr_html_()
    assert "<table>" in ImageSet([])._repr_html_()


def test_a_line_names_the_first_classes():
    images = ImageSet(np.zeros((1, 8, 8), np.uint8), classes=list("abcde"), spec="x")
    assert repr(images) == "ImageSet('x', 1 image, 5 classes: a, b, c and 2 more)"
    assert repr(ImageSet(np.zeros((2, 8, 8), np.uint8))) == "ImageSet('', 2 images, 0 classes)"
