"""One worker, in this process: its rows, what it refuses, and a folder that it has filled."""

import json
import os
import shutil
from dataclasses import replace

import pytest

import outskirts as osk
from outskirts.errors import OutskirtsError
from outskirts.guard.cluster import predict_with_ray
from outskirts.guard.cluster.verdict_folder import VerdictFolder
from outskirts.guard.cluster.worker import Task, Worker, block_of, names_digest
from outskirts.guard.opening import opened
from outskirts.guard.predicting import header_of

pytestmark = pytest.mark.filterwarnings("ignore:`use_.*deprecated:DeprecationWarning:ray")


@pytest.fixture
def task(guard, kept, many, chunks, tmp_path):
    """What workers are given; the folder is begun."""
    pytest.importorskip("fsspec")
    pytest.importorskip("pyarrow")
    header = header_of(guard, opened(str(many)), 2)
    out = str(tmp_path / "verdicts")
    VerdictFolder(out).begin(header)
    given = {"call": "a", "folder": os.getcwd(), "guard": str(kept), "strict": True, "images": (str(many),)}
    return Task(**given, out=out, header=header, device="cpu")


def batch(many, *numbers):
    names = [names_digest(block_of(opened(str(many)), number, 4)) for number in numbers]
    return {"block": list(numbers), "names": names}


def told(worker, given):
    return [json.loads(one) for one in worker(given)["told"]]


def test_rows_are_those_of_one_process_and_the_folder_is_finished_without_a_cluster(
    task, kept, many, alone, rows_in, tmp_path
):
    pytest.importorskip("ray.data")
    said = told(Worker(task), batch(many, *range(6)))
    assert [one["block"] for one in said] == list(range(6)) and sum(len(one["rows"]) for one in said) == 22
    assert rows_in(tmp_path / "verdicts") == alone[0]
    summary = predict_with_ray(kept, many, task.out, top=2)
    assert summary == alone[1]
    with pytest.raises(OutskirtsError, match="is there already"):
        predict_with_ray(kept, many, task.out, top=2)


def test_a_block_that_is_there_is_not_made_again(task, many, tmp_path):
    first = told(Worker(task), batch(many, 0))
    before = (tmp_path / "verdicts" / "part-0000000.parquet").stat().st_mtime_ns
    # Its guard and images are not even opened.
    assert told(Worker(replace(task, guard="nowhere")), batch(many, 0)) == first
    assert (tmp_path / "verdicts" / "part-0000000.parquet").stat().st_mtime_ns == before


def test_other_files_on_the_machine_of_a_worker_are_told(task, many, bugs, tmp_path):
    (failed,) = told(Worker(task), {"block": [0], "names": ["other"]})
    assert "finds other images than this process" in failed["failed"]
    (failed,) = told(Worker(replace(task, images=(str(bugs / "fog"),))), batch(many, 0))
    assert "or 12 images instead of 22" in failed["failed"]
    (failed,) = told(Worker(replace(task, guard=str(bugs))), batch(many, 0))
    assert "is not the folder of a guard" in failed["failed"]
    assert not list((tmp_path / "verdicts").glob("*.parquet"))


def test_an_image_that_ends_every_worker_is_told(task, many):
    folder = VerdictFolder(task.out)
    assert [folder.attempts(1, "a", 5) for _ in range(6)] == [0, 1, 2, 3, 4, 5]
    good, failed = told(Worker(task), batch(many, 0, 1))
    assert "rows" in good and failed["failed"].startswith("5 workers ended at the 4 images from ")
    # Another call tries again.
    assert "rows" in told(Worker(replace(task, call="b")), batch(many, 1))[0]


def test_what_was_begun_with_others_is_told(task, guard, kept, many, tmp_path):
    pytest.importorskip("ray.data")
    told(Worker(task), batch(many, 0))
    began = r"was begun with another guard, other images or other options\. Remove it"
    with pytest.raises(OutskirtsError, match=began):
        predict_with_ray(kept, many, task.out, top=1)
    with pytest.raises(OutskirtsError, match=began):
        predict_with_ray(kept, many / "ant", task.out, top=2)
    other = osk.Guard(**{**vars(guard), "features": "raw"}).save(tmp_path / "other")
    with pytest.raises(OutskirtsError, match=began):
        predict_with_ray(other, many, task.out, top=2)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("mine")
    with pytest.raises(OutskirtsError, match="exists and is not an empty folder"):
        predict_with_ray(kept, many, tmp_path / "mine", top=2)
    with pytest.raises(OutskirtsError, match="is a file, not a folder"):
        predict_with_ray(kept, many, tmp_path / "mine" / "notes.txt", top=2)
    with pytest.raises(OutskirtsError, match="in the memory of one process"):
        predict_with_ray(kept, many, "memory://verdicts")
    with pytest.raises(OutskirtsError, match="top is a number from 1 to 2"):
        predict_with_ray(kept, many, tmp_path / "new", top=3)
    with pytest.raises(OutskirtsError, match="workers must be a whole number of at least 1"):
        predict_with_ray(kept, many, tmp_path / "new", workers=0)
    with pytest.raises(OutskirtsError, match="pass their path, their spec, or a list of paths"):
        predict_with_ray(kept, opened(str(many)), tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_one_call_at_a_time_writes_to_a_folder(task, kept, many, held):
    pytest.importorskip("ray.data")
    with held(VerdictFolder(task.out).local), pytest.raises(OutskirtsError, match="is being written by process"):
        predict_with_ray(kept, many, task.out, top=2)


def test_relative_paths_are_those_of_the_call(task, many, tmp_path, monkeypatch, rows_in):
    shutil.copytree(many, tmp_path / "here")
    monkeypatch.chdir(tmp_path)
    images = opened(["here/bee/1.png", "here/bee/2.png"])
    header = {**task.header, "images": 2}
    worker = Worker(replace(task, images=("here/bee/1.png", "here/bee/2.png"), folder=str(tmp_path), header=header))
    assert "rows" in told(worker, {"block": [0], "names": [names_digest(images)]})[0]
    assert [row["file"] for row in rows_in(tmp_path / "verdicts")] == ["here/bee/1.png", "here/bee/2.png"]
