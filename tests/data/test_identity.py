"""An image is known by all of its bytes, and a file is read once."""

import os
from pathlib import Path

import numpy as np
import pytest
import xxhash
from PIL import Image

from outskirts import OutskirtsError
from outskirts.data import identity
from outskirts.data.identity import first_key, item_key, item_keys


@pytest.fixture(autouse=True)
def settled(monkeypatch, tmp_path):
    """Files are remembered at once, in a folder of this test's own."""
    monkeypatch.setattr(identity, "_SETTLED", 0)
    monkeypatch.setenv("OUTSKIRTS_KEYS", str(tmp_path / "keys"))


@pytest.fixture
def read(monkeypatch) -> list[Path]:
    """The files that were read."""
    paths: list[Path] = []
    whole = identity._read
    monkeypatch.setattr(identity, "_read", lambda path: paths.append(path) or whole(path))
    return paths


def test_a_file_and_its_bytes_share_a_key(files):
    assert item_key(files[0]) == item_key(files[0].read_bytes()) != item_key(files[1])
    assert item_key(files[0]) == xxhash.xxh3_128_hexdigest(files[0].read_bytes())
    with pytest.raises(OutskirtsError, match=r"gone\.png cannot be read"):
        item_key(files[0].with_name("gone.png"))


def test_arrays_of_other_shape_have_other_keys(pictures):
    assert item_key(pictures[0]) == item_key(pictures[0].copy()) != item_key(pictures[0].reshape(10, 8, 3))
    assert item_key(pictures[0]) == item_key(np.asfortranarray(pictures[0]))


def test_palettes_are_part_of_a_picture(pictures):
    one = Image.fromarray(pictures[0]).convert("P")
    other = one.copy()
    other.putpalette(bytes(reversed(one.palette.getdata()[1])))
    assert first_key(one) == first_key(other)
    assert item_key(one) != item_key(other)


@pytest.mark.parametrize("suffix", ["bmp", "tiff", "npy"])
def test_large_images_that_differ_at_their_end_alone_are_two(suffix, tmp_path):
    pixels = np.zeros((2, 256, 256, 3), np.uint8)
    pixels[1, 0 if suffix == "bmp" else -1, -1] = 255  # A BMP file begins with the last line.
    if suffix == "npy":
        np.save(tmp_path / "x.npy", pixels)
        items = np.load(tmp_path / "x.npy", mmap_mode="r")
    else:
        items = [tmp_path / f"{i}.{suffix}" for i in range(2)]
        for path, one in zip(items, pixels):
            Image.fromarray(one).save(path)
        assert len(set(item_keys(items, range(2), first=True))) == 1
    assert len(set(item_keys(items, range(2)))) == 2


def test_a_file_is_read_once(files, read):
    keys = item_keys(files, range(len(files)))
    assert keys == [item_key(path.read_bytes()) for path in files]
    assert read == files
    assert item_keys(files, [2, 0]) == [keys[2], keys[0]]
    assert read == files


def test_a_file_of_another_content_is_read_again(files, read):
    before = item_keys(files, [0, 1])
    status = files[0].stat()
    # Of the same size, and the time is set back: the file system knows that the entry has changed.
    files[0].write_bytes(bytes(reversed(files[0].read_bytes())))
    os.utime(files[0], ns=(status.st_atime_ns, status.st_mtime_ns))
    after = item_keys(files, [0, 1])
    assert after[0] != before[0] and after[1] == before[1]
    assert read == [files[0], files[1], files[0]]


def test_what_was_written_a_moment_ago_is_not_remembered(files, read, monkeypatch):
    monkeypatch.setattr(identity, "_SETTLED", 10**12)
    assert item_keys(files[:1], [0]) == item_keys(files[:1], [0])
    assert len(read) == 2


def test_rows_of_an_array_on_disk_are_remembered(tmp_path, monkeypatch):
    pixels = np.random.default_rng(0).integers(0, 256, (5, 8, 8), np.uint8)
    np.save(tmp_path / "x.npy", pixels)
    keys = item_keys(np.load(tmp_path / "x.npy", mmap_mode="r"), range(5))
    assert keys == [item_key(one) for one in pixels]
    monkeypatch.setattr(identity, "item_key", None)
    assert item_keys(np.load(tmp_path / "x.npy", mmap_mode="r"), [3, 1]) == [keys[3], keys[1]]


def test_a_damaged_record_is_made_again(files, read, tmp_path):
    keys = item_keys(files, [0])
    (record,) = (tmp_path / "keys").iterdir()
    record.write_bytes(b"nonsense")
    assert item_keys(files, [0]) == keys
    assert item_keys(files, [0]) == keys
    assert len(read) == 2


def test_where_nothing_can_be_written_files_are_read_again(files, read, monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("OUTSKIRTS_KEYS", str(tmp_path / "file" / "keys"))
    assert item_keys(files, [0]) == item_keys(files, [0])
    assert len(read) == 2


def test_what_cannot_be_read_has_no_key(files, tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    assert item_keys([tmp_path / "gone.png", tmp_path / "pipe.png", files[0]], range(3)) == ["", "", item_key(files[0])]


def test_names_that_are_no_text_are_remembered(files, read, tmp_path):
    odd = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff\xfe.png"))
    odd.write_bytes(files[0].read_bytes())
    assert item_keys([odd], [0]) == item_keys([odd], [0]) == [item_key(files[0].read_bytes())]
    assert read == [odd]


def test_first_keys_are_those_of_version_0_1():
    # Written by version 0.1, of the bytes of a file and of pixels.
    assert first_key(b"outskirts") == "876b8bdafc7aa620edd1a4cac07f4058"
    assert first_key(np.arange(48, dtype=np.uint8).reshape(4, 4, 3)) == "9c003d731b554855de552965c7ce56c0"
