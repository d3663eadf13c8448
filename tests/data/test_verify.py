import shutil

import pytest

import outskirts as osk
from outskirts.data.catalogue import RECORD
from outskirts.errors import OutskirtsError
from outskirts.files import file_digest, save_json


@pytest.fixture
def fetched(draw, tmp_path, monkeypatch):
    """A folder as a fetch leaves it, among all sets."""
    monkeypatch.setenv("OUTSKIRTS_DATA", str(tmp_path))
    folder = draw(tmp_path / "isun", (), count=2)
    files = {path.name: file_digest(path) for path in sorted(folder.iterdir())}
    save_json(folder / RECORD, {"name": "isun", "files": files})
    return folder


def test_a_fetched_set_by_name_and_by_folder(outskirts, fetched, tmp_path):
    said = []
    record = osk.verify("isun", say=said.append)
    assert record["name"] == "isun" and sorted(record["files"]) == ["0.png", "1.png"]
    assert said == [f"{fetched} is whole: 2 files, as they were fetched."]
    assert osk.verify(fetched) == osk.verify(shutil.copytree(fetched, tmp_path / "elsewhere")) == record
    assert " ".join(outskirts("data", "verify", "isun").out.split()) == said[0]
    (fetched / "0.png").unlink()
    with pytest.raises(OutskirtsError, match=r"0\.png is missing"):
        osk.verify("isun")


def test_a_pool(outskirts, bugs, tmp_path):
    pool, said = osk.synthesize_id(tmp_path / "pool", data=bugs / "train", count=6), []
    manifest = osk.verify(pool, say=said.append)
    assert manifest["count"] == 6 and manifest["generator"]["name"] == "mixup"
    assert said == [f"{pool} is whole: 6 images of 2 classes, made by mixup."]
    assert osk.verify(f"pool:{pool}") == manifest
    assert " ".join(outskirts("data", "verify", pool).out.split()) == said[0]
    (pool / "labels.npy").write_bytes(b"others")
    with pytest.raises(OutskirtsError):
        osk.verify(pool)


def test_what_has_no_record(bugs, tmp_path):
    with pytest.raises(OutskirtsError, match="is not a pool: it has no manifest"):
        osk.verify(bugs / "test")
    with pytest.raises(OutskirtsError, match="There is no folder"):
        osk.verify(tmp_path / "none")
