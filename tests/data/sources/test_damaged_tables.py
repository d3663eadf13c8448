"""Damaged tables are refused before anything is read at a place that is not there."""

import numpy as np
import pytest

import outskirts as osk
from outskirts import OutskirtsError


def test_a_damaged_file_of_datasets_does_not_end_the_process(tmp_path):
    datasets = pytest.importorskip("datasets")
    images = [b"a" * (100 + row) for row in range(4)]
    datasets.Dataset.from_dict({"image": images, "label": [0, 1, 0, 1]}).save_to_disk(str(tmp_path / "set"))
    (file,) = (tmp_path / "set").glob("*.arrow")
    places = [sum(map(len, images[:row])) for row in range(5)]
    right, wrong = (np.array(values, np.int32).tobytes() for values in (places, [places[0], 2**30, *places[2:]]))
    assert file.read_bytes().count(right) == 1
    file.write_bytes(file.read_bytes().replace(right, wrong))
    with pytest.raises(OutskirtsError, match=r"set is damaged \(.*offset"):
        osk.open(f"hf:{tmp_path / 'set'}")
