import io
import os
import shutil
import sys

import numpy as np
import pytest
import torch
from PIL import Image

import outskirts as osk
from outskirts import ImageSet, OutskirtsError
from outskirts.data.attribute import Attribute
from outskirts.data.pack import pack

pytest.importorskip("pyarrow", reason="Parquet needs pyarrow")


@pytest.fixture
def named(files):
    """Six images with names and an attribute."""
    place = Attribute("place", ("land", "water"), torch.tensor([0, 1] * 3))
    return ImageSet(files, torch.tensor([0, 0, 0, 1, 1, 1]), ["cat", "dog"], attribute=place)


def test_lossless_and_whole(named, pictures, tmp_path):
    done = []
    packed = pack(named, tmp_path / "pets.parquet", progress=lambda *told: done.append(told))
    again = osk.open(f"{tmp_path / 'pets.parquet'}?attribute=place")
    assert (
        done == [("packing", 6, 6)]
        and packed.labels.tolist() == named.labels.tolist()
        and again.classes == ["cat", "dog"]
        and torch.equal(again.labels, named.labels)
    )
    assert again.attribute.values == ("land", "water") and torch.equal(again.attribute.index, named.attribute.index)
    for i, picture in enumerate(pictures):
        assert torch.equal(again.image(i), torch.from_numpy(picture).permute(2, 0, 1))
    by_name = osk.open(f"{tmp_path / 'pets.parquet'}?label=path:([0-9]) a.png")
    assert by_name.labels.tolist() == list(range(6))


@pytest.mark.skipif(sys.platform != "linux", reason="other systems take no such name")
def test_a_name_that_is_not_in_utf_8(named, tmp_path):
    file = tmp_path / os.fsdecode(b"\xff.parquet")
    pack(named, file)
    assert osk.open(f"parquet:{file}").classes == ["cat", "dog"]


@pytest.mark.skipif(sys.platform != "linux", reason="other systems take no such name")
def test_images_whose_names_are_not_in_utf_8(bugs, tmp_path):
    for name in (b"\xff1.png", b"a2.png"):
        (tmp_path / "class").mkdir(exist_ok=True)
        shutil.copy(bugs / "fog" / "0.png", tmp_path / "class" / os.fsdecode(name))
    pack(osk.open(f"folder:{tmp_path}"), tmp_path / "packed.parquet")
    by_name = osk.open(f"{tmp_path / 'packed.parquet'}?label=path:(.*)[.]png")
    assert sorted(by_name.classes) == ["\\udcff1", "a2"]


@pytest.mark.parametrize("name", ["patient", "path:([0-9])", "place", "label"])
def test_groups_are_kept(named, tmp_path, name):
    named.group = Attribute(name, ("anna", "ben", "cleo"), torch.tensor([0, 1, 2] * 2))
    pack(named, tmp_path / "pets.parquet")
    column = {"path:([0-9])": "group"}.get(name, name)
    again = osk.open(f"{tmp_path / 'pets.parquet'}?attribute=place&group={column}")
    # Columns that are there already stay.
    expected = {"place": ["land", "water"] * 3, "label": ["cat"] * 3 + ["dog"] * 3}
    assert [again.group.values[i] for i in again.group.index] == expected.get(name, ["anna", "ben", "cleo"] * 2)
    assert again.classes == ["cat", "dog"] and again.attribute.values == ("land", "water")


def test_smaller_as_jpeg(named, pictures, tmp_path):
    pack(named, tmp_path / "pets.parquet", side=6, quality=80)
    again = osk.open(tmp_path / "pets.parquet")
    for i, picture in enumerate(pictures):
        # 8 x 10 pixels become 6 x 8 (7.5, to even).
        file = io.BytesIO()
        Image.fromarray(picture).resize((8, 6), Image.Resampling.BILINEAR).save(file, "jpeg", quality=80)
        expected = torch.from_numpy(np.array(Image.open(file))).permute(2, 0, 1)
        assert torch.equal(again.image(i), expected)


def test_grey_images_without_labels_in_blocks(tmp_path, monkeypatch):
    monkeypatch.setattr("outskirts.data.pack._BLOCK", 2)
    pixels = np.random.default_rng(0).integers(0, 256, (5, 8, 8), np.uint8)
    pack(ImageSet(pixels), tmp_path / "x.parquet")
    again = osk.open(tmp_path / "x.parquet")
    assert again.labels.tolist() == [-1] * 5
    assert all(torch.equal(again.image(i), torch.from_numpy(pixels[i])[None]) for i in range(5))


def test_all_or_none(named, files, tmp_path):
    files[4].write_bytes(b"no picture")
    with pytest.raises(OutskirtsError, match=r"4 a\.png"):
        pack(named, tmp_path / "pets.parquet")
    assert not list(tmp_path.glob("*pets*"))
    (tmp_path / "pets.parquet").touch()
    with pytest.raises(OutskirtsError, match="is there already"):
        pack(named, tmp_path / "pets.parquet")
    for options, match in (
        ({"quality": 96}, "from 1 to 95, not 96"),
        ({"quality": 0}, "from 1 to 95, not 0"),
        ({"side": 0}, "at least 1, not 0"),
        ({"side": -1}, "side must be a number of pixels"),
    ):
        with pytest.raises(OutskirtsError, match=match):
            pack(named, tmp_path / "new.parquet", **options)


def test_the_command(outskirts, bugs, tmp_path, monkeypatch):
    monkeypatch.setenv("OUTSKIRTS_DATA", str(tmp_path))
    done = outskirts("data", "pack", "--data", bugs / "test", "--out", "small", "--side", 8, "--quality", 75)
    assert done.code == 0 and "20 images in" in done.err
    assert osk.open("small").image(0).shape == (3, 8, 8)
    # The call does the same, of a spec or of images.
    said = []
    packed = osk.pack(f"{bugs / 'test'}", "again", side=8, quality=75, say=said.append)
    assert packed.fingerprint == osk.open("small").fingerprint and said == [f"20 images in {tmp_path}/again.parquet"]
    assert (tmp_path / "again.parquet").read_bytes() == (tmp_path / "small.parquet").read_bytes()
    assert outskirts("data", "pack", "--data", bugs / "test").code == 2


@pytest.mark.parametrize("out", ["", ".", "..", "/"])
def test_a_path_without_a_name(named, out):
    with pytest.raises(OutskirtsError, match=r"The path '.*' ends in no name"):
        pack(named, out)
