import json
import signal
import subprocess
import sys
import threading

import pytest
import torch

from outskirts.data.shards import ShardKind, Shards
from outskirts.errors import OutskirtsError
from outskirts.files import load_json, save_json

KIND = ShardKind("numbers", "n", "parts", 1, resume="count again", remake="count it again")

#: Begins the same folders as another process does, each as soon as both are there, and every other one otherwise.
BEGIN = """
import sys, time
from pathlib import Path
from outskirts.data.shards import Shards, ShardKind
from outskirts.errors import OutskirtsError
where, rank, rounds = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
kind = ShardKind("numbers", "n", "parts", 1, resume="count again", remake="count it again")
for i in range(rounds):
    (where / f"{rank}-{i}").touch()
    while not (where / f"{1 - rank}-{i}").exists():
        pass
    try:
        Shards.begin(where / f"folder-{i}", kind, 5, 2, {"by": rank * (i % 2)})
        print("begun")
    except OutskirtsError as error:
        assert "was begun with the by" in str(error), error
        print("refused")
"""

#: Is killed while it writes a file whose number is given, the manifest being the first.
KILLED = """
import os, signal, sys
from pathlib import Path
import torch
from outskirts import files
from outskirts.data.shards import Shards, ShardKind
left = int(sys.argv[2])
def replace(source, target, original=os.replace):
    global left
    left -= 1
    if left < 0:
        os.truncate(source, 7)
        os.kill(os.getpid(), signal.SIGKILL)
    original(source, target)
os.replace = replace
kind = ShardKind("numbers", "n", "parts", 1, resume="count again", remake="count it again")
shards = Shards.begin(Path(sys.argv[1]), kind, 5, 2, {"by": 0})
for number in range(3):
    shards.write(number, {"x": shards.rows(number), "y": shards.rows(number)[:, None] + 0.5})
"""


def begin(folder, rows=5, size=2, about=None, **options):
    return Shards.begin(folder, KIND, rows, size, {"by": 0} if about is None else about, **options)


def made(folder, share=(0, 1)):
    shards = begin(folder)
    for number in range(len(shards.sizes)):
        if shards.lacks(number, share):
            rows = shards.rows(number)
            shards.write(number, {"x": rows, "y": rows[:, None] + 0.5})
    return shards


def test_rows_come_back_in_order(tmp_path):
    made(tmp_path / "new" / "folder")
    shards = Shards.open(tmp_path / "new" / "folder", KIND)
    assert shards.about == {"format": 1, "by": 0, "parts": [2, 2, 1]} and shards.done == 5
    x, y = shards.columns("x", "y")
    assert x.tolist() == [0, 1, 2, 3, 4] and torch.equal(y, x[:, None] + 0.5)
    for rows in ([4, 0, 3, 3], [2], []):
        rows = torch.tensor(rows, dtype=torch.int64)
        taken = shards.gather("y", rows)
        assert torch.equal(taken, y[rows]) and taken.shape == (len(rows), 1)
    assert [shards.row("y", i).tolist() for i in (0, 3, 4)] == [[[0.5]], [[3.5]], [[4.5]]]


def test_nothing_is_read_before_it_is_asked_for(tmp_path):
    made(tmp_path)
    shards = Shards.open(tmp_path, KIND)
    shards.file(1).write_bytes(b"rubbish")
    assert shards.row("x", 4).tolist() == [4] and shards.gather("x", torch.tensor([4, 1])).tolist() == [4, 1]
    with pytest.raises(OutskirtsError, match=r"n-00001\.safetensors is damaged \(.*\); delete it and count it again\."):
        shards.row("x", 2)


def test_processes_share_the_shards(tmp_path):
    first = made(tmp_path, share=(1, 2))
    assert [first.file(number).is_file() for number in range(3)] == [False, True, False] and first.done == 2
    with pytest.raises(OutskirtsError, match=r"not finished: 2 of 3 parts are missing\. To continue, count again"):
        Shards.open(tmp_path, KIND)
    before = first.file(1).stat().st_mtime_ns
    assert made(tmp_path, share=(0, 2)).done == 5
    assert first.file(1).stat().st_mtime_ns == before, "nothing is made twice"
    assert Shards.open(tmp_path, KIND).columns("x")[0].tolist() == [0, 1, 2, 3, 4]


def test_what_was_begun_otherwise(tmp_path):
    begin(tmp_path)
    for options, what in (({"about": {"by": 1}}, "by"), ({"size": 3}, "parts"), ({"rows": 6}, "parts")):
        with pytest.raises(OutskirtsError, match=f"was begun with the {what} "):
            begin(tmp_path, **options)
    assert begin(tmp_path, about={"by": 1}, free=("by",)).about["by"] == 0, "the manifest stays as it was begun"


def test_a_folder_of_something_else(tmp_path):
    (tmp_path / "note.txt").write_text("mine")
    for folder in (tmp_path, tmp_path / "note.txt"):
        with pytest.raises(OutskirtsError, match="is not an empty folder"):
            begin(folder)
    assert [path.name for path in tmp_path.iterdir()] == ["note.txt"]


def test_a_manifest_that_is_seen_late(tmp_path):
    """As on a network drive, where another process's shard may be seen before the manifest that it wrote earlier."""
    made(tmp_path / "other")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "n-00000.safetensors").touch()
    manifest = (tmp_path / "other" / "manifest.json").read_bytes()
    later = threading.Timer(0.2, (tmp_path / "folder" / "manifest.json").write_bytes, [manifest])
    later.start()
    begin(tmp_path / "folder")
    later.join()


def test_two_processes_that_begin_at_once(tmp_path):
    rounds = 20
    both = [
        subprocess.Popen([sys.executable, "-c", BEGIN, tmp_path, str(k), str(rounds)], stdout=subprocess.PIPE)
        for k in (0, 1)
    ]
    said = [process.communicate(timeout=100)[0].decode().split() for process in both]
    assert [process.returncode for process in both] == [0, 0]
    for i in range(rounds):
        folder = tmp_path / f"folder-{i}"
        assert [path.name for path in folder.iterdir()] == ["manifest.json"]
        by = load_json(folder / "manifest.json")["by"]
        expected = [("refused", "begun")[by == k] for k in (0, 1)] if i % 2 else ["begun", "begun"]
        assert [said[0][i], said[1][i]] == expected


@pytest.mark.parametrize("written", [0, 2])
def test_a_writer_that_is_killed_leaves_nothing_half(tmp_path, written):
    killed = subprocess.run([sys.executable, "-c", KILLED, tmp_path / "half", str(written)], timeout=100)
    assert killed.returncode == -signal.SIGKILL
    assert any(path.name.endswith(".tmp") for path in (tmp_path / "half").iterdir()), "it was in the middle of a file"
    whole = [path for path in (tmp_path / "half").iterdir() if not path.name.endswith(".tmp")]
    assert len(whole) == written
    before = {path: path.stat().st_mtime_ns for path in whole}
    made(tmp_path / "half")
    made(tmp_path / "never")
    assert all(path.stat().st_mtime_ns == time for path, time in before.items())
    for path in (tmp_path / "never").iterdir():
        assert path.read_bytes() == (tmp_path / "half" / path.name).read_bytes()


def test_a_file_system_without_links(tmp_path, monkeypatch):
    def refuse(source, target):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr("os.link", refuse)
    made(tmp_path / "folder")
    assert sorted(path.name for path in (tmp_path / "folder").iterdir())[0] == "manifest.json"
    with pytest.raises(OutskirtsError, match="was begun with the by 0, not 1"):
        begin(tmp_path / "folder", about={"by": 1})


def test_what_cannot_be_read(tmp_path):
    with pytest.raises(OutskirtsError, match=r"manifest\.json is missing"):
        Shards.open(tmp_path, KIND)
    shards = made(tmp_path)
    for about in ({**shards.about, "format": 0}, {"format": 1}, []):
        save_json(tmp_path / "manifest.json", about)
        with pytest.raises(OutskirtsError, match="holds no numbers that this version of outskirts can read"):
            Shards.open(tmp_path, KIND)
    (tmp_path / "manifest.json").write_text(json.dumps({**shards.about, "parts": [2, 2, 3]}))
    with pytest.raises(OutskirtsError, match=r"n-00002\.safetensors holds 1 rows instead of 3"):
        Shards.open(tmp_path, KIND).columns("x")
    save_json(tmp_path / "manifest.json", shards.about)
    for column, told in (
        (torch.ones(1, 2), "x of another shape"),
        (torch.ones(1).int(), "x of another"),
        (torch.ones(()), "holds 0 rows"),
    ):
        shards.write(2, {"x": column})
        with pytest.raises(OutskirtsError, match=rf"n-00002\.safetensors holds {told.removeprefix('holds ')}"):
            shards.columns("x")
    shards.file(2).unlink()
    with pytest.raises(OutskirtsError, match=r"n-00002\.safetensors is missing\. To make it again, count again"):
        shards.columns("x")
