import pytest
import torch

from outskirts.extraction.columns import Columns
from outskirts.files import load_tensors, save_tensors


@pytest.fixture
def batches():
    g = torch.Generator().manual_seed(0)
    return [
        {
            "half": torch.randn(n, 3, generator=g).half(),
            "labels": torch.arange(n),
            "whole": torch.randn(n, generator=g),
        }
        for n in (4, 4, 2)
    ]


@pytest.mark.parametrize("stored", [True, False])
def test_columns_are_what_was_put(batches, tmp_path, stored):
    path = tmp_path / "deep" / "file.safetensors" if stored else None
    columns = Columns(10, path, {"spec": "x", "skipped": []})
    for batch in batches:
        columns.put(batch)
        assert path is None or not path.exists()
    found = columns.finish(skipped=[])
    for name in batches[0]:
        assert found[name].equal(torch.cat([batch[name] for batch in batches]))
    if path is not None:
        tensors, about = load_tensors(path)
        assert about == {"spec": "x", "skipped": []} and tensors["half"].dtype == torch.float16
        assert [file.name for file in path.parent.iterdir()] == [path.name]
        # As the library itself would have written it.
        save_tensors(tmp_path / "other", tensors, about)
        assert load_tensors(tmp_path / "other")[0]["labels"].equal(tensors["labels"])


def test_fewer_rows_than_there_might_have_been(batches, tmp_path):
    path = tmp_path / "file.safetensors"
    columns = Columns(12, path, {"skipped": []})
    for batch in batches:
        columns.put(batch)
    columns.finish(skipped=["a.png", "b.png"])
    tensors, about = load_tensors(path)
    assert len(tensors["whole"]) == 10 and about == {"skipped": ["a.png", "b.png"]}
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


def test_nothing_is_left_half_written(batches, tmp_path):
    columns = Columns(10, tmp_path / "file.safetensors")
    columns.put(batches[0])
    columns.discard()
    assert not list(tmp_path.iterdir())
