"""What a killed process left half-written is removed, and nothing else."""

import subprocess
import sys
from pathlib import Path

import pytest

from outskirts.errors import OutskirtsError
from outskirts.files import atomic, write_text
from outskirts.temporary import is_temporary, remove_abandoned, temporary_path

PROGRAM = """
import os, signal, sys
from pathlib import Path
from outskirts.files import atomic, whole_folder
folder = Path(sys.argv[1])
with atomic(folder / "table.csv") as temporary, whole_folder(folder / "set") as whole:
    temporary.write_text("half")
    (whole / "half.png").touch()
    os.kill(os.getpid(), signal.SIGKILL)
"""


def killed(folder):
    subprocess.run([sys.executable, "-c", PROGRAM, str(folder)], check=False)
    return sorted(path.name for path in folder.iterdir())


def test_the_next_run_removes_what_a_killed_one_left(tmp_path):
    assert len(killed(tmp_path)) == 2
    write_text(tmp_path / "other.csv", "whole")
    assert [path.name for path in tmp_path.iterdir()] == ["other.csv"]


def test_names_are_of_one_process_and_one_use(tmp_path):
    names = {temporary_path(tmp_path / "a.csv") for _ in range(20)}
    assert len(names) == 20 and all(is_temporary(name) and name.parent == tmp_path for name in names)


@pytest.mark.parametrize("path", ["", ".", "..", "/", "a/.."])
def test_a_path_without_a_name_cannot_be_written(tmp_path, monkeypatch, path):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(OutskirtsError, match=r"The path '.*' ends in no name; add that of what is to be written"):
        write_text(Path(path), "x")
    assert not [*tmp_path.iterdir()]


def test_what_is_not_provably_dead_and_ours_stays(tmp_path):
    left = killed(tmp_path)[1]
    place = left.rsplit(".", 2)[1].split("-")[0]
    kept = [
        ".table.csv.123.tmp",
        "table.csv.tmp",
        left.replace(place, "0" * 12),
        left.replace(left.split("-")[1], "1"),
        left.removesuffix("tmp") + "txt",
    ]
    for name in kept:
        (tmp_path / name).write_text("mine")
    with atomic(tmp_path / "running.csv") as running:
        running.write_text("half")
        remove_abandoned(tmp_path)
        assert running.exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([*kept, "running.csv"])
