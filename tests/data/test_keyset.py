"""Keys on disk: those of this version beside those of 0.1."""

import numpy as np
import pytest

import outskirts as osk
from outskirts import OutskirtsError
from outskirts.data.keyset import KeySet


def test_keys_come_back(bugs, tmp_path):
    images = osk.open(bugs / "train")
    keys = KeySet.of([*images.keys, ""]) | KeySet(first=frozenset(images.first_keys[:3]))
    keys.save(tmp_path / "keys.npy")
    assert KeySet.load(tmp_path / "keys.npy") == keys
    assert len(keys.keys) == 40 and len(keys.first) == 3


def test_keys_of_version_0_1_still_tell_which_images_were_seen(bugs, tmp_path):
    images = osk.open(bugs / "train")
    rows = sorted(bytes.fromhex(key) for key in images.first_keys[:5])
    np.save(tmp_path / "keys.npy", np.frombuffer(b"".join(rows), np.uint8).reshape(-1, 16))
    known = KeySet.load(tmp_path / "keys.npy")
    assert known.shared(images) == 5
    assert known.shared(osk.open(bugs / "test")) == 0


def test_no_keys_are_a_file_too(tmp_path):
    KeySet().save(tmp_path / "keys.npy")
    assert KeySet.load(tmp_path / "keys.npy") == KeySet()


@pytest.mark.parametrize("array", [np.zeros((3, 16)), np.zeros((3, 15), np.uint8), np.zeros(16, np.uint8)])
def test_another_array_is_no_set_of_keys(array, tmp_path):
    np.save(tmp_path / "keys.npy", array)
    with pytest.raises(OutskirtsError, match="and no keys of images"):
        KeySet.load(tmp_path / "keys.npy")
