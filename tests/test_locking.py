"""Folders are written by one process at a time."""

import os
import platform
import signal
import subprocess
import sys
import threading

import pytest

import outskirts as osk
from outskirts.errors import OutskirtsError
from outskirts.files import write_text
from outskirts.locking import InUse, only_writer


def test_the_holder_is_named_and_the_folder_free_when_it_ends(held, tmp_path):
    folder = tmp_path / "run"
    with held(folder) as process:
        with pytest.raises(InUse) as told, only_writer(folder):
            raise AssertionError("It was let in.")
        assert f"{folder} is being written by process {process} on {platform.node()}; wait for it" in str(told.value)
    with only_writer(folder):
        write_text(folder / "mine.txt", "mine")
    assert [path.name for path in folder.iterdir()] == ["mine.txt"]


def test_a_killed_holder_holds_nothing(held, tmp_path):
    with held(tmp_path) as process:
        os.kill(process, signal.SIGKILL)
        os.waitid(os.P_PID, process, os.WEXITED | os.WNOWAIT)
        with only_writer(tmp_path):
            pass
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_nothing_was_written_to_is_not_left(tmp_path):
    with pytest.raises(KeyError), only_writer(tmp_path / "new" / "run"):
        raise KeyError
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "theirs").mkdir()
    with only_writer(tmp_path / "theirs"):
        pass
    assert (tmp_path / "theirs").is_dir()


def test_one_thread_may_hold_it_twice_and_another_may_not(tmp_path):
    said = []

    def other():
        try:
            with only_writer(tmp_path):
                said.append("let in")
        except InUse as error:
            said.append(str(error))

    with only_writer(tmp_path):
        with only_writer(tmp_path / "." / ""):
            pass
        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
    assert f"process {os.getpid()} on" in said[0]


def test_a_folder_that_cannot_be_written_is_told(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OutskirtsError, match=r"run cannot be written"), only_writer(tmp_path / "file" / "run"):
        pass


def test_training_resuming_and_evaluating_have_one_writer(held, bugs, finished, outskirts, small, tmp_path):
    train = ["train", "ce", "--data", bugs / "train", "--out", tmp_path / "run"]
    resume = ["train", "--resume", tmp_path / "run"]
    evaluate = ["evaluate", finished, "--test", bugs / "test", "--far", f"fog={bugs / 'fog'}"]
    osk.train("ce", bugs / "train", out=tmp_path / "run", **small).model.unlink()
    before = {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()}
    for folder, command in ((tmp_path / "run", resume), (finished, evaluate)):
        with held(folder):
            outcome = outskirts(*command)
        assert outcome.code == 2 and "is being written by process" in outcome.err
    assert outskirts(*train).code == 2
    assert {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()} == before


def test_of_two_trainings_begun_at_once_one_is_refused(bugs, tmp_path):
    command = [
        *(sys.executable, "-m", "outskirts", "train", "ce", "--data", bugs / "train", "--out", tmp_path / "run"),
        *("--epochs", "3", "--batch-size", "8", "--device", "cpu", "--precision", "fp32"),
    ]
    both = [subprocess.Popen(list(map(str, command)), stderr=subprocess.PIPE, text=True) for _ in range(2)]
    said = [process.communicate(timeout=120)[1] for process in both]
    assert sorted(process.returncode for process in both) == [0, 2], said
    refused = said[[process.returncode for process in both].index(2)]
    assert "is being written by" in refused or "is not an empty folder" in refused
    assert "Traceback" not in "".join(said)
    records = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    assert sum('"kind": "data"' in line for line in records) == 1


def test_a_folder_whose_name_is_in_no_encoding_is_refused(tmp_path):
    folder = tmp_path / "\udcff"
    told = r"is not in UTF-8, .* could not be read again; choose another name"
    with pytest.raises(OutskirtsError, match=told), only_writer(folder):
        raise AssertionError("It was let in.")
    assert not folder.exists()
