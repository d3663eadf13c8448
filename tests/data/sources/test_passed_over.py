"""Folders as people have them: copies in hidden folders are left out, and what is passed over is counted."""

import os
import shutil
import unicodedata
from pathlib import Path

import pytest
import torch
from PIL import Image

import outskirts as osk
from outskirts import OutskirtsError


@pytest.fixture
def save():
    def save(path: Path, shade=0, **options):
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8), (shade, shade, shade)).save(path, **options)
        return path

    return save


@pytest.mark.parametrize(
    "hidden", [".ipynb_checkpoints", "__MACOSX", "@eaDir", "$RECYCLE.BIN", "System Volume Information", ".thumbs"]
)
def test_copies_in_hidden_folders_are_no_images_at_any_depth(files, pictures, check, hidden):
    root = files[0].parents[1]
    (root / "cat" / "deep").mkdir()
    for beside in (root, root / "cat", root / "cat" / "deep"):
        shutil.copytree(root / "dog", beside / hidden)
    images = osk.open(root)
    check(images, pictures)
    assert images.note == f"9 files were passed over: 9 in hidden folders ({hidden})."


def test_nine_hundred_images_are_not_twelve_hundred(tmp_path, save):
    """Of 1,200 files, 300 are copies that notebooks and systems keep; none of them comes into validation."""
    first = save(tmp_path / "a" / "0.png")
    for i in range(900):
        path = tmp_path / "abc"[i % 3] / f"{i}.png"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(first.read_bytes() + bytes(str(i), "ascii"))
    for name in "abc":
        copies = tmp_path / name / (".ipynb_checkpoints" if name < "c" else "__MACOSX")
        copies.mkdir()
        for path in sorted((tmp_path / name).glob("*.png"))[:100]:
            shutil.copy(path, copies / path.name.replace(".png", "-checkpoint.png"))
    images = osk.open(tmp_path)
    assert len(images) == len(set(images.keys)) == 900
    assert images.note == "300 files were passed over: 300 in hidden folders (.ipynb_checkpoints, __MACOSX)."


def test_every_suffix_that_is_decoded_is_an_image(tmp_path, save):
    wanted = [".apng", ".bmp", ".gif", ".j2k", ".jfif", ".jp2", ".jpe", ".jpeg", ".jpg", ".jpx", ".pbm", ".pgm", ".png"]
    wanted += [".pcx", ".pnm", ".ppm", ".sgi", ".tif", ".tiff", ".webp", ".JPG", ".Png"]
    for name in wanted:
        save(tmp_path / "a" / f"0{name}")
    images = osk.open(tmp_path / "a")
    assert sorted(Path(images.name(i)).suffix for i in range(len(images))) == sorted(wanted) and images.note == ""
    assert {images.image(i).shape[1:] for i in range(len(images))} == {(8, 8)}


def test_files_without_suffix_are_images_by_their_first_bytes(tmp_path, save):
    for kind in ("bmp", "gif", "jpeg", "jpeg2000", "png", "ppm", "tiff", "webp"):
        save(tmp_path / kind, format=kind)
    save(tmp_path / "frame.0001", format="png")
    (tmp_path / "empty").touch()
    (tmp_path / "README").write_text("P3 is not what this begins with, but BM may be.")
    (tmp_path / "LICENSE").write_text("BMW")
    images = osk.open(tmp_path)
    assert len(images) == 9 and all(images.image(i).shape[1:] == (8, 8) for i in range(9))
    assert images.note == "3 files were passed over: 3 without suffix and of no format that is read."


def test_what_is_passed_over_is_counted_with_the_reason(files, pictures, check):
    root = files[0].parents[1]
    for name in ("a.txt", "b.txt", "c.json", "._0 a.png", ".DS_Store", "Thumbs.db", "desktop.ini", "notes"):
        (root / "cat" / name).write_text("no image")
    (root / "owl").mkdir()
    images = osk.open(root)
    assert images.classes == ["cat", "dog", "owl"]
    assert images.note == (
        "There are no images in these class folders: owl. 8 files were passed over: 3 of no format that is read (.txt, "
        ".json), 4 hidden, 1 without suffix and of no format that is read."
    )
    assert osk.open(f"{root}?limit=2").note == osk.open(root).subset([0]).note == images.note
    (root / "owl").rmdir()
    check(osk.open(root), pictures)


def test_a_folder_without_images_says_what_was_passed_over(tmp_path, fails):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "table.csv").touch()
    fails(tmp_path, r"holds no images. 1 file was passed over: 1 of no format that is read \(.csv\)")


def test_a_pipe_or_a_link_to_nothing_without_suffix_is_counted(files):
    root = files[0].parents[1]
    os.mkfifo(root / "cat" / "pipe")
    (root / "cat" / "link").symlink_to(root / "gone")
    assert osk.open(root).note == "2 files were passed over: 2 without suffix and not readable."


def test_a_file_that_cannot_be_read_is_named_or_counted(files, save, forbidden):
    root = files[0].parents[1]
    forbidden(save(root / "cat" / "bare", format="png"))
    images = osk.open(root)
    assert images.note == "1 file was passed over: 1 without suffix and not readable."
    forbidden(files[0])
    with pytest.raises(OutskirtsError, match=r"0 a\.png is not readable: permission denied"):
        osk.open(root).image(0)


def test_hostile_names_are_names(tmp_path, save):
    composed = unicodedata.normalize("NFC", "é")
    names = ["line\nbreak", composed, unicodedata.normalize("NFD", "é"), "a,b & c%2C", 'quo"te', "semi;colon?", "$(x)"]
    for shade, name in enumerate(names):
        save(tmp_path / "set" / name / f"{name}.png", shade)
    images = osk.open(f"folder:{tmp_path / 'set'}")
    assert images.classes == sorted(names) and len(set(images.keys)) == len(names)
    for i, label in enumerate(images.labels.tolist()):
        name = images.classes[label]
        assert images.name(i) == str(tmp_path / "set" / name / f"{name}.png")
        assert torch.equal(images.image(i), torch.full((3, 8, 8), names.index(name), dtype=torch.uint8))
    assert osk.open(images.spec).fingerprint == images.fingerprint


# Numeric names


def test_names_that_are_numbers_are_classes_in_numeric_order(tmp_path, save):
    for number in range(12):
        save(tmp_path / str(number) / "0.png", number)
    images = osk.open(tmp_path)
    assert images.classes == [str(i) for i in range(12)] and images.labels.tolist() == list(range(12))
    assert [int(images.image(i)[0, 0, 0]) for i in range(12)] == list(range(12))
    assert images.spec == f"folder:{tmp_path}?order=numeric" and osk.open(images.spec).fingerprint == images.fingerprint
    assert osk.open(f"{tmp_path}?classes=10-11").classes == ["10", "11"]


def test_other_names_stay_in_alphabetical_order(tmp_path, save, fails):
    for name in ("2", "10", "cat"):
        save(tmp_path / "mixed" / name / "0.png")
    for name in ("002", "010"):
        save(tmp_path / "padded" / name / "0.png")
    assert osk.open(tmp_path / "mixed").classes == ["10", "2", "cat"]
    assert osk.open(tmp_path / "padded").spec == f"folder:{tmp_path / 'padded'}"
    fails(f"{tmp_path / 'mixed'}?order=natural", "no order 'natural'")


def test_a_text_that_was_written_before_means_what_it_meant(tmp_path, save):
    """A run of an earlier version holds the text without an order, and labels in alphabetical order."""
    for number in (1, 2, 10):
        save(tmp_path / str(number) / "0.png", number)
    before = osk.data.sources.reopen(f"folder:{tmp_path}")
    assert before.classes == ["1", "10", "2"] and before.spec == f"folder:{tmp_path}"
    now = osk.open(tmp_path)
    assert now.classes == ["1", "2", "10"]
    # The labels of one, in the order of the other, are the same.
    assert now.align(before.classes).subset([0, 2, 1]).fingerprint == before.fingerprint
    assert osk.open(f"{tmp_path}?order=alphabetic").fingerprint == before.fingerprint
