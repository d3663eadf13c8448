"""Images in zip and tar files are read where they lie, and are the images of the folder that was packed."""

import io
import json
import pickle
import stat
import tarfile
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from torch.utils.data import DataLoader

import outskirts as osk
from outskirts import OutskirtsError
from outskirts.data import identity


@pytest.fixture
def tar(tmp_path):
    def tar(name="set.tar", mode="w", **content):
        """A tar file of names and contents."""
        path = tmp_path / name
        with tarfile.open(path, mode) as packed:
            for member, data in content.items():
                info = tarfile.TarInfo(member)
                info.size = len(data)
                packed.addfile(info, io.BytesIO(data))
        return path

    return tar


@pytest.fixture
def zipped(tmp_path):
    def zipped(content, compression=zipfile.ZIP_DEFLATED):
        with zipfile.ZipFile(tmp_path / "set.zip", "w", compression) as packed:
            for member, data in content.items():
                packed.writestr(member, data)
        return tmp_path / "set.zip"

    return zipped


@pytest.fixture
def content(files):
    """The six files by their paths in an archive."""
    return {f"photos/{file.parent.name}/{file.name}": file.read_bytes() for file in files}


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED], ids=["stored", "deflated"])
def test_class_folders_in_a_zip_file(zipped, content, files, pictures, check, compression):
    path = zipped(content, compression)
    images = osk.open(f"zip:{path}")
    check(images, pictures)
    assert images.keys == osk.open(files[0].parents[1]).keys
    assert images.name(4) == f"{path}/photos/dog/4 a.png"
    assert len(osk.open(f"zip:{path}?classes=dog&limit=2")) == 2
    assert osk.open(f"zip:{path}?inside=photos/dog").labels.tolist() == [-1] * 3
    assert len(osk.open(f"zip:{path}?contrast=50")[0][0]) == 3


def test_class_folders_in_a_tar_file(tar, content, pictures, check):
    check(osk.open(f"wds:{tar(**content)}"), pictures)


def test_folders_parted_as_on_windows(zipped, content, pictures, check):
    check(osk.open(f"zip:{zipped({name.replace('/', chr(92)): data for name, data in content.items()})}"), pictures)


def test_a_description_that_is_of_no_image_is_no_label(tar, content, pictures, check):
    images = osk.open(f"wds:{tar(**content | {'photos/about.json': json.dumps({'label': 3}).encode()})}")
    check(images, pictures)


def test_a_program_before_a_zip_file(zipped, content, pictures, check):
    """A zip file may begin with a program that unpacks it."""
    path = zipped(content)
    path.write_bytes(b"#!/bin/sh\nexit\n" + path.read_bytes())
    check(osk.open(f"zip:{path}"), pictures)


def samples(files, part="cls", labels=(0, 0, 0, 1, 1, 1)):
    """The six images as samples of webdataset, two files each."""
    found = {}
    for i, (file, label) in enumerate(zip(files, labels)):
        text = str(label) if part == "cls" else json.dumps({"label": label, "more": [1]})
        found |= {f"{i:04d}.png": file.read_bytes(), f"{i:04d}.{part}": text.encode()}
    return found


@pytest.mark.parametrize("part", ["cls", "json"])
def test_labels_of_webdataset(tar, files, pictures, check, part):
    check(osk.open(f"wds:{tar(**samples(files, part))}"), pictures, classes=("0", "1"))
    named = tar(**samples(files, part, ["cat"] * 3 + ["dog"] * 3))
    images = osk.open(f"wds:{named}")
    check(images, pictures)
    assert images.note == ""


def test_labels_that_are_missing_are_minus_one(tar, files):
    content = samples(files)
    del content["0001.cls"]
    assert osk.open(f"wds:{tar(**content)}").labels.tolist() == [0, -1, 0, 1, 1, 1]
    content = samples(files, "json", [10, 2, 2, 2, 2, None])
    images = osk.open(f"wds:{tar(**content)}")
    assert images.labels.tolist() == [10, 2, 2, 2, 2, -1] and len(images.classes) == 11
    assert images.note == "1 file was passed over: 1 without a label."


def test_shards_are_named_by_braces_or_a_pattern(tar, files, pictures, check, tmp_path, fails):
    content = list(samples(files).items())
    for i in range(3):
        tar(f"s-{i:03d}.tar", **dict(content[4 * i : 4 * i + 4]))
    for pattern in ("s-{000..002}.tar", "s-*.tar", "s-{000,001,002}.tar", "s-00{0..2}.tar"):
        check(osk.open(f"wds:{tmp_path}/{pattern}"), pictures, classes=("0", "1"))
    assert len(osk.open(f"wds:{tmp_path}/s-{{001..002}}.tar")) == 4
    fails(f"wds:{tmp_path}/s-{{000..003}}.tar", r"There is no file .*s-003.tar")
    fails(f"wds:{tmp_path}/t-*.tar", r"There is no file .*t-\*.tar")
    fails(f"wds:{tmp_path}/s-{{0..999999999}}.tar", "stands for more than 100,000 files")
    (tmp_path / "s-000.tar").rename(tmp_path / "s-{000..002}.tar")
    assert len(osk.open(f"wds:{tmp_path}/s-{{000..002}}.tar")) == 2


def test_several_images_of_a_sample(tar, files, fails):
    content = {f"a/{i}.{part}": file.read_bytes() for i, file in enumerate(files) for part in ("jpg", "seg.png")}
    content |= {f"a/{i}.cls": b"0" for i in range(6)}
    path = tar(**content)
    fails(
        f"wds:{path}", r"The sample 0:a/0 .* has several images \(jpg, seg.png\); choose one of them with \?image=jpg"
    )
    images = osk.open(f"wds:{path}?image=jpg")
    assert len(images) == 6 and images.note == "6 files were passed over: 6 other than .jpg."


def test_what_is_passed_over_in_archives_is_counted(zipped, content, pictures, check, files):
    more = {
        "photos/cat/.DS_Store": b"",
        "__MACOSX/photos/cat/._0 a.png": b"x",
        "photos/cat/.ipynb_checkpoints/0.png": b"x",
    }
    more |= {"photos/about.txt": b"", "photos/cat/Thumbs.db": b""}
    images = osk.open(f"zip:{zipped(content | more)}")
    check(images, pictures)
    assert images.note == (
        "5 files were passed over: 1 of no format that is read (.txt), 2 hidden, "
        "2 in hidden folders (__MACOSX, .ipynb_checkpoints)."
    )
    bare = {name.removesuffix(".png"): data for name, data in content.items()}
    for compression in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        check(osk.open(f"zip:{zipped(bare, compression)}"), pictures)


def test_parts_in_an_archive_are_no_classes(zipped, files, fails):
    content = {
        f"set/{part}/{file.parent.name}/{file.name}": file.read_bytes() for file in files for part in ("train", "val")
    }
    path = zipped(content)
    fails(f"zip:{path}", r"holds a set in parts \(train, val\); choose one of them with \?inside=set/train")
    images = osk.open(f"zip:{path}?inside=set/val")
    assert images.classes == ["cat", "dog"] and images.name(0).endswith("set/val/cat/0 a.png")
    fails(f"zip:{path}?inside=set/test", "holds no images in set/test")


def test_loose_images_and_numeric_folders(zipped, files, fails):
    data = files[0].read_bytes()
    fails(f"zip:{zipped({'a/0.png': data, '1.png': data})}", "both class folders and images of no class, such as 1.png")
    assert osk.open(f"zip:{zipped({f'{n}/0.png': data for n in (1, 2, 10)})}").classes == ["1", "2", "10"]
    assert osk.open(f"zip:{zipped({'0.png': data, '1.png': data})}").classes == []


@pytest.mark.parametrize("mode", ["w:gz", "w:bz2", "w:xz"])
def test_compressed_tar_files_are_refused(tar, content, fails, mode):
    fails(f"wds:{tar(mode=mode, **content)}", "is compressed as a whole, .*Unpack it and name the folder")


def test_damaged_archives_are_told(tar, zipped, content, tmp_path, fails):
    fails(f"zip:{tmp_path / 'gone.zip'}", "There is no file .*gone.zip")
    (tmp_path / "x.tar").write_bytes(b"no archive at all" * 100)
    fails(f"wds:{tmp_path / 'x.tar'}", "x.tar is damaged, or is no zip or tar file")
    path = tar(**content)
    path.write_bytes(path.read_bytes()[:1500])
    fails(f"wds:{path}", "set.tar is damaged, or is no zip or tar file")
    bad = zipped({"cat/0.png": b"x"}, zipfile.ZIP_BZIP2)
    fails(f"zip:{bad}", "cat/0.png in .* is compressed in a way that is not read")


def test_a_damaged_image_is_named(zipped, content):
    path = zipped(content)
    stored = bytearray(path.read_bytes())
    stored[200] ^= 255
    path.write_bytes(stored)
    images = osk.open(f"zip:{path}")
    with pytest.raises(OutskirtsError, match=r"set\.zip/photos/cat/0 a\.png cannot be read"):
        images.image(0)
    assert len(images.decodable()) == 5 and images.keys[0] == "" and all(images.keys[1:])
    path.unlink()
    with pytest.raises(OutskirtsError, match=r"4 a\.png cannot be read"):
        images.image(4)


def test_labels_that_cannot_be_read_are_told(tar, files, fails):
    fails(f"wds:{tar(**samples(files) | {'0001.cls': bytes([255, 254, 0])})}", r"0001.cls in .* holds no label")
    fails(f"wds:{tar(**samples(files, 'json') | {'0001.json': b'{'})}", r"0001.json in .* holds no label")
    fails(f"wds:{tar(**samples(files, 'cls', [0] * 5 + [10**9]))}", "they must count the classes from 0")


def test_workers_and_threads_read_at_once(tar, zipped, content, pictures):
    for images in (osk.open(f"wds:{tar(**content)}"), osk.open(f"zip:{zipped(content)}")):
        loaded = list(DataLoader(images, batch_size=None, num_workers=2))
        assert all(torch.equal(image, images.image(i)) for i, (image, _) in enumerate(loaded)) and len(loaded) == 6
        assert torch.equal(pickle.loads(pickle.dumps(images)).image(5), images.image(5))
        with ThreadPoolExecutor(8) as pool:
            for i, image in enumerate(pool.map(images.image, list(range(6)) * 30)):
                assert torch.equal(image, torch.from_numpy(pictures[i % 6]).permute(2, 0, 1))


def test_keys_are_remembered_as_long_as_the_archive_is_the_same(zipped, content, monkeypatch, tmp_path):
    monkeypatch.setenv("OUTSKIRTS_KEYS", str(tmp_path / "keys"))
    monkeypatch.setattr(identity, "_SETTLED", -(10**18))
    path = zipped(content)
    first = osk.open(f"zip:{path}").keys
    read = []
    monkeypatch.setattr(identity, "item_key", lambda item: read.append(item))
    monkeypatch.setattr(identity, "_key_or_none", lambda items, row: read.append(row))
    assert osk.open(f"zip:{path}").keys == first and read == []
    Path(path).touch()
    assert osk.open(f"zip:{path}?limit=2").keys == [None, None] and len(read) == 2


@pytest.mark.parametrize("name", ["", "/", ".", "..", "../../etc/cat.png", "/etc/cat.png", "line\nbreak.png", "é.png"])
def test_hostile_names_in_archives_are_names(tar, zipped, files, name):
    data = files[0].read_bytes()
    both = {name: data, "a.png": data}
    # Python writes no zip file with an empty name.
    for spec in (f"wds:{tar(**both)}", f"zip:{zipped(both if name else {'a.png': data})}"):
        try:
            images = osk.open(spec)
        except OutskirtsError as error:
            assert "both class folders and images of no class" in str(error)
        else:
            assert {images.image(i).shape for i in range(len(images))} == {(3, 8, 10)}


def test_links_in_archives_are_not_followed(tmp_path, files):
    with tarfile.open(tmp_path / "set.tar", "w") as packed:
        packed.add(files[0], "0.png")
        for kind, name in ((tarfile.SYMTYPE, "1.png"), (tarfile.LNKTYPE, "2.png"), (tarfile.FIFOTYPE, "3.png")):
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, "0.png" if kind == tarfile.LNKTYPE else "/etc/passwd"
            packed.addfile(info)
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as packed:
        packed.write(files[0], "0.png")
        link = zipfile.ZipInfo("1.png")
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        packed.writestr(link, "/etc/passwd")
    for spec, links in ((f"wds:{tmp_path / 'set.tar'}", 3), (f"zip:{tmp_path / 'set.zip'}", 1)):
        images = osk.open(spec)
        assert len(images) == 1 and f": {links} as a link or a device." in images.note


@pytest.mark.parametrize("kind", ["zip", "wds"])
def test_of_images_of_one_name_the_last_counts(kind, content, tmp_path):
    (name, first), (other, second), *_ = content.items()
    files, file = [(name, first), (other, first), (name, second)], tmp_path / "twice"
    if kind == "zip":
        with pytest.warns(UserWarning, match="Duplicate name"), zipfile.ZipFile(file, "w") as packed:
            for member, data in files:
                packed.writestr(member, data)
    else:
        with tarfile.open(file, "w") as packed:
            for member, data in files:
                (info := tarfile.TarInfo(member)).size = len(data)
                packed.addfile(info, io.BytesIO(data))
    images = osk.open(f"{kind}:{file}")
    assert [images.items[row] for row in range(len(images))] == [second, first]
    assert images.note == "1 file was passed over: 1 that a later one of the same name replaces."


def test_a_corrupt_image_is_named_without_its_address(zipped):
    file = zipped({"a/0.png": b"no image", "b/0.png": b"no image"})
    for options in ("", "?jpeg=75"):
        with pytest.raises(
            OutskirtsError, match=r"^\S*set\.zip/a/0\.png cannot be decoded \(cannot identify image file\)"
        ):
            osk.open(f"zip:{file}{options}")[0]


def test_a_zip_file_that_lists_fewer_files_than_it_has_is_damaged(zipped, content):
    file = zipped(content)
    whole = file.read_bytes()
    # The length of the comment of the first file, which then takes what comes after it.
    place = whole.index(b"PK\1\2") + 32
    rest = whole.index(b"PK\5\6") - whole.index(b"PK\1\2", place)
    file.write_bytes(whole[:place] + rest.to_bytes(2, "little") + whole[place + 2 :])
    with pytest.raises(OutskirtsError, match=r"set\.zip is damaged: of 6 files, it lists 1"):
        osk.open(f"zip:{file}")


def test_a_zip_file_may_have_a_comment(zipped, content):
    file = zipped(content)
    with zipfile.ZipFile(file, "a") as packed:
        packed.comment = b"PK" * 30_000
    assert len(osk.open(f"zip:{file}")) == 6
