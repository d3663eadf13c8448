"""Folders are read whole, or it is said why not."""

import os
import shutil

import pytest

import outskirts as osk
from outskirts import OutskirtsError


def test_a_link_to_a_folder_above_is_an_error(files, fails):
    root = files[0].parents[1]
    (root / "cat" / "all").symlink_to(root)
    fails(root, f"The folders {root} and {root}/cat/all are the same one, by a link")


def test_a_folder_in_two_classes_is_an_error(files, fails):
    root = files[0].parents[1]
    (root / "zebra").symlink_to(root / "dog")
    fails(root, f"The folders {root}/dog and {root}/zebra are the same one, by a link")


def test_a_class_folder_may_be_a_link(files, pictures, check):
    root = files[0].parents[1]
    (root / "dog").rename(root.parent / "elsewhere")
    (root / "dog").symlink_to(root.parent / "elsewhere")
    check(osk.open(root), pictures)


def test_a_folder_that_cannot_be_read_is_named(files, monkeypatch, fails):
    (root := files[0].parents[1]).joinpath("dog", "more").mkdir()
    scandir = os.scandir

    def refusing(path):
        if str(path).endswith("more"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refusing)
    fails(root, f"The folder {root}/dog/more cannot be read \\(Permission denied\\)")


def test_hidden_folders_are_passed_over_at_any_depth(files, pictures, check):
    (hidden := files[0].parent / "more" / ".checkpoints").mkdir(parents=True)
    shutil.copy(files[0], hidden)
    check(osk.open(files[0].parents[1]), pictures)


def test_a_link_to_nothing_is_not_left_out(files, tmp_path):
    (flat := tmp_path / "flat").mkdir()
    shutil.copy(files[0], flat / "a.png")
    (flat / "b.png").symlink_to(tmp_path / "gone.png")
    images = osk.open(flat)
    assert len(images) == 2
    with pytest.raises(OutskirtsError, match=r"b\.png does not exist"):
        images.image(1)
