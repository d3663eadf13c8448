"""Folders of verdicts in memory and on disk."""

import pytest

from outskirts.errors import OutskirtsError
from outskirts.guard.cluster.verdict_folder import VerdictFolder

HEADER = {"guard": "g", "images": 3, "content": "c", "top": 1, "chunk": 2}
ROWS = [
    {"file": "a", "label": "ant", "confidence": 0.9, "score": 0.1, "p_value": 0.5, "accepted": True},
    {"file": "b", "error": "b is no image"},
]


@pytest.fixture(params=["memory", "disk"])
def folder(request, tmp_path):
    pytest.importorskip("pyarrow")
    fsspec = pytest.importorskip("fsspec")
    if request.param == "disk":
        yield VerdictFolder(tmp_path / "v")
        return
    yield VerdictFolder("memory://bucket/v")
    fsspec.filesystem("memory").store.clear()
    fsspec.filesystem("memory").pseudo_dirs[:] = [""]


def test_parts_are_there_when_they_are_whole(folder):
    assert folder.begin(HEADER) == set() and not folder.has(0)
    folder.write(0, ROWS, 1)
    assert folder.has(0) and folder.numbers() == {0} and folder.begin(HEADER) == {0}
    assert folder.rows(0) == [{"p_value": 0.5, "accepted": True}, {"error": "b is no image"}]
    folder.write(0, ROWS, 1)  # Of two workers, both leave the same part.
    assert folder.numbers() == {0}


def test_what_killed_workers_left_is_removed_at_the_end(folder):
    folder.begin(HEADER)
    folder.files.pipe_file(f"{folder.root}/.part-abc.tmp", b"half")
    assert folder.attempts(1, "a", 2) == 0 and folder.attempts(1, "a", 2) == 1 and folder.attempts(1, "a", 2) == 2
    folder.ended(1, "a", 2)
    assert folder.attempts(1, "a", 2) == 0
    folder.write(1, ROWS, 1)
    assert folder.begin(HEADER) == {1}
    folder.finish({"images": 3})
    names = {path.rpartition("/")[2] for path in folder.files.ls(folder.root, detail=False)}
    assert names == {"_verdicts.json", "part-0000001.parquet"}
    with pytest.raises(OutskirtsError, match="is there already"):
        folder.begin(HEADER)


def test_damage_is_told(folder):
    folder.begin(HEADER)
    folder.files.pipe_file(f"{folder.root}/part-0000000.parquet", b"no table")
    with pytest.raises(OutskirtsError, match=r"part-0000000\.parquet is damaged; remove it"):
        folder.rows(0)
    for content in (b"{", b"[]", b"[" * 100_000, b'{"of": 1}', b"\xff"):
        folder.files.pipe_file(f"{folder.root}/_verdicts.json", content)
        with pytest.raises(OutskirtsError, match=r"_verdicts\.json is damaged"):
            folder.begin(HEADER)


@pytest.mark.parametrize("place", ["memory://", "no-such-scheme://bucket/v"])
def test_places_that_are_none_are_told(place):
    pytest.importorskip("fsspec")
    with pytest.raises(OutskirtsError, match=r"names no folder|no place that can be written to"):
        VerdictFolder(place)
