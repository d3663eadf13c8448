"""A set in parts, such as train, val and test, is found when its folder is given."""

import pytest
import torch
from PIL import Image

import outskirts as osk
from outskirts.data.sources import beside, lies_beside, open_split, reopen, resolve, walk
from outskirts.data.sources.walk import Walk


@pytest.fixture
def make(tmp_path):
    def make(**parts):
        """Class folders with images of one shade, by part: ``train="cat dog"``."""
        for shade, (part, classes) in enumerate(parts.items()):
            for name in classes.split():
                folder = tmp_path / "set" / part / ("" if name == "." else name)
                folder.mkdir(parents=True)
                for i in range(2):
                    Image.new("L", (8, 8), shade).save(folder / f"{i}.png")
        return tmp_path / "set"

    return make


@pytest.mark.parametrize(
    "names", [("train", "val", "test"), ("Training", "valid", "TESTING"), ("TRAIN", "Validation", "Test")]
)
def test_parts_are_no_classes(make, names):
    root = make(**dict.fromkeys(names, "cat dog"))
    images = osk.open(root)
    assert images.classes == ["cat", "dog"] and len(images) == 4 and int(images.image(0).max()) == 0
    assert images.spec == f"folder:{root}?split=train" and osk.open(images.spec).fingerprint == images.fingerprint
    assert images.note == "Of the parts of the set, these are the images of 'train'; another is chosen with ?split=."
    for shade, split in enumerate(("train", "val", "test")):
        chosen = osk.open(f"{root}?split={split}")
        assert int(chosen.image(0).max()) == shade and chosen.classes == ["cat", "dog"] and chosen.note == ""
        assert open_split(root, split).spec == chosen.spec == resolve(root, split=split)
    assert len(osk.open(f"{root}?split=all")) == 12


def test_a_part_that_is_not_there_is_named(make, fails):
    root = make(train="cat dog", test="cat dog")
    fails(f"{root}?split=val", "no split 'val' in .*, which has train, test")
    assert open_split(root, "val").spec.endswith("?split=train")
    fails(f"{root / 'train'}?split=train", "does not hold a set in parts.*leave out split=train")


def test_classes_that_are_called_train_and_test_are_classes(make):
    root = make(train=".", car=".", bus=".", test=".")
    images = osk.open(root)
    assert images.classes == ["bus", "car", "test", "train"] and images.note == "" and images.spec == f"folder:{root}"


def test_parts_beside_something_else_are_no_classes(make, fails):
    root = make(train="cat dog", test="cat dog", dev="cat", ood=".")
    fails(f"{root}", "holds test, train, with folders of the same classes, and beside them dev, ood. Name the one that")
    assert osk.open(root / "train").classes == ["cat", "dog"]


def test_a_class_called_train_may_have_folders(make):
    assert osk.open(make(train="steam diesel", test="speed crash", car=".")).classes == ["car", "test", "train"]


def test_parts_without_class_folders_are_told(make):
    images = osk.open(make(train=".", test="."))
    assert images.classes == ["test", "train"]
    assert images.note.startswith("The classes are called test, train; if these are parts of a set, name one of them")


def test_a_folder_without_images_does_not_hide_the_parts(make):
    root = make(train="cat dog", test=".")
    (root / "docs").mkdir()
    (root / "docs" / "about.txt").touch()
    assert osk.open(root).classes == ["cat", "dog"]
    assert osk.open(f"{root}?split=test").labels.tolist() == [-1, -1]


def test_two_folders_of_one_part_are_refused(make, fails):
    fails(make(train="cat dog", training="cat", val="cat"), "has both train and training; rename one")


def test_a_text_that_was_written_before_is_not_a_part(make):
    root = make(train="cat dog", val="cat")
    assert reopen(f"folder:{root}").classes == ["train", "val"]


def test_validation_and_test_images_lie_beside(make):
    root = make(train="cat dog owl", val="dog owl", test="cat dog owl")
    images = osk.open(f"{root}?classes=cat,dog&limit=3")
    val = beside(images.spec, "val")
    assert val.spec == f"folder:{root}?split=val&classes=dog" and len(val) == 2 and int(val.image(0).max()) == 1
    assert beside(images.spec, "test").classes == ["cat", "dog"]
    assert beside(f"folder:{root}?split=train", "test").spec == f"folder:{root}?split=test"
    # Paths start in the split, so that a group has one name in both.
    grouped = beside(f"folder:{root}?split=train&group=path:^...", "val")
    assert grouped.spec == f"folder:{root}?split=val&group=path:^..." and grouped.group.values == ("dog", "owl")
    assert osk.open(f"folder:{root}?split=all&group=path:^...").group.values == ("tes", "tra", "val")
    for other in (f"folder:{root}", f"folder:{root}?split=test", "mnist5k", images.subset([0]).spec, "", None):
        assert beside(other, "val") is None


def test_numbers_are_in_order_in_parts(make):
    root = make(train="1 2 10", val="1 2 10")
    images = osk.open(root)
    assert images.classes == ["1", "2", "10"] and images.spec == f"folder:{root}?split=train&order=numeric"
    assert beside(images.spec, "val").classes == ["1", "2", "10"]
    assert torch.equal(images.labels, torch.tensor([0, 0, 1, 1, 2, 2]))


def test_a_split_beside_is_read_once_and_the_training_folder_is_not(make, monkeypatch):
    root = make(train="cat dog owl", val="owl dog", test="cat dog owl")
    read = []
    monkeypatch.setattr(Walk, "images", lambda walk, path, found=Walk.images: read.append(path) or found(walk, path))
    val = beside(f"folder:{root}?split=train&classes=1-2&group=path:^...", "val")
    assert val.classes == ["dog", "owl"] and read == [root / "val" / "dog", root / "val" / "owl"]
    assert lies_beside(f"folder:{root}?split=train", "val") and not lies_beside(f"folder:{root}?split=val", "test")


def test_groups_by_path_read_no_folder_again(make, monkeypatch):
    root, read = make(train="cat dog", Validation="cat dog"), []
    entries = walk._entries
    monkeypatch.setattr(walk, "_entries", lambda folder: read.append(folder) or entries(folder))
    reopen(f"folder:{root}?split=val")
    without, read[:] = list(read), []
    assert reopen(f"folder:{root}?split=val&group=path:^...").group.values == ("cat", "dog")
    assert read == without
