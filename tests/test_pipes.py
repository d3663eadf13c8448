"""Pipes: those that are given as files are told, and those that nobody reads end a command in one way."""

import os
import subprocess
import sys

import pytest

import outskirts as osk
from outskirts.files import require_file
from outskirts.models.weights import read_checkpoint


@pytest.fixture
def pipe(tmp_path):
    os.mkfifo(tmp_path / "pipe.pt")
    return tmp_path / "pipe.pt"


def test_a_pipe_is_called_one(pipe, tmp_path):
    said = "is a pipe or a device; only regular files are read"
    for spec in (f"csv:{pipe}@{tmp_path}", f"imglist:{pipe}@{tmp_path}"):
        with pytest.raises(osk.OutskirtsError, match=said):
            osk.open(spec)
    with pytest.raises(osk.OutskirtsError, match=said):
        read_checkpoint(pipe)
    for model in (f"onnx:{pipe}", f"pt2:{pipe}"):
        with pytest.raises(osk.OutskirtsError, match=said):
            osk.load(model)


@pytest.mark.parametrize("name", ["none", "", "zero\0byte", "n" * 300])
def test_what_is_no_file(tmp_path, name):
    with pytest.raises(osk.OutskirtsError, match=r"^No\.$|cannot be read"):
        require_file(tmp_path / name, "No.")


def test_a_table_that_nobody_reads():
    command = f"{sys.executable} -m outskirts.cli list | true; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (141, "")
