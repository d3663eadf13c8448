import pytest
import torch
from safetensors.torch import save_file

from outskirts.errors import OutskirtsError
from outskirts.files import save_tensors
from outskirts.synthesis import Outliers


@pytest.fixture
def outliers():
    values = torch.randn(3, 5, generator=torch.Generator().manual_seed(0))
    return Outliers(
        values, torch.tensor([0, 1, 2]), {"distance": values[:, 0], "change": torch.tensor(0.5), "values": values}
    )


def test_outliers_know_their_number(outliers):
    assert len(outliers) == 3


def test_what_is_saved_is_loaded(outliers, tmp_path):
    outliers.save(tmp_path / "new" / "outliers.safetensors")
    found = Outliers.load(str(tmp_path / "new" / "outliers.safetensors"))
    assert torch.equal(found.values, outliers.values) and torch.equal(found.labels, outliers.labels)
    assert found.info.keys() == outliers.info.keys()
    assert all(torch.equal(found.info[key], value) for key, value in outliers.info.items())
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["outliers.safetensors"]


def test_no_outliers_are_saved_too(tmp_path):
    Outliers(torch.zeros(0, 7), torch.zeros(0, dtype=torch.int64)).save(tmp_path / "none")
    assert Outliers.load(tmp_path / "none").values.shape == (0, 7)


def test_missing_damaged_and_foreign_files_are_told(outliers, tmp_path):
    with pytest.raises(OutskirtsError, match="is missing"):
        Outliers.load(tmp_path / "missing")
    outliers.save(tmp_path / "damaged")
    (tmp_path / "damaged").write_bytes((tmp_path / "damaged").read_bytes()[:-20])
    with pytest.raises(OutskirtsError, match="is damaged"):
        Outliers.load(tmp_path / "damaged")
    save_file({"values": torch.zeros(2), "labels": torch.zeros(2)}, tmp_path / "foreign")
    with pytest.raises(OutskirtsError, match="does not hold outliers"):
        Outliers.load(tmp_path / "foreign")
    save_tensors(tmp_path / "half", {"values": torch.zeros(2)}, {"content": "outliers", "format": 1})
    with pytest.raises(OutskirtsError, match="does not hold outliers"):
        Outliers.load(tmp_path / "half")
    save_tensors(
        tmp_path / "later", {"values": torch.zeros(2), "labels": torch.zeros(2)}, {"content": "outliers", "format": 2}
    )
    with pytest.raises(OutskirtsError, match="format 2 of outliers; this version of outskirts reads 1"):
        Outliers.load(tmp_path / "later")
